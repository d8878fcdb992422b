"""Answers on the control link that are none, that say no, or come from a data plane with another state: nothing is called acknowledged that is
not in force, and the control plane says in words what is wrong."""

import contextlib
import json

import pytest

from support.control_plane import digest
from support.link_relay import encode
from support.load import reads_from
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


# --- answers that are none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda ack: {**ack, "digest": "0" * 64}, "another state"),
        (lambda ack: {**ack, "revision": ack["revision"] - 1}, "another state"),
        (lambda ack: {**ack, "store_id": "somebody-else"}, "another state"),
        (lambda ack: {**ack, "nonce": ack["nonce"] + 1000}, "newest offered"),
        (lambda ack: {**ack, "nonce": 0}, "newest offered"),
    ],
)
def test_an_answer_to_something_else_is_not_an_acknowledgement(linked, change, word):
    links, refused = linked.relay.links, linked.control.log().count("reason=bad_answer")
    linked.relay.to_control.alter("ACK", change)
    linked.change()
    wait_until(lambda: linked.control.log().count("reason=bad_answer") > refused, "the control plane says why")
    assert word in [line for line in linked.control.log().splitlines() if "reason=bad_answer" in line][-1]
    wait_until(lambda: linked.relay.links > links, "the data plane has come back")
    linked.follows()


def test_an_acknowledgement_of_something_else_is_a_202(linked):
    """The link ends before the right answer comes, and does not come back in time: nobody claims that the change is in force."""
    linked.relay.to_control.alter("ACK", lambda ack: {**ack, "digest": "0" * 64}, times=1000)
    assert linked.change(wait=1) == 202
    assert not linked.entry()["in_sync"] or linked.applied() == linked.control.routing()["revision"]
    linked.relay.heal()
    linked.follows()


# --- a data plane that says no -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def unwritable(directory):
    """A file where the directory should be."""
    aside = directory.with_name("aside")
    directory.rename(aside)
    directory.write_text("in the way")
    try:
        yield
    finally:
        directory.unlink()
        aside.rename(directory)


def test_a_data_plane_that_cannot_save_says_so_and_is_asked_again(linked):
    with unwritable(linked.state):
        assert linked.change(wait=1) == 202
        entry = linked.wait_state("refusing", "not_saved", "a restart without the control plane would lose it")
        assert not entry["in_sync"] and entry["last_error"]["reason"] == "not_saved"
    linked.follows()
    assert linked.entry()["last_error"] is None


def test_a_lost_refusal_is_heard_in_the_end(linked):
    with unwritable(linked.state):
        linked.relay.to_control.lose("NACK")
        assert linked.change(wait=1) == 202
        linked.wait_state("refusing", "not_saved")
    linked.follows()


def test_a_refusal_that_comes_late_does_not_undo_an_acknowledgement(linked):
    with unwritable(linked.state):
        assert linked.change(wait=1) == 202
    nack = encode(linked.relay.to_control.last("NACK"))
    linked.follows()
    fault = linked.relay.to_control.add("PING", lambda message, data, send: send(nack + data))
    fault.wait()
    seen = linked.relay.to_control.types().count("STATS")
    wait_until(lambda: linked.relay.to_control.types().count("STATS") > seen, "the link goes on")
    assert linked.entry()["state"] == "follows"


def test_a_data_plane_that_is_stopped_and_continued(linked):
    linked.proxy.pause()
    try:
        linked.wait_state("silent", "stopped or hangs")
        assert linked.change(wait=1) == 202
        entry = linked.wait_state("away", "went silent", "goes on with revision", timeout=20)
        assert not entry["connected"] and not entry["in_sync"]
    finally:
        linked.proxy.resume()
    linked.follows()


# --- a data plane that comes back with another state -------------------------------------------------------------------


def restart_with(linked, text):
    """The proxy starts from this last-good state."""
    linked.proxy.stop()
    linked.wait_state("away", "closed by the peer")
    (linked.state / "last-good.json").write_text(text)
    linked.proxy.start()


def snapshot_of(linked, **changes):
    """The last-good state with other members, and the digest that fits them."""
    state = json.loads((linked.state / "last-good.json").read_text())
    state.update(changes)
    return json.dumps({**state, "digest": digest(state)})


def test_an_older_state_is_brought_up_to_date(linked):
    old = (linked.state / "last-good.json").read_text()
    assert linked.change() == 200
    restart_with(linked, old)
    linked.follows()


@pytest.mark.parametrize(
    "changes, reason, advice",
    [
        (lambda state: {"revision": state["revision"] + 5}, "revision_regressed", "restored from a backup"),
        (lambda state: {"store_id": "00000000-0000-4000-8000-000000000000"}, "store_differs", "another store"),
        (lambda state: {"forward_reads_to_target": not state["forward_reads_to_target"]}, "revision_differs", "another content"),
    ],
)
def test_a_newer_or_foreign_state_is_kept_until_an_operator_says_adopt(linked, changes, reason, advice):
    assert linked.change() == 200  # ends an adopt that was said before
    state = json.loads((linked.state / "last-good.json").read_text())
    text = snapshot_of(linked, **changes(state))
    restart_with(linked, text)
    entry = linked.wait_state("refusing", reason, advice, "adopt")
    assert not entry["in_sync"] and linked.applied() == json.loads(text)["revision"]
    with linked.proxy.connect() as client:
        assert reads_from(client, "ks") == ("target" if json.loads(text)["forward_reads_to_target"] else "origin")
    status, _, _ = linked.control.call("PATCH", "/api/v1/routing?adopt=true", {})
    assert status == 200
    linked.follows()
