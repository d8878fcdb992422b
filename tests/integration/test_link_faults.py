"""Frames of the control link lost, repeated, late and in the wrong order: whatever happens, the planes agree again by themselves, and what was
not acknowledged is never called so. What is wrong meanwhile stands in GET /api/v1/dataplanes, in words."""

import json
import threading
import time

import pytest

from support.link_relay import HEADER, encode, frame
from support.linked import EACH_WAY
from support.load import reads_from
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


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
    assert linked.change(wait=1) == 202
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
