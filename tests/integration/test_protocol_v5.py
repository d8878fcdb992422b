"""Protocol v5 through the proxy: segments on all three legs, switched where they should be, and the version a client is led to."""

import contextlib
import struct

import pytest
from cassandra.cluster import _NOT_SET  # the driver finds the version by itself

from support import wire, wire_framing
from support.certificates import Authority
from support.programs import Lab, is_sanitized
from support.tls import OverTls, client_context, secure
from support.waiting import wait_until

KEYSPACE = "CREATE KEYSPACE {} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
REFUSED = 'zdm_proxy_refused_requests_total{reason="protocol_version"}'
OLD = ["--versions", "3,4"]
NEW = ["--versions", "3,4,5"]
DSE = ["--versions", "3,4,dse1,dse2"]
SIZES = (0, 1, 5000, 16320, 65520, 70000, 131000, 131071, 131072, 200_000, 3_000_000)


@pytest.fixture(scope="module")
def modern(tmp_path_factory):
    """origin, target, proxies (reads from the origin, from the target): all speak v5."""
    lab = Lab(tmp_path_factory.mktemp("modern"))
    try:
        origin, target = lab.pair(options=NEW)
        for cluster in (origin, target):
            cluster.query(KEYSPACE.format("ks"), "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)")
        proxies = [
            lab.proxy(origin, target, f"proxy-{to_target}", REQUEST_TIMEOUT_MS="4000", FORWARD_READS_TO_TARGET=to_target).start()
            for to_target in ("false", "true")
        ]
        yield origin, target, proxies
        for cluster in (origin, target):
            cluster.clear_faults()
    finally:
        lab.close()


@pytest.fixture(params=(None, "lz4"), ids=("plain", "lz4"))
def compression(request):
    return request.param


@pytest.fixture(params=(0, 1), ids=("reads-origin", "reads-target"))
def proxy(request, modern):
    return modern[2][request.param]


@contextlib.contextmanager
def client_of(proxy, compression=None, **options):
    with proxy.connect(version=5, compression=compression, **options) as client:
        assert client.is_segmented
        yield client


def text_of(size):
    return ("0123456789abcdef" * (size // 16 + 1))[:size]


def supported_versions(proxy):
    with proxy.connect(is_ready=False) as client:
        return wire.Reader(client.ask("OPTIONS").body).multimap()["PROTOCOL_VERSIONS"]


def test_every_kind_of_request(modern, proxy, compression):
    origin, target, _ = modern
    with client_of(proxy, compression) as client:
        client.query("USE ks")
        insert = client.prepare("INSERT INTO kv (k, v) VALUES (?, ?)")
        select = client.prepare("SELECT v FROM kv WHERE k = ?")
        for key, size in enumerate(SIZES):
            client.execute(insert, [wire.int_value(key), text_of(size).encode()])
            assert client.execute(select, [wire.int_value(key)]).rows[0][0] == text_of(size).encode()
        client.batch([("INSERT INTO ks.kv (k, v) VALUES (100, 'text')", ()), (insert, [wire.int_value(101), b"id"])])
        assert sum(len(rows) for rows in client.pages("SELECT k, v FROM kv", page_size=3)) == len(SIZES) + 2
        local = client.prepare("SELECT release_version FROM system.local WHERE key = ?")
        assert client.metadata_ids[local] and len(client.execute(local, [b"local"]).rows) == 1
        assert client.query_error("SELECT nonsense FROM nowhere.at_all")[0] in (wire.INVALID, wire.SYNTAX_ERROR)
    assert origin.rows("SELECT k, v FROM ks.kv") == target.rows("SELECT k, v FROM ks.kv")
    assert len(origin.rows("SELECT k FROM ks.kv")) == len(SIZES) + 2


def test_pipelined(proxy, compression):
    """Many requests in a few segments; small answers share segments too, and each comes once."""
    with client_of(proxy, compression) as client:
        frames = []
        for stream in range(500):
            text = f"INSERT INTO ks.kv (k, v) VALUES ({stream}, '{text_of(stream % 700)}')"
            frames.append(client.encoded("QUERY", wire.query_body(text, version=5), stream))
        for at in range(0, 500, 100):
            client.send_frames(*frames[at : at + 100])
        for stream in range(500):
            assert client.receive_for(stream).name == "RESULT"
        reads = [
            client.encoded("QUERY", wire.query_body(f"SELECT v FROM ks.kv WHERE k = {k}", version=5), k) for k in range(500)
        ]
        client.segments_seen.clear()
        client.send_frames(*reads)
        for key in range(500):
            frame = client.receive_for(key)
            assert wire.parse_result(frame.body, 5).rows[0][0] == text_of(key % 700).encode()
        assert len(client.segments_seen) < 250


def test_cut_up_at_any_place(modern, proxy, compression):
    """Small segments that are not self-contained, from the client and from both clusters."""
    origin, target, _ = modern
    for cluster in (origin, target):
        cluster.tell("segments 777 alone")
    try:
        with client_of(proxy, compression) as client:
            client.segment_limit = 1001
            for key, size in enumerate((3000, 70_000, 140_000)):
                client.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, '{text_of(size)}')")
                assert client.rows(f"SELECT v FROM ks.kv WHERE k = {key}")[0][0] == text_of(size).encode()
    finally:
        for cluster in (origin, target):
            cluster.tell("segments")


def test_a_flag_that_means_nothing_is_dropped(modern, proxy, compression):
    origin, _, _ = modern
    with client_of(proxy, compression) as client:
        for name, body in (("QUERY", wire.query_body("SELECT k FROM ks.kv WHERE k = 1", version=5)), ("OPTIONS", b"")):
            client.send_frames(wire.frame_bytes(name, body, 3, 5, wire.COMPRESSED))
            assert client.receive_for(3).name in ("RESULT", "SUPPORTED")
        insert = client.encoded("QUERY", wire.query_body("INSERT INTO ks.kv (k, v) VALUES (7, 'flag')", version=5), 4)
        client.send_frames(insert[:1] + bytes([insert[1] | wire.COMPRESSED]) + insert[2:])
        assert client.receive_for(4).name == "RESULT"
    assert origin.rows("SELECT v FROM ks.kv WHERE k = 7")[0][0] == b"flag"


# ---- damage


@pytest.mark.parametrize("damage", ("header", "payload", "within", "block"))
def test_a_client_that_sends_a_bad_segment_is_closed(proxy, compression, damage):
    with proxy.metric_delta() as delta:
        with client_of(proxy, compression) as client:
            frame = client.encoded("OPTIONS", b"", 1)
            spoilt = {
                "header": {"spoil_header": 0x10},
                "payload": {"spoil_payload": 0x80000000},
                "within": {},
                "block": {"uncompressed": 5000} if compression else {"spoil_payload": 1},
            }[damage]
            payload = frame[:7] if damage == "within" else frame
            client.send_bytes(wire_framing.segment(payload, compression=compression, **spoilt))
            assert client.is_closed(5)
        series = 'zdm_client_disconnections_total{reason="bad_segment"}'
        wait_until(lambda: proxy.metric(series) > 0, "the reason is counted")
    assert delta[series] == 1


@pytest.mark.parametrize("damage", ("header", "payload"))
@pytest.mark.parametrize("side", (0, 1), ids=("origin", "target"))
def test_a_cluster_that_sends_a_bad_segment_is_reopened(modern, compression, damage, side):
    proxy, cluster = modern[2][side], modern[side]
    with proxy.metric_delta() as delta:
        with client_of(proxy, compression) as client:
            client.query("USE ks")
            cluster.tell(f"corrupt {damage} reads count 1")
            code, message, _ = client.query_error("SELECT v FROM kv WHERE k = 1")
            assert code == wire.UNAVAILABLE and "bad segment" in message and "checksum" in message
            series = f'zdm_proxy_upstream_reopened_total{{cluster="{cluster.name}"}}'
            before = proxy.metric(series)
            wait_until(lambda: client.ask("QUERY", wire.query_body("SELECT v FROM kv WHERE k = 1", version=5)).name == "RESULT",
                       "the client goes on with the keyspace it had")
            assert proxy.metric(series) >= before
    assert delta[f'zdm_proxy_bad_segments_total{{cluster="{cluster.name}"}}'] == 1


def test_an_upstream_lost_under_v5_is_reopened(modern, proxy, compression):
    origin, target, _ = modern
    with client_of(proxy, compression) as client:
        client.query("USE ks")
        for cluster in (origin, target):
            cluster.tell("disconnect")
            wait_until(lambda: client.ask("QUERY", wire.query_body("INSERT INTO kv (k, v) VALUES (9, 'back')", version=5)).name == "RESULT",
                       f"{cluster.name} is written to again")
    assert origin.rows("SELECT v FROM ks.kv WHERE k = 9") == target.rows("SELECT v FROM ks.kv WHERE k = 9") != []


# ---- the handshake


def test_authentication_in_segments(lab, compression):
    origin, target = lab.pair(options=NEW, user="app", password="secret")
    proxy = lab.proxy(origin, target).start()
    with proxy.connect("app", "secret", version=5, compression=compression) as client:
        assert client.is_segmented and len(client.rows("SELECT key FROM system.local")) == 1
    with pytest.raises(wire.ServerError) as refused:
        proxy.connect("app", "wrong", version=5, compression=compression)
    assert refused.value.code == wire.BAD_CREDENTIALS


def test_what_comes_before_the_switch_is_not_in_segments(proxy):
    with proxy.connect(version=5, is_ready=False) as client:
        assert client.ask("OPTIONS").name == "SUPPORTED"
        frame = client.ask("STARTUP", wire.startup_body(COMPRESSION="snappy"))
        code, message, _ = wire.parse_error(frame.body)
        assert (frame.name, frame.version, code) == ("ERROR", 5, wire.PROTOCOL_ERROR)
        assert "snappy" in message and "lz4" in message
        assert client.is_closed(5)


# ---- versions


def refused(proxy, version, flags=0):
    """(version of the answer, its text) to a STARTUP; the connection stays."""
    with proxy.connect(version=version, is_ready=False) as client:
        for _ in range(2):
            client.send_bytes(wire.frame_bytes("STARTUP", wire.startup_body(), 5, version, flags))
            frame = client.receive()
            assert (frame.name, frame.stream) == ("ERROR", 0)
        code, message, _ = wire.parse_error(frame.body)
        assert code == wire.PROTOCOL_ERROR
        assert message.startswith(f"Invalid or unsupported protocol version ({version}); supported versions are (")
        return frame.version, message.partition("are (")[2].rstrip(")")


@pytest.mark.parametrize("origin_speaks, target_speaks, blocked, common, refusals", [
    (OLD, NEW, "", ["3/v3", "4/v4"], {5: 4, 6: 4, 66: 4, 65: 4}),
    (NEW, OLD, "", ["3/v3", "4/v4"], {5: 4}),
    (NEW, NEW, "", ["3/v3", "4/v4", "5/v5"], {6: 5, 66: 5}),
    (NEW, NEW, "v5", ["3/v3", "4/v4"], {5: 4}),
    (NEW, NEW, "3, V4,DseV2", ["5/v5"], {3: 5, 4: 5}),
    (DSE, DSE, "", ["3/v3", "4/v4", "65/dse-v1", "66/dse-v2"], {5: 4, 6: 4}),
    (DSE, DSE, "Dse_V2", ["3/v3", "4/v4", "65/dse-v1"], {66: 65, 5: 4}),
])  # fmt: skip
def test_a_client_is_led_to_the_highest_version_of_both(lab, origin_speaks, target_speaks, blocked, common, refusals):
    origin = lab.cluster("origin", options=origin_speaks).start()
    target = lab.cluster("target", options=target_speaks).start()
    proxy = lab.proxy(origin, target, BLOCKED_PROTOCOL_VERSIONS=blocked).start()
    highest = int(common[-1].partition("/")[0])
    with proxy.connect(version=highest, is_ready=False) as client:
        assert wire.Reader(client.ask("OPTIONS").body).multimap()["PROTOCOL_VERSIONS"] == common
    with proxy.metric_delta() as delta:
        for version, led_to in refusals.items():
            assert refused(proxy, version) == (led_to, ", ".join(common))
    assert delta[REFUSED] == 2 * len(refusals)
    for name in common:
        with proxy.connect(version=int(name.partition("/")[0])) as client:
            assert len(client.rows("SELECT key FROM system.local")) == 1


def test_beta_flag(modern):
    proxy = modern[2][0]
    with proxy.connect(version=5, is_ready=False) as client:
        assert client.ask("STARTUP", wire.startup_body(), flags=0x10).name == "READY"
        assert client.ask("OPTIONS", flags=0x10).name == "SUPPORTED"
    assert refused(proxy, 6, flags=0x10)[0] == 5


def test_drivers_come_to_the_common_version(lab, modern):
    old = lab.cluster("old", options=OLD).start()
    new = lab.cluster("new", options=NEW).start()
    mixed = lab.proxy(old, new, "mixed").start()
    for proxy, version in ((mixed, 4), (modern[2][0], 5)):
        with proxy.driver(protocol_version=_NOT_SET) as session:
            assert session.cluster.protocol_version == version
            assert len(list(session.execute("SELECT key FROM system.local"))) == 1


def test_a_version_changed_within_a_connection_is_refused(proxy):
    with client_of(proxy) as client:
        client.send_bytes(wire_framing.segment(wire.frame_bytes("OPTIONS", b"", 1, 4)))
        assert client.receive().name == "ERROR" and client.is_closed(5)


def test_a_cluster_that_no_longer_speaks_the_version_ends_its_sessions(lab):
    """What is connected keeps its version; when an upstream must be reopened and nobody speaks it any more, the client is told by
    the close and comes back with a lower one."""
    origin, target = lab.pair(options=NEW)
    proxy = lab.proxy(origin, target, HEARTBEAT_RETRY_INTERVAL_MIN_MS="50", HEARTBEAT_RETRY_INTERVAL_MAX_MS="100").start()
    with proxy.metric_delta() as delta:
        with proxy.connect(version=5) as client:
            assert len(client.rows("SELECT key FROM system.local")) == 1
            origin.stop()
            origin.options = OLD
            origin.start()
            assert client.is_closed(20)
        wait_until(lambda: supported_versions(proxy) == ["3/v3", "4/v4"], "what is offered follows the cluster")
        assert refused(proxy, 5)[0] == 4
    assert delta['zdm_client_disconnections_total{reason="protocol_version_refused"}'] == 1


def test_negative_stream_and_length_limits_in_segments(proxy):
    with client_of(proxy) as client:
        client.send_frames(wire.frame_bytes("OPTIONS", b"", -3, 5))
        frame = client.receive()
        assert (frame.name, frame.stream) == ("ERROR", -3)
        header = struct.pack(">BBhBi", 5, 0, 1, wire.OPCODES["QUERY"], 17 * 1024 * 1024)
        pieces = header + bytes(17 * 1024 * 1024)
        for at in range(0, len(pieces), 131071):
            client.send_bytes(wire_framing.segment(pieces[at : at + 131071], is_self_contained=False))
        assert client.receive_for(1).name == "ERROR"
        assert client.ask("OPTIONS", stream=2).name == "SUPPORTED"


def test_shadow_reads(lab, modern, compression):
    """The shadow connection has segments of its own; large answers to it are dropped as they come."""
    origin, target, _ = modern
    proxy = lab.proxy(origin, target, READ_MODE="DUAL_ASYNC_ON_SECONDARY").start()
    with client_of(proxy, compression) as client:
        client.query(f"INSERT INTO ks.kv (k, v) VALUES (50, '{text_of(300_000)}')")

        def is_copied():
            assert client.rows("SELECT v FROM ks.kv WHERE k = 50")[0][0] == text_of(300_000).encode()
            return proxy.metric("zdm_proxy_shadow_reads_total") >= 3

        wait_until(is_copied, "reads are copied")
    assert not [name for name, value in proxy.metrics().items() if "bad_segments" in name and value]


def test_under_tls(lab, tmp_path, compression):
    """Records of TLS and segments of v5 do not know of each other."""
    authority = Authority(tmp_path)
    clusters = [secure(lab.cluster(name, options=list(NEW)), authority).start() for name in ("origin", "target")]
    reached = [OverTls(cluster, client_context(authority, checks_name=False)) for cluster in clusters]
    for cluster in reached:
        cluster.query(KEYSPACE.format("ks"), "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)")
    proxy = lab.proxy(*clusters, ORIGIN_TLS_SERVER_CA_PATH=str(authority.ca), TARGET_TLS_SERVER_CA_PATH=str(authority.ca))
    pair = authority.issue("listener", proxy.address)
    proxy.settings |= {"PROXY_TLS_CERT_PATH": str(pair.cert), "PROXY_TLS_KEY_PATH": str(pair.key)}
    proxy.start()
    with client_of(proxy, compression, tls=client_context(authority)) as client:
        for key, size in enumerate(SIZES):
            client.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, '{text_of(size)}')")
            assert client.rows(f"SELECT v FROM ks.kv WHERE k = {key}")[0][0] == text_of(size).encode()
    assert reached[0].rows("SELECT k, v FROM ks.kv") == reached[1].rows("SELECT k, v FROM ks.kv")


def test_a_client_that_does_not_read_stops_the_clusters(modern, proxy, compression):
    """Large answers wait in the clusters, not in the proxy, and arrive whole and in any order of small and large."""
    origin, target, _ = modern
    big = text_of(3_000_000)
    count = 16 if is_sanitized() else 36  # all must be through before the first one's time is over
    with client_of(proxy, compression, timeout=60) as client, client_of(proxy, compression) as other:
        client.query(f"INSERT INTO ks.kv (k, v) VALUES (60, '{big}')")
        client.query("INSERT INTO ks.kv (k, v) VALUES (61, 'small')")
        before = proxy.resident_bytes()
        reads = [wire.query_body(f"SELECT v FROM ks.kv WHERE k = {60 + n % 2}", version=5) for n in range(count)]
        client.send_frames(*(client.encoded("QUERY", body, n) for n, body in enumerate(reads)))
        for key in range(200, 220):
            other.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'meanwhile')")
        most = 0
        for n in range(count):
            value = wire.parse_result(client.receive_for(n).body, 5).rows[0][0]
            assert value == (b"small" if n % 2 else big.encode())
            most = max(most, proxy.resident_bytes() - before)
        if not is_sanitized():
            assert most < 32 * 1024 * 1024
