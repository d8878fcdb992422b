"""Fixtures of the integration plays: `lab` starts programs for one play, `world` is a running proxy between two clusters that the
plays of one file share. Logs of what ran are shown with a failure."""

import itertools
import types

import pytest

from support.control_plane import Control, DataPlane
from support.linked import Linked
from support.programs import BIN, Lab
from support.waiting import wait_until
from support.walk import ENDS, Walk

_names = itertools.count()


def pytest_configure(config):
    config.addinivalue_line("markers", "timeout: seconds a play may take (pytest-timeout)")


def pytest_collection_modifyitems(session, items):
    missing = [name for name in ("cqlsim", "cloudgate-proxy", "cloudgate-control") if not (BIN / name).is_file()]
    if missing and items:
        raise pytest.UsageError(f"{BIN} lacks {', '.join(missing)}: build first, or set CLOUDGATE_BIN")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for value in item.funcargs.values():
            lab = value if isinstance(value, Lab) else getattr(value, "lab", None)
            if isinstance(lab, Lab):
                report.sections += [(f"log of {name}", text) for name, text in lab.logs()]


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """lab, origin, target, proxy: for plays that leave them as they found them."""
    lab = Lab(tmp_path_factory.mktemp("world"))
    try:
        origin, target = lab.pair()
        proxy = lab.proxy(origin, target, REQUEST_TIMEOUT_MS="2000").start()
        yield types.SimpleNamespace(lab=lab, origin=origin, target=target, proxy=proxy)
    finally:
        lab.close()


@pytest.fixture
def keyspace(world):
    """A keyspace of the play's own, on both clusters, with a table kv (k int primary key, v text)."""
    name = f"ks{next(_names)}"
    for cluster in (world.origin, world.target):
        cluster.query(
            f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}",
            f"CREATE TABLE {name}.kv (k int PRIMARY KEY, v text)",
        )
    return name


@pytest.fixture
def named_pair(lab):
    """origin, target: row 1 of ks.kv names its cluster, so that a read shows who answered it."""
    return lab.named_pair()


@pytest.fixture
def fleet(lab, named_pair, request):
    """control, two proxies between the named pair that follow it; with the settings of the module's FLEET, if it has one."""
    control = lab.control().start()
    settings = getattr(request.module, "FLEET", {})
    proxies = []
    for number in (1, 2):
        state = lab.directory / f"state-{number}"
        state.mkdir()
        proxies.append(lab.proxy(*named_pair, name=f"proxy-{number}", CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state),
                                 **settings).start())  # fmt: skip
    wait_until(lambda: sum(plane["in_sync"] for plane in control.dataplanes()) == 2, "both proxies follow")
    return control, proxies


@pytest.fixture
def controlled(lab, named_pair):
    """control, proxy, state directory: both planes connected to each other, between the named pair."""
    control = lab.control().start()
    state = lab.directory / "state"
    state.mkdir()
    proxy = lab.proxy(*named_pair, CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state)).start()
    proxy.wait_metric("zdm_control_connected", 1)
    wait_until(lambda: [plane for plane in control.dataplanes() if plane["connected"]], "the control plane sees the proxy")
    return control, proxy, state


@pytest.fixture
def walk(lab):
    return Walk(lab)


@pytest.fixture(params=ENDS)
def end(request):
    """A phase at either end of the line."""
    return request.param


@pytest.fixture(scope="module")
def linked_planes(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("linked"))
    try:
        linked = Linked(lab)
        with linked.relay:
            linked.proxy.start()
            linked.follows()
            yield linked
    finally:
        lab.close()


@pytest.fixture
def linked(linked_planes):
    """The planes, with a relay between them, agree before and after each play."""
    linked_planes.follows()
    yield linked_planes
    linked_planes.relay.heal()
    linked_planes.follows()


@pytest.fixture
def control(tmp_path):
    """A control plane without clusters or proxies."""
    control = Control(tmp_path).start()
    yield control
    if control.process.poll() is None:
        assert control.stop() == 0, control.log()


@pytest.fixture
def dataplane(control):
    """Connects data planes played by the test."""
    planes = []

    def connect(**options):
        planes.append(DataPlane(control, **options))
        return planes[-1]

    yield connect
    for plane in planes:
        plane.close()
