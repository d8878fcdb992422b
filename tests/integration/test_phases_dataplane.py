"""The data plane's side of the phases: canary reads and live settings, switched while clients work."""

import time

import pytest

from support import wire
from support.load import Load, reads_from
from support.waiting import wait_until

SELECT = "SELECT v FROM ks.kv WHERE k = 1"
STAMPED = "zdm_proxy_stamped_writes_total"


def put_settings(control, **settings):
    status, _, answer = control.call("PATCH", "/api/v1/settings", settings)
    assert status == 200, answer


def canaries(clients):
    """The numbers of the clients whose reads the target answers."""
    answers = [[reads_from(client, "ks") for _ in range(3)] for client in clients]
    assert all(len(set(three)) == 1 for three in answers), "a client flaps"
    return {number for number, three in enumerate(answers) if three[0] == "target"}


# ---- canary reads ----


def test_a_client_is_a_canary_or_not(controlled):
    """Exactly the share of a hundred clients; more of them as the share grows, and none leaves; new routing moves nobody back and forth."""
    control, proxy, _ = controlled
    clients = [proxy.connect() for _ in range(100)]
    assert canaries(clients) == set()
    so_far = set()
    for percent in (1, 10, 45, 100):
        control.force("canary_read", canary_read_percent=percent)
        now = canaries(clients)
        assert len(now) == percent and so_far <= now
        so_far = now
    control.force("canary_read", canary_read_percent=10)
    ten = canaries(clients)
    control.force("canary_read", canary_read_percent=10, shadow_read_percent=50)
    assert canaries(clients) == ten and len(ten) == 10
    control.force("dual_write")
    assert canaries(clients) == set()
    for client in clients:
        client.close()


def test_canary_reads_are_counted_where_they_go(controlled):
    control, proxy, _ = controlled
    clients = [proxy.connect() for _ in range(100)]
    control.force("canary_read", canary_read_percent=30)
    with proxy.metric_delta() as delta:
        for client in clients:
            reads_from(client, "ks")
            client.query("INSERT INTO ks.kv (k, v) VALUES (2, 'x')")

    def count(kind):
        series = [name for name in delta if name.startswith("zdm_proxy_request_duration_seconds_count") and f'"{kind}"' in name]
        return sum(delta[name] for name in series)

    assert (count("reads_target"), count("reads_origin"), count("writes")) == (30, 70, 100)
    for client in clients:
        client.close()


def test_the_share_changes_under_load(controlled):
    control, proxy, _ = controlled
    with Load(proxy, "ks") as load:
        for percent in (5, 50, 100, 20, 1):
            so_far = load.total
            control.force("canary_read", canary_read_percent=percent)
            wait_until(lambda so_far=so_far: load.total > so_far + 200, "the load goes on")
        control.force("dual_write")
    load.check(at_least=50)


# ---- live settings ----


def timed_out(client):
    """Whether a read gets a timeout error, and after how many seconds."""
    begin = time.monotonic()
    frame = client.ask("QUERY", wire.query_body(SELECT))
    took = time.monotonic() - begin
    return frame.name == "ERROR" and wire.parse_error(frame.body)[0] == wire.READ_TIMEOUT, took


def test_request_timeout(controlled):
    control, proxy, _ = controlled
    with proxy.connect() as client:
        put_settings(control, request_timeout_ms=300)
        proxy.origin.fault("delay", "reads", times=1, ms=3000)
        is_error, took = timed_out(client)
        assert is_error and 0.25 < took < 2.5
        put_settings(control, request_timeout_ms=None)
        proxy.origin.clear_faults()
        proxy.origin.fault("delay", "reads", times=1, ms=900)
        is_error, took = timed_out(client)
        assert not is_error and took > 0.8


def test_a_shorter_timeout_ends_what_waits_already(controlled):
    control, proxy, _ = controlled
    proxy.origin.fault("delay", "reads", times=1, ms=8000)
    with proxy.connect() as client:
        begin = time.monotonic()
        client.send("QUERY", wire.query_body(SELECT), 1)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="reads_origin"}', 1)
        put_settings(control, request_timeout_ms=400)
        assert wire.parse_error(client.receive_for(1).body)[0] == wire.READ_TIMEOUT
        assert time.monotonic() - begin < 5


def test_client_limit(controlled):
    """Whoever is connected stays; a new client beyond the limit is told it."""
    control, proxy, _ = controlled
    clients = [proxy.connect() for _ in range(3)]
    put_settings(control, max_clients=2)
    assert {reads_from(client, "ks") for client in clients} == {"origin"}
    with proxy.connect(is_ready=False) as late:
        code, message = wire.parse_error(late.ask("STARTUP", wire.startup_body()).body)[:2]
        assert code == wire.OVERLOADED and "2 at most" in message
    put_settings(control, max_clients=None)
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "origin"
    for client in clients:
        client.close()


def test_timestamps_and_functions(controlled):
    control, proxy, _ = controlled

    def write(client):
        with proxy.metric_delta() as delta:
            client.query("INSERT INTO ks.kv (k, v) VALUES (3, 'x')")
            client.query("INSERT INTO ks.ids (k, v) VALUES (1, uuid())")
        rows = [cluster.rows("SELECT v FROM ks.ids WHERE k = 1") for cluster in (proxy.origin, proxy.target)]
        return delta.get(STAMPED, 0), rows[0] == rows[1]

    for cluster in (proxy.origin, proxy.target):
        cluster.query("CREATE TABLE ks.ids (k int PRIMARY KEY, v uuid)")
    with proxy.connect() as client, Load(proxy, "ks", write_every=1000000) as load:
        wait_until(lambda: min(load.requests) > 0, "its few writes are done")
        assert write(client) == (2, True)
        put_settings(control, stamp_timestamps=False)
        assert write(client) == (0, True)
        put_settings(control, replace_cql_functions=False)
        assert write(client) == (0, False)
        put_settings(control, stamp_timestamps=True, replace_cql_functions=True)
        assert write(client) == (2, True)
    assert load.failures == []


def test_what_was_prepared_with_replaced_calls_goes_on(controlled):
    control, proxy, _ = controlled
    for cluster in (proxy.origin, proxy.target):
        cluster.query("CREATE TABLE ks.ids (k int PRIMARY KEY, v uuid)")
    with proxy.connect() as client:
        prepared = client.prepare("INSERT INTO ks.ids (k, v) VALUES (?, uuid())")
        put_settings(control, replace_cql_functions=False)
        client.execute(prepared, [wire.int_value(1)])
        rows = [cluster.rows("SELECT v FROM ks.ids WHERE k = 1") for cluster in (proxy.origin, proxy.target)]
        assert rows[0] == rows[1] and rows[0]


def test_log_level(controlled):
    control, proxy, _ = controlled

    def says_debug(level):
        put_settings(control, log_level=level)
        with proxy.connect() as client:
            return "event=client_ready client={}:{} ".format(*client.socket.getsockname()) in proxy.log()

    assert [says_debug(level) for level in ("WARN", "DEBUG", "INFO", "DEBUG", None)] == [False, True, False, True, False]


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_without_control_plane_keeps_them(controlled, kill):
    control, proxy, _ = controlled
    put_settings(control, max_clients=1, request_timeout_ms=300)
    control.force("canary_read", canary_read_percent=100)
    control.kill()
    proxy.kill() if kill else proxy.stop()
    proxy.start()
    with proxy.connect() as client:
        assert reads_from(client, "ks") == "target"
        with proxy.connect(is_ready=False) as late:
            assert wire.parse_error(late.ask("STARTUP", wire.startup_body()).body)[0] == wire.OVERLOADED
        proxy.target.fault("delay", "reads", times=1, ms=3000)
        assert timed_out(client)[0]


def test_all_settings_change_under_load(controlled):
    control, proxy, _ = controlled
    changes = [
        {"request_timeout_ms": 5000, "log_level": "ERROR"},
        {"max_clients": 4, "stamp_timestamps": False},
        {"replace_cql_functions": False, "log_level": "DEBUG"},
        {"request_timeout_ms": None, "max_clients": None, "stamp_timestamps": None, "replace_cql_functions": None, "log_level": None},
    ]
    with Load(proxy, "ks") as load:
        for change in changes * 3:
            so_far = load.total
            put_settings(control, **change)
            wait_until(lambda so_far=so_far: load.total > so_far + 100, "the load goes on")
    load.check(at_least=50)
