"""Frames of the control link cut short or without an end, and a HELLO that is lost, repeated or unanswered: the link is given up, and the next
one is good."""

import pytest

from support.link_relay import HEADER, encode
from support.linked import EACH_WAY
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


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
    assert linked.change(wait=1) == 202
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
