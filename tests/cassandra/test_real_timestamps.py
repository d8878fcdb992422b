"""One write timestamp, asked of Apache Cassandra itself: both clusters store the same write time, and nothing that Cassandra takes is
refused because of the stamp."""

import uuid

import pytest
from cassandra.query import BatchStatement, BatchType, SimpleStatement

REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"


@pytest.fixture
def unstamped(client):
    """A session whose driver sends no timestamps; tables kv, counts and lists in a keyspace of its own."""
    client.use_client_timestamp = False
    name = f"stamps_{uuid.uuid4().hex[:8]}"
    client.execute(f"CREATE KEYSPACE {name} WITH replication = {REPLICATION}")
    client.set_keyspace(name)
    client.execute("CREATE TABLE kv (k int PRIMARY KEY, v text)")
    client.execute("CREATE TABLE counts (k int PRIMARY KEY, c counter)")
    client.execute("CREATE TABLE lists (k int PRIMARY KEY, l list<int>, m map<int, text>)")
    return client


def batch(kind, *children):
    statement = BatchStatement(kind)
    for child in children:
        statement.add(*child) if isinstance(child, tuple) else statement.add(SimpleStatement(child))
    return statement


def test_write_times_are_the_same_on_both(unstamped, direct):
    insert = unstamped.prepare("INSERT INTO kv (k, v) VALUES (?, ?)")
    short_lived = unstamped.prepare("INSERT INTO kv (k, v) VALUES (?, ?) USING TTL ?")
    dated = unstamped.prepare("INSERT INTO kv (k, v) VALUES (?, ?) USING TIMESTAMP ?")
    remove = unstamped.prepare("DELETE v FROM kv WHERE k = ?")
    text_batch = unstamped.prepare("BEGIN BATCH INSERT INTO kv (k, v) VALUES (?, ?); UPDATE kv SET v = 'b' WHERE k = 91 APPLY BATCH")
    unstamped.execute("INSERT INTO kv (k, v) VALUES (1, 'text')")
    unstamped.execute("INSERT INTO kv (k, v) VALUES (%s, %s)", (2, "values"))
    unstamped.execute("UPDATE kv SET v = 'update' WHERE k = 3")
    unstamped.execute("""INSERT INTO kv JSON '{"k": 4, "v": "json"}'""")
    unstamped.execute(insert, (5, "prepared"))
    unstamped.execute(short_lived, (6, "ttl", 1000))
    unstamped.execute(insert, (7, "to be deleted"))
    unstamped.execute(remove, (7,))
    unstamped.execute(batch(BatchType.LOGGED, (insert, (8, "batch")), "INSERT INTO kv (k, v) VALUES (9, 'batch')"))
    unstamped.execute(batch(BatchType.UNLOGGED, (dated, (10, "own", 555)), (insert, (11, "stamped"))))
    unstamped.execute("BEGIN BATCH INSERT INTO kv (k, v) VALUES (12, 'x'); INSERT INTO kv (k, v) VALUES (13, 'y') USING TIMESTAMP 777; "
                      "APPLY BATCH")
    unstamped.execute("BEGIN BATCH USING TIMESTAMP 888 INSERT INTO kv (k, v) VALUES (14, 'x'); APPLY BATCH")
    unstamped.execute(text_batch, (90, "a"))
    unstamped.execute(dated, (15, "own", 999))
    origin, target = direct(f"SELECT k, v, writetime(v) FROM {unstamped.keyspace}.kv")
    assert sorted(origin) == sorted(target)
    times = {k: time for k, _, time in origin}
    assert set(times) == {*range(1, 16), 90, 91}
    assert (times[10], times[13], times[14], times[15], times[7]) == (555, 777, 888, 999, None)
    assert times[8] == times[9] and times[90] == times[91]
    assert times[1] < times[2] < times[3] < times[4] < times[5] < times[6] < times[8] < times[11] < times[12] < times[90]


def test_nothing_is_refused_for_the_stamp(unstamped, direct):
    """Lightweight transactions, counters, lists: alone, prepared and in batches of every kind."""
    once = unstamped.prepare("INSERT INTO kv (k, v) VALUES (?, ?) IF NOT EXISTS")
    count = unstamped.prepare("UPDATE counts SET c = c + 1 WHERE k = ?")
    assert unstamped.execute(once, (1, "a")).was_applied
    assert not unstamped.execute(once, (1, "b")).was_applied
    assert unstamped.execute("UPDATE kv SET v = 'c' WHERE k = 1 IF v = 'a'").was_applied
    unstamped.execute(batch(BatchType.LOGGED, (once, (2, "a"))))
    unstamped.execute(batch(BatchType.LOGGED, "INSERT INTO kv (k, v) VALUES (3, 'a') IF NOT EXISTS"))
    unstamped.execute("BEGIN BATCH INSERT INTO kv (k, v) VALUES (4, 'a') IF NOT EXISTS; APPLY BATCH")
    unstamped.execute("UPDATE counts SET c = c + 2 WHERE k = 1")
    unstamped.execute(count, (1,))
    unstamped.execute(batch(BatchType.COUNTER, (count, (1,)), "UPDATE counts SET c = c + 5 WHERE k = 2"))
    unstamped.execute(batch(BatchType.UNLOGGED, (count, (3,))))
    unstamped.execute("BEGIN COUNTER BATCH UPDATE counts SET c = c + 1 WHERE k = 4; APPLY BATCH")
    unstamped.execute("UPDATE lists SET l = l + [1, 2], m = m + {1: 'a'} WHERE k = 1")
    unstamped.execute("UPDATE lists SET l = [0] + l WHERE k = 1")
    unstamped.execute("UPDATE lists SET l[1] = 9 WHERE k = 1")
    unstamped.execute("DELETE m[1] FROM lists WHERE k = 1")
    unstamped.execute("TRUNCATE kv")
    for table, expected in (("kv", []), ("counts", [(1, 4), (2, 5), (3, 1), (4, 1)]), ("lists", [(1, [0, 9, 2], None)])):
        origin, target = direct(f"SELECT * FROM {unstamped.keyspace}.{table}")
        assert sorted(origin) == sorted(target) == expected
