"""Who is asked: the proxy between two simulated clusters and the simulator itself; with --real, Cassandra 3.11 and 5.0 directly and
the proxy between them. Every server gets the same questions."""

import pathlib
import sys
from dataclasses import dataclass

import pytest

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "cassandra"), str(TESTS / "conformance")]

import launcher  # noqa: E402
from support.programs import Lab  # noqa: E402

import table  # noqa: E402

SIMULATED = {"proxy": (3, 4, 5), "cqlsim": (3, 4, 5)}
REAL = {"cassandra-3.11": (3, 4), "cassandra-5.0": (3, 4, 5), "proxy-3.11-5.0": (3, 4), "proxy-5.0-5.0": (3, 4, 5)}
# What the simulator leaves out (its README): serial consistency is taken as it comes, nothing is worth a warning. It ends a
# connection after a body it cannot read, where Cassandra and the proxy go on.
NOT_SIMULATED = {"a serial consistency that is none is refused", "a large unlogged batch over partitions warns"}
NOT_CQLSIM = {"truncated QUERY bodies are refused", "truncated EXECUTE bodies are refused"}


def is_asked(server, case):
    if server == "cqlsim":
        return case.name not in NOT_SIMULATED | NOT_CQLSIM
    return server != "proxy" or case.name not in NOT_SIMULATED


def pytest_addoption(parser):
    parser.addoption("--real", action="store_true", help="ask real Cassandra nodes, directly and through the proxy")


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    servers = REAL if metafunc.config.getoption("--real") else SIMULATED
    asked = [(server, version, case) for server, versions in servers.items() for case in table.CASES for version in case.versions
             if version in versions and is_asked(server, case)]  # fmt: skip
    metafunc.parametrize("server, version, case", asked, indirect=["server"],
                         ids=[f"{server}-v{version}-{case.name}" for server, version, case in asked])  # fmt: skip


@dataclass
class Server:
    """Where a server listens and who may use it."""

    program: object
    user: str = None
    password: str = None

    def connect(self, version):
        return self.program.connect(is_ready=False, version=version)


class Node:
    """A Cassandra node as the plays see a cluster."""

    def __init__(self, version, name, address, directory):
        self.node = launcher.Node(version, name, address, directory)
        self.name, self.address, self.port, self.user, self.password = name, address, 9042, None, None

    def connect(self, is_ready=True, **options):
        from support import wire

        return wire.Connection(self.address, self.port, timeout=20.0, **options)


def create_tables(server):
    with server.connect(4) as connection:
        connection.startup(server.user, server.password)
        connection.timeout = 60.0
        connection.query(f"DROP KEYSPACE IF EXISTS {table.KEYSPACE}")
        for text in [f"CREATE KEYSPACE {table.KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
                     *table.TABLES]:  # fmt: skip
            connection.query(text.replace("{ks}", table.KEYSPACE))


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("conformance"))
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def simulated(lab):
    origin, target = lab.pair(options=["--release-version", "5.0.6"])
    proxy = lab.proxy(origin, target).start()
    return {"proxy": Server(proxy), "cqlsim": Server(lab.cluster("cqlsim", options=["--release-version", "5.0.6"]).start())}


@pytest.fixture(scope="session")
def real(lab, tmp_path_factory):
    directory = tmp_path_factory.mktemp("cassandra")
    nodes = {
        "3.11": Node("3.11", "Origin", "127.0.2.6", directory / "3.11"),
        "5.0": Node("5.0", "Target", "127.0.2.7", directory / "5.0"),
        "5.0-origin": Node("5.0", "Origin5", "127.0.2.8", directory / "5.0-origin"),
    }
    try:
        for node in nodes.values():
            node.node.start()
        for node in nodes.values():
            node.node.wait_ready()
        old = lab.proxy(nodes["3.11"], nodes["5.0"], "proxy-3.11-5.0", REQUEST_TIMEOUT_MS="20000").start()
        new = lab.proxy(nodes["5.0-origin"], nodes["5.0"], "proxy-5.0-5.0", REQUEST_TIMEOUT_MS="20000").start()
        yield {"cassandra-3.11": Server(nodes["3.11"]), "cassandra-5.0": Server(nodes["5.0"]),
               "proxy-3.11-5.0": Server(old), "proxy-5.0-5.0": Server(new)}  # fmt: skip
        old.stop()
        new.stop()
    finally:
        for node in nodes.values():
            node.node.stop()


_ready = {}


@pytest.fixture
def server(request):
    """Its tables are made anew when the server asked changes: those behind a proxy are the proxy's."""
    name = request.param
    servers = request.getfixturevalue("real" if request.config.getoption("--real") else "simulated")
    if _ready.get("name") != name:
        create_tables(servers[name])
        _ready["name"] = name
    return servers[name]


