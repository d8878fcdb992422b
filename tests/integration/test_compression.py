"""Compressed frames of v3 and v4: what is only forwarded reaches the cluster as it came, what is looked into is understood, and
nothing a body announces is believed before it is checked."""

import contextlib
import json
import struct

import pytest

from support import wire, wire_framing
from support.programs import is_sanitized
from support.waiting import wait_until

ALGORITHMS = ("lz4", "snappy")
REFUSED = 'zdm_proxy_refused_requests_total{reason="compression"}'
PAD = "x" * 3000


@pytest.fixture(params=ALGORITHMS)
def compression(request):
    return request.param


@pytest.fixture(params=(3, 4))
def version(request):
    return request.param


@contextlib.contextmanager
def client_of(world, compression, version=4, **options):
    with world.proxy.connect(compression=compression, version=version, **options) as client:
        yield client


def everywhere(world, text):
    rows = [cluster.rows(text) for cluster in (world.origin, world.target)]
    assert rows[0] == rows[1]
    return rows[0]


def test_supported_names_what_both_offer(lab):
    offered = {}
    for name, origin_has, target_has in (("both", "lz4,snappy", "lz4,snappy"), ("one", "lz4,snappy", "snappy"), ("none", "none", "lz4")):
        origin = lab.cluster(f"origin-{name}", options=["--compression", origin_has]).start()
        target = lab.cluster(f"target-{name}", options=["--compression", target_has]).start()
        proxy = lab.proxy(origin, target, f"proxy-{name}").start()
        with proxy.connect(is_ready=False) as client:
            offered[name] = wire.Reader(client.ask("OPTIONS").body).multimap()["COMPRESSION"]
        for algorithm in ("lz4", "snappy"):
            if algorithm in offered[name]:
                with proxy.connect(compression=algorithm) as client:
                    client.query("SELECT * FROM system.local")
            else:
                with pytest.raises(wire.ServerError, match="Unknown or unsupported compression algorithm") as refused:
                    proxy.connect(compression=algorithm)
                assert refused.value.code == wire.PROTOCOL_ERROR
    assert sorted(offered["both"]) == ["lz4", "snappy"] and offered["one"] == ["snappy"] and offered["none"] == []


def test_every_kind_of_request(world, keyspace, compression, version):
    with client_of(world, compression, version) as client:
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, '{PAD}')")
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)", [wire.int_value(2), b"two"])
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        client.execute(prepared, [wire.int_value(3), PAD.encode()])
        client.batch([(prepared, [wire.int_value(4), b"four"]), (f"INSERT INTO {keyspace}.kv (k, v) VALUES (5, 'five')", ())])
        assert client.query(f"USE {keyspace}").keyspace == keyspace
        client.query("INSERT INTO kv (k, v) VALUES (6, 'six')")
        assert client.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 1") == [[PAD.encode()]]
        assert client.ask("OPTIONS").name == "SUPPORTED"
        assert client.ask("REGISTER", b"\0\1" + wire.string("SCHEMA_CHANGE")).name == "READY"
        code, message, _ = client.query_error("SELECT nothing FROM nowhere.at_all")
        assert code in (wire.INVALID, wire.SYNTAX_ERROR) and message
        assert client.rows("SELECT cluster_name FROM system.local")
    assert len(everywhere(world, f"SELECT k, v FROM {keyspace}.kv")) == 6


def last_request(cluster, *scope):
    return json.loads(cluster.tell(" ".join(("last-request", *scope))))


def test_what_is_only_forwarded_stays_compressed(world, keyspace, compression):
    world.origin.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, '{PAD}')")
    with client_of(world, compression) as client:
        frame = client.ask("QUERY", wire.query_body(f"SELECT v FROM {keyspace}.kv WHERE k = 1"))
        assert frame.flags & wire.COMPRESSED, "the answer was opened on its way"
        assert client.result(frame).rows == [[PAD.encode()]]
        assert last_request(world.origin, "QUERY", "reads")["compressed"]
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (2, 'x')", timestamp=1234)
        for cluster in (world.origin, world.target):
            request = last_request(cluster, "QUERY", "writes")
            assert request["compressed"] and request["compression"] == compression and request["timestamp"] == 1234


def test_what_is_edited_goes_out_plain_and_whole(world, keyspace, compression):
    """Without a timestamp of the client's the proxy puts one in."""
    with client_of(world, compression) as client:
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        client.execute(prepared, [wire.int_value(2), PAD.encode()])
    requests = [last_request(cluster, "EXECUTE", "writes") for cluster in (world.origin, world.target)]
    assert [request["compressed"] for request in requests] == [False, False]
    assert requests[0]["timestamp"] == requests[1]["timestamp"] and requests[0]["timestamp"] is not None
    assert everywhere(world, f"SELECT v FROM {keyspace}.kv WHERE k = 2") == [[PAD.encode()]]


def test_an_execute_is_opened_only_as_far_as_it_is_looked_at(world, keyspace, compression, version):
    """Of one that goes as it came the head alone; a body that is corrupt behind it is the clusters' to refuse."""
    written = [wire.int_value(1), PAD.encode()]
    with client_of(world, compression, version) as client:
        insert = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        select = client.prepare(f"SELECT v FROM {keyspace}.kv WHERE k = ?")
        stamped = wire.execute_body(insert, written, timestamp=1234, version=version)
        reading = wire.execute_body(select, [wire.int_value(1)], page_size=5000, version=version)
        plain = wire.execute_body(insert, written, version=version)
        client.result(client.ask("EXECUTE", stamped))
        assert client.result(client.ask("EXECUTE", reading)).rows == [[PAD.encode()]]
        for cluster, what in ((world.origin, "reads"), (world.origin, "writes"), (world.target, "writes")):
            assert last_request(cluster, "EXECUTE", what)["compressed"]
    for body, refusals in ((stamped, None), (reading, None), (plain, 1)):
        # A cluster closes the connection behind such a body.
        with client_of(world, compression, version) as client, world.proxy.metric_delta() as delta:
            client.send_bytes(wire.frame_bytes("EXECUTE", wire_framing.deflate(compression, body)[:-1], 7, version, wire.COMPRESSED))
            code, message, _ = wire.parse_error(client.receive_for(7).body)
            assert code == wire.PROTOCOL_ERROR and "a compressed body" in message
        assert delta.get(REFUSED) == refusals, "without a timestamp it is the proxy's to read, else the clusters'"


def test_an_execute_that_is_changed_goes_out_whole(lab, compression):
    """A request id is put in front, so that the rest must be there plain."""
    origin, target = lab.pair()
    for cluster in (origin, target):
        cluster.query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                      "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)")  # fmt: skip
    proxy = lab.proxy(origin, target, TRACING_ENABLED="true").start()
    with proxy.connect(compression=compression) as client, proxy.metric_delta() as delta:
        insert = client.prepare("INSERT INTO ks.kv (k, v) VALUES (?, ?)")
        body = wire.execute_body(insert, [wire.int_value(1), PAD.encode()], timestamp=1234)
        client.result(client.ask("EXECUTE", body))
        for cluster in (origin, target):
            request = last_request(cluster, "EXECUTE", "writes")
            assert request["payload_keys"] and not request["compressed"]
            assert request["timestamp"] == 1234 and request["value_list"][1][1] == PAD.encode().hex()
        broken = wire_framing.deflate(compression, body)[:-1]
        client.send_bytes(wire.frame_bytes("EXECUTE", broken, 7, 4, wire.COMPRESSED))
        assert wire.parse_error(client.receive_for(7).body)[0] == wire.PROTOCOL_ERROR
        client.result(client.ask("EXECUTE", body))
    assert delta[REFUSED] == 1


def test_large_bodies_flow_through(world, keyspace, compression):
    text = "".join(chr(97 + (i * i * 31 + i // 7) % 26) for i in range(300_000))
    with client_of(world, compression, timeout=30) as client:
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        for k in range(3):
            client.execute(prepared, [wire.int_value(k), text.encode()])
        frame = client.ask("QUERY", wire.query_body(f"SELECT v FROM {keyspace}.kv"))
        assert frame.flags & wire.COMPRESSED
        assert client.result(frame).rows == [[text.encode()]] * 3
    assert everywhere(world, f"SELECT v FROM {keyspace}.kv WHERE k = 2") == [[text.encode()]]


def test_a_statement_a_cluster_forgot(world, keyspace, compression):
    """UNPREPARED of either cluster comes compressed and names the id the client knows."""
    with client_of(world, compression) as client:
        for cluster in (world.origin, world.target):
            prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
            cluster.tell("unprepare")
            code, _, details = client.error("EXECUTE", wire.execute_body(prepared, [wire.int_value(1), b"x"]))
            assert (code, details) == (wire.UNPREPARED, wire.short_bytes(prepared))


def test_authentication(lab, compression):
    origin = lab.cluster("auth-origin", user="o", password="po").start()
    target = lab.cluster("auth-target", user="t", password="pt").start()
    proxy = lab.proxy(origin, target).start()
    with proxy.connect("t", "pt", compression=compression) as client:
        # wire.Connection compresses from READY or AUTHENTICATE on, so the token went compressed.
        assert client.rows("SELECT cluster_name FROM system.local")
    with pytest.raises(wire.ServerError) as refused:
        proxy.connect("t", "wrong", compression=compression)
    assert refused.value.code == wire.BAD_CREDENTIALS
    with proxy.connect(is_ready=False, compression=compression) as client:
        assert client.ask("STARTUP", wire.startup_body(COMPRESSION=compression)).name == "AUTHENTICATE"
        client.send_bytes(wire.frame_bytes("AUTH_RESPONSE", b"\xff" * 20, flags=wire.COMPRESSED))
        frame = client.receive_for(0)
        assert frame.name == "ERROR" and wire.parse_error(frame.body)[0] == wire.PROTOCOL_ERROR


def test_a_broken_connection_comes_back_compressed(lab, compression):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target).start()
    for cluster in (origin, target):
        cluster.query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                      "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)")  # fmt: skip
    with proxy.connect(compression=compression) as client:
        client.query("USE ks")
        target.tell("disconnect")
        wait_until(lambda: proxy.metric('zdm_proxy_upstream_reopened_total{cluster="target"}') == 1, "the target is back")
        client.query("INSERT INTO kv (k, v) VALUES (1, 'x')")
    assert target.rows("SELECT v FROM ks.kv") == [[b"x"]]


def announce(compression, length, rest=b"\x50hello"):
    if compression == "lz4":
        return struct.pack(">I", length) + rest
    head = b""
    while length >= 0x80:
        head, length = head + bytes([length & 0x7F | 0x80]), length >> 7
    return head + bytes([length]) + rest


@pytest.mark.parametrize("what", ["empty", "over the limit", "all ones", "too short", "corrupt", "trailing"])
@pytest.mark.parametrize("name", ["QUERY", "EXECUTE", "BATCH", "PREPARE", "REGISTER"])
def test_a_body_that_lies_costs_only_its_request(world, keyspace, compression, name, what):
    good = wire_framing.deflate(compression, wire.query_body(f"SELECT * FROM {keyspace}.kv"))
    body = {
        "empty": b"",
        "over the limit": announce(compression, 17 << 20),
        "all ones": announce(compression, 0xFFFFFFFF),
        "too short": announce(compression, 1 << 20),
        "corrupt": good[: len(good) // 2],
        "trailing": good + b"\0\0\0",
    }[what]
    with client_of(world, compression) as client, world.proxy.metric_delta() as delta:
        client.send_bytes(wire.frame_bytes(name, body, 7, 4, wire.COMPRESSED))
        frame = client.receive_for(7)
        assert frame.name == "ERROR"
        code, message, _ = wire.parse_error(frame.body)
        assert code == wire.PROTOCOL_ERROR and "compressed body" in message
        client.query(f"SELECT * FROM {keyspace}.kv")
    assert delta[REFUSED] == 1


def test_a_bomb_is_not_inflated(world, compression):
    """Two MiB can stand for so much, were there no limit: nothing is reserved for it. (A sanitizer keeps freed memory for a while.)"""
    before = world.proxy.resident_bytes()
    body = announce(compression, (500 if compression == "lz4" else 40) << 20, b"\0" * (2 << 20))
    with client_of(world, compression, timeout=30) as client:
        for stream in range(20):
            client.send_bytes(wire.frame_bytes("QUERY", body, stream, 4, wire.COMPRESSED))
            frame = client.receive_for(stream)
            assert "over the limit" in wire.parse_error(frame.body)[1]
        client.query("SELECT * FROM system.local")
    assert world.proxy.resident_bytes() < before + ((400 if is_sanitized() else 30) << 20)


def test_a_compressed_frame_nobody_agreed_on(world):
    with world.proxy.connect() as client:
        client.send_bytes(wire.frame_bytes("QUERY", wire_framing.deflate("lz4", wire.query_body("SELECT 1")), 0, 4, wire.COMPRESSED))
        frame = client.receive_for(0)
        assert wire.parse_error(frame.body)[0] == wire.PROTOCOL_ERROR
        assert "no compression was agreed on" in wire.parse_error(frame.body)[1]
        assert client.is_closed(timeout=5)


def test_v5_knows_lz4_alone(lab):
    origin, target = lab.pair(options=["--versions", "3,4,5"])
    proxy = lab.proxy(origin, target).start()
    with proxy.connect(version=5, compression="lz4") as client:
        assert client.rows("SELECT cluster_name FROM system.local")
    with pytest.raises(wire.ServerError, match="Unknown or unsupported compression algorithm"):
        proxy.connect(version=5, compression="snappy")


def test_pages_of_compressed_answers(world, keyspace, compression, version):
    """The paging state is the proxy's to mark, so those answers are opened, and all rows come."""
    with client_of(world, compression, version) as client:
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        for k in range(25):
            client.execute(prepared, [wire.int_value(k), b"v" * 900 * k])
        pages = list(client.pages(f"SELECT k FROM {keyspace}.kv", page_size=7))
        assert [len(page) for page in pages] == [7, 7, 7, 4]
        assert len({row[0] for page in pages for row in page}) == 25
        large = list(client.pages(f"SELECT k, v FROM {keyspace}.kv", page_size=10))
        assert sum(len(page) for page in large) == 25


def test_the_python_driver(world, keyspace, compression):
    with world.proxy.driver(compression=compression) as session:
        statement = session.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        for future in [session.execute_async(statement, (k, PAD + str(k))) for k in range(100)]:
            future.result()
        session.execute(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1000, 'plain')")
        rows = list(session.execute(f"SELECT k, v FROM {keyspace}.kv"))
        assert len(rows) == 101
    assert len(everywhere(world, f"SELECT k, v FROM {keyspace}.kv")) == 101
