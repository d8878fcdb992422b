"""The simulated cluster as several nodes: they come and go, fall silent, listen on IPv6; clients that registered are told."""

import struct

import pytest

from support import wire
from support.cqlsim import PORT, running

ONE, TWO, THREE = "127.0.37.41", "127.0.37.42", "127.0.37.43"


@pytest.fixture
def sim(tmp_path):
    options = ["--release-version", "4.1.3", "--datacenter", "dc1", "--datacenter", "dc2", "--rack", "r1"]
    with running(tmp_path, *options, listen=(ONE, TWO)) as sim:
        yield sim


def connected(address, version=5, **options):
    return wire.Connection(address, PORT, version=version, **options).startup()


def watcher(address):
    client = connected(address)
    names = ("TOPOLOGY_CHANGE", "STATUS_CHANGE")
    assert client.ask("REGISTER", struct.pack(">H", 2) + b"".join(map(wire.string, names))).name == "READY"
    return client


def next_event(client):
    frame = client.receive()
    assert (frame.name, frame.stream) == ("EVENT", -1)
    reader = wire.Reader(frame.body)
    kind, change = reader.string(), reader.string()
    address = reader.take(reader.unpack("B"))
    return kind, change, ".".join(map(str, address)), reader.unpack("i")


def peers(client):
    found = client.rows("SELECT peer, data_center, rack, tokens FROM system.peers_v2")
    return {".".join(map(str, peer)): (dc.decode(), rack.decode(), tokens) for peer, dc, rack, tokens in found}


def test_each_node_has_its_datacenter_and_its_own_view(sim):
    with connected(ONE) as one, connected(TWO) as two:
        assert one.rows("SELECT data_center FROM system.local") == [[b"dc1"]]
        assert {address: rest[:2] for address, rest in peers(one).items()} == {TWO: ("dc2", "r1")}
        assert two.rows("SELECT data_center FROM system.local") == [[b"dc2"]]
        assert {address: rest[:2] for address, rest in peers(two).items()} == {ONE: ("dc1", "r1")}


def test_nodes_come_and_go(sim):
    with watcher(ONE) as client:
        before = peers(client)[TWO]
        assert sim.tell(f"node add {THREE} r9 dc9") == "ok\n"
        assert next_event(client) == ("TOPOLOGY_CHANGE", "NEW_NODE", THREE, PORT)
        assert next_event(client) == ("STATUS_CHANGE", "UP", THREE, PORT)
        assert peers(client)[THREE][:2] == ("dc9", "r9")
        assert peers(client)[TWO][2] != before[2], "the ring is shared out anew"
        with connected(THREE) as third:
            host_id = third.rows("SELECT host_id FROM system.local")
            assert set(peers(third)) == {ONE, TWO}
            assert sim.tell(f"node remove {THREE}") == "ok\n"
            assert third.is_closed(10)
        assert [next_event(client)[:3] for _ in range(2)] == [
            ("STATUS_CHANGE", "DOWN", THREE),
            ("TOPOLOGY_CHANGE", "REMOVED_NODE", THREE),
        ]
        assert peers(client) == {TWO: before}
        with pytest.raises(ConnectionRefusedError):
            connected(THREE)
        assert sim.tell(f"node add {THREE}") == "ok\n"
        with connected(THREE) as third:
            assert third.rows("SELECT host_id FROM system.local") == host_id


def test_a_node_goes_down_and_comes_up(sim):
    with watcher(ONE) as client:
        assert sim.tell(f"node down {TWO}") == "ok\n"
        assert next_event(client) == ("STATUS_CHANGE", "DOWN", TWO, PORT)
        with pytest.raises(ConnectionRefusedError):
            connected(TWO)
        assert TWO in peers(client), "it is down, not gone"
        assert sim.tell(f"node up {TWO}") == "ok\n"
        assert next_event(client) == ("STATUS_CHANGE", "UP", TWO, PORT)
        connected(TWO).close()


def test_a_mute_node_accepts_and_says_nothing(sim):
    with watcher(TWO) as old:
        assert sim.tell(f"mute on {TWO}") == "ok\n"
        old.send("OPTIONS", stream=1)
        with wire.Connection(TWO, PORT, version=5) as new, connected(ONE) as other:
            new.send("OPTIONS", stream=2)
            sim.tell("event STATUS_CHANGE DOWN 127.0.0.9:9042")
            assert other.rows("SELECT key FROM system.local") == [[b"local"]]
            for silent in (old, new):
                with pytest.raises(TimeoutError):
                    silent.receive(0.2)
            assert sim.tell(f"mute off {TWO}") == "ok\n"
            assert new.receive_for(2).name == "SUPPORTED" and old.receive_for(1).name == "SUPPORTED"
            assert old.events == [], "what happened meanwhile is not told later"


@pytest.mark.parametrize(
    "command, message",
    [
        ("node", "node takes add, remove"),
        ("node add nowhere", "no address"),
        (f"node add {ONE}", "is there already"),
        ("node remove 127.0.37.99", "no such address is served here"),
        (f"node dance {ONE}", "node takes add, remove"),
        ("mute", "on or off"),
        ("mute on 127.0.37.99", "no such address is served here"),
        ("corrupt", "header, payload, body or length"),
        ("segments 0", "1 to 131071"),
        ("segments 131072", "1 to 131071"),
        ("last-request NOSUCH", "no opcode, reads or writes"),
        ("dump ks.t sometime", "KEYSPACE.TABLE [writetime]"),
    ],
)
def test_commands_that_make_no_sense(sim, command, message):
    answer = sim.tell(command)
    assert answer.startswith("error ") and message in answer


def test_ipv6(tmp_path):
    with running(tmp_path, "--release-version", "4.1.3", "--peer", "2001:db8::7", listen=("::1",)):
        with connected("::1") as client:
            assert client.rows("SELECT rpc_address FROM system.local") == [[bytes(15) + b"\1"]]
            assert client.rows("SELECT native_address, native_port FROM system.peers_v2") == [
                [bytes.fromhex("20010db8" + "00" * 11 + "07"), struct.pack(">i", PORT)]
            ]
