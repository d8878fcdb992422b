"""Plays of phases and live settings: what the state may be, what data planes must be able to do, and the way from one phase to the
next, with data planes that are played."""

import json
import re

import pytest

from support.control_plane import CANARY, JSON, READS, SHADOW, SYSTEM, TO_ORIGIN, TO_TARGET, ctl, routing_state, settings
from support.waiting import wait_until

LINE = ["passthrough", "dual_write", "shadow_read", "canary_read", "target_primary", "target_only"]
PHASE, SETTINGS = "/api/v1/phase", "/api/v1/settings"

ALL_FEATURES = "routing,write_switches,canary_reads,live_settings"
PASSTHROUGH = {SYSTEM: False, TO_TARGET: False}
TARGET_ONLY = {READS: True, SYSTEM: True, TO_ORIGIN: False}


@pytest.mark.parametrize(
    "change, pointer",
    [
        ({TO_ORIGIN: False, TO_TARGET: False}, TO_TARGET),
        ({TO_TARGET: False}, SYSTEM),  # the default reads system keyspaces from the target
        ({TO_TARGET: False, SYSTEM: False, READS: True}, READS),
        ({TO_TARGET: False, SYSTEM: False, SHADOW: 1}, SHADOW),
        ({TO_TARGET: False, SYSTEM: False, CANARY: 1}, CANARY),
        ({TO_ORIGIN: False}, READS),
        ({TO_ORIGIN: False, READS: True, SYSTEM: False}, SYSTEM),
        ({TO_ORIGIN: False, READS: True, SHADOW: 1}, SHADOW),
        ({READS: True, CANARY: 1}, CANARY),
        ({CANARY: 101}, CANARY),
        ({TO_TARGET: 0}, TO_TARGET),
    ],
)
def test_states_that_make_no_sense_are_refused_by_name(control, change, pointer):
    status, _, problem = control.patch(change)
    assert status == 422 and problem["errors"][0]["pointer"] == f"/{pointer}", problem
    assert control.routing() == routing_state(1)


def test_every_state_is_one_of_the_phases(control, dataplane):
    plane = dataplane(features=ALL_FEATURES)
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    for change, phase in (
        ({SHADOW: 5}, "shadow_read"),
        ({CANARY: 5}, "canary_read"),
        ({SHADOW: 0, CANARY: 0, READS: True}, "target_primary"),
        ({READS: False}, "dual_write"),
        (None, "passthrough"),
    ):
        status, _, state = control.patch(change) if change else move(control, phase)
        assert (status, state["phase"]) == (200, phase)
        assert plane.applied["revision"] == state["revision"]
        entry = control.get("/api/v1/audit?limit=1")["entries"][0]
        assert entry["phase_after"] == phase
    assert plane.applied["skip_target"] is True and plane.applied["skip_origin"] is False


@pytest.mark.parametrize("change, phase", [(PASSTHROUGH, "passthrough"), (TARGET_ONLY, "target_only")])
def test_a_patch_does_not_enter_an_end(control, able, change, phase):
    """Bug: PATCH /api/v1/routing went to passthrough and target_only without their gates."""
    control.patch({READS: True})
    for query in ("", "?dry_run=true"):
        status, _, problem = call(control, "PATCH", "/api/v1/routing" + query, {READS: False, **change})
        assert status == 409 and "PUT /api/v1/phase" in problem["detail"] and phase in problem["detail"]
    assert control.routing() == routing_state(2, reads=True)
    assert ctl(control, "routing", "set", *(f"{name}={str(value).lower()}" for name, value in {READS: False, **change}.items()))[0] == 1


def test_a_patch_does_not_leave_an_end_without_confirmation(control, dataplane):
    plane = dataplane(features=ALL_FEATURES)
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    assert move(control, "passthrough")[0] == 200
    status, _, problem = control.patch({TO_TARGET: True})
    assert status == 409 and "/api/v1/phase" in problem["detail"]
    status, _, problem = control.patch({TO_TARGET: True, READS: True})
    assert status == 409 and "no way from passthrough to target_primary" in problem["detail"]
    assert control.routing()["phase"] == "passthrough"


@pytest.mark.parametrize("method, path, change, feature", [
    ("PUT", "/api/v1/phase", {"phase": "passthrough"}, "write_switches"), ("PATCH", "/api/v1/routing", {CANARY: 10}, "canary_reads"),
])  # fmt: skip
def test_what_a_data_plane_cannot_do_is_not_asked_of_it(control, dataplane, method, path, change, feature):
    able = dataplane(address="able:1#0", features=ALL_FEATURES)
    unable = dataplane(address="unable:1#1")
    wait_until(lambda: able.snapshots and unable.snapshots, "both got a snapshot")
    status, _, problem = call(control, method, path, change)
    assert status == 409 and "unable:1#1" in problem["detail"] and feature in problem["detail"]
    assert control.routing()["revision"] == 1 and len(able.snapshots) == 1
    unable.close()
    wait_until(lambda: not all(entry["connected"] for entry in control.dataplanes()), "it is gone")
    assert call(control, method, path, change)[0] == 200


# --- moves ----------------------------------------------------------------------------------------------------------------


def call(control, method, path, body, **headers):
    named = {"If-Match": "*"} if method == "PUT" else {}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    named = {name: value for name, value in named.items() if value is not None}
    status, headers, answer = control.call(method, path, body if isinstance(body, (bytes, str)) else json.dumps(body), {**JSON, **named})
    assert status < 300 or headers["Content-Type"] == "application/problem+json"
    return status, headers, json.loads(answer)


def move(control, phase, query="", headers=None, **body):
    return call(control, "PUT", PHASE + query, {"phase": phase, **body}, **(headers or {}))


def forced(control, phase, **body):
    status, _, state = move(control, phase, force=True, reason="the play says so", confirm=phase, **body)
    assert (status, state["phase"]) == (200, phase), state
    return state


@pytest.fixture
def able(control, dataplane):
    """Two data planes that can do everything, and follow."""
    planes = [dataplane(address=f"able:{number}#0", features=ALL_FEATURES) for number in (1, 2)]
    wait_until(lambda: all(plane.snapshots for plane in planes), "both got a snapshot")
    return planes


def expected_state(revision, phase, **more):
    target = phase in ("target_primary", "target_only")
    return routing_state(revision, reads=target, system=target, phase=phase, to_origin=phase != "target_only",
                         to_target=phase != "passthrough", **more)  # fmt: skip


def test_the_walk_forward_and_back(control, able):
    """Every step is in force on both data planes when the call returns, and one audit row."""
    shares = {"shadow_read": {"shadow": 10}, "canary_read": {"canary": 5}}
    revision = 1
    for phase in [*LINE, *LINE[-2::-1]]:
        state = forced(control, phase)
        revision += 1
        assert state == expected_state(revision, phase, **shares.get(phase, {}))
        for plane in able:
            assert plane.applied["revision"] == revision and plane.applied[READS] == state[READS]
            assert plane.applied["skip_origin"] is not state[TO_ORIGIN] and plane.applied["skip_target"] is not state[TO_TARGET]
        assert control.get(PHASE)["phase"] == phase
    rows = control.get(f"/api/v1/audit?limit={2 * len(LINE) - 1}")["entries"][::-1]
    assert [row["phase_after"] for row in rows] == [*LINE, *LINE[-2::-1]]
    assert [row["phase_before"] for row in rows[1:]] == [row["phase_after"] for row in rows[:-1]]


def test_the_walk_by_cloudgatectl(control, able):
    for phase in [*LINE, *LINE[-2::-1]]:
        code, out, err = ctl(control, "phase", "set", phase, "--confirm", phase, "--force", "--reason", "the play says so")
        assert code == 0 and out.startswith(f"phase {phase}, revision "), err
        assert all(plane.applied["revision"] == control.routing()["revision"] for plane in able)
        code, out, _ = ctl(control, "phase")
        assert code == 0 and out.startswith(f"{phase}: ") and "gates:" in out
    code, out, _ = ctl(control, "phase", "set", "dual_write", "--dry-run")
    assert code == 0 and "write_to_target false -> true" in out and "wants --confirm" in out and "has seen no writes since" in out
    code, _, err = ctl(control, "phase", "set", "dual_write")
    assert code == 1 and 'confirm must be "dual_write"' in err
    code, _, err = ctl(control, "phase", "set", "dual_write", "--confirm", "dual_write")
    assert code == 1 and "UNKNOWN" in err and "origin_healthy" in err
    code, _, err = ctl(control, "phase", "set", "target_only", "--confirm", "target_only")
    assert code == 1 and "one can go to dual_write" in err
    assert control.routing()["phase"] == "passthrough"


def test_a_share_goes_with_its_phase(control, able):
    assert forced(control, "shadow_read", shadow_read_percent=33)[SHADOW] == 33
    assert forced(control, "shadow_read")[SHADOW] == 33, "the share stays as long as the phase"
    assert forced(control, "canary_read", canary_read_percent=7, shadow_read_percent=20)[CANARY] == 7
    assert control.routing()[SHADOW] == 20
    assert move(control, "canary_read", canary_read_percent=3)[0] == 200, "less is no step forward"
    status, _, problem = move(control, "canary_read", canary_read_percent=50)
    assert status == 409 and problem["checks"]
    code, _, _ = ctl(control, "phase", "set", "canary_read", "--percent", "2")
    assert code == 0 and control.routing()[CANARY] == 2
    assert forced(control, "dual_write")[SHADOW] == 0
    for phase, share in (("dual_write", SHADOW), ("shadow_read", CANARY), ("target_primary", CANARY)):
        status, _, problem = move(control, phase, **{share: 5})
        assert status == 422 and problem["errors"][0]["pointer"] == f"/{share}"


def test_gates_that_do_not_hold_stop_a_step_forward_only(control, able):
    status, _, problem = move(control, "shadow_read")
    assert status == 409 and problem["phase_before"] == "dual_write" and problem["phase_after"] == "shadow_read"
    checks = {check["name"]: check for check in problem["checks"]}
    assert checks["dataplanes_connected"]["ok"] and checks["dataplanes_converged"]["ok"]
    assert not checks["target_healthy"]["ok"] and not checks["target_healthy"]["known"], "what nobody has told is unknown"
    assert control.routing()["revision"] == 1
    forced(control, "target_primary")
    assert move(control, "dual_write")[0] == 200, "back needs no gate"


def test_a_data_plane_that_is_away_stops_a_step_forward(control, able):
    able[1].close()
    wait_until(lambda: not all(entry["connected"] for entry in control.dataplanes()), "one is away")
    check = next(check for check in control.get(PHASE)["gates"] if check["name"] == "dataplanes_converged")
    assert not check["ok"] and check["known"] and "able:2#0" in check["detail"] and check["figure"] == "1 of 2"
    # One that will not come back is forgotten, one that is there is not.
    code, _, err = ctl(control, "dataplanes", "forget", able[0].instance)
    assert code == 1 and "is connected" in err
    assert control.call("DELETE", "/api/v1/dataplanes/nobody")[0] == 404
    assert ctl(control, "dataplanes", "forget", able[1].instance)[0] == 0 and len(control.dataplanes()) == 1
    check = next(check for check in control.get(PHASE)["gates"] if check["name"] == "dataplanes_converged")
    assert check["ok"] and "event=dataplane_forgotten" in control.log()
    # It opened a gate: the audit says who did.
    entry = control.get("/api/v1/audit?limit=1")["entries"][0]
    assert entry["action"] == "dataplane_forget" and entry["actor"].startswith(("token:", "uid:"))
    assert entry["before"]["id"] == able[1].instance and "able:2#0" in entry["before"]["address"] and entry["after"] is None
    assert control.get("/api/v1/audit/verify")["whole"]
    assert sum(entry["action"] == "dataplane_forget" for entry in control.get("/api/v1/audit")["entries"]) == 1


def test_failed_requests_count_for_minutes(control, able):
    def stats(**counts):
        totals = dict(reads_origin=0, reads_target=0, writes=0, failed_reads=0, failed_writes=0, client_connections=0)
        able[0].send(type="STATS", **{**totals, **counts})

    def gate(name):
        return next(check for check in control.get(PHASE)["gates"] if check["name"] == name)

    assert not gate("failed_reads")["known"] and not gate("failed_writes")["known"]
    stats(reads_origin=5000, failed_reads=4000, writes=10, failed_writes=9)  # whatever was before is not held against anybody
    stats(reads_origin=6000, failed_reads=4001, writes=20, failed_writes=9)
    wait_until(lambda: gate("failed_reads")["known"], "the figures have come")
    assert gate("failed_reads")["ok"] and gate("failed_reads")["detail"].startswith("1 of 1000"), gate("failed_reads")
    assert gate("failed_writes")["ok"] and gate("failed_writes")["figure"] == "0"
    stats(reads_origin=6000, failed_reads=4002, writes=30, failed_writes=10)
    wait_until(lambda: not gate("failed_reads")["ok"], "two of a thousand are more than 0.1 %")
    assert not gate("failed_writes")["ok"] and gate("failed_writes")["figure"] == "1"


@pytest.mark.parametrize("phase, to", [("dual_write", "target_only"), ("passthrough", "shadow_read"), ("passthrough", "target_only"),
                                       ("canary_read", "target_only")])  # fmt: skip
def test_moves_that_are_none_are_refused_even_by_force(control, able, phase, to):
    if phase != "dual_write":
        forced(control, phase)
    before = control.routing()
    status, _, problem = move(control, to, force=True, reason="now", confirm=to)
    assert status == 409 and problem["errors"][0]["pointer"] == "/phase" and "one can go to" in problem["detail"]
    assert control.routing() == before


def test_leaving_an_end_wants_the_name_typed(control, able):
    for end, idle in (("passthrough", "target"), ("target_only", "origin")):
        if end == "target_only":
            forced(control, "target_primary")
        forced(control, end)
        since = control.get(PHASE)
        for typed in ({}, {"confirm": "yes"}, {"confirm": end}):
            status, _, problem = move(control, "dual_write", force=True, reason="now", **typed)
            assert status == 409 and problem["errors"][0]["pointer"] == "/confirm"
            assert re.search(rf"The {idle} has seen no writes since \d{{4}}-.*\(revision {since['since_revision']}\)", problem["warning"])
        forced(control, "dual_write")


def test_force_is_audited_with_its_reason(control, able):
    status, _, problem = move(control, "shadow_read", force=True)
    assert status == 422 and problem["errors"][0]["pointer"] == "/reason"
    forced(control, "shadow_read")
    entry = control.get("/api/v1/audit?limit=1")["entries"][0]
    assert entry["forced"] is True and entry["reason"] == "the play says so"
    assert (entry["phase_before"], entry["phase_after"]) == ("dual_write", "shadow_read")
    assert move(control, "dual_write", reason="back, please")[0] == 200
    entry = control.get("/api/v1/audit?limit=1")["entries"][0]
    assert entry["forced"] is False and entry["reason"] == "back, please"


def test_force_is_for_administrators(control, able):
    made = json.loads(control.call("POST", "/api/v1/tokens", json.dumps({"name": "op", "role": "operator"}), JSON)[2])
    headers = {"Authorization": f"Bearer {made['token']}"}
    status, _, problem = move(control, "shadow_read", headers=headers, force=True, reason="now")
    assert status == 403 and "admin" in problem["detail"]
    assert move(control, "shadow_read", headers=headers)[0] == 409
    assert move(control, "dual_write", headers=headers)[0] == 200


def test_a_stale_move_changes_nothing(control, able):
    etag = control.call("GET", PHASE)[1]["ETag"]
    control.patch({SHADOW: 1})
    status, headers, _ = move(control, "passthrough", headers={"If_Match": etag})
    assert status == 412 and headers["ETag"].endswith('.2"') and control.routing()["phase"] == "shadow_read"
    assert move(control, "passthrough", headers={"If_Match": headers["ETag"]})[0] == 200


def test_a_phase_wants_to_know_which_state_was_seen(control, able):
    """A phase sets every member: without If-Match it would undo what the caller has not seen."""
    status, headers, problem = move(control, "shadow_read", headers={"If_Match": None})
    assert status == 428 and "If-Match" in problem["detail"]
    assert headers["ETag"] == control.call("GET", PHASE)[1]["ETag"] and control.routing()["revision"] == 1
    assert move(control, "shadow_read", query="?dry_run=true", headers={"If_Match": None})[0] == 200
    assert move(control, "passthrough", headers={"If_Match": headers["ETag"]})[0] == 200
    assert move(control, "dual_write", headers={"If_Match": headers["ETag"]}, confirm="dual_write")[0] == 412
    # A patch names what it changes and touches nothing else.
    assert call(control, "PATCH", SETTINGS, {"max_clients": 5})[0] == 200
    assert ctl(control, "phase", "set", "passthrough")[0] == 0


def test_dry_runs_tell_the_exact_change_and_make_none(control, able):
    rows = control.get("/api/v1/audit")["entries"]
    status, headers, plan = move(control, "target_primary", query="?dry_run=true")
    assert status == 200 and plan["dry_run"] is True and plan["revision"] == 1
    assert plan["changes"] == [{"member": READS, "before": False, "after": True}]
    assert not plan["gates_hold"] and plan["confirmation_needed"] is False and len(plan["checks"]) >= 8
    plan = move(control, "passthrough", query="?dry_run=true")[2]
    assert [change["member"] for change in plan["changes"]] == [SYSTEM, TO_TARGET] and "gets no more writes" in plan["warning"]
    plan = call(control, "PATCH", "/api/v1/routing?dry_run=true", {SHADOW: 9})[2]
    assert plan["changes"] == [{"member": SHADOW, "before": 0, "after": 9}] and plan["phase_after"] == "shadow_read"
    plan = call(control, "PATCH", SETTINGS + "?dry_run=true", {"max_clients": 9})[2]
    assert plan["changes"] == [{"member": "max_clients", "before": None, "after": 9}]
    assert move(control, "target_only", query="?dry_run=true")[0] == 409
    assert control.routing()["revision"] == 1 and control.get("/api/v1/audit")["entries"] == rows
    assert all(len(plane.snapshots) == 1 for plane in able)


@pytest.mark.parametrize("body, pointer", [
    ({}, "/phase"), ({"phase": "both"}, "/phase"), ({"phase": "dual_write", "typo": 1}, "/typo"),
    ({"phase": "dual_write", "reason": "x" * 401}, "/reason"), ({"phase": "shadow_read", SHADOW: 0}, f"/{SHADOW}"),
    ({"phase": "shadow_read", SHADOW: 101}, f"/{SHADOW}"), ([], ""),
])  # fmt: skip
def test_bad_requests_for_a_phase(control, body, pointer):
    status, _, problem = call(control, "PUT", PHASE, body)
    assert status == 422 and problem["errors"][0]["pointer"] == pointer
    assert call(control, "PUT", PHASE, b"{")[0] == 400
    assert call(control, "PUT", PHASE, "phase", Content_Type="text/plain")[0] == 415
    assert control.routing()["revision"] == 1


def test_the_phase_shows_what_is_not_as_its_preset(control):
    shown = control.get(PHASE)
    assert shown["phase"] == "dual_write" and shown["since_revision"] == 1
    assert shown["differences"] == [{"member": SYSTEM, "before": True, "after": False}]
    ways = {way["name"]: way for way in shown["phases"]}
    assert list(ways) == LINE and ways["dual_write"]["is_present"] and not ways["target_only"]["is_allowed"]
    assert not ways["shadow_read"]["gates_hold"] and ways["passthrough"]["gates_hold"]
    assert move(control, "dual_write")[2] == routing_state(2, system=False), "again makes it so"
    assert control.get(PHASE)["differences"] == []


# --- live settings --------------------------------------------------------------------------------------------------------


def test_settings_are_pushed_and_taken_back(control, able):
    assert control.get(SETTINGS) == settings(1)
    wanted = {"request_timeout_ms": 2500, "max_clients": 10, "replace_cql_functions": False, "stamp_timestamps": True, "log_level": "WARN"}
    assert call(control, "PATCH", SETTINGS, wanted)[2] == settings(2, **wanted)
    for plane in able:
        assert plane.applied["request_timeout_ms"] == 2500 and plane.applied["max_clients"] == 10
        assert plane.applied["replace_cql_functions"] == "false" and plane.applied["stamp_timestamps"] == "true"
        assert plane.applied["log_level"] == "WARN"
    assert call(control, "PATCH", SETTINGS, {name: None for name in wanted})[2] == settings(3)
    assert able[0].applied["log_level"] == "" and able[0].applied["max_clients"] == 0
    before, after = (control.get("/api/v1/audit?limit=1")["entries"][0][side]["log_level"] for side in ("before", "after"))
    assert (before, after) == ("WARN", None)


@pytest.mark.parametrize("name, values", [
    ("request_timeout_ms", [0, 3600001, -1, 1.5, "5", True]), ("max_clients", [0, 1000001, "x"]),
    ("replace_cql_functions", [1, "true"]), ("stamp_timestamps", [0, []]), ("log_level", ["LOUD", "warn", "", 3]),
])  # fmt: skip
def test_settings_out_of_range_are_refused(control, name, values):
    for value in values:
        status, _, problem = call(control, "PATCH", SETTINGS, {name: value})
        assert status == 422 and problem["errors"][0]["pointer"] == f"/{name}", value
    status, _, problem = call(control, "PATCH", SETTINGS, {READS: True})
    assert status == 422 and "/api/v1/routing" in problem["detail"]
    status, _, problem = control.patch({"max_clients": 5})
    assert status == 422 and "/api/v1/settings" in problem["detail"]
    assert control.get(SETTINGS) == settings(1)


def test_settings_are_not_asked_of_who_cannot(control, dataplane):
    plane = dataplane(address="unable:1#1")
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    status, _, problem = call(control, "PATCH", SETTINGS, {"max_clients": 5})
    assert status == 409 and "unable:1#1" in problem["detail"] and "live_settings" in problem["detail"]
    assert call(control, "PATCH", SETTINGS, {"max_clients": None})[0] == 200


def test_settings_by_cloudgatectl(control, able):
    code, out, err = ctl(control, "settings", "set", "max_clients=77", "log_level=DEBUG", "stamp_timestamps=false")
    assert code == 0 and re.search(r"max_clients\s+77", out) and re.search(r"request_timeout_ms\s+as configured", out), err
    assert json.loads(ctl(control, "settings", "--json")[1]) == settings(2, max_clients=77, log_level="DEBUG", stamp_timestamps=False)
    assert ctl(control, "settings", "set", "max_clients=null", "--if-match", "1")[0] == 1
    code, out, _ = ctl(control, "settings", "set", "max_clients=null", "--if-match", "2", "--dry-run")
    assert code == 0 and "max_clients 77 -> null" in out and control.get(SETTINGS)["max_clients"] == 77
    assert ctl(control, "settings", "set", "max_clients=null")[0] == 0 and control.get(SETTINGS)["max_clients"] is None
    code, _, err = ctl(control, "settings", "set", "log_level=LOUD")
    assert code == 1 and "log_level must be" in err
    for words in (["settings", "set"], ["settings", "set", "x=1"], ["settings", "set", "max_clients=x"], ["settings", "show"],
                  ["settings", "set", "stamp_timestamps=yes"], ["phase", "set"], ["phase", "set", "a", "b"], ["phase", "go"],
                  ["phase", "set", "shadow_read", "--percent", "101"], ["phase", "set", "shadow_read", "--force"],
                  ["status", "--dry-run"], ["status", "--force"], ["settings", "--confirm", "x"]):  # fmt: skip
        code, out, err = ctl(control, *words)
        assert code == 2 and err.startswith("cloudgatectl: ") and out == "", words
