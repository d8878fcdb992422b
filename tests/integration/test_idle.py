"""What clients cost that ask for nothing: no wake-ups but their heartbeats, little memory, and no time limit is missed for it."""

import pathlib
import re
import time

import pytest

from support import wire
from support.programs import is_sanitized
from support.waiting import never_during, wait_until

CLIENTS = 200
KIB = 1024
WINDOW_S = 4.0
# Of all threads together, beside what clients ask for. A time limit that was set while they were busy may still ring.
WAKE_UPS_MAX = 4
CLIENT_BYTES_MAX = 9 * KIB
# Free buffers a worker keeps, and what the allocator rounds up to.
KEPT_BYTES = 1024 * KIB
READ = "SELECT v FROM ks.kv WHERE k = 1"
WRITE = "INSERT INTO ks.kv (k, v) VALUES (2, 'x')"
SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
    f"INSERT INTO ks.kv (k, v) VALUES (1, '{'z' * 60_000}')",
)


@pytest.fixture
def pair(lab):
    origin, target = lab.pair()
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    return origin, target


@pytest.fixture
def many():
    """many(proxy): connects CLIENTS clients and gives them."""
    clients = []

    def connect(proxy):
        clients.extend(proxy.connect() for _ in range(CLIENTS))
        return clients

    yield connect
    for client in clients:
        client.close()


def wake_ups(proxy):
    """How often any thread of the proxy has gone to sleep so far."""
    tasks = pathlib.Path(f"/proc/{proxy.pid}/task").iterdir()
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)[1]) for task in tasks)


def settled(proxy):
    """Waits until what was asked of the proxy is done with; wake-ups from there on."""
    if is_sanitized("tsan"):
        pytest.skip("ThreadSanitizer has a thread of its own that wakes up again and again")

    def quiet():
        before = wake_ups(proxy)
        time.sleep(0.3)
        return wake_ups(proxy) == before

    wait_until(quiet, "the proxy sleeps", timeout=20)
    return wake_ups(proxy)


def test_idle_clients_do_not_wake_the_proxy(lab, pair, many):
    """Ten times a second, once, and every session looked at each second."""
    proxy = lab.proxy(*pair).start()
    clients = many(proxy)
    for client in clients:
        assert client.query(WRITE).kind == "VOID"
    before = settled(proxy)
    never_during(lambda: wake_ups(proxy) - before > WAKE_UPS_MAX, WINDOW_S, f"{CLIENTS} idle clients woke the proxy", poll=0.5)
    assert all(client.query(WRITE).kind == "VOID" for client in clients)


def test_a_proxy_without_clients_sleeps(lab, pair):
    proxy = lab.proxy(*pair).start()
    before = settled(proxy)
    never_during(lambda: wake_ups(proxy) - before > WAKE_UPS_MAX, WINDOW_S, "nobody woke the proxy", poll=0.5)


def test_heartbeats_of_idle_clients_come_together(lab, pair):
    """Clients that came spread over an interval have their heartbeats at the same moment two intervals later."""
    interval = 3.0
    origin, target = pair
    proxy = lab.proxy(*pair, HEARTBEAT_INTERVAL_MS=str(int(interval * 1000)), PROXY_WORKERS="1").start()
    clients, began = [], time.monotonic()
    while time.monotonic() < began + interval:
        clients.append(proxy.connect())
        time.sleep(interval / 40)
    wait_until(lambda: time.monotonic() > began + 2.2 * interval, "they have gathered", timeout=30)
    counts = []
    while time.monotonic() < began + 4 * interval:
        counts.append(target.stats()["opcodes"].get("OPTIONS", 0))
        time.sleep(0.1)
    all_of_them = counts[-1] - counts[0]
    together = [after - before for before, after in zip(counts, counts[1:]) if after - before > 0.75 * len(clients)]
    assert all_of_them >= len(clients), "idle connections went without heartbeats"
    assert sum(together) > 0.9 * all_of_them, (together, all_of_them)
    for client in clients:
        assert client.query(WRITE).kind == "VOID"
        client.close()


def test_time_limits_hold_when_nothing_else_happens(lab, pair):
    """The alarm of a worker that sleeps rings when a request's time is over, not at some next tick."""
    limit = 0.7
    _, target = pair
    proxy = lab.proxy(*pair, REQUEST_TIMEOUT_MS=str(int(limit * 1000)), PROXY_WORKERS="1").start()
    late = []
    with proxy.connect() as client:
        client.query(WRITE)
        for _ in range(5):
            settled(proxy)
            target.fault("silence", "writes", times=1)
            began = time.monotonic()
            code, _, _ = client.query_error(WRITE, timeout=limit + 5)
            took = time.monotonic() - began
            assert code == wire.WRITE_TIMEOUT
            assert took > limit - 0.01
            late.append(took - limit)
    assert sorted(late)[2] < (2.0 if is_sanitized() else 0.25), late  # a machine may stall for once or twice


def test_an_idle_client_costs_little_memory(lab, pair, many):
    """10,000 of them, each with a connection to either cluster, stay below 100 MiB; also when they have been busy before."""
    if is_sanitized():
        pytest.skip("sanitizers need memory of their own")
    proxy = lab.proxy(*pair).start()
    before = proxy.resident_bytes()
    clients = many(proxy)
    for client in clients:
        for stream in range(8):
            client.send("QUERY", wire.query_body(READ if stream % 2 else WRITE), stream)
        for stream in range(8):
            assert client.receive_for(stream).name == "RESULT"
    settled(proxy)
    each = (proxy.resident_bytes() - before - KEPT_BYTES) / CLIENTS
    assert each < CLIENT_BYTES_MAX, f"{each:.0f} bytes for a client"
