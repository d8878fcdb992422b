"""What is large or slow flows through, or waits outside: the proxy's memory, at its highest, stays below its water marks, and every byte
arrives once the other side comes to it."""

import contextlib
import random
import socket
import time

import pytest

from support import wire
from support.programs import Lab, is_sanitized
from support.waiting import never_during, wait_until

MIB = 1024 * 1024
COLUMNS, COLUMN_BYTES = 8, 8 * MIB
# Of one session: 256 KiB queued for the client, a read of 64 KiB, and what the allocator and the kernel's pages round up to.
SESSION_MAX = 2 * MIB
SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
    f"CREATE TABLE ks.wide (k int PRIMARY KEY, {', '.join(f'v{n} text' for n in range(COLUMNS))})",
)
WIDE = "SELECT * FROM ks.wide WHERE k = 1"
CONNECTIONS = {"v4": {}, "v4 lz4": {"compression": "lz4"}, "v5": {"version": 5}, "v5 lz4": {"version": 5, "compression": "lz4"}}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """proxy, the columns of the wide row."""
    if is_sanitized():
        pytest.skip("sanitizers need memory of their own")
    lab = Lab(tmp_path_factory.mktemp("wide"))
    try:
        origin, target = lab.pair(options=["--release-version", "5.0.3"])
        for cluster in (origin, target):
            cluster.query(*SCHEMA)
        columns = [random.Random(n).randbytes(COLUMN_BYTES // 2).hex().encode() for n in range(COLUMNS)]  # LZ4 does not shorten it
        with origin.connect(timeout=60) as direct:
            for n, column in enumerate(columns):
                direct.query(f"UPDATE ks.wide SET v{n} = '{column.decode()}' WHERE k = 1")
        yield lab.proxy(origin, target, REQUEST_TIMEOUT_MS="20000").start(), columns
    finally:
        lab.close()


def check_row(client, frame, columns):
    assert client.result(frame).rows[0][1:] == columns, "not the row that was stored"


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_row_of_64_mib_streams_through(wide, connection):
    proxy, columns = wide
    with proxy.connect(timeout=60, **CONNECTIONS[connection]) as client:
        client.query("SELECT k FROM ks.kv WHERE k = 1")
        with proxy.peak_growth() as grown:
            check_row(client, client.ask("QUERY", wire.query_body(WIDE, version=client.version)), columns)
            assert grown() < SESSION_MAX, f"the proxy grew by {grown()} bytes"


@pytest.mark.parametrize("connection", ["v4", "v5 lz4"])
def test_a_client_that_does_not_read_its_row_holds_up_its_cluster_not_our_memory(wide, connection):
    proxy, columns = wide
    with proxy.connect(timeout=60, **CONNECTIONS[connection]) as client, proxy.connect() as other:
        client.query("SELECT k FROM ks.kv WHERE k = 1")
        other.query("SELECT k FROM ks.kv WHERE k = 1")
        with proxy.peak_growth() as grown:
            client.send("QUERY", wire.query_body(WIDE, version=client.version))
            never_during(lambda: grown() > SESSION_MAX, 1.0, "an unread row gathered in the proxy")
            assert other.query("SELECT k FROM ks.kv WHERE k = 1", timeout=5).kind == "ROWS"
            check_row(client, client.receive_for(0), columns)
            assert grown() < SESSION_MAX, f"the proxy grew by {grown()} bytes"
        assert client.query("SELECT k FROM ks.kv WHERE k = 1").kind == "ROWS"


@pytest.fixture
def slow_target(lab):
    """origin, target, proxy with time limits that no play reaches; the target may be stopped."""
    if is_sanitized():
        pytest.skip("sanitizers need memory of their own")
    origin, target = lab.pair()
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    return origin, target, lab.proxy(origin, target, REQUEST_TIMEOUT_MS="60000", PROXY_WORKERS="1").start()


def pour(client, writes):
    """Sends frames until the proxy takes no more; how many went, whole or in part, and what is left of the last one."""
    client.socket.setblocking(False)
    for sent, frame in enumerate(writes):
        rest = memoryview(frame)
        stuck_since = time.monotonic()
        while rest:
            try:
                rest = rest[client.socket.send(rest) :]
                stuck_since = time.monotonic()
            except BlockingIOError:
                if time.monotonic() - stuck_since > 0.5:
                    return sent + 1, bytes(rest)
                time.sleep(0.005)
    raise AssertionError("the proxy took everything: nothing was slow")


def write_frame(key, length, stream):
    text = f"INSERT INTO ks.kv (k, v) VALUES ({key}, '{str(key % 10) * length}')"
    return wire.frame_bytes("QUERY", wire.query_body(text), stream)


@pytest.mark.parametrize("length", [9_000, 150_000], ids=["small", "large"])
def test_writes_wait_outside_while_a_cluster_does_not_read(slow_target, length):
    """The clients are not read once 256 KiB wait for the target; when it goes on, each write is in both clusters."""
    origin, target, proxy = slow_target
    clients = 4
    with contextlib.ExitStack() as stack:
        all_clients = [stack.enter_context(proxy.connect(timeout=60)) for _ in range(clients)]
        for client in all_clients:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            client.query("INSERT INTO ks.kv (k, v) VALUES (0, 'x')")
        target.pause()
        poured = []
        with proxy.peak_growth() as grown:
            for number, client in enumerate(all_clients):
                frames = (write_frame(10_000 * (number + 1) + n, length, n) for n in range(2000))  # fewer than stream ids
                poured.append(pour(client, frames))
            assert sum(count for count, _ in poured) * length > 4 * clients * MIB, "too little to tell anything"
            assert grown() < clients * SESSION_MAX, f"{sum(count for count, _ in poured)} writes grew the proxy by {grown()} bytes"
            target.resume()
            for client, (count, rest) in zip(all_clients, poured):
                client.send_bytes(rest)
                assert all(client.receive_for(stream, timeout=60).name == "RESULT" for stream in range(count))
            assert grown() < clients * SESSION_MAX, f"the proxy grew by {grown()} bytes while it caught up"
    stored = []
    for cluster in (origin, target):
        with cluster.connect(timeout=60) as direct:
            stored.append({key: (len(value), value[:1]) for key, value in direct.rows("SELECT k, v FROM ks.kv")})
    assert stored[0] == stored[1]
    assert len(stored[0]) == 1 + sum(count for count, _ in poured)


def test_requests_a_cluster_never_answers_are_bounded_by_their_stream_ids(slow_target):
    _, target, proxy = slow_target
    with proxy.connect(timeout=60) as client:
        client.query("INSERT INTO ks.kv (k, v) VALUES (0, 'x')")
        target.fault("hold", "writes")
        with proxy.peak_growth() as grown:
            client.send_bytes(b"".join(write_frame(n, 20, n) for n in range(10_000)))
            limit = int(proxy.settings.get("PROXY_MAX_STREAM_IDS", 2048))
            refused = [client.receive(timeout=30) for _ in range(10_000 - limit)]
            assert all(wire.parse_error(frame.body)[0] == wire.OVERLOADED for frame in refused)
            assert grown() < SESSION_MAX, f"the proxy grew by {grown()} bytes"
        wait_until(lambda: target.tell("release").strip() != "0", "the target held answers")
        assert all(client.receive(timeout=30).name == "RESULT" for _ in range(limit))
