"""The simulated cluster itself: what the other plays rest on. Real Python driver at v3 and v4, cqlsh, raw and hostile bytes,
and every command of the control socket."""

import contextlib
import datetime
import decimal
import hashlib
import ipaddress
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid

import pytest

cassandra = pytest.importorskip("cassandra", reason="the Python driver is not installed")
from cassandra import AlreadyExists, InvalidRequest, OperationTimedOut, ReadTimeout, WriteTimeout  # noqa: E402
from cassandra.auth import PlainTextAuthProvider  # noqa: E402
from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT, NoHostAvailable  # noqa: E402
from cassandra.policies import WhiteListRoundRobinPolicy  # noqa: E402
from cassandra.protocol import SyntaxException  # noqa: E402
from cassandra.query import BatchStatement, SimpleStatement  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = pathlib.Path(os.environ.get("CLOUDGATE_BIN", ROOT / "build/release/bin")) / "cqlsim"
ADDRESS, PORT = "127.0.0.111", 19042
OWN, SECOND = "127.0.0.113", "127.0.0.114"  # for the tests that start a server of their own
ERROR, STARTUP, READY, AUTHENTICATE, OPTIONS, SUPPORTED, QUERY, RESULT = 0, 1, 2, 3, 5, 6, 7, 8
PREPARE, EXECUTE, REGISTER, EVENT, BATCH, AUTH_RESPONSE, AUTH_SUCCESS = 9, 10, 11, 12, 13, 15, 16
REPLICATION = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"


def wait_until(check, what, timeout=10):
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.01)


class Sim:
    def __init__(self, directory, *options, listen=(ADDRESS,), name="Origin"):
        self.control_path = directory / "control.sock"
        self.log_path = directory / "sim.log"
        command = [str(PROGRAM), "--port", str(PORT), "--cluster-name", name, "--control", str(self.control_path)]
        for address in listen:
            command += ["--listen", address]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command + list(options), stderr=log)
        wait_until(self.is_listening, "cqlsim listens: " + self.log())

    def is_listening(self):
        assert self.process.poll() is None, self.log()
        return "event=listening" in self.log()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self.control_path))
            control.sendall(command.encode() + b"\n")
            control.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := control.recv(65536):
                answer += chunk
        return answer.decode()

    def stats(self):
        return json.loads(self.tell("stats").removeprefix("ok "))

    def dump(self, table):
        *rows, last = self.tell(f"dump {table}").splitlines()
        assert last == f"ok {len(rows)}"
        return [json.loads(row) for row in rows]

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        assert status == 0, f"exit status {status}: {self.log()}"
        assert "event=stopped" in self.log()


@contextlib.contextmanager
def running(directory, *options, **more):
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")
    sim = Sim(directory, *options, **more)
    try:
        yield sim
    finally:
        if sim.process.poll() is None:
            sim.stop()
    assert sim.process.returncode == 0, sim.log()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(tmp_path_factory.mktemp("cqlsim")) as sim:
        yield sim


@pytest.fixture
def sim(shared):
    shared.tell("clear")
    yield shared
    shared.tell("clear")


@contextlib.contextmanager
def session_of(version=4, address=ADDRESS, timeout=10, **options):
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=timeout)
    cluster = Cluster(
        [address], port=PORT, protocol_version=version, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **options
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


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


# ---- raw bytes ----


def string(text):
    return struct.pack(">H", len(text)) + text.encode()


def string_map(pairs):
    return struct.pack(">H", len(pairs)) + b"".join(string(key) + string(value) for key, value in pairs.items())


def query_body(text, flags=0, rest=b""):
    return struct.pack(">i", len(text)) + text.encode() + struct.pack(">HB", 1, flags) + rest


def frame(opcode, body=b"", stream=1, version=4, flags=0):
    return struct.pack(">BBhBi", version, flags, stream, opcode, len(body)) + body


STARTUP_BODY = string_map({"CQL_VERSION": "3.0.0"})


class Raw:
    def __init__(self, address=ADDRESS, started=True, version=4):
        self.version = version
        self.socket = socket.create_connection((address, PORT), timeout=10)
        if started:
            assert self.ask(STARTUP, STARTUP_BODY)[0] == READY

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def receive(self):
        version, _, stream, opcode, length = struct.unpack(">BBhBi", self.exactly(9))
        assert version & 0x80
        return opcode, stream, self.exactly(length), version & 0x7F

    def ask(self, opcode, body=b"", stream=1):
        self.send(frame(opcode, body, stream, self.version))
        got, got_stream, answer, _ = self.receive()
        assert got_stream == stream
        return got, answer

    def error(self, opcode, body=b""):
        got, answer = self.ask(opcode, body)
        assert got == ERROR, (got, answer)
        code, length = struct.unpack(">iH", answer[:6])
        return code, answer[6 : 6 + length].decode()

    def is_closed(self):
        self.socket.settimeout(10)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True


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
        f"BEGIN UNLOGGED BATCH USING TIMESTAMP 1 INSERT INTO {table} (id, age) VALUES (1, 99); DELETE FROM {table} WHERE id = 3 APPLY BATCH;"
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
    for version in (1, 2, 5, 6, 65, 66):
        with Raw(started=False, version=version) as client:
            client.send(frame(OPTIONS, stream=7, version=version))
            opcode, _, body, answered = client.receive()
            assert (opcode, answered, body[:4]) == (ERROR, 4, b"\0\0\0\x0a")
            wanted = f"Invalid or unsupported protocol version ({version}); supported versions are (3/v3, 4/v4)"
            assert body[6:].decode() == wanted
            assert client.is_closed()


def test_no_compression(sim):
    with Raw(started=False) as client:
        opcode, body = client.ask(OPTIONS)
        assert opcode == SUPPORTED and string("COMPRESSION") + b"\0\0" in body
        code, _ = client.error(STARTUP, string_map({"CQL_VERSION": "3.0.0", "COMPRESSION": "lz4"}))
        assert code == 0x0A


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


# ---- events ----


def test_events_reach_those_who_registered(sim):
    with Raw() as listener, Raw() as deaf, Raw(version=3) as old:
        names = ("STATUS_CHANGE", "TOPOLOGY_CHANGE", "SCHEMA_CHANGE")
        body = struct.pack(">H", 3) + b"".join(string(name) for name in names)
        assert listener.ask(REGISTER, body)[0] == READY
        assert old.ask(REGISTER, body)[0] == READY
        assert deaf.error(REGISTER, struct.pack(">H", 1) + string("NOSUCH"))[0] == 0x0A
        sim.tell("event STATUS_CHANGE DOWN 127.0.0.9:9042")
        inet = b"\x04\x7f\0\0\x09" + struct.pack(">i", 9042)
        for client in (listener, old):
            opcode, stream, body, version = client.receive()
            assert (opcode, stream, version) == (EVENT, -1, client.version)
            assert body == string("STATUS_CHANGE") + string("DOWN") + inet
        sim.tell("event TOPOLOGY_CHANGE NEW_NODE [2001:db8::5]:19042")
        assert listener.receive()[2].startswith(string("TOPOLOGY_CHANGE") + string("NEW_NODE") + b"\x10")
        keyspace = "ev_" + uuid.uuid4().hex[:8]
        opcode, body = deaf.ask(QUERY, query_body(f"CREATE KEYSPACE {keyspace} {REPLICATION}"))
        change = string("CREATED") + string("KEYSPACE") + string(keyspace)
        assert (opcode, body) == (RESULT, struct.pack(">i", 5) + change)
        assert listener.receive()[2] == string("SCHEMA_CHANGE") + change
        assert deaf.ask(OPTIONS)[0] == SUPPORTED  # and no event came before it
        assert sim.stats()["registered"] == 2


# ---- faults ----


@pytest.fixture
def numbers(sim):
    """ks.n (id int PRIMARY KEY, v int), empty."""
    with Raw() as client:
        client.ask(QUERY, query_body(f"CREATE KEYSPACE IF NOT EXISTS ks {REPLICATION}"))
        client.ask(QUERY, query_body("CREATE TABLE IF NOT EXISTS ks.n (id int PRIMARY KEY, v int)"))
        client.ask(QUERY, query_body("TRUNCATE ks.n"))
        yield client


INSERT = query_body("INSERT INTO ks.n (id, v) VALUES (1, 1)")
READ = query_body("SELECT * FROM ks.n")


def test_errors_on_demand(sim, numbers):
    assert sim.tell('error 0x1001 "too much, thanks" writes count 2') == "ok\n"
    assert numbers.ask(QUERY, READ)[0] == RESULT
    for _ in range(2):
        assert numbers.error(QUERY, INSERT) == (0x1001, "too much, thanks")
    assert numbers.ask(QUERY, INSERT)[0] == RESULT
    assert sim.tell("error 0x1000 reads") == "ok\n"
    assert numbers.error(QUERY, READ)[0] == 0x1000
    assert numbers.ask(QUERY, query_body("SELECT key FROM system.local"))[0] == RESULT
    assert sim.tell("error 4352 OPTIONS count 1") == "ok\n"
    assert numbers.error(OPTIONS)[0] == 0x1100
    with session_of() as session:
        sim.tell("error 0x1200 reads")
        with pytest.raises(ReadTimeout):
            session.execute("SELECT * FROM ks.n")
        sim.tell("error 0x1100 writes")
        with pytest.raises(WriteTimeout):
            session.execute("INSERT INTO ks.n (id) VALUES (3)")
    sim.tell("clear")
    assert numbers.ask(QUERY, READ)[0] == RESULT


def test_held_and_delayed_answers_are_overtaken(sim, numbers):
    assert sim.tell("hold writes count 2") == "ok\n"
    numbers.send(frame(QUERY, INSERT, 10) + frame(QUERY, INSERT, 11) + frame(QUERY, READ, 12))
    assert numbers.receive()[1] == 12
    assert sim.dump("ks.n") == [{"id": 1, "v": 1}]  # carried out, only the answer waits
    assert sim.tell("release") == "ok 2\n"
    assert [numbers.receive()[1] for _ in range(2)] == [10, 11]
    sim.tell("delay 200 QUERY count 1")
    started = time.monotonic()
    numbers.send(frame(QUERY, INSERT, 20) + frame(OPTIONS, b"", 21))
    assert [numbers.receive()[1] for _ in range(2)] == [21, 20]
    assert time.monotonic() - started >= 0.19
    assert numbers.ask(QUERY, READ)[0] == RESULT


def test_silence(sim, numbers):
    sim.tell("silence writes count 1")
    numbers.send(frame(QUERY, INSERT, 30) + frame(QUERY, READ, 31) + frame(QUERY, INSERT, 32))
    assert [numbers.receive()[1] for _ in range(2)] == [31, 32]
    sim.tell("silence QUERY")
    with Raw() as client, pytest.raises(socket.timeout):
        client.socket.settimeout(0.3)
        client.ask(QUERY, READ)
    sim.tell("clear")
    sim.tell("silence reads")
    with session_of(timeout=0.5) as session, pytest.raises(OperationTimedOut):
        session.execute("SELECT * FROM ks.n")


def test_close_garbage_disconnect_refuse(sim, numbers):
    sim.tell("close QUERY count 1")
    with Raw() as client:
        client.send(frame(QUERY, READ))
        assert client.is_closed()
    sim.tell("garbage OPTIONS count 1")
    with Raw() as client:
        client.send(frame(OPTIONS))
        noise = client.exactly(512)
        assert noise[0] & 0x7F not in (3, 4)
    with Raw() as one, Raw() as two:
        opened = sim.stats()["connections_open"]
        assert opened >= 3 and sim.tell("disconnect") == f"ok {opened}\n"
        assert one.is_closed() and two.is_closed()
    wait_until(lambda: sim.stats()["connections_open"] == 0, "all connections are gone")
    assert sim.tell("refuse on") == "ok\n"
    with pytest.raises(ConnectionRefusedError):
        Raw()
    assert sim.tell("refuse off") == "ok\n"
    with Raw() as client:
        assert client.ask(QUERY, READ)[0] == RESULT


def test_stats_count(sim, numbers):
    before = sim.stats()
    for body in (INSERT, READ, query_body("SELECT key FROM system.local"), query_body("USE ks")):
        numbers.ask(QUERY, body)
    after = sim.stats()
    changed = {kind: after["statements"][kind] - count for kind, count in before["statements"].items()}
    assert {kind: count for kind, count in changed.items() if count} == {"insert": 1, "select": 1, "use": 1}
    assert after["system_statements"] == before["system_statements"] + 1
    assert after["opcodes"]["QUERY"] == before["opcodes"]["QUERY"] + 4


@pytest.mark.parametrize(
    "command",
    [
        "nosuch",
        "delay",
        "delay soon",
        "delay 99999999999",
        "delay 5 NOSUCH",
        "error",
        "error 0x20000",
        "error 5 text NOSUCH",
        "silence count",
        "silence count 0",
        "refuse",
        "refuse on 10.0.0.1",
        "disconnect nowhere",
        "event STATUS_CHANGE UP",
        "event STATUS_CHANGE UP nowhere:1",
        "dump ks",
        "dump no.such",
        "dump system.local",
        "a " * 100,
    ],
)
def test_bad_commands_are_refused(sim, command):
    answer = sim.tell(command)
    assert answer.startswith("error ") and answer.count("\n") == 1


# ---- hostile bytes ----


def session_frames():
    """A valid session, frame by frame."""
    insert = "INSERT INTO ks.n (id, v) VALUES (?, ?)"
    prepared = hashlib.md5(insert.encode()).digest()
    values = struct.pack(">Hiiii", 2, 4, 5, 4, 6)
    batched = struct.pack(">BHB", 0, 2, 0) + struct.pack(">i", len(insert)) + insert.encode() + values
    batched += b"\x01" + struct.pack(">H", 16) + prepared + values + struct.pack(">HB", 1, 0)
    return [
        frame(OPTIONS),
        frame(STARTUP, STARTUP_BODY),
        frame(REGISTER, struct.pack(">H", 1) + string("SCHEMA_CHANGE")),
        frame(PREPARE, struct.pack(">i", len(insert)) + insert.encode()),
        frame(EXECUTE, struct.pack(">H", 16) + prepared + struct.pack(">HB", 1, 1) + values),
        frame(BATCH, batched),
        frame(QUERY, query_body("SELECT * FROM ks.n WHERE id IN (1, 2)", 4, struct.pack(">i", 10))),
    ]


def test_the_valid_session_is_valid(sim, numbers):
    with Raw(started=False) as client:
        client.send(b"".join(session_frames()))
        answers = [client.receive()[0] for _ in session_frames()]
    assert answers == [SUPPORTED, READY, READY, RESULT, RESULT, RESULT, RESULT]


def test_truncated_at_every_byte(sim, numbers):
    whole = b"".join(session_frames())
    for length in range(len(whole)):
        with Raw(started=False) as client:
            client.send(whole[:length])
            client.socket.shutdown(socket.SHUT_WR)
            assert client.is_closed()
    assert numbers.ask(QUERY, READ)[0] == RESULT


def test_any_split_gives_the_same_answers(sim, numbers):
    whole = b"".join(session_frames())
    for size in (1, 2, 7, 8, 9, 10):
        with Raw(started=False) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(whole), size):
                client.send(whole[at : at + size])
            answers = [client.receive()[0] for _ in session_frames()]
        assert answers == [SUPPORTED, READY, READY, RESULT, RESULT, RESULT, RESULT]


def test_damaged_frames_cost_only_their_connection(sim, numbers):
    source = random.Random(20240229)
    frames = session_frames()
    resident = sim.resident_kib()
    for _ in range(600):
        damaged = bytearray(b"".join(frames))
        # The handshake stays whole most of the time, so that the rest is reached.
        start = 0 if source.random() < 0.2 else len(frames[0]) + len(frames[1])
        for _ in range(source.randint(1, 4)):
            damaged[source.randrange(start, len(damaged))] = source.randrange(256)
        with Raw(started=False) as client:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                client.send(bytes(damaged))
                client.socket.shutdown(socket.SHUT_WR)
            assert client.is_closed()
    assert numbers.ask(QUERY, READ)[0] in (RESULT, ERROR)
    assert sim.resident_kib() < resident + 65536


def test_hostile_bodies_are_answered_and_closed(sim, numbers):
    big = struct.pack(">i", 0x7FFFFFFF)
    hostile = [
        frame(QUERY, big + b"SELECT"),
        frame(QUERY, struct.pack(">i", -5)),
        frame(QUERY, query_body("SELECT * FROM ks.n", 1, struct.pack(">H", 65535))),
        frame(QUERY, query_body("SELECT * FROM ks.n", 1, struct.pack(">Hi", 1, -7))),
        frame(QUERY, query_body("SELECT * FROM ks.n", 8, big)),
        frame(PREPARE, b""),
        frame(EXECUTE, struct.pack(">H", 60000)),
        frame(BATCH, struct.pack(">BH", 0, 65535)),
        frame(BATCH, struct.pack(">BH", 9, 0)),
        frame(REGISTER, struct.pack(">H", 9)),
        frame(OPTIONS, flags=1),
        frame(QUERY, b"\xff\xff", flags=4),
        frame(0x0B, b""),
        frame(0x42),
        frame(RESULT),
        frame(OPTIONS, version=3),
        struct.pack(">BBhBi", 4, 0, 1, QUERY, 0x7FFFFFFF),
        struct.pack(">BBhBi", 4, 0, 1, QUERY, -1),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x84\x00\x00\x01\x02\x00\x00\x00\x00",
    ]
    for number, data in enumerate(hostile):
        with Raw() as client:
            client.send(data)
            opcode, _, body, _ = client.receive()
            assert (opcode, body[:4]) == (ERROR, b"\0\0\0\x0a"), number
            assert client.is_closed()
    with Raw() as client:
        state = struct.pack(">i", 3) + b"abc"
        assert client.error(QUERY, query_body("SELECT * FROM ks.n", 8, state))[0] == 0x0A
        assert client.error(QUERY, struct.pack(">i", 3) + b"abc" + struct.pack(">HB", 99, 0))[0] == 0x0A
    assert numbers.ask(QUERY, READ)[0] == RESULT


def test_announced_lengths_allocate_nothing(sim):
    resident = sim.resident_kib()
    clients = [Raw() for _ in range(50)]
    for client in clients:
        client.send(struct.pack(">BBhBi", 4, 0, 1, QUERY, 256 * 1024 * 1024) + b"x" * 100)
    assert sim.tell("stats").startswith("ok ")
    grown = sim.resident_kib() - resident
    for client in clients:
        client.socket.close()
    assert grown < 65536, f"{grown} KiB for headers alone"


def test_a_reader_that_stops_costs_a_bounded_buffer(sim, numbers):
    text = "x" * 60000
    numbers.ask(QUERY, query_body("CREATE TABLE IF NOT EXISTS ks.big (id int PRIMARY KEY, v text)"))
    numbers.ask(QUERY, query_body(f"INSERT INTO ks.big (id, v) VALUES (1, '{text}')"))
    request = frame(QUERY, query_body("SELECT * FROM ks.big"))
    with Raw() as client:
        asked = 2000
        sender = threading.Thread(target=client.send, args=(request * asked,))
        sender.start()
        wait_until(lambda: sim.stats()["output_waiting"] > 1024 * 1024, "output waits")
        assert sim.stats()["output_waiting"] < 8 * 1024 * 1024
        assert numbers.ask(QUERY, READ)[0] == RESULT  # others are served meanwhile
        for _ in range(asked):
            assert client.receive()[0] == RESULT
        sender.join()
    wait_until(lambda: sim.stats()["output_waiting"] == 0, "nothing waits any more")


def test_pipelined_requests_are_answered_in_order(sim, numbers):
    streams = list(range(3000))
    data = b"".join(frame(QUERY, INSERT if stream % 2 else READ, stream) for stream in streams)
    sender = threading.Thread(target=numbers.send, args=(data,))
    sender.start()
    assert [numbers.receive()[1] for _ in streams] == streams
    sender.join()
