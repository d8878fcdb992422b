"""A cluster comes into use: the change is in force when every write that was sent to the other one alone is answered, so that whoever
copies data from then on misses nothing."""

import contextlib

import pytest

from support import wire
from support.waiting import wait_until

ENDS = {"passthrough": ("dual_write", "origin"), "target_only": ("target_primary", "target")}
FORCED = {"force": True, "reason": "the play says so"}


@pytest.fixture(params=ENDS)
def alone(request, controlled, named_pair):
    """control, proxy, the phase with both clusters to go to, the one cluster in use now."""
    control, proxy, _ = controlled
    split, name = ENDS[request.param]
    for phase in ("target_primary", "target_only") if request.param == "target_only" else ("passthrough",):
        control.force(phase)
    yield control, proxy, split, next(cluster for cluster in named_pair if cluster.name == name)


@contextlib.contextmanager
def held_write(proxy, cluster, key=7):
    """A client whose write the cluster has carried out and not answered."""
    with proxy.connect() as client:
        cluster.fault("hold", "writes")
        client.send("QUERY", wire.query_body(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')"), 5)
        wait_until(lambda: cluster.rows(f"SELECT v FROM ks.kv WHERE k = {key}"), "the write is on its way")
        yield client
        cluster.tell("clear")


def ask(control, phase):
    """Without waiting; the id of the operation."""
    body = {"phase": phase, "confirm": phase, **FORCED}
    status, _, _ = control.call("PUT", "/api/v1/phase?wait=0", body, {"If-Match": "*"})
    assert status in (200, 202)
    return control.routing()["revision"]


def status_of(control, operation, wait=0):
    return control.get(f"/api/v1/operations/{operation}?wait={wait}")["status"]


def test_the_change_waits_for_them(alone):
    control, proxy, split, used = alone
    with held_write(proxy, used) as client:
        operation = ask(control, split)
        wait_until(lambda: f"event=routing_switched revision={operation} " in proxy.log(), "it has switched")
        assert status_of(control, operation, wait=1) == "pending"
        with proxy.connect() as other:  # what comes now is not held up
            assert other.rows("SELECT v FROM ks.kv WHERE k = 1")
        assert used.tell("release") == "1"
        assert client.receive_for(5).name == "RESULT"
        assert status_of(control, operation, wait=5) == "in_force"
    assert f"event=writes_settled revision={operation}" in proxy.log()


def test_one_that_is_never_answered_ends_with_its_time_limit(alone):
    control, proxy, split, used = alone
    control.call("PATCH", "/api/v1/settings", {"request_timeout_ms": 1000})
    with held_write(proxy, used) as client:
        operation = ask(control, split)
        refusal = client.receive_for(5)
        assert refusal.name == "ERROR" and wire.parse_error(refusal.body)[0] == wire.WRITE_TIMEOUT
        assert status_of(control, operation, wait=5) == "in_force"


def test_a_client_that_goes_is_not_waited_for(alone):
    control, proxy, split, used = alone
    with held_write(proxy, used) as client:
        operation = ask(control, split)
        assert status_of(control, operation) == "pending"
        client.close()
        assert status_of(control, operation, wait=5) == "in_force"


def test_the_way_back_does_not_wait(alone, request):
    """There and back, and there again while the write is still on its way."""
    control, proxy, split, used = alone
    end = request.node.callspec.params["alone"]
    with held_write(proxy, used) as client:
        operation = ask(control, split)
        status, answer = control.move(end, confirm=end, **FORCED)
        assert status == 200 and answer["phase"] == end, answer
        assert status_of(control, operation) == "superseded"
        again = ask(control, split)
        assert status_of(control, again, wait=1) == "pending"
        used.tell("release")
        assert client.receive_for(5).name == "RESULT"
        assert status_of(control, again, wait=5) == "in_force"


def test_the_link_breaks_meanwhile(alone):
    """The control plane that comes back is told when it is in force, and not before."""
    control, proxy, split, used = alone
    with held_write(proxy, used) as client:
        operation = ask(control, split)
        wait_until(lambda: f"event=routing_switched revision={operation} " in proxy.log(), "it has switched")
        control.kill()
        control.start()
        wait_until(lambda: [plane for plane in control.dataplanes() if plane["connected"]], "it is back")
        assert status_of(control, operation, wait=1) == "pending"
        used.tell("release")
        assert client.receive_for(5).name == "RESULT"
        assert status_of(control, operation, wait=5) == "in_force"
