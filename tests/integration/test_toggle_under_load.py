"""The routing toggles, flipped while clients work: nothing fails, nobody reconnects, reads move at once."""

import http.client
import json
import os
import time

import pytest

from support.load import Load, reads_from, time_until_reads_move
from support.programs import ADMIN, is_sanitized
from support.waiting import wait_until


@pytest.fixture
def second(controlled, lab):
    """Another proxy between the same clusters, connected to the same control plane."""
    control, proxy, _ = controlled
    state = lab.directory / "state2"
    state.mkdir()
    second = lab.proxy(proxy.origin, proxy.target, "second", CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state))
    second.start().wait_metric("zdm_control_connected", 1)
    return second


def test_reads_move_within_100_ms(controlled):
    control, proxy, _ = controlled
    limit = 1.0 if is_sanitized() else 0.1
    took = []
    with proxy.connect() as client, Load(proxy, "ks") as load:
        assert reads_from(client, "ks") == "origin"
        for turn in range(20):
            to_target = turn % 2 == 0
            status, state = control.patch(forward_reads_to_target=to_target)
            assert status == 200 and state["forward_reads_to_target"] is to_target
            seconds, _ = time_until_reads_move(client, "ks", "target" if to_target else "origin")
            took.append(seconds)
    assert sorted(took)[-2] < limit and max(took) < 1.0 + limit, took  # a machine may stall for once
    load.check()


def test_after_the_200_every_worker_has_switched(controlled):
    """The 200 comes after the last worker: no connection, old or new, reads the old cluster after it."""
    control, proxy, _ = controlled
    clients = [proxy.connect() for _ in range(16)]
    for turn in range(30):
        to_target = turn % 2 == 0
        assert control.patch(forward_reads_to_target=to_target)[0] == 200
        assert {reads_from(client, "ks") for client in clients} == {"target" if to_target else "origin"}
    for client in clients:
        client.close()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.mark.timeout(600)
def test_a_thousand_changes_under_load(controlled, second):
    """Two data planes, both under load: no request fails, nobody reconnects, and a change is in force on both, on disk, soon after it
    was asked for."""
    control, proxy, _ = controlled
    turns = 200 if is_sanitized() else 1000
    first = control.routing()["revision"]
    wait_until(lambda: sum(plane["in_sync"] for plane in control.dataplanes()) == 2, "two data planes follow")
    took_ms = []
    with Load(proxy, "ks", threads=2, pause_s=0.004) as one, Load(second, "ks", threads=2, pause_s=0.004) as other:
        connections = [each.metric("zdm_client_connections_total") for each in (proxy, second)]
        api = http.client.HTTPConnection(control.address, control.http_port, timeout=15)
        for turn in range(turns):
            body = {"forward_reads_to_target": turn % 2 == 0, "forward_system_queries_to_target": turn % 3 == 0}
            begin = time.monotonic()
            api.request("PATCH", "/api/v1/routing", json.dumps(body), {"Content-Type": "application/json", **ADMIN})
            answer = api.getresponse()
            state = json.loads(answer.read())
            took_ms.append(1000 * (time.monotonic() - begin))
            assert answer.status == 200, f"turn {turn}: {state}"
            assert not one.failures and not other.failures
        api.close()
        assert [each.metric("zdm_client_connections_total") for each in (proxy, second)] == connections
        revision = control.routing()["revision"]
        assert revision >= first + turns // 2
        assert proxy.metric("zdm_routing_revision") == second.metric("zdm_routing_revision") == revision
    one.check(at_least=100)
    other.check(at_least=100)
    for each in (proxy, second):
        closed = {name for name, value in each.metrics().items() if "disconnections" in name and value}
        assert closed <= {'zdm_client_disconnections_total{reason="client_closed"}'}, closed
    assert control.is_running() and proxy.is_running() and second.is_running()
    figures = {share: round(percentile(took_ms, share), 1) for share in (0.5, 0.99, 1.0)}
    # The figure is that of a machine with a core to spare: where others work as well, it is theirs as much as ours.
    is_busy = os.getloadavg()[0] > os.cpu_count() + 1
    limit_ms = 1000 if is_sanitized() else 250 if is_busy else 50
    print(f"{turns} changes, {one.total + other.total} requests; from the request to the last acknowledgement, ms: {figures}, limit {limit_ms}")
    assert figures[0.99] < limit_ms, f"p99 of {figures} ms is not below {limit_ms} ms"


def test_the_system_queries_toggle(controlled):
    control, proxy, _ = controlled
    proxy.origin.query("CREATE KEYSPACE only_origin WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    with proxy.connect() as client:
        for to_target in (True, False, True):
            assert control.patch(forward_system_queries_to_target=to_target)[0] == 200
            names = [row[0] for row in client.rows("SELECT keyspace_name FROM system_schema.keyspaces")]
            assert (b"only_origin" in names) is not to_target


def test_a_read_in_flight_keeps_the_plan_it_began_with(controlled):
    control, proxy, _ = controlled
    proxy.origin.fault("delay", "reads", times=1, ms=700)
    from support import wire

    with proxy.connect() as client:
        client.send("QUERY", wire.query_body("SELECT v FROM ks.kv WHERE k = 1"), 1)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="reads_origin"}', 1)
        assert control.patch(forward_reads_to_target=True)[0] == 200
        assert reads_from(client, "ks") == "target"
        assert client.result(client.receive_for(1)).rows == [[b"origin"]]


@pytest.mark.parametrize(
    "body,statuses,word",
    [
        (b"{", {400}, ""),
        (b"", {400}, ""),
        (b"[]", {400, 422}, ""),
        (b'{"forward_reads_to_target":"true"}', {400, 422}, "forward_reads_to_target"),
        (b'{"forward_reads_to_target":1}', {400, 422}, "forward_reads_to_target"),
        (b'{"forward_reads_to_target":null}', {400, 422}, "forward_reads_to_target"),
        (b'{"forward_reads_to_traget":true}', {400, 422}, "forward_reads_to_traget"),
        (b'{"forward_reads_to_target":true,"revision":9}', {400, 422}, "revision"),
    ],
)
def test_a_bad_change_changes_nothing(controlled, body, statuses, word):
    control, proxy, _ = controlled
    before = control.routing()
    status, headers, answer = control.call("PATCH", "/api/v1/routing", body, {"Content-Type": "application/json"})
    assert status in statuses and word in answer.decode()
    assert headers["Content-Type"].startswith("application/problem+json")
    assert control.routing() == before
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "origin"


def test_a_stale_change_is_refused(controlled):
    control, _, _ = controlled
    path = "/api/v1/routing"
    _, headers, _ = control.call("GET", path)
    assert control.patch(forward_reads_to_target=True)[0] == 200
    match = {"If-Match": headers["ETag"]}
    assert control.call("PATCH", path, {"forward_reads_to_target": False}, match)[0] == 412
    _, headers, _ = control.call("GET", path)
    assert control.call("PATCH", path, {"forward_reads_to_target": False}, {"If-Match": headers["ETag"]})[0] == 200


def test_two_data_planes_switch_together(controlled, second):
    control, proxy, _ = controlled
    with proxy.connect() as one, second.connect() as other:
        for to_target in (True, False):
            assert control.patch(forward_reads_to_target=to_target)[0] == 200
            assert {reads_from(client, "ks") for client in (one, other)} == {"target" if to_target else "origin"}


def test_a_data_plane_that_does_not_answer_makes_it_202(controlled):
    control, proxy, _ = controlled
    proxy.pause()
    status, state = control.patch(forward_reads_to_target=True)
    assert status == 202, state
    proxy.resume()
    with proxy.connect() as client:
        wait_until(lambda: reads_from(client, "ks") == "target", "the change arrives late, but it does")
