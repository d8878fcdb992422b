"""Plays of Idempotency-Key: a change that is asked for twice is made once, whatever happens in between."""

import http.client
import json
import random
import threading

import pytest

from support.control_plane import JSON, SHADOW
from support.waiting import wait_until

ROUTING, PHASE, SETTINGS = "/api/v1/routing", "/api/v1/phase", "/api/v1/settings"
REPLAYED = "Idempotent-Replayed"
KEPT = ("ETag", "Location", "Content-Type")


def ask(control, key, change, method="PATCH", path=ROUTING, headers=None, timeout=30):
    sent = {**JSON, "Idempotency-Key": key, **(headers or {})}
    status, received, body = control.call(method, path, json.dumps(change) if isinstance(change, dict) else change, sent, timeout)
    return status, received, body


def changes(control):
    return [entry for entry in control.get("/api/v1/audit?limit=1000")["entries"] if entry["action"] == "change"]


@pytest.mark.parametrize("method, path, change", [
    ("PATCH", ROUTING, {SHADOW: 7}), ("PATCH", SETTINGS, {"max_clients": 7}), ("PUT", PHASE, {"phase": "passthrough", "reason": "once"}),
    ("PATCH", ROUTING, {}),
])  # fmt: skip
def test_the_same_request_is_answered_alike_and_done_once(control, method, path, change):
    match = {"If-Match": control.call("GET", ROUTING)[1]["ETag"]}
    first = ask(control, "k-1", change, method, path, match)
    assert first[0] == 200 and REPLAYED not in first[1]
    others = ask(control, "k-2", {"log_level": "DEBUG"}, path=SETTINGS)[0]
    assert others == 200
    for turn in range(2):
        again = ask(control, "k-1", change, method, path, match)
        assert again[0] == first[0] and again[2] == first[2] and again[1][REPLAYED] == "true"
        assert all(again[1].get(name) == first[1].get(name) for name in KEPT)
        control.kill() if turn == 0 else control.stop()
        control.start()
    assert ask(control, "k-1", change, method, path, match)[2] == first[2]
    made = changes(control)
    assert len(made) == (2 if change else 1) and made[0]["request_id"] == "k-2"
    assert not change or (made[1]["request_id"] == "k-1" and made[1]["revision"] == 2)


def test_a_key_of_another_request(control):
    assert ask(control, "k", {SHADOW: 7})[0] == 200
    for how in (dict(change={SHADOW: 8}), dict(change={SHADOW: 7}, path=SETTINGS), dict(change={SHADOW: 7}, path=ROUTING + "?wait=1"),
                dict(change={SHADOW: 7}, headers={"If-Match": "*"}), dict(change=b'{"shadow_read_percent": 7 }')):  # fmt: skip
        status, headers, body = ask(control, "k", **how)
        assert status == 422 and headers["Content-Type"] == "application/problem+json" and "Idempotency-Key" in json.loads(body)["detail"]
    assert control.routing()["revision"] == 2


def test_callers_do_not_share_keys(control):
    made = json.loads(control.call("POST", "/api/v1/tokens", json.dumps({"name": "ci", "role": "operator"}), JSON)[2])
    assert ask(control, "k", {SHADOW: 7})[0] == 200
    status, headers, _ = ask(control, "k", {SHADOW: 8}, headers={"Authorization": f"Bearer {made['token']}"})
    assert status == 200 and REPLAYED not in headers and control.routing()[SHADOW] == 8


def test_what_was_refused_may_be_tried_again(control):
    assert ask(control, "k", {SHADOW: 7}, headers={"If-Match": '"x.1"'})[0] == 412
    assert ask(control, "k", {SHADOW: 700})[0] == 422
    assert ask(control, "k", b"{")[0] == 400
    assert ask(control, "k", {SHADOW: 7}, headers={"Content-Type": "text/plain"})[0] == 415
    assert ask(control, "k", b" " * 16385)[0] == 413
    assert ask(control, "k", {"phase": "shadow_read"}, "PUT", PHASE)[0] == 428
    assert ask(control, "k", {"phase": "target_only"}, "PUT", PHASE, {"If-Match": "*"})[0] == 409
    assert ask(control, "k", {"shadow_read_percent": 7}, path=ROUTING + "?dry_run=true")[0] == 200, "a dry run takes no key away"
    status, headers, _ = ask(control, "k", {SHADOW: 7})
    assert status == 200 and REPLAYED not in headers and control.routing()["revision"] == 2


@pytest.mark.parametrize("key, status", [("x", 200), ("x" * 128, 200), ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', 200), ("x" * 129, 400),
                                         ("a b", 400), ("", 400), ("é", 400), ("a\tb", 400)])  # fmt: skip
def test_what_a_key_may_be(control, key, status):
    assert ask(control, key.encode("latin-1"), {SHADOW: 7}, path=ROUTING + "?dry_run=true")[0] == status
    got, headers, body = ask(control, key.encode("latin-1"), {SHADOW: 7})
    assert got == status, body
    assert control.routing()["revision"] == (2 if status == 200 else 1)


def test_what_makes_something_takes_no_key(control):
    for path in ("/api/v1/tokens", "/api/v1/backup"):
        status, _, body = ask(control, "k", {"name": "x", "role": "viewer"}, "POST", path)
        assert status == 400 and "Idempotency-Key" in json.loads(body)["detail"]
    assert len(control.get("/api/v1/tokens")["tokens"]) == 1
    assert ask(control, "k", None, "GET")[0] == 200, "reading twice needs no key, and one does no harm"


def test_a_token_is_revoked_once(control):
    for _ in range(2):
        control.call("POST", "/api/v1/tokens", json.dumps({"name": "leaver", "role": "viewer"}), JSON)
        assert ask(control, "gone", None, "DELETE", "/api/v1/tokens/leaver")[0] == 204
    names = [token["name"] for token in control.get("/api/v1/tokens")["tokens"]]
    assert names == ["admin", "leaver"], "the second token of this name was not meant"
    assert ask(control, "never", None, "DELETE", "/api/v1/tokens/nobody")[0] == 404


def test_two_at_once(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    plane.mode = "silent"
    answers = []
    first = threading.Thread(target=lambda: answers.append(ask(control, "k", {SHADOW: 7}, path=ROUTING + "?wait=30", timeout=60)))
    first.start()
    wait_until(lambda: control.routing()["revision"] == 2, "the first is at work")
    status, headers, body = ask(control, "k", {SHADOW: 7}, path=ROUTING + "?wait=30")
    assert status == 409 and headers["Retry-After"] == "1" and "at work" in json.loads(body)["detail"]
    wait_until(lambda: plane.snapshots[-1]["revision"] == 2, "the snapshot came")
    plane.mode = "ack"
    plane.take(plane.snapshots[-1])
    first.join(20)
    assert answers[0][0] == 200
    assert ask(control, "k", {SHADOW: 7}, path=ROUTING + "?wait=30")[2] == answers[0][2]
    assert control.routing()["revision"] == 2


def test_killed_between_the_change_and_its_answer(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    plane.mode = "silent"
    asked = threading.Thread(target=lambda: pytest.raises((OSError, http.client.HTTPException), ask, control, "k", {SHADOW: 7}))
    asked.start()
    wait_until(lambda: control.routing()["revision"] == 2, "the change is stored")
    control.kill()
    asked.join(20)
    control.start()
    assert ask(control, "other", {SHADOW: 9})[0] == 200
    status, headers, body = ask(control, "k", {SHADOW: 7})
    assert status == 200 and headers[REPLAYED] == "true" and json.loads(body)[SHADOW] == 9, "how it stands now; nothing is made twice"
    assert control.routing()["revision"] == 3 and len(changes(control)) == 2


def test_killed_at_any_moment_each_change_is_made_once(control):
    """Clients that repeat what they got no answer to, and a control plane that is killed again and again."""
    seed = random.Random(20)
    for turn in range(1, 41):
        killer = threading.Timer(seed.uniform(0, 0.012), control.kill) if turn % 2 else None
        if killer:
            killer.start()
        status = None
        while status is None:
            try:
                status, _, body = ask(control, f"turn-{turn}", {SHADOW: turn})
            except (OSError, http.client.HTTPException):
                killer.join()
                control.start()
        assert status == 200, body
        if killer and control.process.poll() is None:
            killer.join()
        if control.process.poll() is not None:
            control.start()
    made = [(entry["request_id"], entry["after"][SHADOW]) for entry in reversed(changes(control))]
    assert made == [(f"turn-{turn}", turn) for turn in range(1, 41)]
    assert control.get("/api/v1/audit/verify")["whole"] is True
