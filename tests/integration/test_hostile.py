"""What a hostile or broken client may send: it costs that client its connection, never the process, its memory or another client."""

import os
import random
import socket
import struct

import pytest

from support import wire
from support.programs import is_sanitized
from support.waiting import wait_until

QUERY, PREPARE, EXECUTE, BATCH = (wire.OPCODES[name] for name in ("QUERY", "PREPARE", "EXECUTE", "BATCH"))


def raw(version=4, flags=0, stream=1, opcode=QUERY, length=None, body=b""):
    return struct.pack(">BBhBI", version, flags, stream, opcode, len(body) if length is None else length) + body


GOOD_QUERY = wire.query_body("SELECT * FROM system.local")


def bad_headers():
    """Headers no driver sends, on a connection that is ready."""
    cases = {}
    for version in [0, 1, 2, 5, 6, 7, 64, 65, 66, 127, 0x80, 0x83, 0x84, 0xFF]:
        frame = raw(version=version, body=GOOD_QUERY)
        if version in (1, 2):  # their stream id has one byte
            frame = struct.pack(">BBbBI", version, 0, 1, QUERY, len(GOOD_QUERY)) + GOOD_QUERY
        cases[f"version {version:#x}"] = frame
    for opcode in range(256):
        if opcode not in (0x01, 0x05, 0x07, 0x09, 0x0A, 0x0B, 0x0D, 0x0F):
            cases[f"opcode {opcode:#x}"] = raw(opcode=opcode, body=GOOD_QUERY)
    for length in [0x10000001, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0, 256 * 1024 * 1024 + 1]:
        cases[f"length {length:#x}"] = raw(length=length, body=GOOD_QUERY)
    for flags in [0x01, 0x03, 0x05, 0x09, 0xFF, 0xE0, 0x10]:
        cases[f"flags {flags:#x}"] = raw(flags=flags, body=GOOD_QUERY)
    for stream in [-1, -2, -32768]:
        cases[f"stream {stream}"] = raw(stream=stream, body=GOOD_QUERY)
    return cases


def bad_bodies():
    """Frames whose header is right and whose body is not."""
    cases = {}
    empty = {name: b"" for name in wire.OPCODES if name in ("QUERY", "PREPARE", "EXECUTE", "BATCH", "REGISTER")}
    for name in empty:
        opcode = wire.OPCODES[name]
        cases[f"{name} empty"] = raw(opcode=opcode)
        for count in (1, 2, 3, 4, 5, 7):
            cases[f"{name} {count} bytes 0xff"] = raw(opcode=opcode, body=b"\xff" * count)
            cases[f"{name} {count} bytes 0"] = raw(opcode=opcode, body=b"\0" * count)
    for length in (-1, -2, -(2**31), 2**31 - 1, len("SELECT 1") + 1, 1000):
        cases[f"QUERY string of {length}"] = raw(body=struct.pack(">i", length) + b"SELECT 1" + wire.parameters())
        cases[f"PREPARE string of {length}"] = raw(opcode=PREPARE, body=struct.pack(">i", length) + b"SELECT 1")
    for count in (1, 2, 65535):
        cases[f"QUERY says {count} values"] = raw(body=wire.long_string("SELECT 1") + struct.pack(">HBH", 1, 1, count))
    for length in (-3, -(2**31), 2**31 - 1, 10):
        body = wire.long_string("SELECT 1") + struct.pack(">HBHi", 1, 1, 1, length) + b"x"
        cases[f"QUERY value of {length}"] = raw(body=body)
    cases["QUERY named values cut"] = raw(body=wire.long_string("SELECT 1") + struct.pack(">HBHH", 1, 0x41, 1, 50) + b"n")
    cases["QUERY not UTF-8"] = raw(body=struct.pack(">i", 6) + b"\xff\xfe\xc0\x80\xed\xa0" + wire.parameters())
    cases["QUERY all NUL"] = raw(body=struct.pack(">i", 100) + b"\0" * 100 + wire.parameters())
    cases["QUERY consistency 0xffff"] = raw(body=wire.query_body("SELECT * FROM system.local", consistency=0xFFFF))
    for text in ("", ";", "'", '"', "/*", "--", "$$", "SELECT", "SELECT '", 'SELECT "', "((((" * 5000, "/*" * 5000, "SELECT $$"):
        cases[f"QUERY text {text[:10]!r}"] = raw(body=wire.query_body(text))
        cases[f"PREPARE text {text[:10]!r}"] = raw(opcode=PREPARE, body=wire.long_string(text))
    for table in ("local", "peers", "peers_v2"):
        for tail in ("", "WHERE", "WHERE key", "WHERE key = ", "WHERE key IN (", "LIMIT 99999999999999999999", "WHERE key = ?"):
            cases[f"QUERY system.{table} {tail}"] = raw(body=wire.query_body(f"SELECT * FROM system.{table} {tail}"))
    cases["EXECUTE id of 65535 cut"] = raw(opcode=EXECUTE, body=struct.pack(">H", 65535) + b"x" * 16)
    for children in (1, 2, 65535):
        cases[f"BATCH says {children} children"] = raw(opcode=BATCH, body=struct.pack(">BH", 0, children))
    cases["BATCH child of kind 9"] = raw(opcode=BATCH, body=struct.pack(">BHB", 0, 1, 9) + b"\0" * 20)
    cases["BATCH of kind 200"] = raw(opcode=BATCH, body=struct.pack(">BHHB", 200, 0, 1, 0))
    cases["BATCH child string of -1"] = raw(opcode=BATCH, body=struct.pack(">BHBi", 0, 1, 0, -1))
    cases["BATCH child string of 2 GiB"] = raw(opcode=BATCH, body=struct.pack(">BHBi", 0, 1, 0, 2**31 - 1))
    for kinds in ([], ["NO_SUCH_EVENT"], ["SCHEMA_CHANGE"] * 1000):
        body = struct.pack(">H", len(kinds)) + b"".join(map(wire.string, kinds))
        cases[f"REGISTER {len(kinds)}"] = raw(opcode=wire.OPCODES["REGISTER"], body=body)
    cases["REGISTER says 65535"] = raw(opcode=wire.OPCODES["REGISTER"], body=b"\xff\xff")
    cases["payload flag without payload"] = raw(flags=0x04, body=b"")
    cases["payload of 65535 entries"] = raw(flags=0x04, body=b"\xff\xff" + GOOD_QUERY)
    cases["payload entry of 2 GiB"] = raw(flags=0x04, body=b"\0\1" + wire.string("k") + struct.pack(">i", 2**31 - 1))
    cases["STARTUP again"] = raw(opcode=1, body=wire.startup_body())
    cases["AUTH_RESPONSE out of place"] = raw(opcode=0x0F, body=wire.value(b"\0a\0b"))
    return cases


def first_frames():
    """What a stranger says first."""
    cases = {
        "TLS": bytes.fromhex("16030100c8010000c40303") + b"\1" * 100,
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
        "zeros": b"\0" * 64,
        "ones": b"\xff" * 64,
        "a response": wire.frame_bytes("READY", version=0x84),
        "a query before STARTUP": raw(body=GOOD_QUERY),
        "an AUTH_RESPONSE before STARTUP": raw(opcode=0x0F, body=wire.value(b"\0a\0b")),
        "STARTUP empty": raw(opcode=1),
        "STARTUP says 65535 options": raw(opcode=1, body=b"\xff\xff"),
        "STARTUP without CQL_VERSION": raw(opcode=1, body=wire.string_map({"X": "y"})),
        "STARTUP cut": raw(opcode=1, body=wire.startup_body()[:-3]),
        "STARTUP of 1 MiB": raw(opcode=1, body=wire.string_map({"CQL_VERSION": "3.0.0", **{f"k{n}": "v" * 30_000 for n in range(35)}})),
        "STARTUP announces 2 GiB": raw(opcode=1, length=2**31 - 1, body=wire.startup_body()),
        "STARTUP unknown compression": raw(opcode=1, body=wire.startup_body(COMPRESSION="brotli")),
        "STARTUP unknown compression, then a token": raw(opcode=1, body=wire.startup_body(COMPRESSION="brotli"))
        + raw(opcode=0x0F, body=wire.value(b"\0a\0b")),
        "compressed STARTUP": raw(opcode=1, flags=1, body=wire.startup_body()),
        "two STARTUPs": raw(opcode=1, body=wire.startup_body()) * 2,
        "a thousand OPTIONS": raw(opcode=5) * 1000,
    }
    return cases


HEADERS, BODIES, FIRST = bad_headers(), bad_bodies(), first_frames()


@pytest.fixture(scope="module")
def neighbour(world):
    """Another client, connected all the while."""
    with world.proxy.connect() as client:
        yield client


@pytest.fixture(autouse=True)
def unharmed(world, neighbour):
    """After each play: the same process, the neighbour served on the connection it had, a new client welcome."""
    pid = world.proxy.pid
    yield
    assert world.proxy.is_running() and world.proxy.pid == pid
    assert neighbour.query("SELECT rpc_address FROM system.local").kind == "ROWS"
    assert neighbour.query("SELECT keyspace_name FROM system_schema.keyspaces").kind == "ROWS"
    with world.proxy.connect() as client:
        client.query("SELECT rpc_address FROM system.local")


def answered_or_closed(client, probe_stream=99):
    """The connection either still serves a well-formed request or was ended; it does not hang."""
    try:
        client.send_bytes(raw(stream=probe_stream, body=GOOD_QUERY))
        while client.receive(timeout=5).stream != probe_stream:
            pass
        return "answered"
    except (wire.Closed, ConnectionError):
        return "closed"


def test_there_are_more_than_two_hundred():
    assert len(HEADERS) + len(BODIES) + len(FIRST) >= 200


@pytest.mark.parametrize("case", HEADERS)
def test_a_bad_header(world, case):
    with world.proxy.connect() as client:
        client.send_bytes(HEADERS[case])
        if "length" in case:  # what was announced never comes: shut down, or the answer is an error at once
            client.socket.shutdown(socket.SHUT_WR)
            assert client.is_closed(5)
            return
        if not case.startswith("flags"):  # flags are taken off, or make the body unreadable
            refusal = client.receive(timeout=5)
            assert refusal.name == "ERROR" and wire.parse_error(refusal.body)[0] == wire.PROTOCOL_ERROR
        answered_or_closed(client)


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body(world, case):
    with world.proxy.connect() as client:
        client.send_bytes(BODIES[case])
        frame = None
        try:
            frame = client.receive(timeout=5)
        except (wire.Closed, ConnectionError):
            return
        assert frame.name in ("ERROR", "RESULT", "READY", "SUPPORTED", "AUTHENTICATE")
        answered_or_closed(client)


@pytest.mark.parametrize("case", FIRST)
def test_a_bad_first_frame(world, case):
    with world.proxy.connect(is_ready=False) as client:
        client.send_bytes(FIRST[case])
        client.socket.shutdown(socket.SHUT_WR)
        assert client.is_closed(10)


def valid_session(keyspace):
    return b"".join(
        [
            wire.frame_bytes("OPTIONS", stream=1),
            wire.frame_bytes("STARTUP", wire.startup_body(), 2),
            wire.frame_bytes("REGISTER", struct.pack(">H", 1) + wire.string("SCHEMA_CHANGE"), 3),
            wire.frame_bytes("QUERY", wire.query_body("SELECT * FROM system.local"), 4),
            wire.frame_bytes("QUERY", wire.query_body(f"USE {keyspace}"), 5),
            wire.frame_bytes("PREPARE", wire.long_string("INSERT INTO kv (k, v) VALUES (?, ?)"), 6),
            wire.frame_bytes("QUERY", wire.query_body("INSERT INTO kv (k, v) VALUES (?, ?)", [b"\0\0\0\1", b"x"]), 7),
            wire.frame_bytes("EXECUTE", wire.execute_body(b"\1" * 16, [b"\0\0\0\1"]), 8),
            wire.frame_bytes("BATCH", wire.batch_body([("INSERT INTO kv (k, v) VALUES (2, 'y')", ()), (b"\2" * 16, [b"z"])]), 9),
        ]
    )


def test_a_session_cut_at_every_byte(world, keyspace):
    session = valid_session(keyspace)
    for length in range(len(session)):
        with world.proxy.connect(is_ready=False) as client:
            client.send_bytes(session[:length])
            if length % 2:
                client.socket.shutdown(socket.SHUT_WR)
                assert client.is_closed(10), f"hangs when cut after {length} bytes"
    world.proxy.wait_metric("zdm_client_connections_total", 1)  # the neighbour


def test_a_session_byte_by_byte_is_the_same_session(world, keyspace):
    session = valid_session(keyspace)
    with world.proxy.connect(is_ready=False) as client:
        for number in range(len(session)):
            client.send_bytes(session[number : number + 1])
        names = {stream: client.receive_for(stream).name for stream in range(1, 10)}
    assert names == {
        1: "SUPPORTED", 2: "READY", 3: "READY", 4: "RESULT", 5: "RESULT", 6: "RESULT", 7: "RESULT", 8: "ERROR", 9: "ERROR",
    }  # fmt: skip


def test_every_bit_of_a_session_flipped(world, keyspace):
    session = valid_session(keyspace)
    generator = random.Random(7)
    for position in generator.sample(range(len(session) * 8), 600):
        data = bytearray(session)
        data[position // 8] ^= 1 << position % 8
        with world.proxy.connect(is_ready=False) as client:
            client.send_bytes(bytes(data))
            client.socket.shutdown(socket.SHUT_WR)
            assert client.is_closed(10), f"hangs with bit {position} flipped"


def test_random_bytes(world):
    generator = random.Random(11)
    for number in range(200):
        with world.proxy.connect(is_ready=number % 2 == 0) as client:
            try:
                client.send_bytes(generator.randbytes(generator.randrange(1, 5000)))
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            assert client.is_closed(10)


def test_announced_lengths_are_not_allocated(world):
    """A hundred clients announce 200 MiB each and send a little of it."""
    before = world.proxy.resident_bytes()
    clients = [world.proxy.connect() for _ in range(100)]
    for client in clients:
        try:
            client.send_bytes(raw(length=200 * 1024 * 1024, body=b"x" * 1000))
        except OSError:
            pass
    with world.proxy.connect() as client:
        client.query("SELECT rpc_address FROM system.local")
    grown = world.proxy.resident_bytes() - before
    for client in clients:
        client.close()
    assert grown < 64 * 1024 * 1024, f"grew by {grown} bytes"


def test_memory_stays_flat_over_many_bad_clients(world):
    if is_sanitized():
        pytest.skip("sanitizers keep freed memory for a while")
    cases = list(HEADERS.values()) + list(BODIES.values())

    def round_():
        for case in cases:
            with world.proxy.connect() as client:
                client.send_bytes(case)
                client.socket.shutdown(socket.SHUT_WR)
                client.is_closed(10)

    round_()
    before, files = world.proxy.resident_bytes(), world.proxy.open_files()
    for _ in range(3):
        round_()
    wait_until(lambda: world.proxy.open_files() <= files, "descriptors are given back")
    assert world.proxy.resident_bytes() - before < 4 * 1024 * 1024


def test_a_frame_larger_than_allowed_is_refused_with_words(world):
    """A request above the limit is answered, its bytes are skipped, and the connection goes on."""
    size = 20 * 1024 * 1024
    with world.proxy.connect(timeout=30) as client:
        try:
            client.send_bytes(raw(stream=3, length=size))
            block = b"x" * 65536
            for _ in range(size // len(block)):
                client.send_bytes(block)
            frame = client.receive_for(3)
            assert frame.name == "ERROR"
            answered_or_closed(client)
        except (wire.Closed, ConnectionError):
            pass


def test_clients_that_vanish(world, keyspace):
    """Resets in the middle of everything, including answers under way."""
    for number in range(100):
        client = world.proxy.connect()
        for stream in range(10):
            client.send("QUERY", wire.query_body(f"INSERT INTO {keyspace}.kv (k, v) VALUES ({number}, 'x')"), stream)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    world.proxy.wait_metric("zdm_client_connections_total", 1)
    world.proxy.wait_metric('zdm_proxy_inflight_requests_total{type="writes"}', 0)


def test_the_log_cannot_be_forged(world):
    """Text from a client that lands in the log stays on its line."""
    marker = f"level=fatal-{os.getpid()}"
    with world.proxy.connect() as client:
        client.ask("QUERY", wire.query_body(f"x\n{marker} event=forged"))
        client.ask("PREPARE", wire.long_string(f"x\n{marker} event=forged"))
    assert not [line for line in world.proxy.log().splitlines() if line.startswith(marker)]
