"""Plays of ?wait= and of operations: who wants to know at once, who wants to wait, and what became of a change."""

import json
import threading
import time

import pytest

from support.control_plane import JSON, READS, ROOT, SHADOW, ctl
from support.waiting import wait_until

OPERATIONS = "/api/v1/operations"


def patch(control, change, query="", path="/api/v1/routing", timeout=100):
    status, headers, body = control.call("PATCH", path + query, json.dumps(change), JSON, timeout)
    return status, headers, json.loads(body)


@pytest.fixture
def mute(control, dataplane):
    """A data plane that is connected and says nothing to what comes."""
    plane = dataplane(address="mute:1#0")
    wait_until(lambda: control.dataplanes() and control.dataplanes()[0]["in_sync"], "it is in sync")
    plane.mode, plane.control = "silent", control
    return plane


def agree(plane):
    """It acknowledges what came last."""
    wait_until(lambda: plane.snapshots[-1]["revision"] == plane.control.routing()["revision"], "the last snapshot came")
    plane.mode = "ack"
    plane.take(plane.snapshots[-1])


def test_not_waiting_at_all_names_the_operation(control, mute):
    begin = time.monotonic()
    status, headers, state = patch(control, {SHADOW: 7}, "?wait=0")
    assert status == 202 and time.monotonic() - begin < 2 and state["pending"][0]["reason"] == "no_answer"
    assert headers["Location"] == f"{OPERATIONS}/2"
    operation = control.get(headers["Location"])
    assert operation["status"] == "pending" and operation["pending"][0]["address"] == "mute:1#0" and operation["id"] == 2
    assert (operation["action"], operation["actor"]) == ("change", "token:admin@127.0.0.1")
    agree(mute)
    wait_until(lambda: control.get(headers["Location"])["status"] == "in_force", "the operation is in force")
    status, headers, state = patch(control, {SHADOW: 7}, "?wait=0")
    assert status == 200 and "Location" not in headers and "pending" not in state


def test_an_operation_can_be_waited_for(control, mute):
    location = patch(control, {SHADOW: 7}, "?wait=0")[1]["Location"]
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(control.call("GET", location + "?wait=60", timeout=70)))
    waiter.start()
    begin = time.monotonic()
    agree(mute)
    waiter.join(20)
    assert not waiter.is_alive() and time.monotonic() - begin < 10
    assert answers[0][0] == 200 and json.loads(answers[0][2])["status"] == "in_force"


def test_a_longer_wait_is_kept_and_ends_at_once(control, mute):
    begin = time.monotonic()
    acknowledge = threading.Timer(6.5, agree, [mute])
    acknowledge.start()
    status, headers, _ = patch(control, {SHADOW: 7}, "?wait=60")
    took = time.monotonic() - begin
    assert status == 200 and 6 < took < 20 and "Location" not in headers
    acknowledge.join()


def test_a_wait_ends_with_the_control_plane(control, mute):
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(patch(control, {SHADOW: 7}, "?wait=80")[0]))
    waiter.start()
    wait_until(lambda: control.routing()["revision"] == 2, "the change is stored")
    begin = time.monotonic()
    assert control.stop() == 0 and time.monotonic() - begin < 15
    waiter.join(10)
    assert answers == [202]
    control.start()


def test_more_long_waits_than_allowed_leave_the_api_free(control, mute):
    results = []
    waiters = [
        threading.Thread(target=lambda share=share: results.append(patch(control, {SHADOW: share}, "?wait=30")[0])) for share in range(1, 21)
    ]
    [waiter.start() for waiter in waiters]
    wait_until(lambda: control.routing()["revision"] == 21, "all changes are stored")
    begin = time.monotonic()
    assert control.get("/api/v1/phase") and time.monotonic() - begin < 3, "others are still answered"
    wait_until(lambda: len(results) >= 12, "those too many got their answer after 5 s", 20)
    assert set(results) == {202}
    agree(mute)
    [waiter.join(20) for waiter in waiters]
    assert len(results) == 20 and results.count(200) <= 8


def test_a_crowd_behind_a_data_plane_that_hangs_leaves_the_api_free(control, mute):
    """More changes at once than the web server has threads, each with the usual wait: health and the way back are answered meanwhile."""
    results, over = [], threading.Event()

    def insist(share):
        while not over.is_set():
            results.append(patch(control, {SHADOW: share})[0])

    crowd = [threading.Thread(target=insist, args=(share,)) for share in range(1, 49)]
    [one.start() for one in crowd]
    try:
        wait_until(lambda: control.routing()["revision"] > 40, "all are there")
        slowest = 0
        for _ in range(15):
            begin = time.monotonic()
            assert control.get("/health/liveness") and control.get("/api/v1/phase")
            slowest = max(slowest, time.monotonic() - begin)
        assert slowest < 2.5
    finally:
        over.set()
        agree(mute)
        [one.join(30) for one in crowd]
    assert set(results) <= {200, 202} and 202 in results


def test_operations_are_listed_newest_first(control):
    for turn in range(1, 6):
        assert patch(control, {SHADOW: turn})[0] == 200
    patch(control, {}, "?adopt=true")
    control.call("POST", "/api/v1/tokens", json.dumps({"name": "x", "role": "viewer"}), JSON)
    listed = control.get(OPERATIONS)["operations"]
    assert [operation["id"] for operation in listed] == [6, 5, 4, 3, 2, 1]
    assert [operation["status"] for operation in listed] == ["in_force"] + ["superseded"] * 5
    assert listed[-1]["action"] == "create" and listed[-1]["phase_before"] == ""
    assert listed[0] == control.get(f"{OPERATIONS}/6")
    assert [one["id"] for one in control.get(f"{OPERATIONS}?limit=2&before=4")["operations"]] == [3, 2]
    assert control.get(f"{OPERATIONS}?before=1")["operations"] == []
    control.kill()
    control.start()
    assert control.get(OPERATIONS)["operations"] == listed, "operations outlive the process"


@pytest.mark.parametrize("name", ["0", "99", "x", "-1", "1x", "9" * 19, "%31", "1.0"])
def test_operations_that_are_none(control, name):
    status, headers, body = control.call("GET", f"{OPERATIONS}/{name}")
    assert status == 404 and json.loads(body)["detail"]


@pytest.mark.parametrize("query", [
    "wait=81", "wait=-1", "wait=", "wait=x", "wait=5s", "wait=1&wait=2", "wait =1", "dry_run=1", "dry_run=yes", "dry_run=", "dry_run=True", "dry_run",
    "dry_run=false&dry_run=true", "dryrun=true", "adopt=maybe", "x=1",
])  # fmt: skip
def test_a_query_that_is_not_understood_changes_nothing(control, query):
    """Bug: ?dry_run=1 and ?dryrun=true were passed over, and the change was made."""
    for path, change in (("/api/v1/routing", {READS: True}), ("/api/v1/settings", {"max_clients": 5})):
        status, headers, body = control.call("PATCH", f"{path}?{query.replace(' ', '%20')}", json.dumps(change), JSON)
        assert status == 400 and headers["Content-Type"] == "application/problem+json", body
    assert control.routing()["revision"] == 1
    assert patch(control, {READS: True}, "?dry_run=false&wait=1&adopt=false")[0] == 200


def test_the_description_is_served(control):
    status, headers, body = control.call("GET", "/api/v1/openapi.json")
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert body == (ROOT / "docs/openapi.json").read_bytes()
    assert control.call("GET", "/api/v1/openapi.json", headers={"If-None-Match": headers["ETag"]})[0] == 304


def test_operations_by_cloudgatectl(control, mute):
    begin = time.monotonic()
    code, out, err = ctl(control, "routing", "set", f"{SHADOW}=7", "--wait", "0")
    assert code == 3 and "mute:1#0" in out and "not every data plane" in err and time.monotonic() - begin < 4
    code, out, _ = ctl(control, "operations", "2")
    assert code == 3 and out.startswith("2 pending ") and "token:admin@127.0.0.1 change shadow_read" in out and "mute:1#0" in out
    agree(mute)
    code, out, _ = ctl(control, "operations", "2", "--wait=20")
    assert code == 0 and out.startswith("2 in_force ")
    code, out, _ = ctl(control, "operations", "--limit", "1")
    assert code == 0 and len(out.splitlines()) == 1 and json.loads(ctl(control, "operations", "2", "--json")[1])["id"] == 2
    assert ctl(control, "routing", "adopt", "--wait", "5")[0] == 0
    assert ctl(control, "operations", "99")[0] == 1
    for words in (["--wait", "5", "status"], ["operations", "x"], ["operations", "1", "2"], ["operations", "--wait", "1"],
                  ["--wait=81", "operations", "1"]):  # fmt: skip
        code, out, err = ctl(control, *words)
        assert code == 2 and err.startswith("cloudgatectl: ") and out == "", words


def test_what_a_terminal_shows_cannot_be_forged(control, dataplane):
    """Reason and address are others' words: none of them makes a line of its own, or moves the cursor."""
    evil = "fine\n9 in_force token:boss\r\x1b[2J\x7f\x9b2J"
    plane = dataplane(address=evil)
    move = {"phase": "shadow_read", "shadow_read_percent": 5, "force": True, "reason": evil}
    status, _, _ = control.call("PUT", "/api/v1/phase", json.dumps(move), {**JSON, "If-Match": "*"})
    assert status == 200
    plane.mode = "refused_by_test"
    shown = [ctl(control, *words) for words in (["operations"], ["audit"], ["dataplanes"], ["status"], ["phase"],
                                                ["phase", "set", "target_primary"])]  # fmt: skip
    plane.close()
    shown.append(ctl(control, "phase", "set", "target_primary"))
    for code, out, err in shown:
        assert not set(out + err) & set("\r\x1b\x7f\x9b") and "\n9 in_force" not in out + err, (out, err)
    assert "forced: fine?9 in_force" in shown[0][1] and "forced: fine?9 in_force" in shown[1][1], "the audit says why"
