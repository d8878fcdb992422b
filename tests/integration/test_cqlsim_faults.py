"""The simulated cluster when things go wrong: events, every command of the control socket, hostile bytes."""

import contextlib
import hashlib
import random
import socket
import struct
import threading
import time
import uuid

import pytest

cassandra = pytest.importorskip("cassandra", reason="the Python driver is not installed")
from cassandra import OperationTimedOut, ReadTimeout, WriteTimeout  # noqa: E402
from support.cqlsim import (  # noqa: E402, F401
    BATCH,
    ERROR,
    EVENT,
    EXECUTE,
    OPTIONS,
    PREPARE,
    QUERY,
    READY,
    REGISTER,
    REPLICATION,
    RESULT,
    STARTUP,
    STARTUP_BODY,
    SUPPORTED,
    Raw,
    frame,
    query_body,
    session_of,
    shared,
    sim,
    string,
    wait_until,
)

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


STATEMENTS = [
    f"CREATE KEYSPACE IF NOT EXISTS fz {REPLICATION}",
    "CREATE TABLE IF NOT EXISTS fz.t (a int, b text, c int, s text static, v int, l list<int>, m map<text, int>, se set<text>,"
    " tp frozen<tuple<int, text>>, PRIMARY KEY ((a), b, c)) WITH CLUSTERING ORDER BY (b DESC, c ASC)",
    "CREATE TABLE IF NOT EXISTS fz.n (a int PRIMARY KEY, n counter)",
    "INSERT INTO fz.t (a, b, c, v, l, m, se, tp) VALUES (1, 'x', 2, 3, [1, 2], {'a': 1}, {'z', 'y'}, (1, 't')) USING TTL 100",
    "INSERT INTO fz.t (a, b, c, v) VALUES (1, $$y$$, -2147483648, 3) IF NOT EXISTS",
    "INSERT INTO fz.t (a, b, c, v) VALUES (?, :x, ?, ?)",
    "UPDATE fz.t SET v = 5, l = l + [3], m['q'] = 4, se = se - {'z'} WHERE a = 1 AND b = 'x' AND c = 2 IF v = 3",
    "UPDATE fz.n SET n = n + 5 WHERE a = 1",
    "DELETE l[0], m['a'], v FROM fz.t WHERE a = 1 AND b = 'x' AND c = 2",
    "DELETE FROM fz.t WHERE a = 1 AND b > 'a'",
    "SELECT * FROM fz.t WHERE a = 1 AND b IN ('x', 'y') AND c >= 2 ORDER BY b ASC, c DESC LIMIT 5",
    "SELECT a, count(*), max(v), sum(v), writetime(v), ttl(v), token(a), now() FROM fz.t WHERE token(a) > -5 ALLOW FILTERING",
    "SELECT DISTINCT a, s FROM fz.t PER PARTITION LIMIT 1",
    "BEGIN BATCH USING TIMESTAMP 4 INSERT INTO fz.t (a, b, c) VALUES (1, 'q', 2); DELETE FROM fz.t WHERE a = 2; APPLY BATCH",
    "ALTER TABLE fz.t ADD n1 text, n2 frozen<list<frozen<map<int, text>>>>",
    "ALTER TABLE fz.t DROP n1",
    "CREATE INDEX ix ON fz.t (v)",
    "CREATE TYPE fz.ud (a int, b text)",
    "TRUNCATE fz.t",
    "DROP TABLE IF EXISTS fz.t",
    "SELECT * FROM system_schema.columns WHERE keyspace_name = 'fz' AND table_name IN ('t', 'n')",
    "DESCRIBE TABLE fz.t",
]


def test_damaged_statements_are_answered(sim, numbers):
    """Words swapped, dropped and doubled, and bytes overwritten: each gets its answer, on one connection that stays."""
    source = random.Random(3)
    words = [word for text in STATEMENTS for word in text.replace(",", " , ").replace("(", " ( ").split()]
    seen = set()
    for _ in range(4000):
        text = source.choice(STATEMENTS)
        damage = source.random()
        if damage < 0.4:
            cut = text.split()
            cut[source.randrange(len(cut))] = source.choice([source.choice(words), "", "null", "?", "-1"])
            text = " ".join(cut)
        elif damage < 0.7:
            letters = list(text)
            letters[source.randrange(len(letters))] = chr(source.randrange(1, 127))
            text = "".join(letters)
        opcode = source.choice((QUERY, QUERY, PREPARE))
        got, body = numbers.ask(opcode, query_body(text) if opcode == QUERY else struct.pack(">i", len(text)) + text.encode())
        assert got in (RESULT, ERROR)
        seen.add((got, body[:4]))
    codes = {int.from_bytes(code, "big") for got, code in seen if got == ERROR}
    assert 0x2000 in codes and 0x2200 in codes and not codes & {0x0000, 0x000A}
    numbers.ask(QUERY, query_body("DROP KEYSPACE IF EXISTS fz"))


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
