"""Clusters that stop, die, fall silent, talk garbage or come back; clients that do not read or are too many. Each costs no more
than it must, and service returns without a restart of the proxy."""

import contextlib
import resource
import socket
import threading
import time

import pytest

from support import wire
from support.waiting import never_during, wait_until

SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
)
TIMEOUT_S = 1.5
SETTINGS = {
    "REQUEST_TIMEOUT_MS": str(int(TIMEOUT_S * 1000)),
    "CLUSTER_CONNECTION_TIMEOUT_MS": "2000",
    "HEARTBEAT_INTERVAL_MS": "300",
    "HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50",
    "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "200",
}
# A timeout is looked for once in a while, and the machine may be busy.
SLACK_S = 2.0
READ = "SELECT v FROM ks.kv WHERE k = 1"
WRITE = "INSERT INTO ks.kv (k, v) VALUES (1, 'x')"


@pytest.fixture
def trio(lab):
    origin, target = lab.pair()
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    return origin, target, lab.proxy(origin, target, **SETTINGS).start()


def outcome(client, text):
    """What becomes of a request: a result, an error code, or the end of the connection; never nothing."""
    try:
        frame = client.ask("QUERY", wire.query_body(text), 1, timeout=TIMEOUT_S + SLACK_S)
    except wire.Closed:
        return "closed"
    return "result" if frame.name == "RESULT" else wire.parse_error(frame.body)[0]


def works_again(proxy, *texts):
    def attempt():
        try:
            with proxy.connect(timeout=5) as client:
                return all(client.query(text) for text in texts)
        except (wire.Closed, wire.ServerError, TimeoutError) as error:
            raise OSError(str(error)) from error

    wait_until(attempt, "a new client is served", timeout=20)


def client_works_again(client, *texts):
    def attempt():
        try:
            return all(client.query(text) for text in texts)
        except wire.ServerError as error:
            raise OSError(str(error)) from error

    wait_until(attempt, "the same client is served", timeout=20)


@pytest.mark.parametrize("side", ["origin", "target"])
def test_a_stopped_cluster_costs_a_timeout_error_and_comes_back(trio, side):
    """SIGSTOP: the sockets live, nothing answers."""
    origin, target, proxy = trio
    cluster = origin if side == "origin" else target
    with proxy.connect() as client:
        client.query(WRITE)
        cluster.pause()
        assert outcome(client, WRITE) in (wire.WRITE_TIMEOUT, wire.UNAVAILABLE, wire.OVERLOADED)
        if side == "origin":
            assert outcome(client, READ) in (wire.READ_TIMEOUT, wire.UNAVAILABLE, wire.OVERLOADED, "closed")
        else:
            assert outcome(client, READ) == "result"
        cluster.resume()
    works_again(proxy, WRITE, READ)


@pytest.mark.parametrize("side", ["origin", "target"])
def test_a_killed_cluster_costs_errors_and_comes_back(trio, side):
    origin, target, proxy = trio
    cluster = origin if side == "origin" else target
    with proxy.connect() as client:
        client.query(WRITE)
        cluster.kill()
        result = outcome(client, WRITE)
        assert result in (wire.WRITE_TIMEOUT, wire.UNAVAILABLE, wire.OVERLOADED, wire.SERVER_ERROR, "closed"), result
    cluster.start()
    cluster.query(*SCHEMA)
    works_again(proxy, WRITE, READ)


def test_a_dead_secondary_does_not_stop_reads_of_clients_that_are_connected(trio):
    _, target, proxy = trio
    with proxy.connect() as client:
        client.query(WRITE)
        target.kill()
        assert [outcome(client, READ) for _ in range(20)] == ["result"] * 20
        target.start()
        target.query(*SCHEMA)
        client_works_again(client, WRITE)
    assert target.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"x"]]


@pytest.mark.parametrize("scope", ["reads", "writes"])
def test_requests_in_flight_when_a_cluster_dies_are_answered(trio, scope):
    origin, _, proxy = trio
    text = READ if scope == "reads" else WRITE
    with proxy.connect() as client:
        origin.fault("silence", scope)
        for stream in range(50):
            client.send("QUERY", wire.query_body(text), stream)
        proxy.wait_metric(f'zdm_proxy_inflight_requests_total{{type="{"reads_origin" if scope == "reads" else "writes"}"}}', 50)
        origin.kill()
        try:
            for stream in range(50):
                assert client.receive_for(stream, timeout=TIMEOUT_S + SLACK_S).name == "ERROR"
        except wire.Closed:
            pass
    wait_until(
        lambda: not [n for n, v in proxy.metrics().items() if n.startswith("zdm_proxy_inflight_requests_total") and v],
        "nothing is in flight",
    )


@pytest.mark.parametrize("kind", ["close", "garbage"])
@pytest.mark.parametrize("side", ["origin", "target"])
def test_a_cluster_that_misbehaves_costs_one_client(trio, side, kind):
    origin, target, proxy = trio
    cluster = origin if side == "origin" else target
    with proxy.connect() as bystander, proxy.connect() as client:
        bystander.query(WRITE)
        cluster.fault(kind, "writes", times=1)
        assert outcome(client, WRITE) != "result"
        cluster.clear_faults()
        bystander.query(WRITE)
        bystander.query(READ)
    works_again(proxy, WRITE, READ)


def test_a_slow_cluster_within_the_timeout_is_only_slow(trio):
    origin, target, proxy = trio
    target.fault("delay", "writes", ms=300)
    with proxy.connect() as client:
        for stream in range(100):
            client.send("QUERY", wire.query_body(f"INSERT INTO ks.kv (k, v) VALUES ({stream}, 'x')"), stream)
        for stream in range(100):
            assert client.receive_for(stream).name == "RESULT"
        client.query(READ)
    assert len(target.rows("SELECT k FROM ks.kv")) == len(origin.rows("SELECT k FROM ks.kv")) == 100


def test_one_client_s_stuck_requests_do_not_delay_another_s(trio):
    origin, _, proxy = trio
    origin.fault("silence", "reads", times=100)
    with proxy.connect() as stuck, proxy.connect() as other:
        for stream in range(100):
            stuck.send("QUERY", wire.query_body(READ), stream)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="reads_origin"}', 100)
        for _ in range(20):
            assert other.query(READ, timeout=1).kind == "ROWS"
        for stream in range(100):
            frame = stuck.receive_for(stream, timeout=TIMEOUT_S + SLACK_S)
            assert wire.parse_error(frame.body)[0] == wire.READ_TIMEOUT


def test_new_clients_while_a_cluster_is_stopped_are_answered_or_closed_in_time(trio):
    origin, _, proxy = trio
    origin.pause()
    with proxy.connect(is_ready=False) as client:
        try:
            frame = client.ask("STARTUP", wire.startup_body(), timeout=10)
            assert frame.name == "ERROR"
        except wire.Closed:
            pass
    origin.resume()
    works_again(proxy, READ)


def test_stream_ids_run_out_at_the_limit_and_come_back(lab):
    origin, target = lab.pair()
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    proxy = lab.proxy(origin, target, PROXY_MAX_STREAM_IDS="64", **SETTINGS).start()
    target.fault("silence", "writes", times=64)
    with proxy.connect() as client:
        for stream in range(64):
            client.send("QUERY", wire.query_body(WRITE), stream)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="writes"}', 64)
        # One more is refused before a byte of it is sent to either cluster.
        code, message, _ = client.query_error("INSERT INTO ks.kv (k, v) VALUES (999, 'x')", stream=64)
        assert code == wire.OVERLOADED and "no stream id available" in message
        for stream in range(64):
            assert wire.parse_error(client.receive_for(stream).body)[0] == wire.WRITE_TIMEOUT
        assert origin.rows("SELECT v FROM ks.kv WHERE k = 999") == target.rows("SELECT v FROM ks.kv WHERE k = 999") == []
    works_again(proxy, WRITE)


def test_the_client_limit_is_answered_with_words(lab):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, MAX_CLIENTS_THRESHOLD="10", **SETTINGS).start()
    clients = [proxy.connect() for _ in range(10)]
    for _ in range(5):
        with proxy.connect(is_ready=False) as refused:
            frame = refused.ask("STARTUP", wire.startup_body(), 4)
            assert frame.name == "ERROR" and frame.stream == 4
            code, message, _ = wire.parse_error(frame.body)
            assert code == wire.OVERLOADED and "10" in message
            assert refused.is_closed(5)
    for client in clients:
        client.query("SELECT rpc_address FROM system.local")
    clients.pop().close()

    def room_again():
        try:
            return clients.append(proxy.connect()) or True
        except (wire.ServerError, wire.Closed) as error:
            raise OSError(str(error)) from error

    wait_until(room_again, "a place that was left can be taken")
    for client in clients:
        client.close()


def test_clients_that_are_refused_take_no_place(lab):
    """Refused connections that linger must not keep out the client for whom there is room again."""
    proxy = lab.proxy(*lab.pair(), MAX_CLIENTS_THRESHOLD="10", **SETTINGS).start()
    clients = [proxy.connect() for _ in range(10)]
    lingering = [proxy.connect(is_ready=False) for _ in range(20)]
    # All have been accepted, so refused, before there is room: else one of them would rightly take it.
    proxy.wait_metric("zdm_client_connections_total", 30)
    clients.pop().close()
    # The place is free once the proxy has met the end of the connection that left.
    closed = 'zdm_client_disconnections_total{reason="client_closed"}'
    proxy.wait_metric(closed, 1)
    clients.append(proxy.connect())
    for connection in clients + lingering:
        connection.close()


def test_nothing_comes_between_the_parts_of_a_large_answer(trio):
    """An error that was held for the other cluster's word once went out in the middle of a large frame."""
    origin, target, proxy = trio
    large = "z" * 8_000_000
    origin.query(f"INSERT INTO ks.kv (k, v) VALUES (1, '{large}')")
    origin.fault("error", "writes", code=0x1001, text="busy")
    target.fault("silence", "writes")
    with proxy.connect() as client:
        client.send("QUERY", wire.query_body(WRITE), 1)
        client.send("QUERY", wire.query_body(READ), 2)
        # The large answer has begun and cannot end, since nobody reads it, when the write expires.
        proxy.wait_metric("zdm_proxy_expired_requests_total", 1)
        assert client.result(client.receive_for(2)).rows == [[large.encode()]]
        assert wire.parse_error(client.receive_for(1).body)[0] == 0x1001


def test_a_client_after_a_quiet_time_is_no_old_client(lab):
    """A worker that slept without clients once took the next one for as old as its last turn, and closed it."""
    proxy = lab.proxy(*lab.pair(), PROXY_WORKERS="1", **{**SETTINGS, "CLUSTER_CONNECTION_TIMEOUT_MS": "1000"}).start()
    proxy.connect().close()
    quiet_until = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > quiet_until, "the worker has slept longer than a client may wait")
    with proxy.connect(is_ready=False) as client:
        never_during(lambda: client.is_closed(0.01), 0.4, "the client was closed")
        client.startup()


def test_more_clients_than_the_usual_descriptor_limit(lab):
    """The soft limit of 1024 that shells and service managers give is raised: three descriptors a client need more."""
    proxy = lab.proxy(*lab.pair(), **SETTINGS)
    with soft_descriptor_limit(256):
        proxy.start()
    clients = [proxy.connect() for _ in range(150)]
    assert all(client.query("SELECT key FROM system.local").rows for client in clients)
    for client in clients:
        client.close()


@contextlib.contextmanager
def soft_descriptor_limit(count):
    """For programs started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_that_does_not_read_harms_nobody(trio):
    """It asks for much more than fits into the sockets and reads none of it."""
    origin, _, proxy = trio
    origin.query("INSERT INTO ks.kv (k, v) VALUES (1, '%s')" % ("z" * 300_000))
    with proxy.connect() as greedy, proxy.connect() as other:
        greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        other.query(READ)
        before = proxy.resident_bytes()
        greedy.socket.setblocking(False)
        request = wire.frame_bytes("QUERY", wire.query_body(READ), 1)
        try:
            for _ in range(2000):
                greedy.socket.send(request)
        except BlockingIOError:
            pass
        for _ in range(50):
            assert other.query(READ, timeout=5).kind == "ROWS"
        grown = proxy.resident_bytes() - before
        assert grown < 64 * 1024 * 1024, f"600 MB of unread answers grew the proxy by {grown} bytes"
    proxy.wait_metric("zdm_client_connections_total", 0)
    proxy.wait_metric('zdm_proxy_inflight_requests_total{type="reads_origin"}', 0, timeout=TIMEOUT_S + 10)


def test_service_goes_on_while_one_cluster_flaps(trio):
    """The target dies and returns three times under load; reads of connected clients never fail."""
    origin, target, proxy = trio
    origin.query("INSERT INTO ks.kv (k, v) VALUES (1, 'x')")
    stop, failures, reads = threading.Event(), [], [0]
    clients = [proxy.connect() for _ in range(3)]

    def read(client):
        try:
            while not stop.is_set() and not failures:
                result = outcome(client, READ)
                if result != "result":
                    failures.append(result)
                reads[0] += 1
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=read, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            so_far = reads[0]
            target.kill()
            wait_until(lambda: reads[0] > so_far + 200 or failures, "reads go on without the target")
            target.start()
            target.query(*SCHEMA)
            works_again(proxy, WRITE)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not failures and reads[0] > 600
    for client in clients:
        client.close()


def test_the_python_driver_survives_a_restart_of_a_cluster(trio):
    _, target, proxy = trio
    with proxy.driver() as session:
        session.execute(WRITE)
        target.kill()
        target.start()
        target.query(*SCHEMA)

        def write():
            from cassandra import DriverException
            from cassandra.cluster import NoHostAvailable

            try:
                session.execute(WRITE)
                return True
            except (DriverException, NoHostAvailable) as error:
                raise OSError(str(error)) from error

        wait_until(write, "the driver writes again", timeout=30)
    assert target.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"x"]]
