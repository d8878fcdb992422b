"""now(), uuid() and the current times through the proxy, and compressed connections, with real clusters on both sides: whatever the
proxy writes in place of a call must be taken by every version, and leave the same bytes."""

import uuid

import pytest
from cassandra.query import BatchStatement, SimpleStatement

from conftest import ORIGIN, PROXY, QUERY_PORT, TARGET, session_to

REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
COLUMNS = """k timeuuid, c int, a timeuuid, b uuid, ts timestamp, d date, m time, n bigint, x text, l list<timeuuid>, s set<uuid>,
mp map<timeuuid, timestamp>, tp frozen<tuple<timeuuid, date>>, ud frozen<u>, PRIMARY KEY (k, c)"""

# {v}: a value the client gives, as a literal or a marker.
EVERYWHERE = {
    "every function": "INSERT INTO t (k, c, a, b, ts, d, m) VALUES (now(), {v}, currentTimeUUID(), uuid(), currentTimestamp(), "
                      "currentDate(), currentTime())",
    "snake case": "INSERT INTO t (k, c, a, ts, d, m) VALUES (current_timeuuid(), {v}, NOW ( ), current_timestamp(), current_date(), "
                  "current_time())",
    "qualified, quoted, commented": 'INSERT INTO t (x, k, c, b) VALUES (\'h\u00e9llo now()\', system . now(), {v}, "uuid" /* ( */ ( )) /* now() */',
    "overloads": "INSERT INTO t (k, c, ts, d, n) VALUES (now(), {v}, toTimestamp(now()), toDate(currentTimestamp()), "
                 "toUnixTimestamp(currentDate()))",
    "tuple and user type": "INSERT INTO t (k, c, tp, ud) VALUES (now(), {v}, (now(), currentDate()), "
                           "{{a:now(), t:currentTimestamp(), d : currentDate(), m:currentTime(), x:uuid()}})",
    "a timeuuid for a uuid": "INSERT INTO t (k, c, b) VALUES (now(), {v}, now())",
    "a cast of the client's": "INSERT INTO t (k, c, ts) VALUES (now(), {v}, (timestamp)currentTimestamp())",
    "UPDATE": "UPDATE t SET a = now(), ts = toTimestamp(now()), mp[now()] = currentTimestamp() WHERE k = now() AND c = {v}",
    "IN": "UPDATE t SET a = now() WHERE k IN (now(), now()) AND c = {v}",
    "USING": "INSERT INTO t (k, c, a) VALUES (now(), {v}, now()) USING TTL 100000",
    "DELETE": "DELETE mp[now()], a FROM t WHERE k = now() AND c = {v}",
    "BATCH": "BEGIN BATCH INSERT INTO t (k, c, a) VALUES (now(), {v}, now()); UPDATE t SET b = uuid() WHERE k = now() AND c = 77; "
             "APPLY BATCH",
}
CONDITIONAL = {
    "IF NOT EXISTS": "INSERT INTO t (k, c, a) VALUES (now(), {v}, now()) IF NOT EXISTS",
    "IF": "UPDATE t SET a = now() WHERE k = now() AND c = {v} IF a = now() AND ts <= currentTimestamp() AND d != currentDate() "
          "AND m > currentTime() AND mp[now()] = currentTimestamp()",
}
TEXT_ONLY = {
    "collections": "INSERT INTO t (k, c, l, s, mp) VALUES (now(), {v}, [now(), now()], {{uuid(), uuid()}}, "
                   "{{now(): currentTimestamp(), now():toTimestamp(now())}})",
    "collection operators": "UPDATE t SET l = [now()] + l, s = s + {{uuid()}}, mp += {{now():currentTimestamp()}} WHERE k = now() AND c = {v}",
}


@pytest.fixture(scope="module")
def tables(programs):
    """A keyspace on both clusters, made through the proxy; its table is emptied by each play."""
    name = f"play_{uuid.uuid4().hex[:8]}"
    with session_to(PROXY, QUERY_PORT) as session:
        session.execute(f"CREATE KEYSPACE {name} WITH replication = {REPLICATION}")
        session.execute(f"CREATE TYPE {name}.u (a timeuuid, t timestamp, d date, m time, x uuid)")
        session.set_keyspace(name)
        session.execute(f"CREATE TABLE t ({COLUMNS})")
    return name


@pytest.fixture(params=[False, "lz4", "snappy"], ids=["plain", "lz4", "snappy"])
def session(programs, tables, any_version, request):
    with session_to(PROXY, QUERY_PORT, any_version, compression=request.param) as session:
        session.execute(f"TRUNCATE {tables}.t")
        session.set_keyspace(tables)
        yield session


@pytest.fixture(scope="module")
def clusters_directly(tables):
    with session_to(ORIGIN) as origin, session_to(TARGET) as target:
        for one in (origin, target):
            one.set_keyspace(tables)
        yield origin, target


def rows_of_both(clusters_directly, with_write_times=True):
    columns = "k, c, a, b, ts, d, m, n, x, l, s, mp, tp, ud" + (", writetime(a), writetime(b), writetime(ts)" if with_write_times else "")
    found = [sorted(repr(tuple(row)) for row in cluster.execute(f"SELECT {columns} FROM t")) for cluster in clusters_directly]
    assert found[0] == found[1]
    return found[0]


def test_text(session, clusters_directly):
    statements = {**EVERYWHERE, **TEXT_ONLY}
    for number, text in enumerate(statements.values()):
        session.execute(text.format(v=number))
    assert len(rows_of_both(clusters_directly)) == len(statements) + 1  # one is a DELETE, IN and BATCH make two each
    for number, text in enumerate(CONDITIONAL.values()):
        session.execute(text.format(v=100 + number))
    rows_of_both(clusters_directly, with_write_times=False)


def test_prepared(session, clusters_directly):
    for text in EVERYWHERE.values():
        statement = session.prepare(text.format(v="?"))
        assert [column.name for column in statement.column_metadata] == ["c"], text
        assert not statement.routing_key_indexes
        session.execute(statement, (1,))
        if not text.startswith("BEGIN"):
            batch = BatchStatement()
            batch.add(statement, (2,))
            batch.add(SimpleStatement("INSERT INTO t (k, c, a) VALUES (now(), 3, now())"))
            batch.add(statement, (4,))
            session.execute(batch)
    assert len(rows_of_both(clusters_directly)) > 4 * (len(EVERYWHERE) - 2)
    for text in CONDITIONAL.values():
        session.execute(session.prepare(text.format(v="?")), (1,))
    rows_of_both(clusters_directly, with_write_times=False)


def test_prepared_with_values_around(session, clusters_directly):
    key = uuid.uuid1()
    positional = session.prepare("INSERT INTO t (a, k, b, c, x) VALUES (now(), ?, uuid(), ?, ?)")
    assert [column.name for column in positional.column_metadata] == ["k", "c", "x"]
    assert positional.routing_key_indexes == [0]
    session.execute(positional, (key, 1, "positional"))
    named = session.prepare("INSERT INTO t (a, k, b, c, x) VALUES (now(), :the_key, uuid(), :other, :more)")
    assert [column.name for column in named.column_metadata] == ["the_key", "other", "more"]
    session.execute(named, {"more": "named", "the_key": key, "other": 2})
    nothing = session.prepare("INSERT INTO t (k, c, a) VALUES (now(), 3, now())")
    assert not nothing.column_metadata
    session.execute(nothing)
    session.execute(session.prepare("INSERT INTO t (k, c, a) VALUES (?, 4, now()) USING TTL ?"), (key, 100000))
    assert len(rows_of_both(clusters_directly)) == 4


def test_calls_in_collections_of_prepared_statements_stay(session, clusters_directly):
    """No version takes a marker there, so each cluster evaluates them; the rest of the statement is the same."""
    session.execute(session.prepare("INSERT INTO t (k, c, a, l) VALUES (now(), ?, now(), [now()])"), (1,))
    found = [[tuple(row) for row in cluster.execute("SELECT k, c, a FROM t")] for cluster in clusters_directly]
    assert found[0] == found[1] and len(found[0]) == 1


def test_many_at_once(session, clusters_directly):
    statement = session.prepare("INSERT INTO t (k, c, a, b, x) VALUES (now(), ?, now(), uuid(), ?)")
    for future in [session.execute_async(statement, (number, "x" * number)) for number in range(500)]:
        future.result()
    assert len(rows_of_both(clusters_directly)) == 500
