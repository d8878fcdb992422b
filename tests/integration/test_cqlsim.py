"""The simulated cluster itself: what the other plays rest on. Statements of every kind through the real Python driver at v3
and v4, through cqlsh, and what the cluster says of itself. test_cqlsim_faults.py has events, faults and hostile bytes."""

import datetime
import decimal
import hashlib
import ipaddress
import os
import shutil
import struct
import subprocess
import sys
import uuid

import pytest

cassandra = pytest.importorskip("cassandra", reason="the Python driver is not installed")
from cassandra import AlreadyExists, InvalidRequest  # noqa: E402
from cassandra.auth import PlainTextAuthProvider  # noqa: E402
from cassandra.cluster import Cluster, NoHostAvailable  # noqa: E402
from cassandra.protocol import SyntaxException  # noqa: E402
from cassandra.query import BatchStatement, SimpleStatement  # noqa: E402
from support.cqlsim import (  # noqa: E402, F401
    ADDRESS,
    AUTHENTICATE,
    AUTH_RESPONSE,
    AUTH_SUCCESS,
    BATCH,
    ERROR,
    OPTIONS,
    OWN,
    PORT,
    PREPARE,
    PROGRAM,
    QUERY,
    REPLICATION,
    RESULT,
    SECOND,
    STARTUP,
    STARTUP_BODY,
    SUPPORTED,
    Raw,
    frame,
    query_body,
    running,
    session_of,
    shared,
    sim,
    string,
    string_map,
    wait_until,
)

@pytest.fixture(params=[3, 4], ids=["v3", "v4"])
def session(sim, request):
    with session_of(request.param) as session:
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS ks {REPLICATION}")
        session.set_keyspace("ks")
        yield session


@pytest.fixture
def table(session):
    """A table of one's own: id int, name text, age int."""
    name = "t_" + uuid.uuid4().hex[:12]
    session.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, name text, age int)")
    return name


# ---- statements through a driver ----


def test_driver_finds_the_cluster(session):
    hosts = session.cluster.metadata.all_hosts()
    assert session.cluster.metadata.cluster_name == "Origin"
    assert [(host.address, host.release_version, host.datacenter) for host in hosts] == [(ADDRESS, "3.11.19", "dc1")]
    assert len(session.cluster.metadata.token_map.ring) == 8


def test_write_and_read_back(session, table):
    session.execute(f"INSERT INTO {table} (id, name, age) VALUES (1, 'it''s', 7)")
    session.execute(f"UPDATE {table} SET age = 8 WHERE id = 1")
    session.execute(f"UPDATE {table} SET name = 'two' WHERE id = 2")
    assert sorted(session.execute(f"SELECT * FROM {table}")) == [(1, 8, "it's"), (2, None, "two")]
    session.execute(f"DELETE age FROM {table} WHERE id = 1")
    assert session.execute(f"SELECT age AS years, name FROM {table} WHERE id = 1").one()._asdict() == {
        "years": None,
        "name": "it's",
    }
    session.execute(f"DELETE FROM {table} WHERE id = 1")
    assert session.execute(f"SELECT count(*) FROM {table}").one().count == 1
    session.execute(f"TRUNCATE {table}")
    assert list(session.execute(f"SELECT * FROM {table}")) == []


def test_deleted_cells_leave_an_updated_row_invisible(session, table):
    """An INSERT marks its row, an UPDATE does not: without cells only the first still shows."""
    session.execute(f"UPDATE {table} SET age = 1 WHERE id = 1")
    session.execute(f"INSERT INTO {table} (id, age) VALUES (2, 1)")
    session.execute(f"DELETE age FROM {table} WHERE id IN (1, 2)")
    assert [row.id for row in session.execute(f"SELECT id FROM {table}")] == [2]


SAMPLES = {
    "ascii": "plain",
    "bigint": -(2**63),
    "blob": b"\x00\xff",
    "boolean": True,
    "date": datetime.date(1969, 12, 31),
    "decimal": decimal.Decimal("-12345678901234567890.0123"),
    "double": -1.5e300,
    "float": 0.25,
    "inet": "2001:db8::1",
    "int": -(2**31),
    "smallint": -(2**15),
    "text": "žluťoučký 🐎",
    "time": datetime.time(23, 59, 59, 999999),
    "timestamp": datetime.datetime(2024, 2, 29, 1, 2, 3, 456000),
    "timeuuid": uuid.UUID("5b6962dd-3f90-11b2-8080-808080808080"),
    "tinyint": -128,
    "uuid": uuid.UUID("7ac8d2f4-7e9c-4a0e-9c1d-2f30e9a5d7a1"),
    "varchar": "",
    "varint": -(10**40),
    "list<int>": [3, 1, 3],
    "set<text>": {"b", "a"},
    "map<text, bigint>": {"b": 1, "a": 2},
    "tuple<int, text>": (1, "x"),
    "frozen<map<int, frozen<list<text>>>>": {1: ["a", "b"]},
}


def plain(kind, value):
    if kind == "date":
        return value.date()
    if kind == "time":
        return value.time()
    if kind.startswith("set"):
        return set(value)
    if "map" in kind:
        return dict(value)
    return value


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_type_bound_and_as_text(session, kind):
    name = "t_" + uuid.uuid4().hex[:12]
    session.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v {kind})")
    session.execute(session.prepare(f"INSERT INTO {name} (id, v) VALUES (?, ?)"), (1, SAMPLES[kind]))
    value = session.execute(f"SELECT v FROM {name} WHERE id = 1").one().v
    assert plain(kind, value) == SAMPLES[kind]
    if kind not in ("decimal", "tuple<int, text>"):  # the driver writes a float and a list for these
        session.execute(f"INSERT INTO {name} (id, v) VALUES (2, %s)", (SAMPLES[kind],))
        value = session.execute(f"SELECT v FROM {name} WHERE id = 2").one().v
        assert plain(kind, value) == SAMPLES[kind]


def test_values_as_cql_text(session):
    name = "t_" + uuid.uuid4().hex[:12]
    session.execute(
        f"CREATE TABLE {name} (id int PRIMARY KEY, ts timestamp, d date, t time, v varint, de decimal, b blob, i inet, f float)"
    )
    session.execute(
        f"INSERT INTO {name} (id, ts, d, t, v, de, b, i, f) VALUES (1, '2024-02-29T13:00:00.5+0130', '2024-02-29', '01:02:03.000000004',"
        " -170141183460469231731687303715884105729, -1.50e3, 0xCAFE, '10.1.2.3', -Infinity)"
    )
    row = session.execute(f"SELECT * FROM {name}").one()
    assert row.ts == datetime.datetime(2024, 2, 29, 11, 30, 0, 500000)
    assert (row.d.date(), row.t.nanosecond) == (datetime.date(2024, 2, 29), 4)
    assert (row.v, row.de, row.b) == (-(2**127) - 1, decimal.Decimal("-1.50e3"), b"\xca\xfe")
    assert (ipaddress.ip_address(row.i), row.f) == (ipaddress.ip_address("10.1.2.3"), float("-inf"))


def test_last_write_wins_by_timestamp(session, table):
    session.execute(f"INSERT INTO {table} (id, age) VALUES (1, 20) USING TIMESTAMP 2000")
    session.execute(f"UPDATE {table} USING TIMESTAMP 1000 SET age = 10 WHERE id = 1")
    assert session.execute(f"SELECT age, writetime(age) AS at FROM {table} WHERE id = 1").one() == (20, 2000)
    session.execute(f"DELETE FROM {table} USING TIMESTAMP 1500 WHERE id = 1")
    assert session.execute(f"SELECT age FROM {table} WHERE id = 1").one().age == 20
    session.execute(f"DELETE FROM {table} USING TIMESTAMP 2000 WHERE id = 1")
    assert session.execute(f"SELECT age FROM {table} WHERE id = 1").one() is None
    session.execute(f"INSERT INTO {table} (id, age) VALUES (1, 30) USING TIMESTAMP 1999")
    assert session.execute(f"SELECT age FROM {table} WHERE id = 1").one() is None


def test_ttl_runs_out(session, table):
    session.execute(f"INSERT INTO {table} (id, age) VALUES (1, 5) USING TTL 1 AND TIMESTAMP 5")
    session.execute(f"INSERT INTO {table} (id, age) VALUES (2, 5) USING TIMESTAMP 5 AND TTL 1000")
    assert 990 <= session.execute(f"SELECT ttl(age) AS left FROM {table} WHERE id = 2").one().left <= 1000
    wait_until(lambda: [row.id for row in session.execute(f"SELECT id FROM {table}")] == [2], "the row expires")


def test_conditional_writes(session, table):
    insert = f"INSERT INTO {table} (id, age) VALUES (1, 5) IF NOT EXISTS"
    assert session.execute(insert).one().applied is True
    row = session.execute(insert).one()
    assert (row.applied, row.id, row.age, row.name) == (False, 1, 5, None)
    assert session.execute(f"UPDATE {table} SET age = 6 WHERE id = 1 IF age = 4").one() == (False, 5)
    assert session.execute(f"UPDATE {table} SET age = 6 WHERE id = 1 IF age = 5").one() == (True,)
    assert session.execute(f"DELETE FROM {table} WHERE id = 9 IF EXISTS").one() == (False,)
    assert session.execute(f"DELETE FROM {table} WHERE id = 1 IF EXISTS").one() == (True,)


@pytest.fixture
def wide(session):
    name = "w_" + uuid.uuid4().hex[:12]
    session.execute(
        f"CREATE TABLE {name} (a int, b text, c int, d int, s text static, v int, PRIMARY KEY ((a, b), c, d))"
        " WITH CLUSTERING ORDER BY (c DESC, d ASC) AND comment = 'wide'"
    )
    insert = session.prepare(f"INSERT INTO {name} (a, b, c, d, v) VALUES (?, ?, ?, ?, ?)")
    for a in range(3):
        for c in range(5):
            for d in range(2):
                session.execute(insert, (a, "x", c, d, a * 100 + c * 10 + d))
    return name


def test_composite_keys_ranges_and_order(session, wide):
    def pairs(rest):
        return [(row.c, row.d) for row in session.execute(f"SELECT c, d FROM {wide} WHERE a = 1 AND b = 'x' {rest}")]

    assert pairs("AND c >= 3") == [(4, 0), (4, 1), (3, 0), (3, 1)]
    assert pairs("AND c = 2 AND d > 0") == [(2, 1)]
    assert pairs("AND c IN (0, 4) AND d = 1") == [(4, 1), (0, 1)]
    assert pairs("AND c < 2 ORDER BY c ASC, d DESC") == [(0, 1), (0, 0), (1, 1), (1, 0)]
    assert pairs("LIMIT 3") == [(4, 0), (4, 1), (3, 0)]
    assert len(list(session.execute(f"SELECT * FROM {wide} PER PARTITION LIMIT 2"))) == 6
    assert len(list(session.execute(f"SELECT * FROM {wide} WHERE a IN (0, 2, 2, 7) AND b = 'x'"))) == 20
    assert len(list(session.execute(f"SELECT * FROM {wide} WHERE v = 130 ALLOW FILTERING"))) == 1


def test_range_and_partition_deletes_and_statics(session, wide):
    where = f"FROM {wide} WHERE a = 0 AND b = 'x'"
    session.execute(f"UPDATE {wide} SET s = 'shared' WHERE a = 0 AND b = 'x'")
    session.execute(f"DELETE {where} AND c > 1")
    assert [row.c for row in session.execute(f"SELECT c {where}")] == [1, 1, 0, 0]
    session.execute(f"DELETE {where} AND c = 1 AND d = 0")
    assert {row.s for row in session.execute(f"SELECT s {where}")} == {"shared"}
    assert len(list(session.execute(f"SELECT DISTINCT a, b, s FROM {wide}"))) == 3
    session.execute(f"DELETE {where}")
    assert list(session.execute(f"SELECT * {where}")) == []
    assert len(list(session.execute(f"SELECT * FROM {wide}"))) == 20


@pytest.mark.parametrize("page", [1, 3, 10, 29, 30, 31])
def test_paging_gives_each_row_once(session, wide, page):
    whole = [tuple(row) for row in session.execute(f"SELECT * FROM {wide}")]
    assert len(whole) == 30
    statement = SimpleStatement(f"SELECT * FROM {wide}", fetch_size=page)
    assert [tuple(row) for row in session.execute(statement)] == whole
    first = session.execute(statement)
    assert len(first.current_rows) == min(page, 30)
    limited = SimpleStatement(f"SELECT * FROM {wide} LIMIT 7", fetch_size=page)
    assert [tuple(row) for row in session.execute(limited)] == whole[:7]
    backwards = SimpleStatement(f"SELECT c, d FROM {wide} WHERE a = 1 AND b = 'x' ORDER BY c ASC, d DESC", fetch_size=page)
    assert list(session.execute(backwards)) == [(c, d) for c in range(5) for d in (1, 0)]


def test_tokens_are_those_of_the_driver(session):
    from cassandra.metadata import Murmur3Token

    name = "t_" + uuid.uuid4().hex[:12]
    session.execute(f"CREATE TABLE {name} (k text PRIMARY KEY)")
    texts = ["", "a", "žž", "exactly fifteen", "sixteen bytes!!!", "ÿ" * 40] + [str(i) * i for i in range(1, 30)]
    insert = session.prepare(f"INSERT INTO {name} (k) VALUES (?)")
    with pytest.raises(InvalidRequest, match="Key may not be empty"):
        session.execute(insert, ("",))
    for text in texts[1:]:
        session.execute(insert, (text,))
    tokens = [(row.k, row.t) for row in session.execute(f"SELECT k, token(k) AS t FROM {name}")]
    assert tokens == sorted(tokens, key=lambda pair: pair[1])
    assert dict(tokens) == {text: Murmur3Token.hash_fn(text.encode()) for text in texts[1:]}
    middle = tokens[17][1]
    below = session.execute(f"SELECT k FROM {name} WHERE token(k) <= {middle}")
    above = session.execute(f"SELECT k FROM {name} WHERE token(k) > %s", (middle,))
    assert (len(list(below)), len(list(above))) == (18, len(tokens) - 18)


def test_prepared_statements(session, table):
    insert = session.prepare(f"INSERT INTO {table} (id, name, age) VALUES (?, ?, ?) USING TTL ?")
    assert [column.name for column in insert.column_metadata] == ["id", "name", "age", "[ttl]"]
    assert insert.query_id == hashlib.md5(f"ks{insert.query_string}".encode()).digest()
    if session.cluster.protocol_version == 4:
        assert insert.routing_key_indexes == [0]
        session.execute(session.prepare(f"INSERT INTO {table} (id, name, age) VALUES (?, ?, ?)"), (1, "kept", 1))
        session.execute(insert, {"id": 1, "age": 3, "[ttl]": 100})
        assert session.execute(f"SELECT name, age FROM {table} WHERE id = 1").one() == ("kept", 3)
    named = session.prepare(f"SELECT name FROM {table} WHERE id = :who LIMIT :most")
    assert [column.name for column in named.column_metadata] == ["who", "most"]
    session.execute(insert, (5, "five", None, 100))
    assert session.execute(named, {"who": 5, "most": 1}).one() == ("five",)
    several = session.prepare(f"SELECT id FROM {table} WHERE id IN ?")
    assert [row.id for row in session.execute(several, ([5, 77],))] == [5]


def test_the_driver_prepares_again_when_an_id_is_forgotten(sim, session, table):
    insert = session.prepare(f"INSERT INTO {table} (id) VALUES (?)")
    assert sim.tell("unprepare").startswith("ok ")
    prepares = sim.stats()["opcodes"]["PREPARE"]
    session.execute(insert, (1,))
    assert sim.stats()["opcodes"]["PREPARE"] == prepares + 1
    assert [row["id"] for row in sim.dump(f"ks.{table}")] == [1]


def test_batches(session, table):
    insert = session.prepare(f"INSERT INTO {table} (id, age) VALUES (?, ?)")
    batch = BatchStatement()
    for number in range(20):
        batch.add(insert, (number, number))
    batch.add(SimpleStatement(f"DELETE FROM {table} WHERE id = %s"), (100,))
    session.execute(batch)
    assert session.execute(f"SELECT count(*) FROM {table}").one().count == 20
    session.execute(
        f"BEGIN UNLOGGED BATCH USING TIMESTAMP 1 INSERT INTO {table} (id, age) VALUES (1, 99);"
        f" DELETE FROM {table} WHERE id = 3 APPLY BATCH;"
    )
    assert session.execute(f"SELECT age FROM {table} WHERE id = 1").one().age == 1


def test_counters_and_collections(session):
    session.execute("CREATE TABLE IF NOT EXISTS visits (id int PRIMARY KEY, n counter)")
    session.execute("TRUNCATE visits")
    session.execute("UPDATE visits SET n = n + 5 WHERE id = 1")
    session.execute(session.prepare("UPDATE visits SET n = n - ? WHERE id = ?"), (7, 1))
    assert session.execute("SELECT n FROM visits WHERE id = 1").one().n == -2
    session.execute("CREATE TABLE IF NOT EXISTS bags (id int PRIMARY KEY, l list<int>, s set<text>, m map<text, int>)")
    session.execute("INSERT INTO bags (id, l, s, m) VALUES (1, [1], {'b'}, {'k': 1})")
    session.execute("UPDATE bags SET l = l + [2], s = s + {'a'}, m['j'] = 2 WHERE id = 1")
    session.execute("UPDATE bags SET l = [0] + l, s = s - {'b'}, m = m + {'z': 3} WHERE id = 1")
    session.execute("DELETE m['k'] FROM bags WHERE id = 1")
    session.execute("UPDATE bags SET l[0] = 9 WHERE id = 1")
    row = session.execute("SELECT * FROM bags WHERE id = 1").one()
    assert (row.l, set(row.s), dict(row.m)) == ([9, 1, 2], {"a"}, {"j": 2, "z": 3})
    assert len(list(session.execute("SELECT id FROM bags WHERE m CONTAINS KEY 'j' ALLOW FILTERING"))) == 1
    session.execute("UPDATE bags SET l = [], s = {}, m = {} WHERE id = 1")
    assert session.execute("SELECT l, s, m FROM bags WHERE id = 1").one() == (None, None, None)


def test_user_types(session):
    session.execute("CREATE TYPE IF NOT EXISTS address (street text, number int)")
    session.execute("CREATE TABLE IF NOT EXISTS people (id int PRIMARY KEY, home frozen<address>)")
    session.execute("INSERT INTO people (id, home) VALUES (1, {street: 'Long', number: 5})")
    row = session.execute("SELECT home FROM people WHERE id = 1").one()
    assert (row.home.street, row.home.number) == ("Long", 5)
    session.cluster.refresh_schema_metadata()
    assert session.cluster.metadata.keyspaces["ks"].user_types["address"].field_names == ["street", "number"]


@pytest.mark.parametrize(
    "text, kind, message",
    [
        ("SELECT * FROM ks.nosuch", InvalidRequest, "unconfigured table nosuch"),
        ("SELECT nosuch FROM {t}", InvalidRequest, "Undefined column name nosuch"),
        ("INSERT INTO {t} (id, nosuch) VALUES (1, 2)", InvalidRequest, "Undefined column name nosuch"),
        ("USE nosuch", InvalidRequest, "Keyspace 'nosuch' does not exist"),
        ("SELECT * FROM nosuch.t", InvalidRequest, "Keyspace nosuch does not exist"),
        ("SELEC * FROM t", SyntaxException, "line 1:0 no viable alternative at input 'selec'"),
        ("SELECT * FROM {t} WHERE", SyntaxException, "<EOF>"),
        ("SELECT * FROM {t}; SELECT 1", SyntaxException, "expecting EOF"),
        ("INSERT INTO {t} (id) VALUES ('x')", InvalidRequest, "Invalid STRING constant"),
        ("INSERT INTO {t} (id) VALUES (99999999999)", InvalidRequest, "Unable to make int from '99999999999'"),
        ("INSERT INTO {t} (name) VALUES ('x')", InvalidRequest, "Missing mandatory PRIMARY KEY part id"),
        ("INSERT INTO {t} (id) VALUES (null)", InvalidRequest, "Invalid null value in condition for column id"),
        ("SELECT * FROM {t} WHERE age = 1", InvalidRequest, "use ALLOW FILTERING"),
        ("UPDATE {t} SET id = 1 WHERE id = 1", InvalidRequest, "PRIMARY KEY part id found in SET part"),
        ("UPDATE {t} SET age = 1 WHERE name = 'x'", InvalidRequest, "Some partition key parts are missing: id"),
        ("CREATE TABLE x (a int)", InvalidRequest, "No PRIMARY KEY specifed"),
        ("CREATE TABLE x (a nosuch PRIMARY KEY)", InvalidRequest, "Unknown type ks.nosuch"),
        ("INSERT INTO {t} (id) VALUES (" + "[" * 500 + "]" * 500 + ")", SyntaxException, "nested too deeply"),
    ],
)
def test_refusals_name_what_is_wrong(session, table, text, kind, message):
    with pytest.raises(kind) as refused:
        session.execute(text.replace("{t}", table))
    assert message in str(refused.value)


def test_existing_things(session, table):
    with pytest.raises(AlreadyExists) as refused:
        session.execute(f"CREATE TABLE {table} (id int PRIMARY KEY)")
    assert (refused.value.keyspace, refused.value.table) == ("ks", table)
    with pytest.raises(AlreadyExists) as refused:
        session.execute(f"CREATE KEYSPACE ks {REPLICATION}")
    assert refused.value.keyspace == "ks"
    session.execute(f"CREATE TABLE IF NOT EXISTS {table} (id int PRIMARY KEY)")


def test_a_bound_value_of_the_wrong_length(sim):
    with Raw() as client:
        client.ask(QUERY, query_body(f"CREATE KEYSPACE IF NOT EXISTS ks {REPLICATION}"))
        client.ask(QUERY, query_body("CREATE TABLE IF NOT EXISTS ks.ints (id int PRIMARY KEY)"))
        insert = "INSERT INTO ks.ints (id) VALUES (?)"
        code, text = client.error(QUERY, query_body(insert, 1, struct.pack(">Hi", 1, 3) + b"abc"))
        assert (code, text) == (0x2200, "Expected 4 or 0 byte int (3)")
        code, text = client.error(QUERY, query_body(insert, 1, struct.pack(">H", 0)))
        assert (code, text) == (0x2200, "Invalid amount of bind variables: expected 1, got 0")
        code, text = client.error(QUERY, query_body("SELECT * FROM ints"))
        assert code == 0x2200 and text.startswith("No keyspace has been specified. USE a keyspace")
        # A value by name, where the marker's name is the column's.
        named = query_body(insert, 0x41, struct.pack(">H", 1) + string("id") + struct.pack(">ii", 4, 77))
        assert client.ask(QUERY, named)[0] == RESULT
    assert {"id": 77} in sim.dump("ks.ints")


def test_schema_changes(session, table):
    before = session.execute("SELECT schema_version FROM system.local").one()
    session.execute(f"INSERT INTO {table} (id, name) VALUES (1, 'old')")
    session.execute(f"ALTER TABLE {table} ADD (note text, a_first set<int>)")
    assert session.execute("SELECT schema_version FROM system.local").one() != before
    session.execute(f"UPDATE {table} SET note = 'n', a_first = {{2, 1}} WHERE id = 1")
    row = session.execute(f"SELECT * FROM {table}").one()
    assert row._fields == ("id", "a_first", "age", "name", "note")
    assert (row.name, row.note, set(row.a_first)) == ("old", "n", {1, 2})
    wait_until(
        lambda: "note" in session.cluster.metadata.keyspaces["ks"].tables[table].columns, "the driver sees the new column"
    )
    session.execute(f"ALTER TABLE {table} DROP note")
    with pytest.raises(InvalidRequest, match="Undefined column name note"):
        session.execute(f"SELECT note FROM {table}")
    session.execute(f"CREATE INDEX ON {table} (name)")
    assert len(list(session.execute(f"SELECT * FROM {table} WHERE name = 'old'"))) == 1
    session.execute(f"DROP TABLE {table}")
    wait_until(lambda: table not in session.cluster.metadata.keyspaces["ks"].tables, "the driver sees the table go")


# ---- cluster, authentication, versions ----


def test_several_addresses_are_one_cluster(tmp_path):
    host_id = "11111111-2222-4333-8444-555555555555"
    options = ["--rack", "r1", "--rack", "r2", "--peer", f"127.0.0.119:{host_id}", "--release-version", "4.1.3"]
    with running(tmp_path, *options, listen=(OWN, SECOND)) as sim:
        with session_of(address=OWN) as session:
            wait_until(lambda: len(session.cluster.metadata.all_hosts()) == 3, "the driver lists three nodes")
            racks = {host.address: host.rack for host in session.cluster.metadata.all_hosts()}
            assert racks == {OWN: "r1", SECOND: "r2", "127.0.0.119": "r2"}
            session.execute(f"CREATE KEYSPACE ks {REPLICATION}")
            session.execute("CREATE TABLE ks.t (id int PRIMARY KEY)")
            for number in range(10):
                session.execute(f"INSERT INTO ks.t (id) VALUES ({number})")
        assert len(sim.dump("ks.t")) == 10
        with session_of(address=SECOND) as session:
            peers = {row.peer: row for row in session.execute("SELECT * FROM system.peers_v2")}
            assert set(peers) == {OWN, "127.0.0.119"}
            assert str(peers["127.0.0.119"].host_id) == host_id
            assert session.execute("SELECT rpc_address FROM system.local WHERE key = 'local'").one()[0] == SECOND
            tables = session.execute("DESCRIBE TABLES")
            assert ("ks", "table", "t") in [tuple(row) for row in tables]
            text = session.execute("DESCRIBE TABLE ks.t").one().create_statement
            assert text.startswith("CREATE TABLE ks.t (")
            assert session.prepare("DESCRIBE TABLES").column_metadata == []
        sim.tell(f"refuse on {SECOND}")
        with pytest.raises(ConnectionRefusedError):
            Raw(SECOND)
        Raw(OWN).socket.close()


def test_passwords(tmp_path):
    with running(tmp_path, "--auth", "app:se:cret", "--auth", "other:word", listen=(OWN,)):
        for user, password in (("app", "se:cret"), ("other", "word")):
            with session_of(address=OWN, auth_provider=PlainTextAuthProvider(user, password)) as session:
                assert session.execute("SELECT key FROM system.local").one().key == "local"
        with pytest.raises(NoHostAvailable, match="incorrect"):
            with session_of(address=OWN, auth_provider=PlainTextAuthProvider("app", "wrong")):
                pass
        with Raw(OWN, started=False) as client:
            opcode, body = client.ask(STARTUP, STARTUP_BODY)
            assert (opcode, body) == (AUTHENTICATE, string("org.apache.cassandra.auth.PasswordAuthenticator"))
            assert client.error(QUERY, query_body("SELECT * FROM system.local"))[0] == 0x0A
            assert client.error(AUTH_RESPONSE, struct.pack(">i", -1))[0] == 0x0100
            token = b"\0app\0se:cret"
            assert client.ask(AUTH_RESPONSE, struct.pack(">i", len(token)) + token) == (AUTH_SUCCESS, b"\xff\xff\xff\xff")


def test_drivers_step_down_from_versions_we_do_not_speak(sim):
    cluster = Cluster([ADDRESS], port=PORT)
    try:
        cluster.connect()
        assert cluster.protocol_version == 4
    finally:
        cluster.shutdown()
    for version in (1, 2, 6, 65, 66):
        with Raw(started=False, version=version) as client:
            client.send(frame(OPTIONS, stream=7, version=version))
            opcode, _, body, answered = client.receive()
            assert (opcode, answered, body[:4]) == (ERROR, 5, b"\0\0\0\x0a")
            wanted = f"Invalid or unsupported protocol version ({version}); supported versions are (3/v3, 4/v4, 5/v5-beta)"
            assert body[6:].decode() == wanted
            assert client.is_closed()


def test_compression_is_what_the_options_say(tmp_path, sim):
    with Raw(started=False) as client:
        opcode, body = client.ask(OPTIONS)
        assert opcode == SUPPORTED and string("COMPRESSION") + b"\0\x02" + string("snappy") + string("lz4") in body
        code, text = client.error(STARTUP, string_map({"CQL_VERSION": "3.0.0", "COMPRESSION": "zstd"}))
        assert (code, text) == (0x0A, "Unknown compression algorithm: zstd")
    with running(tmp_path, "--compression", "none", listen=(OWN,)), Raw(OWN, started=False) as client:
        opcode, body = client.ask(OPTIONS)
        assert opcode == SUPPORTED and string("COMPRESSION") + b"\0\0" in body
        code, text = client.error(STARTUP, string_map({"CQL_VERSION": "3.0.0", "COMPRESSION": "lz4"}))
        assert (code, text) == (0x0A, "This instance does not support lz4 compression")


def test_seed_file(tmp_path):
    seed = tmp_path / "seed.cql"
    seed.write_text(
        f"-- a comment; with a semicolon\nCREATE KEYSPACE s {REPLICATION};\nUSE s;\n"
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t (id, v) VALUES (1, 'a;b');\n"
    )
    with running(tmp_path, "--seed-file", str(seed), listen=(OWN,)) as sim:
        assert sim.dump("s.t") == [{"id": 1, "v": "a;b"}]


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "at least one --listen"),
        (["--listen", "nowhere"], "--listen nowhere"),
        (["--listen", ADDRESS, "--listen", ADDRESS], "not given before"),
        (["--listen", ADDRESS, "--port", "0"], "1 to 65535"),
        (["--listen", ADDRESS, "--auth", "nocolon"], "USER:PASSWORD"),
        (["--listen", ADDRESS, "--seed-file", "no/such/file"], "cannot open it"),
        (["--nosuch"], "nosuch"),
        (["--listen", ADDRESS, "--versions", "6"], "3, 4, 5, dse1, dse2"),
        (["--listen", ADDRESS, "--versions", ""], "3, 4, 5, dse1, dse2"),
        (["--listen", ADDRESS, "--compression", "zip"], "lz4, snappy"),
        (["--listen", ADDRESS, "--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (["--listen", ADDRESS, "--tls-cert", "no/such", "--tls-key", "no/such"], "no certificate"),
    ],
)
def test_bad_command_lines_are_refused(options, message):
    done = subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=20)
    assert done.returncode in (1, 2) and message in done.stderr


def test_help_and_version():
    for option in ("--help", "--version"):
        done = subprocess.run([PROGRAM, option], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and "cqlsim" in done.stdout


CQLSH = shutil.which("cqlsh") or shutil.which("cqlsh", path=os.path.dirname(sys.executable))


@pytest.mark.skipif(CQLSH is None, reason="cqlsh is not installed")
def test_cqlsh(tmp_path):
    script = tmp_path / "walk.cql"
    script.write_text(
        f"CREATE KEYSPACE walk {REPLICATION};\nUSE walk;\nCREATE TABLE t (id int PRIMARY KEY, name text);\n"
        "INSERT INTO t (id, name) VALUES (1, 'one');\nUPDATE t SET name = 'uno' WHERE id = 1;\n"
        "BEGIN BATCH INSERT INTO t (id, name) VALUES (2, 'due'); DELETE FROM t WHERE id = 9; APPLY BATCH;\n"
        "SELECT * FROM t;\nCONSISTENCY QUORUM;\nSHOW VERSION;\nDESCRIBE KEYSPACES;\nDESCRIBE TABLE t;\nDESCRIBE CLUSTER;\n"
        f"COPY t TO '{tmp_path}/out.csv';\nTRUNCATE t;\nCOPY t FROM '{tmp_path}/out.csv';\n"
    )
    with running(tmp_path, "--release-version", "4.1.3", listen=(OWN,)) as sim:
        done = subprocess.run([CQLSH, OWN, str(PORT), "-f", str(script)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        for wanted in ("uno", "due", "Cassandra 4.1.3", "CREATE TABLE walk.t", "Origin", "system_schema"):
            assert wanted in done.stdout, done.stdout + done.stderr
        assert sorted((row["id"], row["name"]) for row in sim.dump("walk.t")) == [(1, "uno"), (2, "due")]
