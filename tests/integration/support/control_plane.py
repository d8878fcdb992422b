"""The control plane alone, without clusters: the real cloudgate-control and cloudgatectl, and data planes written here against
docs/control-link.md."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import uuid

from support.programs import ADMIN, ADMIN_TOKEN, BIN, ROOT
from support.waiting import wait_until

__all__ = ["BIN", "ROOT"]  # for those who play with the control plane
READS, SYSTEM = "forward_reads_to_target", "forward_system_queries_to_target"
SHADOW = "shadow_read_percent"
CANARY = "canary_read_percent"
TO_ORIGIN, TO_TARGET = "write_to_origin", "write_to_target"
JSON = {"Content-Type": "application/json"}
INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")


class Control:
    """One control plane in a folder of its own, on a port of the kernel's choice."""

    def __init__(self, folder, **settings):
        self.folder = pathlib.Path(folder)
        self.socket_path = str(self.folder / "control.sock")
        self.settings = {
            "CONTROL_HTTP_PORT": "0",
            "CONTROL_SOCKET": self.socket_path,
            "CONTROL_DATABASE": str(self.folder / "control.db"),
            "CONTROL_API_SOCKET": str(self.folder / "api.sock"),
            "CONTROL_ADMIN_TOKEN": ADMIN_TOKEN,
            **settings,
        }
        self.process = None
        self.log_path = self.folder / "control.log"

    def environment(self):
        return {**{name: os.environ[name] for name in INHERITED if name in os.environ}, **self.settings}

    def start(self):
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([BIN / "cloudgate-control"], env=self.environment(), stderr=log, stdout=log)

        def port():
            assert self.process.poll() is None, self.log()
            return re.search(r"event=started .*http=[\d.]+:(\d+)", self.log()[offset:])

        self.port = int(wait_until(port, "the control plane has started").group(1))
        return self

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def call(self, method, path, body=None, headers=None, timeout=15):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Connection": "close", **ADMIN, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path):
        status, headers, body = self.call("GET", path)
        assert status == 200, body
        return json.loads(body)

    def patch(self, change, **headers):
        body = change if isinstance(change, (bytes, str)) else json.dumps(change)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, headers, body = self.call("PATCH", "/api/v1/routing", body, {**JSON, **named})
        return status, headers, json.loads(body)

    def routing(self):
        return self.get("/api/v1/routing")

    def dataplanes(self):
        return self.get("/api/v1/dataplanes")["dataplanes"]

    def raw(self, data, timeout=15):
        with socket.create_connection(("127.0.0.1", self.port), timeout) as link:
            link.sendall(data)
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: link.recv(65536), b""))


def routing_state(revision, reads=False, system=True, phase=None, shadow=0, canary=0, to_origin=True, to_target=True):
    return {"revision": revision, "phase": phase or ("target_primary" if reads else "dual_write"), READS: reads, SYSTEM: system,
            SHADOW: shadow, CANARY: canary, TO_ORIGIN: to_origin, TO_TARGET: to_target}  # fmt: skip


def settings(revision, **more):
    return {"revision": revision, "request_timeout_ms": None, "max_clients": None, "replace_cql_functions": None,
            "stamp_timestamps": None, "log_level": None, **more}  # fmt: skip


OPTIONAL = (SHADOW, CANARY, "skip_origin", "skip_target", "request_timeout_ms", "max_clients", "replace_cql_functions",
            "stamp_timestamps", "log_level")  # fmt: skip


def digest(snapshot):
    members = ("store_id", "revision", READS, SYSTEM, *(name for name in OPTIONAL if snapshot[name]))
    text = "".join(f"{name}={json.dumps(snapshot[name]).strip(chr(34))}\n" for name in members)
    return hashlib.sha256(text.encode()).hexdigest()


class DataPlane:
    """The other end of the control link. mode: ack, silent, or the reason of a NACK."""

    def __init__(self, control, address="127.0.0.1:9042#0", mode="ack", seed=None, applied=None, instance=None, features="routing"):
        self.mode, self.snapshots, self.messages, self.error = mode, [], [], None
        self.instance = instance or str(uuid.uuid4())
        self.applied = applied or {"store_id": "", "revision": 0, "digest": ""}
        self.seed = seed or {READS: False, SYSTEM: True}
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(control.socket_path)
        self.lock = threading.Lock()
        self.send(type="HELLO", protocol=1, instance=self.instance, address=address, pid=os.getpid(), version="test",
                  features=features, applied_store_id=self.applied["store_id"], applied_revision=self.applied["revision"],
                  applied_digest=self.applied["digest"], **self.seed)  # fmt: skip
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def send(self, **message):
        body = json.dumps(message).encode()
        with self.lock:
            self.link.sendall(struct.pack(">I", len(body)) + body)

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.link.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def listen(self):
        try:
            while True:
                (length,) = struct.unpack(">I", self.read(4))
                message = json.loads(self.read(length))
                self.messages.append(message)
                if message["type"] == "SNAPSHOT":
                    self.take(message)
        except (EOFError, OSError) as error:
            self.error = error

    def take(self, snapshot):
        assert snapshot["digest"] == digest(snapshot), "the digest is not that of the documented content"
        self.snapshots.append(snapshot)
        if self.mode == "ack":
            self.applied = snapshot
            self.answer(snapshot, "ACK", elapsed_us=7)
        elif self.mode != "silent":
            self.answer(snapshot, "NACK", reason=self.mode, member="", detail="said the test")

    def answer(self, snapshot, kind, **more):
        self.send(type=kind, nonce=snapshot["nonce"], store_id=self.applied["store_id"],
                  revision=self.applied["revision"], digest=self.applied["digest"], **more)  # fmt: skip

    def revision(self):
        return self.applied["revision"]

    def close(self):
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()
        self.thread.join(5)


def ctl_environment(control):
    url = control.url("") if hasattr(control, "url") else f"http://127.0.0.1:{control.port}"
    return {**control.environment(), "CLOUDGATE_URL": url, "CLOUDGATE_TOKEN": ADMIN_TOKEN}


def ctl(control, *words):
    result = subprocess.run([BIN / "cloudgatectl", *words], capture_output=True, text=True, timeout=30,
                            env=ctl_environment(control))  # fmt: skip
    return result.returncode, result.stdout, result.stderr
