"""The path of requests asks the heap for nothing: what it needs it has from pools that were filled while it warmed up."""

import pathlib
import struct
import time

import pytest

from support import wire
from support.programs import BIN, Lab, is_sanitized
from support.waiting import wait_until

WINDOW = 128  # requests in flight
WARM_UP, MEASURED = 20 * WINDOW, 100 * WINDOW
# Of a whole kind of requests: room for a timer of the main thread, none for a call per window, let alone per request.
CALLS_MAX = 8

SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
    "CREATE TABLE ks.many (k int, c int, v text, PRIMARY KEY (k, c))",
    "CREATE TABLE ks.ids (k int PRIMARY KEY, id timeuuid)",
    "INSERT INTO ks.kv (k, v) VALUES (1, 'x')",
    f"INSERT INTO ks.kv (k, v) VALUES (2, '{'z' * 12_000}')",
    *(f"INSERT INTO ks.many (k, c, v) VALUES (1, {c}, 'x')" for c in range(30)),
)
READ = "SELECT v FROM ks.kv WHERE k = ?"
WRITE = "INSERT INTO ks.kv (k, v) VALUES (?, ?)"
STAMPED = {"timestamp": 1_700_000_000_000_000}


def execute(client, text, values, **options):
    prepared = client.prepare(text)
    options["metadata_id"] = client.metadata_ids.get(prepared)
    return "EXECUTE", wire.execute_body(prepared, values, version=client.version, **options)


def query(client, text, values=(), **options):
    return "QUERY", wire.query_body(text, values, version=client.version, **options)


def batch(client):
    prepared = client.prepare(WRITE)
    children = [(prepared, [wire.int_value(n), b"x"]) for n in range(10, 14)]
    return "BATCH", wire.batch_body(children, version=client.version, **STAMPED)


# Not among them: reads of the system tables that the proxy answers itself. A driver asks for them when it connects.
KINDS = {
    "prepared read": lambda client: execute(client, READ, [wire.int_value(1)], skip_metadata=True),
    "prepared read of 12 KB": lambda client: execute(client, READ, [wire.int_value(2)]),
    "prepared write": lambda client: execute(client, WRITE, [wire.int_value(3), b"y"], **STAMPED),
    "prepared write, timestamp by the proxy": lambda client: execute(client, WRITE, [wire.int_value(3), b"y"]),
    "prepared write with now()": lambda client: execute(client, "INSERT INTO ks.ids (k, id) VALUES (?, now())", [wire.int_value(1)]),
    "prepared write on condition": lambda client: execute(client, WRITE + " IF NOT EXISTS", [wire.int_value(1), b"y"]),
    "text read": lambda client: query(client, "SELECT v FROM ks.kv WHERE k = 1"),
    "text write": lambda client: query(client, "INSERT INTO ks.kv (k, v) VALUES (4, 'y')"),
    "text write with now()": lambda client: query(client, "INSERT INTO ks.ids (k, id) VALUES (2, now())"),
    "read of a page": lambda client: query(client, "SELECT c FROM ks.many WHERE k = 1", page_size=10),
    "batch of prepared writes": batch,
    "invalid text": lambda client: query(client, "SELECT FROM WHERE"),
}
CONNECTIONS = {
    "v4": {},
    "v4 lz4": {"compression": "lz4"},
    "v5": {"version": 5},
    "v5 lz4": {"version": 5, "compression": "lz4"},
}
EVERYWHERE = ("prepared read", "prepared write", "text write")


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """proxy, calls(): heap calls it has made so far."""
    if is_sanitized():
        pytest.skip("sanitizers have an allocator of their own")
    lab = Lab(tmp_path_factory.mktemp("heap"))
    try:
        pair = lab.pair(options=["--release-version", "5.0.3"])
        for cluster in pair:
            cluster.query(*SCHEMA)
        counts = lab.directory / "counts"
        proxy = lab.proxy(*pair, LD_PRELOAD=str(BIN / "heapcount.so"), HEAPCOUNT_FILE=str(counts), PROXY_WORKERS="1").start()
        yield proxy, lambda: sum(struct.unpack("6Q", pathlib.Path(counts).read_bytes())[:5])
    finally:
        lab.close()


def settled(calls):
    """Once what earlier connections have left behind is gone."""

    def is_quiet():
        before = calls()
        time.sleep(0.05)
        return before if calls() == before else None

    return wait_until(is_quiet, "the proxy calls nobody")


def run(client, name, body, count):
    frames = [client.encoded(name, body, stream) for stream in range(WINDOW)]
    for _ in range(count // WINDOW):
        client.send_frames(*frames)
        for _ in range(WINDOW):
            frame = client.receive()
            assert frame.name in ("RESULT", "ERROR")


@pytest.mark.parametrize(
    ("connection", "kind"), [(how, kind) for how in CONNECTIONS for kind in (KINDS if how == "v4" else EVERYWHERE)]
)
def test_requests_make_no_heap_calls(counted, connection, kind):
    proxy, calls = counted
    with proxy.connect(**CONNECTIONS[connection]) as client:
        name, body = KINDS[kind](client)
        answer = client.ask(name, body)
        assert (answer.name == "ERROR") == (kind == "invalid text"), answer
        run(client, name, body, WARM_UP)
        before = settled(calls)
        run(client, name, body, MEASURED)
        made = calls() - before
    assert made <= CALLS_MAX, f"{made} heap calls for {MEASURED} requests"
