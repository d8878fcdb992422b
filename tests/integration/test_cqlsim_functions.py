"""What the simulated cluster makes of functions, casts, named markers and write timestamps: what a proxy that makes two clusters
agree has to reckon with. Refusals are worded as Cassandra words them."""

import time
import uuid

import pytest

from support import wire
from support.cqlsim import PORT, REPLICATION, running

ADDRESS = "127.0.37.21"
COLUMNS = "tu timeuuid, u uuid, ts timestamp, d date, t time, n bigint"


@pytest.fixture(scope="module", params=["3.11.19", "4.1.3", "5.0.3"])
def sim(request, tmp_path_factory):
    with running(tmp_path_factory.mktemp("functions"), "--release-version", request.param, listen=(ADDRESS,)) as sim:
        sim.release = int(request.param[0])
        with connected() as client:
            client.query(f"CREATE KEYSPACE ks {REPLICATION}")
        yield sim


def connected(version=4):
    return wire.Connection(ADDRESS, PORT, version=version).startup()


@pytest.fixture
def client(sim):
    with connected() as client:
        yield client


@pytest.fixture
def table(client):
    name = "ks.t_" + uuid.uuid4().hex[:12]
    client.query(f"CREATE TABLE {name} (id int PRIMARY KEY, {COLUMNS})")
    return name


FUNCTIONS = [  # column, term, first release, last release
    ("tu", "now()", 3, 9),
    ("tu", "NOW()", 3, 9),
    ("tu", '"now"()', 3, 9),
    ("tu", "system.now()", 3, 9),
    ("u", "uuid()", 3, 9),
    ("u", "now()", 3, 9),
    ("ts", "toTimestamp(now())", 3, 9),
    ("d", "toDate(now())", 3, 9),
    ("n", "toUnixTimestamp(now())", 3, 9),
    ("n", "toTimestamp(now())", 3, 9),
    ("ts", "dateOf(now())", 3, 4),
    ("n", "unixTimestampOf(now())", 3, 4),
    ("tu", "currentTimeUUID()", 4, 9),
    ("ts", "currentTimestamp()", 4, 9),
    ("d", "currentDate()", 4, 9),
    ("t", "currentTime()", 4, 9),
    ("ts", "toTimestamp(currentDate())", 4, 9),
    ("tu", "current_timeuuid()", 5, 9),
    ("ts", "current_timestamp()", 5, 9),
    ("d", "current_date()", 5, 9),
    ("t", "current_time()", 5, 9),
    ("ts", "to_timestamp(now())", 5, 9),
    ("d", "to_date(now())", 5, 9),
    ("n", "to_unix_timestamp(now())", 5, 9),
    ("tu", "min_timeuuid('2024-01-01')", 5, 9),
    ("tu", "minTimeuuid('2024-01-01')", 3, 9),
]


@pytest.mark.parametrize("column, term, first, last", FUNCTIONS)
def test_functions_by_release(sim, client, table, column, term, first, last):
    text = f"INSERT INTO {table} (id, {column}) VALUES (1, {term})"
    if first <= sim.release <= last:
        client.query(text)
        assert sim.dump(table)[0][column] is not None
        assert client.execute(client.prepare(text)).kind == "VOID"
    else:
        code, message, _ = client.query_error(text)
        name = term.lower().removeprefix("totimestamp(").split("(")[0] if "current" in term else term.split("(")[0].lower()
        assert (code, message) == (wire.INVALID, f"Unknown function {name} called")


def test_each_call_gives_its_own_value_and_the_time_is_now(sim, client, table):
    before = int(time.time() * 1000)
    client.query(f"INSERT INTO {table} (id, tu, u, ts, n) VALUES (1, now(), uuid(), toTimestamp(now()), toUnixTimestamp(now()))",
                 timestamp=5)  # fmt: skip
    client.query(f"INSERT INTO {table} (id, tu, u) VALUES (2, now(), uuid())")
    one, two = sorted(sim.dump(table), key=lambda row: row["id"])
    assert one["tu"] != two["tu"] and one["u"] != two["u"]
    assert uuid.UUID(one["tu"]).version == 1 and uuid.UUID(one["u"]).version == 4
    assert before <= one["n"] <= time.time() * 1000, "the clock, not the write's timestamp"


def test_casts(client, sim, table):
    insert = client.prepared(f"INSERT INTO {table} (id, tu, ts, n) VALUES (?, (timeuuid)?, toTimestamp((timeuuid)?), (bigint)7)")
    assert insert.bound == [("id", 9), ("tu", 15), ("arg0(system.totimestamp)", 15)]
    moment = uuid.UUID("2b4d1a00-a8c1-11ee-8000-000000000000")
    client.execute(insert.prepared_id, (wire.int_value(1), moment.bytes, moment.bytes))
    row = sim.dump(table)[0]
    assert row["tu"] == str(moment) and row["n"] == 7
    ((ms,),) = client.rows(f"SELECT ts FROM {table}")
    assert int.from_bytes(ms, "big") == (moment.time - 0x01B21DD213814000) // 10000
    client.query(f"UPDATE {table} SET u = (uuid)now(), tu = (timeuuid)now(), n = (bigint)(bigint)8 WHERE id = (int)1")
    assert sim.dump(table)[0]["n"] == 8
    code, message, _ = client.query_error(f"INSERT INTO {table} (id, tu) VALUES (1, (int)5)")
    assert code == wire.INVALID and message == "Cannot assign value (int)5 to tu of type timeuuid"


def test_a_bare_marker_does_not_say_which_function_is_meant(client, table):
    code, message, _ = client.error("PREPARE", wire.long_string(f"INSERT INTO {table} (id, ts) VALUES (1, toTimestamp(?))"))
    assert code == wire.INVALID and message.startswith("Ambiguous call to function totimestamp")
    bound = client.prepared(f"INSERT INTO {table} (id, tu) VALUES (1, minTimeuuid(?))").bound
    assert bound == [("arg0(system.mintimeuuid)", 11)]


def test_types_are_checked(client, table):
    code, message, _ = client.query_error(f"INSERT INTO {table} (id, n) VALUES (1, now())")
    assert code == wire.INVALID
    assert message == "Type error: cannot assign result of function system.now (type timeuuid) to n (type bigint)"
    code, message, _ = client.query_error(f"INSERT INTO {table} (id, ts) VALUES (1, toTimestamp(uuid()))")
    assert code == wire.INVALID and "none of its type signatures match" in message


def test_values_by_name(client, sim, table):
    text = f"UPDATE {table} USING TIMESTAMP :stamp SET n = :n, ts = toTimestamp((timeuuid):when) WHERE id = :id"
    named = {"id": wire.int_value(1), "n": bytes(7) + b"\x05", "stamp": bytes(6) + b"\x01\0", "when": uuid.uuid1().bytes}
    update = client.prepared(text)
    assert [name for name, _ in update.bound] == ["stamp", "n", "when", "id"]
    client.execute(update.prepared_id, named)
    assert sim.dump(table, "writetime")[0]["writetime(n)"] == 256
    client.query(text, {**named, "stamp": bytes(6) + b"\x02\0"})
    assert sim.dump(table, "writetime")[0]["writetime(n)"] == 512
    del named["n"]
    code, message, _ = client.error("EXECUTE", wire.execute_body(update.prepared_id, named))
    assert (code, message) == (wire.INVALID, "there were 4 markers(?) in CQL but 3 bound variables")


def test_write_timestamps(client, sim, table):
    insert = client.prepare(f"INSERT INTO {table} (id, n) VALUES (?, ?)")
    values = (wire.int_value(1), bytes(8))
    client.execute(insert, values, timestamp=1000)
    client.query(f"UPDATE {table} SET ts = 1 WHERE id = 1", timestamp=2000)
    client.batch([(f"UPDATE {table} SET d = '2024-01-01' WHERE id = 1", ()), (insert, values)], timestamp=3000)
    client.query(f"UPDATE {table} USING TIMESTAMP 4000 SET t = '01:02:03' WHERE id = 1", timestamp=9)
    before = int(time.time() * 1e6)
    client.query(f"UPDATE {table} SET u = uuid() WHERE id = 1")
    row = sim.dump(table, "writetime")[0]
    assert [row[f"writetime({name})"] for name in ("n", "ts", "d", "t", "tu", "")] == [3000, 2000, 3000, 4000, None, 3000]
    assert before - 1_000_000 < row["writetime(u)"] < before + 60_000_000
    code, message, _ = client.query_error(f"DELETE FROM {table} WHERE id = 1", timestamp=-(2**63))
    assert code == wire.PROTOCOL_ERROR and "Out of bound timestamp" in message


def test_conditional_writes_and_counters_keep_their_own_time(client, sim, table):
    before = int(time.time() * 1e6)
    client.query(f"INSERT INTO {table} (id, n) VALUES (1, 1) IF NOT EXISTS", timestamp=5)
    assert sim.dump(table, "writetime")[0]["writetime(n)"] > before - 1_000_000
    code, message, _ = client.query_error(f"INSERT INTO {table} (id, n) VALUES (1, 1) IF NOT EXISTS USING TIMESTAMP 5")
    assert (code, message) == (wire.INVALID, "Cannot provide custom timestamp for conditional updates")
    counters = table + "_c"
    client.query(f"CREATE TABLE {counters} (id int PRIMARY KEY, n counter)")
    client.query(f"UPDATE {counters} SET n = n + 1 WHERE id = 1", timestamp=5)
    code, message, _ = client.query_error(f"UPDATE {counters} USING TIMESTAMP 5 SET n = n + 1 WHERE id = 1")
    assert (code, message) == (wire.INVALID, "Cannot provide custom timestamp for counter updates")


def test_functions_in_selections(client):
    result = client.query("SELECT now(), toTimestamp(now()) FROM system.local")
    assert result.columns == ["system.now()", "system.totimestamp(system.now())"] and result.types == [15, 11]
    assert all(len(value) == length for value, length in zip(result.rows[0], (16, 8)))
