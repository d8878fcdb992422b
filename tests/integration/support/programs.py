"""The programs under test as objects: real binaries, each on its own loopback address and free ports, in a folder of its own,
stopped by pid. A Lab holds what one play (or one file of plays) started."""

import contextlib
import itertools
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request

from . import exposition, wire
from .waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
BIN = pathlib.Path(os.environ.get("CLOUDGATE_BIN", ROOT / "build/release/bin")).resolve()

# The first admin token of every control plane here; what talks to its API shows it.
# For other users, who may not look into our folders.
SYSTEM_PYTHON = "/usr/bin/python3"
ADMIN_TOKEN = "cgt_" + "plays-only".ljust(43, "0")
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}

# What a program gets besides the settings a play names: nothing of the caller's own PROXY_… and so on.
PASSED_ON = re.compile(r"^(PATH|HOME|TMPDIR|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|\w*SAN_OPTIONS)$")


def is_sanitized(*kinds):
    """Sanitizers make everything several times slower; limits in ms are widened for them. kinds: of these only, asan or tsan."""
    data = (BIN / "cloudgate-proxy").read_bytes()
    return any(f"__{kind}_init".encode() in data for kind in kinds or ("asan", "tsan"))


def base_environment():
    return {name: text for name, text in os.environ.items() if PASSED_ON.match(name)}


_ports_given = set()


def free_port(address):
    """A port nobody listens on, below the range that outgoing connections are given. None is given twice: a program that asks for two
    before it listens on either must not get one."""
    for _ in range(200):
        port = random.SystemRandom().randrange(15000, 32000)
        if port in _ports_given:
            continue
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            _ports_given.add(port)
            return port
    raise AssertionError(f"no free port on {address}")


def http(method, url, body=None, headers=None, timeout=10.0):
    """(status, headers, body) whatever the status is. A dict body is sent as JSON."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers or {}))
    if isinstance(body, dict) and not request.has_header("Content-type"):
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as reply:
        with reply:
            return reply.code, dict(reply.headers), reply.read()


def opened(connection, is_ready, user, password):
    """The connection after its handshake if that is wanted; closed when the handshake fails."""
    if not is_ready:
        return connection
    try:
        return connection.startup(user, password)
    except BaseException:
        connection.close()
        raise


class Program:
    """A process with its log. Subclasses say what is run and when it is up."""

    stop_timeout = 20

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.process = None
        self.log_path = lab.directory / f"{name}.log"

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def is_up(self):
        raise NotImplementedError

    def launch(self):
        """Starts the process without waiting for it to be of use."""
        assert self.process is None, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env={**base_environment(), **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.lab.directory,
            )

    def start(self, timeout=30):
        self.launch()
        self.wait_up(timeout)
        return self

    def wait_up(self, timeout=30):
        def up_or_dead():
            if self.process.poll() is not None:
                code, self.process = self.process.returncode, None
                raise RuntimeError(f"{self.name} ended with {code} while starting:\n{self.log()}")
            return self.is_up()

        wait_until(up_or_dead, f"{self.name} is up", timeout)

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        """Returns once every thread has stopped: on a busy machine that is well after the signal was sent."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_exit(self, timeout=20):
        code = self.process.wait(timeout)
        self.process = None
        return code

    def stop(self):
        """SIGTERM; its exit code. Killed when it does not listen, which is a failure."""
        if self.process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.wait_exit(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {self.stop_timeout} s of SIGTERM") from None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _memory(self, field):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {field}")

    def resident_bytes(self):
        return self._memory("VmRSS")

    @contextlib.contextmanager
    def peak_growth(self):
        """Calls the yielded function: by how many bytes its memory was larger, at any moment since, than at the beginning."""
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the peak begins anew: proc(5)
        before = self.resident_bytes()
        yield lambda: self._memory("VmHWM") - before

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class ClusterSim(Program):
    """A simulated cluster of one node."""

    def __init__(self, lab, name, address, user=None, password=None, options=()):
        super().__init__(lab, name)
        self.address, self.port = address, free_port(address)
        self.user, self.password = user, password
        self.options = list(options)
        self.control_path = lab.directory / f"{name}.sock"

    @property
    def node(self):
        return f"{self.address}:{self.port}"

    def command(self):
        command = [str(BIN / "cqlsim"), "--listen", self.address, "--port", str(self.port)]
        command += ["--cluster-name", self.name, "--control", str(self.control_path)]
        if self.user is not None:
            command += ["--auth", f"{self.user}:{self.password}"]
        return command + self.options

    def is_up(self):
        with self.connect(is_ready=False):
            return True

    def connect(self, is_ready=True, **options):
        """Straight to the cluster, not through a proxy."""
        return opened(wire.Connection(self.address, self.port, **options), is_ready, self.user, self.password)

    def rows(self, text):
        with self.connect() as connection:
            return connection.rows(text)

    def query(self, *texts):
        with self.connect() as connection:
            for text in texts:
                connection.query(text)

    def tell(self, command):
        """One command over the control socket; its answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self.control_path))
            control.sendall(command.encode() + b"\n")
            control.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := control.recv(65536):
                answer += chunk
        text = answer.decode().rstrip("\n")
        assert text.splitlines()[-1].startswith("ok"), f"{self.name}: {command!r}: {text!r}"
        return text.removeprefix("ok").strip()

    def fault(self, kind, scope="all", *, times=None, ms=None, code=None, text=None):
        """From now on, or for so many requests. kind: delay (ms), hold, error (code, text), silence, close, garbage; scope: reads,
        writes (of tables that are not the system's), an opcode, all."""
        command = [kind]
        if ms is not None:
            command.append(str(ms))
        if code is not None:
            command.append(f"{code:#06x}")
        if text is not None:
            command.append(f'"{text}"')
        command.append(scope)
        if times is not None:
            command.append(f"count {times}")
        self.tell(" ".join(command))

    def clear_faults(self):
        """Also lets held answers go."""
        self.tell("clear")

    def stats(self):
        return json.loads(self.tell("stats"))

    def last_request(self, *what):
        """What the last request carried (tests/cqlsim/README.md): of an opcode, of reads or writes; None before the first."""
        return json.loads(self.tell(" ".join(["last-request", *what])))

    def dump(self, table, *options):
        """The rows of a table in token order; option writetime: with the timestamps of their cells."""
        return [json.loads(row) for row in self.tell(" ".join(["dump", table, *options])).splitlines()[:-1]]


class Proxy(Program):
    def __init__(self, lab, name, address, origin, target, settings):
        super().__init__(lab, name)
        self.address = address
        self.origin, self.target = origin, target
        self.port, self.http_port = free_port(address), free_port(address)
        self.settings = {
            "ORIGIN_CASSANDRA_CONTACT_POINTS": origin.address,
            "ORIGIN_CASSANDRA_PORT": str(origin.port),
            "ORIGIN_CASSANDRA_USERNAME": origin.user or "",
            "ORIGIN_CASSANDRA_PASSWORD": origin.password or "",
            "TARGET_CASSANDRA_CONTACT_POINTS": target.address,
            "TARGET_CASSANDRA_PORT": str(target.port),
            "TARGET_CASSANDRA_USERNAME": target.user or "",
            "TARGET_CASSANDRA_PASSWORD": target.password or "",
            "PROXY_ADDRESSES": address,
            "PROXY_QUERY_ADDRESS": address,
            "PROXY_QUERY_PORT": str(self.port),
            "PROXY_METRICS_ADDRESS": address,
            "PROXY_METRICS_PORT": str(self.http_port),
            "PROXY_WORKERS": "2",
            **settings,
        }

    def command(self):
        return [str(BIN / "cloudgate-proxy")]

    def environment(self):
        return self.settings

    def url(self, path):
        return f"http://{self.address}:{self.http_port}{path}"

    def is_up(self):
        return http("GET", self.url("/health/readiness"))[0] == 200

    def readiness(self):
        status, _, body = http("GET", self.url("/health/readiness"))
        return status, json.loads(body)

    def metrics_text(self):
        status, _, body = http("GET", self.url("/metrics"))
        assert status == 200, body
        return body.decode()

    def metrics(self):
        return exposition.parse(self.metrics_text())

    def metric(self, series):
        return self.metrics().get(series, 0.0)

    @contextlib.contextmanager
    def metric_delta(self):
        """What the body of the with statement changed: the dict is filled when it ends."""
        before, delta = self.metrics(), {}
        yield delta
        delta.update(exposition.changed(before, self.metrics()))

    def wait_metric(self, series, value, timeout=10):
        wait_until(lambda: self.metric(series) == value, f"{series} is {value}", timeout)

    def connect(self, user=None, password=None, is_ready=True, **options):
        """A raw client of the proxy, by default through its handshake."""
        return opened(wire.Connection(self.address, self.port, **options), is_ready, user, password)

    @contextlib.contextmanager
    def driver(self, user=None, password=None, **options):
        """A session of the Python driver."""
        with driver_session(self.address, self.port, user, password, **options) as session:
            yield session


class Control(Program):
    def __init__(self, lab, name, address, settings):
        super().__init__(lab, name)
        self.address, self.http_port = address, free_port(address)
        self.socket_path = lab.directory / f"{name}.sock"
        self.settings = {
            "CONTROL_HTTP_ADDRESS": address,
            "CONTROL_HTTP_PORT": str(self.http_port),
            "CONTROL_SOCKET": str(self.socket_path),
            "CONTROL_DATABASE": str(lab.directory / f"{name}.sqlite"),
            "CONTROL_API_SOCKET": str(lab.directory / f"{name}-api.sock"),
            "CONTROL_ADMIN_TOKEN": ADMIN_TOKEN,
            **settings,
        }

    def command(self):
        return [str(BIN / "cloudgate-control")]

    def environment(self):
        return self.settings

    def url(self, path):
        return f"http://{self.address}:{self.http_port}{path}"

    def is_up(self):
        return http("GET", self.url("/health/liveness"))[0] == 200

    def call(self, method, path, body=None, headers=None, timeout=10.0):
        """(status, headers, body), asked as the admin unless the headers say otherwise."""
        return http(method, self.url(path), body, {**ADMIN, **(headers or {})}, timeout)

    def routing(self):
        return self.get("/api/v1/routing")

    def patch(self, **members):
        status, _, body = self.call("PATCH", "/api/v1/routing", members)
        return status, json.loads(body)

    def move(self, phase, **more):
        """Asks for a phase, whatever the state is now."""
        status, _, body = self.call("PUT", "/api/v1/phase", {"phase": phase, **more}, {"If-Match": "*"})
        return status, json.loads(body)

    def force(self, phase, **more):
        status, answer = self.move(phase, confirm=phase, force=True, reason="the play says so", **more)
        assert status == 200 and answer["phase"] == phase, answer

    def get(self, path):
        status, _, body = self.call("GET", path)
        assert status == 200, body
        return json.loads(body)

    def dataplanes(self):
        return self.get("/api/v1/dataplanes")["dataplanes"]


@contextlib.contextmanager
def driver_session(address, port, user=None, password=None, **options):
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT
    from cassandra.policies import RoundRobinPolicy

    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=options.pop("request_timeout", 15))
    cluster = Cluster(
        [address],
        port=port,
        auth_provider=PlainTextAuthProvider(user, password) if user is not None else None,
        protocol_version=options.pop("protocol_version", 4),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=15,
        **options,
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


class Lab:
    """Programs that belong together."""

    _numbers = itertools.count()

    def __init__(self, directory):
        self.directory = directory
        self.programs = []
        # Loopback addresses of this test process, so that runs side by side seldom meet even in their logs.
        self._host = os.getpid() % 200

    def _address(self):
        return f"127.0.1.{1 + (self._host + next(self._numbers)) % 250}"

    def _add(self, program):
        assert all(program.name != other.name for other in self.programs), f"two programs called {program.name}"
        self.programs.append(program)
        return program

    def add(self, kind, *arguments, **options):
        """A program of a play's own class: kind(lab, address, …)."""
        return self._add(kind(self, self._address(), *arguments, **options))

    def cluster(self, name, **options):
        return self._add(ClusterSim(self, name, self._address(), **options))

    def proxy(self, origin, target, name="proxy", **settings):
        return self._add(Proxy(self, name, self._address(), origin, target, settings))

    def control(self, name="control", **settings):
        return self._add(Control(self, name, self._address(), settings))

    def pair(self, **options):
        """Two running clusters."""
        return self.cluster("origin", **options).start(), self.cluster("target", **options).start()

    def named_pair(self, **options):
        """Two running clusters; row 1 of ks.kv names its cluster."""
        clusters = self.pair(**options)
        for cluster in clusters:
            cluster.query(
                "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
                f"INSERT INTO ks.kv (k, v) VALUES (1, '{cluster.name}')",
            )
        return clusters

    def close(self):
        """Stops everything, the last started first; complains about what ended by itself or would not stop."""
        complaints = []
        for program in reversed(self.programs):
            if program.process is not None and program.process.poll() is not None:
                complaints.append(f"{program.name} had ended by itself with {program.process.returncode}")
                program.process = None
            try:
                code = program.stop()
            except AssertionError as error:
                complaints.append(str(error))
            else:
                if code not in (None, 0):
                    complaints.append(f"{program.name} ended with {code} on SIGTERM")
        assert not complaints, "; ".join(complaints)

    def logs(self, lines=60):
        for program in self.programs:
            tail = program.log().splitlines()[-lines:]
            if tail:
                yield program.name, "\n".join(tail)
