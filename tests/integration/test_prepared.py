"""Prepared statements: the client sees one id, each cluster its own, and what is lost is found again without wrong data."""

import pytest

from support import wire
from support.waiting import wait_until


def insert(client, keyspace):
    return client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")


def test_a_prepared_write_reaches_both(world, keyspace):
    with world.proxy.connect() as client:
        prepared = insert(client, keyspace)
        client.execute(prepared, [wire.int_value(1), b"one"])
    for cluster in (world.origin, world.target):
        assert cluster.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 1") == [[b"one"]]


def test_the_client_sees_the_origin_s_id(world, keyspace):
    text = f"SELECT v FROM {keyspace}.kv WHERE k = ?"
    with world.proxy.connect() as client, world.origin.connect() as direct:
        assert client.prepare(text) == direct.prepare(text)


def test_a_prepared_read_reads_the_primary(world, keyspace):
    world.origin.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'origin')")
    world.target.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'target')")
    with world.proxy.connect() as client:
        prepared = client.prepare(f"SELECT v FROM {keyspace}.kv WHERE k = ?")
        with world.proxy.metric_delta() as delta:
            assert client.execute(prepared, [wire.int_value(1)]).rows == [[b"origin"]]
    assert delta['zdm_proxy_request_duration_seconds_count{type="reads_origin"}'] == 1
    target = world.lab.proxy(world.origin, world.target, "proxy-t", FORWARD_READS_TO_TARGET="true").start()
    with target.connect() as client:
        prepared = client.prepare(f"SELECT v FROM {keyspace}.kv WHERE k = ?")
        assert client.execute(prepared, [wire.int_value(1)]).rows == [[b"target"]]
    target.stop()


def test_prepared_by_one_client_executed_by_another(world, keyspace):
    with world.proxy.connect() as client:
        prepared = insert(client, keyspace)
    # Enough clients that both workers have some.
    for k in range(10):
        with world.proxy.connect() as client:
            client.execute(prepared, [wire.int_value(k), b"x"])
    assert len(world.target.rows(f"SELECT k FROM {keyspace}.kv")) == 10


def test_an_unknown_id_is_answered_unprepared_with_that_id(world):
    with world.proxy.connect() as client:
        code, message, details = client.error("EXECUTE", wire.execute_body(b"\x07" * 16))
        assert code == wire.UNPREPARED and details == wire.short_bytes(b"\x07" * 16)
        assert "07" * 16 in message


@pytest.mark.parametrize("length", [0, 1, 15, 17, 255, 65535])
def test_ids_of_odd_lengths_are_only_unknown(world, length):
    prepared = b"\x01" * length
    with world.proxy.connect() as client:
        code, _, _ = client.error("EXECUTE", wire.short_bytes(prepared) + wire.parameters())
        assert code in (wire.UNPREPARED, wire.PROTOCOL_ERROR)
        client.query("SELECT * FROM system.local")


@pytest.mark.parametrize("restarted", ["origin", "target"])
def test_a_cluster_that_forgot_is_repaired(lab, restarted):
    """A restarted node knows no prepared statement: the client is answered or told to prepare again, never left alone."""
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, HEARTBEAT_INTERVAL_MS="200", HEARTBEAT_RETRY_INTERVAL_MIN_MS="50").start()
    schema = (
        "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
    )
    origin.query(*schema)
    target.query(*schema)
    with proxy.connect() as client:
        prepared = insert(client, "ks")
        client.execute(prepared, [wire.int_value(1), b"one"])
    cluster = origin if restarted == "origin" else target
    cluster.stop()
    cluster.start()
    cluster.query(*schema)

    def write_again():
        try:
            with proxy.connect() as client:
                try:
                    client.execute(prepared, [wire.int_value(2), b"two"])
                except wire.ServerError as error:
                    if error.code != wire.UNPREPARED:
                        raise OSError(str(error)) from error
                    assert error.details == wire.short_bytes(prepared), "UNPREPARED names an id the client never saw"
                    assert insert(client, "ks") == prepared
                    client.execute(prepared, [wire.int_value(2), b"two"])
                return True
        except (wire.Closed, TimeoutError) as error:
            raise OSError(str(error)) from error

    wait_until(write_again, "writes work again", timeout=20)
    for cluster in (origin, target):
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = 2") == [[b"two"]]


def test_a_statement_only_one_cluster_can_prepare(world, keyspace):
    world.origin.query(f"CREATE TABLE {keyspace}.only_origin (k int PRIMARY KEY)")
    with world.proxy.connect() as client:
        code, message, _ = client.error("PREPARE", wire.long_string(f"SELECT * FROM {keyspace}.only_origin WHERE k = ?"))
        assert code == wire.INVALID and "only_origin" in message


def test_the_same_text_again_gives_the_same_id(world, keyspace):
    with world.proxy.connect() as one, world.proxy.connect() as other:
        assert insert(one, keyspace) == insert(other, keyspace) == insert(one, keyspace)


def test_prepared_under_a_keyspace(world, keyspace):
    with world.proxy.connect() as client:
        client.query(f"USE {keyspace}")
        prepared = client.prepare("INSERT INTO kv (k, v) VALUES (?, ?)")
        client.execute(prepared, [wire.int_value(5), b"five"])
    assert world.target.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 5") == [[b"five"]]


def test_a_prepared_use_or_schema_change_is_answered(world, keyspace):
    with world.proxy.connect() as client:
        for text in (f"USE {keyspace}", f"CREATE TABLE {keyspace}.p (k int PRIMARY KEY)"):
            frame = client.ask("PREPARE", wire.long_string(text))
            assert frame.name in ("RESULT", "ERROR")


def test_virtual_tables_can_be_prepared(world):
    with world.proxy.connect() as client:
        prepared = client.prepare("SELECT rpc_address FROM system.local WHERE key = ?")
        rows = client.execute(prepared, [b"local"]).rows
        assert rows == [[bytes(int(part) for part in world.proxy.address.split("."))]]


def test_many_statements_are_bounded_and_still_right(world, keyspace):
    """Literal-heavy PREPAREs fill the registry; the first statement then works or is answered UNPREPARED, never wrongly."""
    with world.proxy.connect() as client:
        first = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, 'first')")
        for n in range(3000):
            client.send("PREPARE", wire.long_string(f"SELECT v FROM {keyspace}.kv WHERE k = {n}"), n % 500)
            if n % 500 == 499:
                for stream in range(500):
                    assert client.receive_for(stream, timeout=30).name == "RESULT"
        try:
            client.execute(first, [wire.int_value(77)])
        except wire.ServerError as error:
            assert error.code == wire.UNPREPARED
            client.execute(client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, 'first')"), [wire.int_value(77)])
    for cluster in (world.origin, world.target):
        assert cluster.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 77") == [[b"first"]]



def prepare_all(client, texts, together=200):
    """Prepares many at once; their ids, in order."""
    ids = []
    for begin in range(0, len(texts), together):
        part = texts[begin:begin + together]
        client.send_frames(*(client.encoded("PREPARE", wire.long_string(text), stream) for stream, text in enumerate(part)))
        for stream in range(len(part)):
            ids.append(wire.Reader(client.receive_for(stream, timeout=30).body[4:]).short_bytes())
    return ids


def execute_all(client, ids, values, together=200):
    """Executes each; the ids the proxy did not know."""
    unknown = []
    for begin in range(0, len(ids), together):
        part = ids[begin:begin + together]
        client.send_frames(*(client.encoded("EXECUTE", wire.execute_body(one, values), stream) for stream, one in enumerate(part)))
        for stream, one in enumerate(part):
            frame = client.receive_for(stream, timeout=30)
            if frame.name == "ERROR":
                assert wire.parse_error(frame.body)[0] == wire.UNPREPARED
                unknown.append(one)
    return unknown


def test_each_of_many_statements_stays_known_to_every_worker(world, keyspace):
    count = 5000
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        ids = prepare_all(client, [f"SELECT v FROM {keyspace}.kv WHERE k = ? LIMIT {n + 1}" for n in range(count)])
        assert len(set(ids)) == count
    assert delta["zdm_pscache_entries_total"] == count
    with world.proxy.metric_delta() as delta:
        for _ in range(4):  # enough clients that both workers have some
            with world.proxy.connect() as client:
                assert execute_all(client, ids, [wire.int_value(1)]) == []
    assert not delta.keys() & {"zdm_pscache_miss_total", "zdm_pscache_evictions_total"}


def test_more_text_than_is_kept_puts_out_the_oldest_statements(lab):
    """64 MiB of texts are kept: 16384 of 4 KiB. What was put out is unknown, is counted, and works again once prepared again."""
    kept, over = 16384, 2616
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target).start()
    for cluster in (origin, target):
        cluster.query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                      "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)")
    # The proxy answers these itself, so that the clusters are spared.
    texts = [f"SELECT key FROM system.local WHERE key = '{n:05}{'x' * (4096 - 48)}'" for n in range(kept + over)]
    assert all(4096 - 48 < len(text) <= 4096 for text in texts)
    with proxy.connect() as client:
        before = proxy.metrics()
        first = insert(client, "ks")
        ids = prepare_all(client, texts)
        after = proxy.metrics()
        entries, evictions = (after[name] - before[name] for name in ("zdm_pscache_entries_total", "zdm_pscache_evictions_total"))
        assert entries + evictions == 1 + kept + over
        assert kept * 0.95 < entries <= kept * 1.02
        assert execute_all(client, [first], [wire.int_value(1), b"one"]) == [first]
        assert execute_all(client, ids[-1000:], []) == []
        assert proxy.metric("zdm_pscache_miss_total") == 1
        assert insert(client, "ks") == first
        client.execute(first, [wire.int_value(1), b"one"])
    for cluster in (origin, target):
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"one"]]
    proxy.stop()


def test_the_python_driver_with_prepared_statements(world, keyspace):
    with world.proxy.driver() as session:
        write = session.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        read = session.prepare(f"SELECT v FROM {keyspace}.kv WHERE k = ?")
        futures = [session.execute_async(write, (k, str(k))) for k in range(300)]
        for future in futures:
            future.result()
        assert [session.execute(read, (k,)).one().v for k in range(0, 300, 7)] == [str(k) for k in range(0, 300, 7)]
    assert len(world.target.rows(f"SELECT k FROM {keyspace}.kv")) == 300
