"""Two real clusters, the two programs between them, and clients; all on loopback addresses that nothing else here uses."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import ConstantReconnectionPolicy, FallthroughRetryPolicy, RoundRobinPolicy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import launcher  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("CLOUDGATE_BIN", ROOT / "build" / "release" / "bin"))
PROXY, ORIGIN, TARGET = "127.0.2.1", "127.0.2.2", "127.0.2.3"
QUERY_PORT, METRICS_PORT, CONTROL_PORT = 14002, 14001, 14003
ADMIN_TOKEN = "cgt_" + "real-clusters-only".ljust(43, "0")
# Long enough for a schema change on a busy machine, short enough to wait for in the plays with a silent cluster.
REQUEST_TIMEOUT = 5.0


def wait_until(condition, seconds, what):
    """Returns the first true value of condition(); fails after the given time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def http(method, url, body=None, **headers):
    """Returns (status, decoded body); a refused connection is status 0."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={
        "Content-Type": "application/json", "Authorization": f"Bearer {ADMIN_TOKEN}",
        **{name.replace("_", "-"): value for name, value in headers.items()}})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    except OSError:
        return 0, ""
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


class Program:
    """One of our programs, with its output in a file and its environment kept for a restart."""

    def __init__(self, name, environment, directory):
        self.name = name
        self.environment = environment
        self.log = directory / f"{name}.log"
        self.process = None

    def start(self):
        path = BIN / self.name
        if not path.exists():
            pytest.fail(f"{path} is not built (CLOUDGATE_BIN={BIN})")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(path)], env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        return self

    def stop(self):
        """SIGTERM must end it by itself, with status 0."""
        self.process.terminate()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"{self.name} did not end within 30 s of SIGTERM; its log:\n{self.tail()}")
        assert status == 0, f"{self.name} ended with status {status}; its log:\n{self.tail()}"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def is_alive(self):
        return self.process.poll() is None

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


class Clusters:
    def __init__(self, origin, target):
        self.origin = origin
        self.target = target


@pytest.fixture(scope="session")
def clusters(tmp_path_factory):
    """A 3.11 origin and a 5.0 target, both asking for a password."""
    directory = tmp_path_factory.mktemp("cassandra")
    nodes = Clusters(launcher.Node("3.11", "Origin", ORIGIN, directory / "origin", password=True),
                     launcher.Node("5.0", "Target", TARGET, directory / "target", password=True))
    try:
        nodes.origin.start()
        nodes.target.start()
        nodes.origin.wait_ready()
        nodes.target.wait_ready()
        yield nodes
    finally:
        nodes.origin.stop()
        nodes.target.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def programs(clusters, tmp_path_factory):
    """The control plane and the data plane; ready."""
    directory = tmp_path_factory.mktemp("cloudgate")
    (directory / "state").mkdir()
    link = {"CONTROL_SOCKET": str(directory / "control.sock")}
    control = Program("cloudgate-control", {**link, "CONTROL_HTTP_ADDRESS": PROXY, "CONTROL_HTTP_PORT": str(CONTROL_PORT),
                                            "CONTROL_DATABASE": str(directory / "control.sqlite"),
                                            "CONTROL_API_SOCKET": "", "CONTROL_ADMIN_TOKEN": ADMIN_TOKEN}, directory)
    proxy = Program("cloudgate-proxy", {
        **link, "STATE_DIRECTORY": str(directory / "state"),
        "ORIGIN_CASSANDRA_CONTACT_POINTS": ORIGIN, "ORIGIN_CASSANDRA_USERNAME": "cassandra", "ORIGIN_CASSANDRA_PASSWORD": "cassandra",
        "TARGET_CASSANDRA_CONTACT_POINTS": TARGET, "TARGET_CASSANDRA_USERNAME": "cassandra", "TARGET_CASSANDRA_PASSWORD": "cassandra",
        "PROXY_ADDRESSES": PROXY, "PROXY_QUERY_ADDRESS": PROXY, "PROXY_QUERY_PORT": str(QUERY_PORT),
        "PROXY_METRICS_ADDRESS": PROXY, "PROXY_METRICS_PORT": str(METRICS_PORT),
        "REQUEST_TIMEOUT_MS": str(int(REQUEST_TIMEOUT * 1000)), "HEARTBEAT_INTERVAL_MS": "1000",
        "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "1000", "CLUSTER_CONNECTION_TIMEOUT_MS": "5000"}, directory)
    running = type("Programs", (), {"control": control, "proxy": proxy})
    control.start()
    try:
        proxy.start()
        try:
            wait_until(lambda: is_ready() or not proxy.is_alive(), 30, "the proxy is ready")
            assert proxy.is_alive(), proxy.tail()
            yield running
        finally:
            if proxy.is_alive():
                proxy.stop()
    finally:
        if control.is_alive():
            control.stop()


def is_ready():
    return http("GET", f"http://{PROXY}:{METRICS_PORT}/health/readiness")[0] == 200


@contextlib.contextmanager
def session_to(address, port=9042, version=4, username="cassandra", password="cassandra", **options):
    profile = ExecutionProfile(request_timeout=REQUEST_TIMEOUT + 5, retry_policy=FallthroughRetryPolicy(),
                               load_balancing_policy=RoundRobinPolicy())
    cluster = Cluster([address], port=port, protocol_version=version, auth_provider=PlainTextAuthProvider(username, password),
                      execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=10,
                      reconnection_policy=ConstantReconnectionPolicy(0.5, max_attempts=None), **options)
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


@pytest.fixture(scope="session")
def direct(clusters):
    """rows(query, *values): what origin and target each answer when asked directly, as a pair of lists."""
    def rows(query, *values):
        answers = []
        for address in (ORIGIN, TARGET):
            with session_to(address) as session:
                answers.append([tuple(row) for row in session.execute(query, values or None)])
        return answers[0], answers[1]
    return rows


@pytest.fixture(params=[3, 4], ids=["v3", "v4"])
def any_version(request):
    return request.param


@pytest.fixture
def client(programs, any_version):
    with session_to(PROXY, QUERY_PORT, any_version) as session:
        yield session
