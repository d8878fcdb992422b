"""Where statements go: reads to the primary, everything else to both, system keyspaces to their own cluster."""

import contextlib

import pytest

from support import wire
from support.waiting import wait_until


def texts(rows):
    return [row[0].decode() for row in rows]


@pytest.fixture
def different(world, keyspace):
    """Row 1 of kv differs between the clusters, so that an answer tells where it came from."""
    world.origin.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'origin')")
    world.target.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'target')")
    return keyspace


@pytest.fixture(scope="module")
def reading_from_target(world):
    return world.lab.proxy(
        world.origin,
        world.target,
        "proxy-target",
        FORWARD_READS_TO_TARGET="true",
        FORWARD_SYSTEM_QUERIES_TO_TARGET="false",
    ).start()


SELECTS = [
    "SELECT v FROM {ks}.kv WHERE k = 1",
    "select v from {ks}.kv where k = 1;",
    "  \n\tSeLeCt v FROM {ks}.kv WHERE k = 1",
    "-- INSERT INTO x\nSELECT v FROM {ks}.kv WHERE k = 1",
    "// a comment\nSELECT v FROM {ks}.kv WHERE k = 1",
    "/* BEGIN BATCH */ SELECT /* ; */ v FROM {ks}.kv WHERE k = 1 -- the end",
    'SELECT v FROM "{ks}"."kv" WHERE k = 1',
    "SELECT v FROM {ks} . kv WHERE k = 1",
]


@pytest.mark.parametrize("text", SELECTS)
def test_a_select_reads_the_primary_only(world, different, reading_from_target, text):
    for proxy, side in ((world.proxy, "origin"), (reading_from_target, "target")):
        with proxy.connect() as client, proxy.metric_delta() as delta:
            assert texts(client.rows(text.format(ks=different))) == [side]
        assert delta[f'zdm_proxy_request_duration_seconds_count{{type="reads_{side}"}}'] == 1
        assert 'zdm_proxy_request_duration_seconds_count{type="writes"}' not in delta


@pytest.mark.parametrize(
    "text",
    [
        "SELECT v FROM {ks}.kv ORDER BY v ANN OF [1.0] LIMIT 1",
        "SELECT a.b, m['k'] FROM {ks}.kv",
        "SELECT v + 1 FROM {ks}.kv USING TIMEOUT 1s",
        "SELECT token(k) FROM {ks}.kv BYPASS CACHE",
        "SELECT v FROM {ks}.kv;;",
        "SELECT v FROM {ks}.kv WHERE expr(i, 'x') AND z NOT BETWEEN 1 AND 2",
    ],
)
def test_a_select_of_a_newer_dialect_is_still_a_read(world, keyspace, text):
    """The cluster may not know the syntax; the proxy must not care."""
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.ask("QUERY", wire.query_body(text.format(ks=keyspace)))
    assert delta['zdm_proxy_request_duration_seconds_count{type="reads_origin"}'] == 1
    assert 'zdm_proxy_request_duration_seconds_count{type="writes"}' not in delta


def test_writes_reach_both(world, keyspace):
    with world.proxy.connect() as client:
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'SELECT')")
        client.query(f"insert into {keyspace}.kv (k, v) values (?, ?)", [wire.int_value(2), b"two"])
        client.query(f"-- SELECT\nINSERT INTO {keyspace}.kv (k, v) VALUES (3, 'three')")
        client.query(f"UPDATE {keyspace}.kv SET v = 'changed' WHERE k = 1")
        client.query(f"DELETE FROM {keyspace}.kv WHERE k = 3")
    for cluster in (world.origin, world.target):
        assert sorted(cluster.rows(f"SELECT k, v FROM {keyspace}.kv")) == [
            [wire.int_value(1), b"changed"],
            [wire.int_value(2), b"two"],
        ]


def test_schema_changes_reach_both(world, keyspace):
    with world.proxy.connect() as client:
        assert client.query(f"CREATE TABLE {keyspace}.made (k int PRIMARY KEY)").kind == "SCHEMA_CHANGE"
    for cluster in (world.origin, world.target):
        assert cluster.rows(f"SELECT * FROM {keyspace}.made") == []
    with world.proxy.connect() as client:
        client.query(f"DROP TABLE {keyspace}.made")
    for cluster in (world.origin, world.target):
        with cluster.connect() as direct:
            assert direct.query_error(f"SELECT * FROM {keyspace}.made")[0] == wire.INVALID


def test_use_holds_for_unqualified_names_on_both(world, different):
    with world.proxy.connect() as client:
        result = client.query(f"USE {different}")
        assert (result.kind, result.keyspace) == ("SET_KEYSPACE", different)
        assert texts(client.rows("SELECT v FROM kv WHERE k = 1")) == ["origin"]
        client.query("INSERT INTO kv (k, v) VALUES (9, 'nine')")
    for cluster in (world.origin, world.target):
        assert texts(cluster.rows(f"SELECT v FROM {different}.kv WHERE k = 9")) == ["nine"]


def test_use_pipelined_with_what_depends_on_it(world, different):
    with world.proxy.connect() as client:
        client.send_bytes(
            wire.frame_bytes("QUERY", wire.query_body(f"USE {different}"), 1)
            + wire.frame_bytes("QUERY", wire.query_body("SELECT v FROM kv WHERE k = 1"), 2)
            + wire.frame_bytes("QUERY", wire.query_body("INSERT INTO kv (k, v) VALUES (8, 'eight')"), 3)
        )
        assert client.result(client.receive_for(1)).keyspace == different
        assert texts(client.result(client.receive_for(2)).rows) == ["origin"]
        client.result(client.receive_for(3))
    assert texts(world.target.rows(f"SELECT v FROM {different}.kv WHERE k = 8")) == ["eight"]


def test_without_use_an_unqualified_name_is_refused_by_the_cluster(world, keyspace):
    with world.proxy.connect() as client:
        assert client.query_error("SELECT v FROM kv WHERE k = 1")[0] == wire.INVALID


def test_one_client_s_keyspace_is_not_another_s(world, different):
    with world.proxy.connect() as one, world.proxy.connect() as other:
        one.query(f"USE {different}")
        assert other.query_error("SELECT v FROM kv WHERE k = 1")[0] == wire.INVALID


def test_system_keyspaces_are_read_from_their_cluster(world, reading_from_target):
    text = "SELECT keyspace_name FROM system_schema.keyspaces"
    only_there = {}
    for side, cluster in (("origin", world.origin), ("target", world.target)):
        only_there[side] = f"only_{side}_{cluster.port}"
        with contextlib.suppress(wire.ServerError):
            cluster.query(
                f"CREATE KEYSPACE {only_there[side]} WITH replication = "
                "{'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
    for proxy, side, other in ((world.proxy, "target", "origin"), (reading_from_target, "origin", "target")):
        with proxy.connect() as client, proxy.metric_delta() as delta:
            names = texts(client.rows(text))
        assert only_there[side] in names and only_there[other] not in names
        assert delta[f'zdm_proxy_request_duration_seconds_count{{type="reads_{side}"}}'] == 1


def test_the_quoted_name_of_a_system_keyspace_is_exact(world):
    """"System" in quotes is another keyspace, so an ordinary read."""
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        assert client.query_error('SELECT * FROM "System".local')[0] == wire.INVALID
    assert delta['zdm_proxy_failed_reads_total{cluster="origin"}'] == 1


def test_the_proxy_is_the_only_node_a_client_sees(world):
    with world.proxy.connect() as client:
        result = client.query("SELECT rpc_address, host_id, tokens FROM system.local")
        assert result.columns == ["rpc_address", "host_id", "tokens"] and result.table == ("system", "local")
        assert result.rows[0][0] == bytes(int(part) for part in world.proxy.address.split("."))
        assert client.rows("SELECT * FROM system.peers") == []
        assert client.query("SELECT * FROM system.peers_v2").kind == "ROWS"
        assert client.query("SELECT count(*) FROM system.local").rows[0][0][-1] == 1


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM system.local WHERE key = 'local'",
        "SELECT rpc_address AS a, host_id FROM system.local",
        "SELECT nothing FROM system.local",
        "SELECT now() FROM system.local",
        "SELECT JSON * FROM system.local",
        "SELECT DISTINCT rack FROM system.peers",
        "SELECT CAST(rack AS text) FROM system.local",
        "SELECT dse_version FROM system.local",
        "SELECT * FROM system.peers WHERE peer = '127.0.0.9'",
        "SELECT * FROM system.local USING TIMEOUT 5s",
        "SELECT * FROM system.peers LIMIT x",
    ],
)
def test_no_question_about_the_proxies_is_left_without_an_answer(world, text):
    with world.proxy.connect() as client:
        assert client.ask("QUERY", wire.query_body(text)).name in ("RESULT", "ERROR")
        frame = client.ask("PREPARE", wire.long_string(text))
        assert frame.name in ("RESULT", "ERROR")
        if frame.name == "RESULT":
            prepared = wire.parse_result(frame.body).prepared_id
            assert client.ask("EXECUTE", wire.execute_body(prepared)).name in ("RESULT", "ERROR")


def test_stream_ids_come_back_as_they_were_sent(world, keyspace):
    streams = [0, 1, 127, 128, 2047, 2048, 16384, 32767]
    with world.proxy.connect() as client:
        for stream in streams:
            client.send("QUERY", wire.query_body(f"SELECT * FROM {keyspace}.kv"), stream)
        for stream in streams:
            assert client.receive_for(stream).name == "RESULT"


def test_a_negative_stream_id_is_refused_by_its_number(world):
    with world.proxy.connect() as client:
        client.send("QUERY", wire.query_body("SELECT * FROM system.local"), -5)
        frame = client.receive()
        code, message, _ = wire.parse_error(frame.body)
        assert (frame.stream, code) == (-5, wire.PROTOCOL_ERROR) and "-5" in message


def test_large_answers_pass_through_whole(world, keyspace):
    with world.proxy.connect() as client:
        for k in range(20):
            client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)", [wire.int_value(k), bytes([65 + k]) * 200_000])
        for _ in range(3):
            rows = dict((row[0], row[1]) for row in client.rows(f"SELECT k, v FROM {keyspace}.kv", page_size=100))
            assert rows == {wire.int_value(k): bytes([65 + k]) * 200_000 for k in range(20)}


def test_schema_events_come_from_the_origin_only(world, keyspace):
    with world.proxy.connect() as client:
        body = (3).to_bytes(2, "big") + b"".join(map(wire.string, ("SCHEMA_CHANGE", "STATUS_CHANGE", "TOPOLOGY_CHANGE")))
        assert client.ask("REGISTER", body).name == "READY"
        world.target.query(f"CREATE TABLE {keyspace}.on_target (k int PRIMARY KEY)")
        world.origin.query(f"CREATE TABLE {keyspace}.on_origin (k int PRIMARY KEY)")
        frame = client.receive()
        assert frame.stream == -1 and frame.name == "EVENT"
        assert b"SCHEMA_CHANGE" in frame.body and b"on_origin" in frame.body
        with pytest.raises(TimeoutError):
            client.receive(timeout=0.3)


def test_options_are_answered_before_and_after_the_handshake(world):
    with world.proxy.connect(is_ready=False) as client:
        for _ in range(2):
            frame = client.ask("OPTIONS")
            assert frame.name == "SUPPORTED" and "CQL_VERSION" in wire.Reader(frame.body).multimap()
            if client.ask("STARTUP", wire.startup_body(), 1).name != "READY":
                break


def test_protocol_v3(world, different):
    with world.proxy.connect(version=3) as client:
        assert texts(client.rows(f"SELECT v FROM {different}.kv WHERE k = 1")) == ["origin"]


@pytest.mark.parametrize("version", [1, 2, 5, 6, 65, 66])
def test_an_unsupported_version_is_answered_so_that_drivers_step_down(world, version):
    with world.proxy.connect(is_ready=False) as client:
        client.send_bytes(wire.frame_bytes("STARTUP", wire.startup_body(), 0, version))
        frame = client.receive()
        code, message, _ = wire.parse_error(frame.body)
        assert code == wire.PROTOCOL_ERROR and str(version) in message
        assert frame.version in (3, 4) and frame.stream == 0


@pytest.mark.parametrize("offered", [3, 4, 5, None])
def test_the_python_driver_finds_a_common_version(world, different, offered):
    from cassandra import ProtocolVersion
    from cassandra.cluster import _NOT_SET

    version = _NOT_SET if offered is None else offered
    if offered == 5:
        version = _NOT_SET  # the driver steps down only when the version is its own choice
    with world.proxy.driver(protocol_version=version) as session:
        assert session.cluster.protocol_version in (ProtocolVersion.V3, ProtocolVersion.V4)
        assert session.execute(f"SELECT v FROM {different}.kv WHERE k = 1").one().v == "origin"


def test_the_python_driver_end_to_end(world, keyspace):
    with world.proxy.driver() as session:
        assert [str(host.broadcast_rpc_address) for host in session.cluster.metadata.all_hosts()] == [world.proxy.address]
        session.set_keyspace(keyspace)
        for k in range(50):
            session.execute("INSERT INTO kv (k, v) VALUES (%s, %s)", (k, f"v{k}"))
        assert {row.k: row.v for row in session.execute("SELECT * FROM kv")} == {k: f"v{k}" for k in range(50)}
        assert keyspace in session.cluster.metadata.keyspaces
    for cluster in (world.origin, world.target):
        assert len(cluster.rows(f"SELECT k FROM {keyspace}.kv")) == 50
    wait_until(lambda: world.proxy.metric("zdm_client_connections_total") == 0, "the driver's connections are gone")
