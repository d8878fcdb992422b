"""One write timestamp: what carries none gets the proxy's, the same on both clusters, and what says its own keeps it."""

import struct

import pytest

from support import wire

STAMPED = "zdm_proxy_stamped_writes_total"


def stored(cluster, keyspace, key):
    """[value, write time] of one row."""
    return cluster.rows(f"SELECT v, writetime(v) FROM {keyspace}.kv WHERE k = {key}")


def write_times(world, keyspace, key):
    """The write time of the row's value, which must be the same on both clusters, in microseconds."""
    times = [struct.unpack(">q", rows[0][1])[0] for rows in (stored(c, keyspace, key) for c in (world.origin, world.target))]
    assert times[0] == times[1], f"the clusters disagree by {times[0] - times[1]} µs"
    return times[0]


@pytest.mark.parametrize("version", [3, 4])
def test_every_kind_of_write_is_as_old_on_both(world, keyspace, version):
    with world.proxy.connect(version=version) as client:
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        update = client.prepare(f"UPDATE {keyspace}.kv USING TTL 1000 SET v = ? WHERE k = ?")
        with world.proxy.metric_delta() as delta:
            client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'text')")
            client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)", [wire.int_value(2), b"values"])
            client.execute(prepared, [wire.int_value(3), b"prepared"])
            client.execute(update, [b"update", wire.int_value(4)])
            client.batch([(f"INSERT INTO {keyspace}.kv (k, v) VALUES (5, 'batch')", ()), (prepared, [wire.int_value(6), b"batch"])])
            client.query(f"BEGIN BATCH INSERT INTO {keyspace}.kv (k, v) VALUES (7, 'x'); APPLY BATCH")
            client.query(f"DELETE v FROM {keyspace}.kv WHERE k = 1")
    assert delta[STAMPED] == 7
    times = [write_times(world, keyspace, key) for key in (2, 3, 4, 5, 6, 7)]
    assert times[3] == times[4], "one batch, one time"
    assert sorted(set(times)) == [*times[:4], times[5]], "later writes are later"
    for cluster in (world.origin, world.target):
        assert cluster.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 1") == [[None]]


def test_the_client_s_timestamp_stays(world, keyspace):
    with world.proxy.connect() as client:
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        own = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?) USING TIMESTAMP ?")
        with world.proxy.metric_delta() as delta:
            client.execute(prepared, [wire.int_value(1), b"flag"], timestamp=1111)
            client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (2, 'text') USING TIMESTAMP 2222")
            client.execute(own, [wire.int_value(3), b"bound", struct.pack(">q", 3333)])
            client.query(f"BEGIN BATCH USING TIMESTAMP 4444 INSERT INTO {keyspace}.kv (k, v) VALUES (4, 'x'); APPLY BATCH")
            client.batch([(prepared, [wire.int_value(5), b"batch"])], timestamp=5555)
    assert delta.get(STAMPED, 0) == 0
    assert [write_times(world, keyspace, key) for key in range(1, 6)] == [1111, 2222, 3333, 4444, 5555]


def test_a_statement_s_own_time_stays_within_a_stamped_batch(world, keyspace):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.batch([
            (f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'own') USING TIMESTAMP 77", ()),
            (f"INSERT INTO {keyspace}.kv (k, v) VALUES (2, 'none')", ()),
        ])  # fmt: skip
    assert delta[STAMPED] == 1
    assert write_times(world, keyspace, 1) == 77
    assert write_times(world, keyspace, 2) > 1_500_000_000_000_000


def test_what_must_not_be_stamped(world, keyspace):
    """Lightweight transactions, schema changes, reads."""
    with world.proxy.connect() as client:
        conditional = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, 'x') IF NOT EXISTS")
        with world.proxy.metric_delta() as delta:
            client.execute(conditional, [wire.int_value(1)])
            client.query(f"UPDATE {keyspace}.kv SET v = 'y' WHERE k = 1 IF v = 'x'")
            client.batch([(conditional, [wire.int_value(2)])])
            client.batch([(f"INSERT INTO {keyspace}.kv (k, v) VALUES (3, 'x') IF NOT EXISTS", ())])
            client.query(f"CREATE TABLE {keyspace}.other (k int PRIMARY KEY)")
            client.query(f"TRUNCATE {keyspace}.other")
            client.query(f"USE {keyspace}")
            client.query("SELECT * FROM kv")
    assert delta.get(STAMPED, 0) == 0


def test_stamping_can_be_switched_off(world, keyspace):
    proxy = world.lab.proxy(world.origin, world.target, "proxy-unstamped", STAMP_WRITE_TIMESTAMPS="false").start()
    with proxy.connect() as client, proxy.metric_delta() as delta:
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'text')")
    assert delta.get(STAMPED, 0) == 0
    assert stored(world.target, keyspace, 1)[0][0] == b"text"
    proxy.stop()


def test_a_large_batch_of_many_statements(world, keyspace):
    """Thousands of edits, over several chunks."""
    with world.proxy.connect() as client:
        prepared = client.prepare(f"INSERT INTO {keyspace}.kv (k, v) VALUES (?, ?)")
        client.batch([(prepared, [wire.int_value(k), b"%d" % k]) for k in range(3000)])
    for cluster in (world.origin, world.target):
        assert sorted(int(row[0]) for row in cluster.rows(f"SELECT v FROM {keyspace}.kv")) == list(range(3000))
    assert write_times(world, keyspace, 0) == write_times(world, keyspace, 2999)
