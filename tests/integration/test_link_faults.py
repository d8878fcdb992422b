"""Frames of the control link lost, repeated, late, in the wrong order, cut and altered: whatever happens, the planes agree again by
themselves, and what was not acknowledged is never called so. What is wrong meanwhile stands in GET /api/v1/dataplanes, in words."""

import contextlib
import json
import threading
import time

import pytest

from support.control_plane import digest
from support.link_relay import HEADER, LinkRelay, encode, frame
from support.load import reads_from
from support.programs import Lab
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


class Linked:
    """A control plane and a proxy with a relay between them."""

    def __init__(self, lab):
        self.lab = lab
        self.origin, self.target = lab.named_pair()
        self.control = lab.control().start()
        self.state = lab.directory / "state"
        self.state.mkdir()
        self.relay = LinkRelay(lab.directory / "relay.sock", self.control.socket_path)
        self.proxy = lab.proxy(
            self.origin, self.target, CONTROL_SOCKET=self.relay.path, STATE_DIRECTORY=str(self.state)
        )

    def entry(self):
        (entry,) = self.control.dataplanes()
        return entry

    def applied(self):
        return int(self.proxy.metric("zdm_routing_revision"))

    def follows(self, timeout=25):
        """The planes agree: in the control plane's words, in the proxy's, and by who answers reads."""

        def agree():
            wanted, entry = self.control.routing(), self.entry()
            assert (entry["state"], entry["in_sync"]) == ("follows", True), entry
            return entry["applied_revision"] == self.applied() == wanted["revision"] and wanted

        wanted = wait_until(agree, "both planes have the same state", timeout)
        with self.proxy.connect() as client:
            assert reads_from(client, "ks") == ("target" if wanted["forward_reads_to_target"] else "origin")
        saved = json.loads((self.state / "last-good.json").read_text())
        assert saved["revision"] == wanted["revision"]
        return wanted

    def change(self, is_away=False):
        """Moves the reads. 200 means that they have moved where the data plane is connected; 202 names who has not followed."""
        to_target = not self.control.routing()["forward_reads_to_target"]
        status, answer = self.control.patch(forward_reads_to_target=to_target)
        if status == 200:
            assert is_away or self.applied() >= answer["revision"], "called acknowledged, and is not in force"
        else:
            assert status == 202 and answer["pending"], (status, answer)
        return status

    def wait_state(self, state, *words, timeout=15):
        def told():
            entry = self.entry()
            assert entry["state"] == state, entry
            assert all(word in entry["detail"] for word in words), entry
            return entry

        return wait_until(told, f"the control plane says {state}: {words}", timeout)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
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
def linked(shared):
    """The planes agree before and after each play."""
    shared.follows()
    yield shared
    shared.relay.heal()
    shared.follows()


# --- single frames ------------------------------------------------------------------------------------------------------

EACH_WAY = [("to_dataplane", "SNAPSHOT"), ("to_control", "ACK")]


@pytest.mark.parametrize("way, kind", EACH_WAY)
@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_frame_is_made_good(linked, way, kind, times):
    getattr(linked.relay, way).lose(kind, times)
    links = linked.relay.links
    status = linked.change()
    assert status == 200 if times == 1 else status in (200, 202)
    linked.follows()
    assert linked.relay.links == links, "a lost frame is no reason to break a link"
    assert "event=snapshot_unanswered" in linked.control.log()


@pytest.mark.parametrize("way, kind", EACH_WAY)
def test_what_stays_unanswered_is_told(linked, way, kind):
    getattr(linked.relay, way).lose(kind, times=1000)
    assert linked.change() == 202
    entry = linked.wait_state("applying", "not acknowledged", f"revision {linked.control.routing()['revision']}")
    assert entry["connected"] and not entry["in_sync"]
    status, _, body = linked.control.call("GET", "/metrics")
    assert status == 200 and b"cloudgate_control_dataplanes_in_sync 0\n" in body
    linked.relay.heal()
    linked.follows()


@pytest.mark.parametrize("way, kind", EACH_WAY)
def test_a_repeated_frame_changes_nothing(linked, way, kind):
    getattr(linked.relay, way).repeat(kind, times=3)
    applied = linked.proxy.log().count("event=snapshot_applied")
    for _ in range(3):
        assert linked.change() == 200
    assert linked.proxy.log().count("event=snapshot_applied") == applied + 3
    linked.follows()


@pytest.mark.parametrize("way, kind", EACH_WAY)
@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_late_frame_is_waited_for(linked, way, kind, seconds):
    getattr(linked.relay, way).delay(kind, seconds)
    begin = time.monotonic()
    assert linked.change() == 200
    assert time.monotonic() - begin >= seconds
    linked.follows()


@pytest.mark.parametrize("way, kind", EACH_WAY)
def test_frames_in_the_wrong_order(linked, way, kind):
    """The older of two changes, or the answer to it, comes after the newer: the newer stays."""
    fault = getattr(linked.relay, way).swap(kind)
    first = threading.Thread(target=linked.change)
    first.start()
    wait_until(lambda: fault.left == 1, "the first is held")
    assert linked.change() == 200
    first.join(20)
    assert not first.is_alive()
    fault.wait()
    linked.follows()
    assert "revision_regressed" not in linked.proxy.log(), "what comes late is no older store"


def test_a_late_adopt_brings_nothing_back(linked):
    """adopt lifts the rule that revisions do not fall: a copy of such a snapshot that comes late must not."""
    kept = []
    linked.relay.to_dataplane.add("SNAPSHOT", lambda message, data, send: (kept.append(data), send(data)))
    status, _, _ = linked.control.call("PATCH", "/api/v1/routing?adopt=true", {})
    assert status == 200
    linked.relay.to_dataplane.add("SNAPSHOT", lambda message, data, send: send(data + kept[0]))
    assert json.loads(kept[0][HEADER.size :])["adopt"] is True
    assert linked.change() == 200
    wait_until(lambda: "event=snapshot_late" in linked.proxy.log(), "the old copy has come")
    linked.follows()


@pytest.mark.parametrize("kind, keep", [("ACK", 4), ("ACK", 40), ("STATS", 1), ("PING", 18), ("HELLO", 3), ("HELLO", 50)])
def test_a_cut_frame_from_the_data_plane_costs_the_link(linked, kind, keep):
    links = linked.relay.links
    fault = linked.relay.to_control.truncate(kind, keep)
    if kind == "HELLO":
        linked.relay.cut()
        links += 1
    elif kind == "ACK":
        linked.change()
    fault.wait()
    wait_until(lambda: linked.relay.links > links, "the data plane has come back", 20)
    linked.follows()
    assert "event=dataplane_refused" in linked.control.log() or "event=dataplane_disconnected" in linked.control.log()


@pytest.mark.parametrize("kind, keep", [("SNAPSHOT", 2), ("SNAPSHOT", 60), ("PING", 4), ("PING", 18)])
def test_a_cut_frame_from_the_control_plane_costs_the_link(linked, kind, keep):
    links = linked.relay.links
    fault = linked.relay.to_dataplane.truncate(kind, keep)
    if kind == "SNAPSHOT":
        linked.change()
    fault.wait()
    wait_until(lambda: linked.relay.links > links, "the data plane has come back", 20)
    linked.follows()


@pytest.mark.parametrize("way, kind", EACH_WAY)
def test_a_frame_that_never_ends_is_not_a_sign_of_life(linked, way, kind):
    """A length that lies swallows what follows, pings and all: bytes arrive, and no message."""
    links = linked.relay.links
    fault = getattr(linked.relay, way).garble(kind, HEADER.pack(1 << 20) + b"{")
    assert linked.change() == 202
    fault.wait()
    wait_until(lambda: linked.relay.links > links, "the link is given up", 20)
    linked.follows()
    assert "went silent" in linked.control.log() + linked.proxy.log()


def test_a_lost_hello(linked):
    fault = linked.relay.to_control.lose("HELLO")
    linked.relay.cut()
    fault.wait()
    linked.change(is_away=True)
    linked.follows()
    assert "no_hello" in linked.proxy.log(), "the data plane was told why"


def test_a_repeated_hello_is_refused_with_a_reason(linked):
    linked.relay.to_control.repeat("HELLO")
    linked.relay.cut()
    wait_until(lambda: "second_hello" in linked.proxy.log(), "the data plane was told why")
    linked.follows()


def test_what_comes_before_hello_is_refused(linked):
    linked.relay.to_control.add("HELLO", lambda message, data, send: send(encode({"type": "PING"}) + data))
    before = linked.control.log().count("no_hello")
    linked.relay.cut()
    wait_until(lambda: linked.control.log().count("no_hello") > before, "the control plane refuses it")
    linked.follows()


def test_an_unanswered_hello_is_said_again(linked):
    """No state comes, and pings do: the link is of no use."""
    linked.relay.to_dataplane.lose("SNAPSHOT", times=1000)
    linked.relay.cut()
    wait_until(lambda: "answered HELLO with no state" in linked.proxy.log(), "the data plane gives up", 20)
    linked.relay.heal()
    linked.follows()


def test_statistics_that_come_late_are_not_counted_twice(linked):
    with linked.proxy.connect() as client:
        for _ in range(10):
            reads_from(client, "ks")
    wait_until(lambda: "STATS" in linked.relay.to_control.types()[-5:], "totals arrive")
    linked.relay.to_control.repeat("STATS")
    old = dict(linked.relay.to_control.last("STATS"), reads_origin=0, reads_target=0, writes=0)
    fault = linked.relay.to_control.add("STATS", lambda message, data, send: send(data + encode(old)))
    fault.wait()
    newest = linked.relay.to_control.last("STATS")
    marker = encode({"type": "PING"})
    linked.relay.to_control.add("STATS", lambda message, data, send: send(data + marker)).wait()
    shown = linked.entry()["stats"]
    assert shown["reads_origin"] + shown["reads_target"] >= newest["reads_origin"] + newest["reads_target"] >= 10


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
    assert linked.change() == 202
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
        assert linked.change() == 202
        entry = linked.wait_state("refusing", "not_saved", "a restart without the control plane would lose it")
        assert not entry["in_sync"] and entry["last_error"]["reason"] == "not_saved"
    linked.follows()
    assert linked.entry()["last_error"] is None


def test_a_lost_refusal_is_heard_in_the_end(linked):
    with unwritable(linked.state):
        linked.relay.to_control.lose("NACK")
        assert linked.change() == 202
        linked.wait_state("refusing", "not_saved")
    linked.follows()


def test_a_refusal_that_comes_late_does_not_undo_an_acknowledgement(linked):
    with unwritable(linked.state):
        assert linked.change() == 202
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
        assert linked.change() == 202
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


# --- anything, for a while ---------------------------------------------------------------------------------------------


def test_all_kinds_of_faults_at_once(linked):
    """Changes while frames of every type are lost, doubled, late, cut and swapped, both ways; then all is as it should be."""
    relay = linked.relay
    for turn, (way, kinds) in enumerate([(relay.to_control, ("ACK", "STATS", "PING")), (relay.to_dataplane, ("SNAPSHOT", "PING"))]):
        for kind in kinds:
            way.lose(kind)
            way.repeat(kind, times=2)
            way.swap(kind)
            way.delay(kind, 0.3, times=2)
            way.truncate(kind, 7 + turn)
            way.garble(kind, frame(b'{"type":'))
    relay.to_control.repeat("HELLO")
    relay.to_control.lose("HELLO")
    for _ in range(8):
        linked.change(is_away=True)
    relay.heal()
    linked.follows()
