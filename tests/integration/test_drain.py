"""SIGTERM: what is in flight is finished and answered, nothing new is taken, the exit is 0."""

import signal
import threading

import pytest

from support import wire
from support.waiting import wait_until

SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
)


@pytest.fixture
def running(lab):
    origin, target = lab.pair(options=["--versions", "3,4,5"])
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    return origin, target, lab.proxy(origin, target, REQUEST_TIMEOUT_MS="5000").start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_clients_do_not_hold_up_the_exit(running, number):
    _, _, proxy = running
    clients = [proxy.connect() for _ in range(10)]
    proxy.signal(number)
    assert proxy.wait_exit(5) == 0
    for client in clients:
        assert client.is_closed(5)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_requests_in_flight_are_answered(running, version):
    origin, target, proxy = running
    with proxy.connect(version=version) as client:
        target.pause()
        for stream in range(20):
            client.send("QUERY", wire.query_body(f"INSERT INTO ks.kv (k, v) VALUES ({stream}, 'x')", version=version), stream)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="writes"}', 20)
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: proxy.readiness()[1]["Status"] == "DRAINING", "the drain has begun")
        # New work is refused at once, and says what to do.
        code, message, _ = client.query_error("INSERT INTO ks.kv (k, v) VALUES (99, 'x')", stream=99)
        assert code == wire.OVERLOADED and message == "Shutting down, please retry on next host."
        with pytest.raises((ConnectionError, wire.Closed, TimeoutError)):
            with wire.Connection(proxy.address, proxy.port, timeout=1) as late:
                late.startup()
        target.resume()
        for stream in range(20):
            assert client.receive_for(stream).name == "RESULT"
        assert client.is_closed(5)
    assert proxy.wait_exit() == 0
    for cluster in (origin, target):
        assert len(cluster.rows("SELECT k FROM ks.kv")) == 20


def test_a_dead_cluster_does_not_hold_up_the_exit_for_ever(running):
    origin, _, proxy = running
    with proxy.connect() as client:
        origin.pause()
        client.send("QUERY", wire.query_body("SELECT * FROM ks.kv"), 5)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="reads_origin"}', 1)
        proxy.signal(signal.SIGTERM)
        frame = client.receive_for(5, timeout=10)
        assert frame.name == "ERROR" and wire.parse_error(frame.body)[0] == wire.READ_TIMEOUT
    assert proxy.wait_exit(10) == 0
    origin.resume()


def test_a_client_that_does_not_read_does_not_hold_up_the_exit(running):
    origin, target, proxy = running
    with proxy.connect() as client:
        client.query("INSERT INTO ks.kv (k, v) VALUES (1, ?)", [b"z" * 500_000])
        for stream in range(100):
            client.send("QUERY", wire.query_body("SELECT * FROM ks.kv"), stream)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait_exit(15) == 0


def test_the_proxy_comes_back_on_the_same_port_at_once(running):
    _, _, proxy = running
    with proxy.connect() as client:
        client.query("SELECT * FROM ks.kv")
        proxy.stop()
    proxy.start()
    with proxy.connect() as client:
        client.query("SELECT * FROM ks.kv")


def test_a_drain_under_load_loses_no_answer(running):
    """Each request sent before the proxy closed the connection has an answer, and each write that was answered is in both."""
    origin, target, proxy = running
    acknowledged, unanswered = [], []

    def work(number):
        with proxy.connect() as client:
            for turn in range(100_000):
                key = number * 100_000 + turn
                try:
                    frame = client.ask("QUERY", wire.query_body(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')"), turn % 1000)
                except wire.Closed as closed:
                    if "cleanly" not in str(closed):
                        unanswered.append((key, str(closed)))
                    return
                except OSError:
                    return  # the connection was gone before the request was sent
                if frame.name == "RESULT":
                    acknowledged.append(key)
                else:
                    assert wire.parse_error(frame.body)[0] == wire.OVERLOADED

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    wait_until(lambda: len(acknowledged) > 500, "the load runs")
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_exit(10) == 0
    for worker in workers:
        worker.join(20)
    assert not unanswered
    for cluster in (origin, target):
        present = {int.from_bytes(row[0], "big") for row in cluster.rows("SELECT k FROM ks.kv")}
        assert set(acknowledged) <= present
