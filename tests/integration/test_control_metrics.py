"""Plays of the control plane's own metrics: what an operator's alerts look at moves when it should, and only then."""

import re

from support import exposition
from support.control_plane import SHADOW, ctl
from support.programs import ROOT
from support.waiting import wait_until

PREFIX = "cloudgate_control_"


def metrics(control):
    status, _, body = control.call("GET", "/metrics")
    assert status == 200, body
    return {name.removeprefix(PREFIX): value for name, value in exposition.parse(body.decode()).items() if name.startswith(PREFIX)}


def moved(control, before):
    now = metrics(control)
    return {name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name, 0)}


def verdict_of(control, gate):
    found = {name: value for name, value in metrics(control).items() if name.startswith("gate{") and f'gate="{gate}"' in name}
    assert sorted(found.values()) == [0, 0, 1], found
    return next(re.search(r'verdict="(\w+)"', name)[1] for name, value in found.items() if value == 1)


def test_changes_and_acknowledgements_are_measured(control, dataplane):
    planes = [dataplane(address=f"a:{number}#0") for number in (1, 2)]
    wait_until(lambda: metrics(control)["snapshot_ack_seconds_count"] == 2, "both have what is in force")
    before = metrics(control)
    for percent in (1, 2, 3):
        assert control.patch({SHADOW: percent})[0] == 200
    delta = moved(control, before)
    assert (delta["routing_changes_total"], delta["routing_change_seconds_count"]) == (3, 3)
    assert (delta["snapshots_sent_total"], delta["snapshots_acked_total"], delta["snapshot_ack_seconds_count"]) == (6, 6, 6)
    assert delta['snapshot_ack_seconds_bucket{le="5"}'] == 6 and 0 < delta["snapshot_ack_seconds_sum"] < 5
    planes[1].mode = "out_of_range"
    before = metrics(control)
    assert control.patch({SHADOW: 4})[0] == 202
    delta = moved(control, before)
    assert (delta["routing_changes_total"], delta["snapshots_nacked_total"], delta["snapshot_ack_seconds_count"]) == (1, 1, 1)
    assert "routing_change_seconds_count" not in delta, "it is not in force everywhere"
    planes[1].close()
    wait_until(lambda: metrics(control)['dataplanes{state="connected"}'] == 1, "one is away")
    assert metrics(control)['dataplanes{state="disconnected"}'] == 1


def test_phase_and_gates_are_gauges(control, dataplane):
    plane = dataplane(features="routing,write_switches,canary_reads")
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    gates = {check["name"] for check in control.get("/api/v1/phase")["gates"]}
    assert {re.search(r'gate="(\w+)"', name)[1] for name in metrics(control) if name.startswith("gate{")} == gates
    for phase in ("canary_read", "target_primary", "target_only", "target_primary", "dual_write", "passthrough"):
        code, _, err = ctl(control, "phase", "set", phase, "--confirm", phase, "--force", "--reason", "the play says so")
        assert code == 0, err
        shown = metrics(control)
        assert {name for name, value in shown.items() if name.startswith("phase{") and value} == {f'phase{{phase="{phase}"}}'}
        assert shown["canary_read_percent"] == (5 if phase == "canary_read" else 0)
        assert (shown['writes{cluster="origin"}'], shown['writes{cluster="target"}']) == (phase != "target_only", phase != "passthrough")
    assert verdict_of(control, "dataplanes_connected") == "holds" and verdict_of(control, "origin_healthy") == "unknown"
    totals = dict.fromkeys(("reads_origin", "reads_target", "writes", "failed_reads", "failed_writes", "client_connections"), 0)
    plane.send(type="STATS", **totals, origin_health="up", target_health="down")
    wait_until(lambda: verdict_of(control, "origin_healthy") == "holds", "the origin is well")
    assert verdict_of(control, "target_healthy") == "fails"
    plane.close()
    wait_until(lambda: verdict_of(control, "dataplanes_connected") == "fails", "nobody is connected")


def test_requests_are_counted_by_route_and_status(control):
    def row(method, route, code):
        return f'http_requests_total{{code="{code}",method="{method}",route="{route}"}}'

    before = metrics(control)
    for method, path, status in (("GET", "/api/v1/routing", 200), ("HEAD", "/api/v1/routing", 200), ("PATCH", "/api/v1/routing", 415),
                                 ("GET", "/api/v1/history?step=1", 400), ("GET", "/nowhere", 404), ("PUT", "/api/v1/routing", 405),
                                 ("GET", "/assets/app.js", 200), ("DELETE", "/api/v1/tokens/nobody", 404)):  # fmt: skip
        assert control.call(method, path)[0] == status, path
    assert control.call("GET", "/api/v1/tokens", headers={"Authorization": "Bearer x"})[0] == 401
    delta = {name: value for name, value in moved(control, before).items() if name.startswith("http_requests_total")}
    assert delta == {
        row("GET", "/api/v1/routing", "2xx"): 2,
        row("PATCH", "/api/v1/routing", "4xx"): 1,
        row("GET", "/api/v1/history", "4xx"): 1,
        row("other", "other", "4xx"): 2,
        row("GET", "/assets/{file}", "2xx"): 1,
        row("DELETE", "/api/v1/tokens/{name}", "4xx"): 1,
        row("GET", "/api/v1/tokens", "4xx"): 1,
        row("GET", "/metrics", "2xx"): 1,
    }


def test_every_family_is_documented(control):
    described = (ROOT / "docs/metrics.md").read_text()
    families = re.findall(r"^# TYPE (cloudgate_control_\w+) ", control.call("GET", "/metrics")[2].decode(), re.M)
    assert len(families) > 20 and len(families) == len(set(families))
    assert [name for name in families if f"`{name}`" not in described] == []


def test_a_message_that_is_no_histogram_ends_the_link(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    before = metrics(control)
    totals = dict.fromkeys(("reads_origin", "reads_target", "writes", "failed_reads", "failed_writes", "client_connections"), 0)
    plane.send(type="STATS", **totals, latency_target="1000:x inf:0")
    refused = wait_until(lambda: next((said for said in plane.messages if said["type"] == "REFUSED"), None), "it is told why")
    assert refused["reason"] == "bad_message" and "latency_target" in refused["detail"]
    assert moved(control, before)["links_refused_total"] == 1
