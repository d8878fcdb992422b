"""A running pair of real clusters with a proxy or two in front, the installed drivers, and the results for docs/drivers.md.

One pair runs at a time; tests are in the order that starts each pair once. Addresses are loopback ones that no other test uses."""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import signal
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cassandra"), str(HERE.parent / "integration")]

import certificates  # noqa: E402
import launcher  # noqa: E402
from install import BUILD, Installation  # noqa: E402
from support.programs import Lab, Proxy  # noqa: E402

PROXY, ORIGIN, TARGET = "127.0.38.1", "127.0.38.2", "127.0.38.3"
RESULTS = BUILD / "results.json"


def pytest_configure(config):
    # Ended from outside, the clusters still go with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@dataclasses.dataclass
class World:
    """Two clusters with proxies before them. `tls` is None where the clusters ask for a password."""

    lab: Lab
    origin: launcher.Node
    target: launcher.Node
    plain: Proxy
    tls: Proxy | None
    made: certificates.Certificates


def node(version, name, address, directory, password, made):
    found = launcher.Node(version, name, address, directory, password=password, tls="optional", made=made, lasting=False)
    found.user, found.password = ("cassandra", "cassandra") if password else (None, None)
    return found


@contextlib.contextmanager
def running_world(pair, password, directory, made):
    origin = node(pair[0], "Origin", ORIGIN, directory / "origin", password, made)
    target = node(pair[1], "Target", TARGET, directory / "target", password, made)
    lab = Lab(directory)
    try:
        origin.start()
        target.start()
        origin.wait_ready()
        target.wait_ready()
        plain = lab._add(Proxy(lab, "plain", PROXY, origin, target, {})).start()
        tls = None
        if not password:
            tls = lab._add(Proxy(lab, "tls", PROXY, origin, target, {
                "PROXY_TLS_CERT_PATH": str(made.server_pem), "PROXY_TLS_KEY_PATH": str(made.server_key),
                "ORIGIN_TLS_SERVER_CA_PATH": str(made.ca_pem), "TARGET_TLS_SERVER_CA_PATH": str(made.ca_pem)})).start()
        yield World(lab, origin, target, plain, tls, made)
    finally:
        try:
            lab.close()
        finally:
            origin.stop()
            target.stop()
            shutil.rmtree(directory, ignore_errors=True)


class Worlds:
    """At most one runs. pytest would end a parametrized fixture after each test, whatever its parameter is."""

    def __init__(self, factory):
        self.factory = factory
        self.made = certificates.make(factory.getbasetemp() / "certificates", [PROXY, ORIGIN, TARGET])
        self.setting, self.stack, self.world = None, contextlib.ExitStack(), None

    def of(self, setting):
        if setting != self.setting:
            self.close()
            self.world = self.stack.enter_context(running_world(*setting, self.factory.mktemp("world"), self.made))
            self.setting = setting
        return self.world

    def close(self):
        self.setting, self.world = None, None
        self.stack.close()


@pytest.fixture(scope="session")
def worlds(tmp_path_factory):
    found = Worlds(tmp_path_factory)
    yield found
    found.close()


@pytest.fixture
def world(worlds, setting):
    """The world of a test's parameter `setting`: versions of origin and target, and whether they ask for a password."""
    return worlds.of(setting)


def pytest_collection_modifyitems(items):
    order = list(dict.fromkeys(item.callspec.params["setting"] for item in items if hasattr(item, "callspec")))
    items.sort(key=lambda item: order.index(item.callspec.params["setting"]) if hasattr(item, "callspec") else len(order))


@pytest.fixture(scope="session")
def installation(request):
    programs = {item.callspec.params["cell"].driver.program for item in request.session.items
                if hasattr(item, "callspec") and "cell" in item.callspec.params}
    running = Installation(programs)
    yield running
    running.close()


@pytest.fixture(scope="session")
def results():
    """A dict of Cell.key to what docs/drivers.md says of it, written out at the end."""
    found = {}
    yield found
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    found = item.funcargs.get("world")
    if report.failed and found is not None:
        report.sections += [(f"log of {name}", text) for name, text in found.lab.logs()]
