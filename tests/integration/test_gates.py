"""Plays of the gates' figures: two real proxies between two clusters under load. A healthy fleet goes forward without force; a
cluster that is silent or wrong holds it back, by name, until it is well again."""

import json

from support.load import Load
from support.waiting import wait_until

# A silent cluster is noticed soon; a few failures among the load of a play are a large share of it.
FLEET = {"HEARTBEAT_INTERVAL_MS": "200", "REQUEST_TIMEOUT_MS": "1000", "METRICS_TARGET_LATENCY_BUCKETS_MS": "1,5,10,20,50,100,200,500"}
STEPS = ["shadow_read", "canary_read", "target_primary", "target_only"]


def call(control, method, path, body=None):
    status, _, answer = control.call(method, path, body)
    return status, json.loads(answer)


def gates(control):
    return {check["name"]: check for check in call(control, "GET", "/api/v1/phase")[1]["gates"]}


def wait_gate(control, name, verdict, timeout=20):
    """The check once it is true, false or None (unknown)."""

    def said():
        check = gates(control)[name]
        return check if (check["ok"] if check["known"] else None) is verdict else None

    return wait_until(said, f"{name} is {verdict}", timeout)


def go_forward(control, phase, **more):
    """Without force, as soon as all checks hold: latencies are real, and one may be too long for a moment."""

    def goes():
        status, answer = control.move(phase, **more)
        assert status == 200, [check for check in answer["checks"] if not check["ok"]]
        return answer["phase"] == phase

    wait_until(goes, f"{phase} without force", 30)


def test_a_healthy_fleet_goes_forward_without_force(fleet):
    control, proxies = fleet
    with Load(proxies[0], "ks") as load, Load(proxies[1], "ks") as other:
        for phase in STEPS:
            wait_until(lambda: all(check["known"] for check in gates(control).values()), "every figure is known", 20)
            go_forward(control, phase, **({"shadow_read_percent": 50} if phase == "shadow_read" else {}))
    load.check(at_least=20)
    other.check(at_least=20)
    rows = call(control, "GET", f"/api/v1/audit?limit={len(STEPS)}")[1]["entries"]
    assert [row["phase_after"] for row in rows][::-1] == STEPS and not any(row["forced"] for row in rows)


def test_a_silent_cluster_holds_the_fleet_back_until_it_speaks(fleet, named_pair):
    control, proxies = fleet
    _, target = named_pair
    assert wait_gate(control, "target_healthy", True)["figure"] == "2 of 2"
    target.pause()
    try:
        check = wait_gate(control, "target_healthy", False)
        assert "do not reach the target" in check["detail"]
        assert gates(control)["origin_healthy"]["ok"]
        status, problem = control.move("shadow_read")
        assert status == 409 and [check["name"] for check in problem["checks"] if not check["ok"]] == ["target_healthy"], problem
        assert all(plane["stats"]["origin_health"] == "up" for plane in control.dataplanes())
    finally:
        target.resume()
    assert wait_gate(control, "target_healthy", True, timeout=40)["figure"] == "2 of 2"
    assert control.move("shadow_read")[0] == 200


def test_errors_of_one_cluster_are_its_own(fleet, named_pair):
    control, proxies = fleet
    _, target = named_pair
    with Load(proxies[0], "ks") as load:
        assert wait_gate(control, "target_errors", True)["figure"] != "none"
        target.fault("error", "writes", times=20, code=0x1001)
        check = wait_gate(control, "target_errors", False)
        assert "requests to the target failed" in check["detail"]
        assert not wait_gate(control, "failed_writes", False)["ok"]
    found = gates(control)
    assert found["origin_errors"]["ok"] and found["failed_reads"]["ok"], found
    assert len(load.failures) == 20, "clients saw what the gates count"
    totals = [plane["stats"] for plane in control.dataplanes()]
    assert sum(stats["errors_target"] for stats in totals) == 20 == sum(stats["failed_writes"] for stats in totals)
    assert sum(stats["errors_origin"] for stats in totals) == 0
    assert control.move("canary_read")[0] == 409
    assert control.move("shadow_read")[0] == 200, "a step that changes nothing for clients only wants both clusters well"
    wait_gate(control, "failed_writes", True)  # none since the phase began


def test_a_slow_target_is_not_given_the_reads(fleet, named_pair):
    control, proxies = fleet
    _, target = named_pair
    target.fault("delay", "writes", ms=60)
    with Load(proxies[0], "ks", threads=2, window=4):
        check = wait_gate(control, "target_latency", False)
        assert "99 of 100 answers of the target" in check["detail"]
        assert 40 <= float(check["figure"].split()[0]) <= 300, check
        status, problem = control.move("canary_read")
        assert status == 409 and "target_latency" in [check["name"] for check in problem["checks"] if not check["ok"]]
        # Reads of the target on the side are quick: with them, most of its answers come in time. The slow hundredth decides.
        assert control.move("shadow_read", shadow_read_percent=100)[0] == 200
        assert not wait_gate(control, "shadow_reads", True)["detail"].startswith("shadow reads are not")
        assert not gates(control)["target_latency"]["ok"]


def test_failing_shadow_reads_have_a_gate_of_their_own(fleet, named_pair):
    control, proxies = fleet
    _, target = named_pair
    wait_gate(control, "target_healthy", True)
    assert control.move("shadow_read", shadow_read_percent=100)[0] == 200
    with Load(proxies[0], "ks") as load:
        wait_until(lambda: gates(control)["shadow_reads"]["figure"] not in ("none", "unknown"), "shadow reads have been answered")
        target.fault("error", "reads", times=50, code=0x1001)
        check = wait_gate(control, "shadow_reads", False)
        assert "shadow reads failed" in check["detail"]
        found = gates(control)
        assert found["failed_reads"]["ok"] and found["origin_errors"]["ok"] and found["target_errors"]["ok"], found
        assert control.move("target_primary")[0] == 409
    load.check()
