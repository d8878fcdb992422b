"""now(), uuid() and the current times in writes: one value for both clusters, and the client sees nothing of it."""

import itertools
import json
import types
import uuid

import pytest

from support import wire
from support.programs import Lab

COLUMNS = "k int, c timeuuid, a timeuuid, b uuid, ts timestamp, d date, m time, l list<timeuuid>, s set<uuid>, mp map<text, timestamp>, v text"
REPLACED = "zdm_proxy_replaced_functions_total"
LEFT = "zdm_proxy_unreplaced_functions_total"
TIMESTAMP = 1_700_000_000_000_000

keys = itertools.count(1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """As every file's, but the clusters speak v5 too."""
    lab = Lab(tmp_path_factory.mktemp("world"))
    try:
        origin, target = lab.pair(options=["--versions", "3,4,5"])
        proxy = lab.proxy(origin, target, REQUEST_TIMEOUT_MS="4000").start()
        yield types.SimpleNamespace(lab=lab, origin=origin, target=target, proxy=proxy)
    finally:
        lab.close()


@pytest.fixture
def table(world, keyspace):
    name = f"{keyspace}.f"
    for cluster in (world.origin, world.target):
        cluster.query(f"CREATE TYPE {keyspace}.u (a timeuuid, d date)")
        cluster.query(f"CREATE TABLE {name} ({COLUMNS}, t frozen<tuple<timeuuid, date>>, u frozen<u>, PRIMARY KEY (k, c))")
    return name


def rows(world, table):
    """What both hold, byte for byte; not when it was written."""
    dumps = [cluster.tell(f"dump {table}").splitlines()[:-1] for cluster in (world.origin, world.target)]
    assert dumps[0] == dumps[1] and dumps[0]
    return [json.loads(line) for line in dumps[0]]


def replaced(delta):
    return {series[len(REPLACED) + 7 : -2]: count for series, count in delta.items() if series.startswith(REPLACED)}


TEXTS = {
    "every function": (
        "INSERT INTO {t} (k, c, a, b, ts, d, m) VALUES (1, now(), currentTimeUUID(), uuid(), currentTimestamp(), currentDate(), currentTime())",
        {"timeuuid": 2, "uuid": 1, "timestamp": 1, "date": 1, "time": 1},
    ),
    "snake case": (
        "INSERT INTO {t} (k, c, a, ts, d, m) VALUES (1, current_timeuuid(), NOW ( ), current_timestamp(), current_date(), current_time())",
        {"timeuuid": 2, "timestamp": 1, "date": 1, "time": 1},
    ),
    "after multibyte text": (
        "INSERT INTO {t} (k, v, c, b) VALUES (1, 'héllo 🌍 now()', system.now(), \"uuid\"()) -- now()",
        {"timeuuid": 1, "uuid": 1},
    ),
    "as arguments": ("INSERT INTO {t} (k, c, ts, d) VALUES (1, now(), toTimestamp(now()), toDate(now()))", {"timeuuid": 3}),
    "in collections": (
        "INSERT INTO {t} (k, c, l, s, mp) VALUES (1, now(), [now(), now()], {{uuid(), uuid()}}, {{'a':currentTimestamp(), 'b': toTimestamp(now())}})",
        {"timeuuid": 4, "uuid": 2, "timestamp": 1},
    ),
    "in tuples and user types": (
        "INSERT INTO {t} (k, c, t, u) VALUES (1, now(), (now(), currentDate()), {{a:now(), d : currentDate()}})",
        {"timeuuid": 3, "date": 2},
    ),
    "UPDATE": ("UPDATE {t} SET a = now(), b = uuid() WHERE k = 1 AND c = now()", {"timeuuid": 2, "uuid": 1}),
    "conditional": ("INSERT INTO {t} (k, c, a) VALUES (1, now(), now()) IF NOT EXISTS", {"timeuuid": 2}),
    "BATCH": (
        "BEGIN BATCH INSERT INTO {t} (k, c) VALUES (1, now()); UPDATE {t} SET a = now() WHERE k = 2 AND c = now(); APPLY BATCH",
        {"timeuuid": 3},
    ),
}


@pytest.mark.parametrize("what", TEXTS)
@pytest.mark.parametrize(("version", "compression"), [(3, "snappy"), (4, None), (4, "lz4"), (5, None), (5, "lz4")])
def test_text(world, table, what, version, compression):
    text, want = TEXTS[what]
    with world.proxy.connect(version=version, compression=compression) as client, world.proxy.metric_delta() as delta:
        client.query(text.format(t=table), timestamp=None if what == "conditional" else TIMESTAMP)
    rows(world, table)
    assert replaced(delta) == want and LEFT not in delta


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("what", [name for name in TEXTS if name != "in collections"])
def test_prepared(world, table, what, version):
    text, want = TEXTS[what]
    text = text.format(t=table)
    markers = text.replace("VALUES (1", "VALUES (?").replace("k = 1", "k = ?").replace("k = 2", "k = ?")
    key = wire.int_value(next(keys))
    with world.proxy.connect(version=version) as client, world.proxy.metric_delta() as delta:
        prepared = client.prepared(markers)
        assert prepared.bound == [("k", 0x09)] * markers.count("?")
        assert client.prepared(markers).prepared_id == prepared.prepared_id
        client.execute(prepared.prepared_id, [key] * markers.count("?"))
    found = rows(world, table)
    assert replaced(delta) == want
    # A second time: other values.
    with world.proxy.connect(version=version) as client:
        client.execute(prepared.prepared_id, [key] * markers.count("?"))
    assert len(rows(world, table)) == 2 * len(found)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_prepared_with_nothing_of_the_client_s(world, table, version):
    with world.proxy.connect(version=version) as client:
        prepared = client.prepared(f"INSERT INTO {table} (k, c, a) VALUES (7, now(), now())")
        assert prepared.bound == []
        client.execute(prepared.prepared_id)
        client.execute(prepared.prepared_id, timestamp=TIMESTAMP, serial_consistency=9)
        client.batch([(prepared.prepared_id, ())])
    found = rows(world, table)
    assert len(found) == 3 and all(row["a"] != row["c"] for row in found)


NAMED = "INSERT INTO {t} (a, k, b, v, c) VALUES (now(), {k}, uuid(), {v}, now())"


@pytest.mark.parametrize("version", [3, 4, 5])
def test_named_markers(world, table, version):
    text = NAMED.format(t=table, k=":key", v=":val")
    with world.proxy.connect(version=version) as client:
        prepared = client.prepared(text)
        assert [name for name, _ in prepared.bound] == ["key", "val"]
        client.execute(prepared.prepared_id, {"val": b"by name", "key": wire.int_value(1)})
        client.execute(prepared.prepared_id, [wire.int_value(2), b"by position"])
        client.batch([(prepared.prepared_id, [wire.int_value(3), b"in a batch"])])
        # As text they are literals.
        client.query(text, {"key": wire.int_value(4), "val": b"text"})
    found = {row["k"]: row for row in rows(world, table)}
    assert sorted(found) == [1, 2, 3, 4] and found[1]["v"] == "by name" and found[2]["v"] == "by position"
    assert len({row["a"] for row in found.values()} | {row["c"] for row in found.values()}) == 8


def test_names_sent_for_question_marks(world, table):
    with world.proxy.connect() as client:
        prepared = client.prepare(NAMED.format(t=table, k="?", v="?"))
        client.execute(prepared, {"v": b"x", "k": wire.int_value(1)})
    (row,) = rows(world, table)
    assert (row["k"], row["v"]) == (1, "x") and row["a"] != row["c"]


@pytest.mark.parametrize("version", [3, 4, 5])
def test_mixed_batch(world, table, version):
    with world.proxy.connect(version=version) as client, world.proxy.metric_delta() as delta:
        prepared = client.prepare(f"INSERT INTO {table} (c, k, a) VALUES (now(), ?, now())")
        other = client.prepare(f"INSERT INTO {table} (k, c, v) VALUES (?, ?, ?)")
        client.batch(
            [
                (prepared, [wire.int_value(1)]),
                (f"INSERT INTO {table} (k, c, b) VALUES (2, now(), uuid())", ()),
                (other, [wire.int_value(3), uuid.uuid1().bytes, b"x" * 5000]),
                (f"INSERT INTO {table} (k, v, c) VALUES (?, ?, now())", [wire.int_value(4), b"now()"]),
                (prepared, [wire.int_value(5)]),
            ]
        )
    assert sorted(row["k"] for row in rows(world, table)) == [1, 2, 3, 4, 5]
    assert replaced(delta) == {"timeuuid": 6, "uuid": 1}


def test_two_clients_never_share_a_plan(world, table):
    """The same text but for a marker where another client has now(), and the very text the proxy makes of that."""
    with world.proxy.connect() as client:
        theirs = client.prepare(f"INSERT INTO {table} (k, c) VALUES (?, ?)")
        ours = client.prepare(f"INSERT INTO {table} (k, c) VALUES (?, now())")
        code, message, _ = client.error("PREPARE", wire.prepare_body(f"INSERT INTO {table} (k, c) VALUES (?, (timeuuid):cloudgate_timeuuid_0)"))
        assert code == wire.INVALID and "cloudgate_" in message
        assert theirs != ours
        client.execute(theirs, [wire.int_value(1), uuid.uuid1().bytes])
        client.execute(ours, [wire.int_value(2)])
    assert sorted(row["k"] for row in rows(world, table)) == [1, 2]


def test_calls_in_collection_literals_of_prepared_statements_are_left_and_counted(world, table):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        prepared = client.prepare(f"INSERT INTO {table} (k, c, l) VALUES (?, now(), [now(), now()])")
        client.execute(prepared, [wire.int_value(1)])
    assert delta[LEFT] == 2 and replaced(delta) == {"timeuuid": 1}
    keys = [cluster.rows(f"SELECT c FROM {table}") for cluster in (world.origin, world.target)]
    assert keys[0] == keys[1]


def test_reads_and_other_keyspaces_are_let_alone(world, table, keyspace):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.rows(f"SELECT * FROM {table} WHERE k = 1 AND c < now()")
        client.query(f"INSERT INTO {table} (k, c) VALUES (1, {keyspace}.now())")
        client.query(f"INSERT INTO {table} (k, c, v) VALUES (1, {uuid.uuid1()}, 'now()')")
    assert replaced(delta) == {} and LEFT not in delta


@pytest.mark.parametrize("values", [[], [wire.int_value(1), b"x", b"y"]])
def test_a_wrong_number_of_values_is_an_error_of_the_cluster(world, table, values):
    with world.proxy.connect() as client:
        prepared = client.prepare(f"INSERT INTO {table} (k, c, v) VALUES (?, now(), ?)")
        code, _, _ = client.error("EXECUTE", wire.execute_body(prepared, values))
        assert code == wire.INVALID


def test_values_that_break_the_protocol(world, table):
    with world.proxy.connect() as client:
        prepared = client.prepare(f"INSERT INTO {table} (k, c, v) VALUES (?, now(), ?)")
        body = wire.execute_body(prepared, [wire.int_value(1), b"x"])
        for cut in (1, 4, 9):
            code, message, _ = client.error("EXECUTE", body[:-cut])
            assert code == wire.PROTOCOL_ERROR and "values" in message
        client.execute(prepared, [wire.int_value(1), b"x"])


def test_forgotten_and_prepared_again(world, table):
    """The attempt that one cluster knew and the other did not is one row there; the client's next one has values of its own."""
    with world.proxy.connect() as client:
        text = f"INSERT INTO {table} (k, c) VALUES (?, now())"
        prepared = client.prepare(text)
        for key, cluster in enumerate((world.origin, world.target)):
            cluster.tell("unprepare")
            code, _, details = client.error("EXECUTE", wire.execute_body(prepared, [wire.int_value(key)]))
            assert (code, details) == (wire.UNPREPARED, wire.short_bytes(prepared))
            assert client.prepare(text) == prepared
            client.execute(prepared, [wire.int_value(10 + key)])
    kept = [cluster.rows(f"SELECT k, c FROM {table} WHERE k IN (10, 11)") for cluster in (world.origin, world.target)]
    assert kept[0] == kept[1] and len(kept[0]) == 2


def test_switched_off(world, table):
    proxy = world.lab.proxy(world.origin, world.target, "proxy-off", REPLACE_CQL_FUNCTIONS="false").start()
    with proxy.connect() as client:
        client.query(f"INSERT INTO {table} (k, c) VALUES (1, now())")
        assert client.prepared(f"INSERT INTO {table} (k, c) VALUES (?, now())").bound == [("k", 0x09)]
        keys = [cluster.rows(f"SELECT c FROM {table}") for cluster in (world.origin, world.target)]
        assert keys[0] != keys[1]
    assert proxy.metric(REPLACED + '{type="timeuuid"}') == 0
    proxy.stop()


def test_the_python_driver(world, table):
    with world.proxy.driver() as session:
        statement = session.prepare(f"INSERT INTO {table} (k, c, a, v) VALUES (?, now(), uuid(), ?)".replace("a,", "b,"))
        assert [column.name for column in statement.column_metadata] == ["k", "v"]
        assert statement.routing_key_indexes == [0]
        for future in [session.execute_async(statement, (k, f"row {k}")) for k in range(200)]:
            future.result()
    found = rows(world, table)
    assert len(found) == 200 and len({row["c"] for row in found}) == 200 and len({row["b"] for row in found}) == 200
