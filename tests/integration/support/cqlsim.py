"""A cqlsim of one's own for the tests of the simulator itself, and a client that speaks raw bytes to it."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess

import pytest

pytest.importorskip("cassandra", reason="the Python driver is not installed")
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile  # noqa: E402
from cassandra.policies import WhiteListRoundRobinPolicy  # noqa: E402

from support.waiting import wait_until  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
PROGRAM = pathlib.Path(os.environ.get("CLOUDGATE_BIN", ROOT / "build/release/bin")).resolve() / "cqlsim"
ADDRESS = "127.0.0.111"
OWN, SECOND = "127.0.0.113", "127.0.0.114"  # for the tests that start a server of their own
ERROR, STARTUP, READY, AUTHENTICATE, OPTIONS, SUPPORTED, QUERY, RESULT = 0, 1, 2, 3, 5, 6, 7, 8
PREPARE, EXECUTE, REGISTER, EVENT, BATCH, AUTH_RESPONSE, AUTH_SUCCESS = 9, 10, 11, 12, 13, 15, 16
REPLICATION = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"


def free_port():
    """A port nobody listens on now, so that two runs on one machine do not meet."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


PORT = free_port()


class Sim:
    def __init__(self, directory, *options, listen=(ADDRESS,), name="Origin"):
        self.control_path = directory / "control.sock"
        self.log_path = directory / "sim.log"
        command = [str(PROGRAM), "--port", str(PORT), "--cluster-name", name, "--control", str(self.control_path)]
        for address in listen:
            command += ["--listen", address]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command + list(options), stderr=log)
        wait_until(self.is_listening, "cqlsim listens: " + self.log())

    def is_listening(self):
        assert self.process.poll() is None, self.log()
        return "event=listening" in self.log()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self.control_path))
            control.sendall(command.encode() + b"\n")
            control.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := control.recv(65536):
                answer += chunk
        return answer.decode()

    def stats(self):
        return json.loads(self.tell("stats").removeprefix("ok "))

    def last_request(self, *what):
        """What the last request carried: of an opcode, of reads or writes; system tables are left out."""
        return json.loads(self.tell(" ".join(["last-request", *what])).removeprefix("ok "))

    def dump(self, table, *options):
        *rows, last = self.tell(" ".join(["dump", table, *options])).splitlines()
        assert last == f"ok {len(rows)}"
        return [json.loads(row) for row in rows]

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        assert status == 0, f"exit status {status}: {self.log()}"
        assert "event=stopped" in self.log()


@contextlib.contextmanager
def running(directory, *options, **more):
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")
    sim = Sim(directory, *options, **more)
    try:
        yield sim
    finally:
        if sim.process.poll() is None:
            sim.stop()
    assert sim.process.returncode == 0, sim.log()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(tmp_path_factory.mktemp("cqlsim")) as sim:
        yield sim


@pytest.fixture
def sim(shared):
    shared.tell("clear")
    yield shared
    shared.tell("clear")


@contextlib.contextmanager
def session_of(version=4, address=ADDRESS, timeout=10, **options):
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=timeout)
    cluster = Cluster(
        [address], port=PORT, protocol_version=version, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **options
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


# ---- raw bytes ----


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def string_map(pairs):
    return struct.pack(">H", len(pairs)) + b"".join(string(key) + string(value) for key, value in pairs.items())


def query_body(text, flags=0, rest=b""):
    return struct.pack(">i", len(text)) + text.encode() + struct.pack(">HB", 1, flags) + rest


def frame(opcode, body=b"", stream=1, version=4, flags=0):
    return struct.pack(">BBhBi", version, flags, stream, opcode, len(body)) + body


STARTUP_BODY = string_map({"CQL_VERSION": "3.0.0"})


class Raw:
    def __init__(self, address=ADDRESS, started=True, version=4):
        self.version = version
        self.socket = socket.create_connection((address, PORT), timeout=10)
        if started:
            assert self.ask(STARTUP, STARTUP_BODY)[0] == READY

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def receive(self):
        version, _, stream, opcode, length = struct.unpack(">BBhBi", self.exactly(9))
        assert version & 0x80
        return opcode, stream, self.exactly(length), version & 0x7F

    def ask(self, opcode, body=b"", stream=1):
        self.send(frame(opcode, body, stream, self.version))
        got, got_stream, answer, _ = self.receive()
        assert got_stream == stream
        return got, answer

    def error(self, opcode, body=b""):
        got, answer = self.ask(opcode, body)
        assert got == ERROR, (got, answer)
        code, length = struct.unpack(">iH", answer[:6])
        return code, answer[6 : 6 + length].decode()

    def is_closed(self):
        self.socket.settimeout(10)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True
