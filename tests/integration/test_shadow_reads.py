"""Shadow reads: a share of the reads is also sent to the cluster that does not answer them. Nothing a client sees may depend on it."""

import pytest

from support import wire
from support.load import Load, reads_from
from support.waiting import wait_until

DROPPED = "zdm_proxy_shadow_reads_dropped_total"
SENT = "zdm_proxy_shadow_reads_total"


def reads(cluster):
    return cluster.stats()["statements"]["select"]


@pytest.fixture
def shadowed(lab, named_pair):
    """A proxy that copies every read."""
    return lab.proxy(*named_pair, READ_MODE="DUAL_ASYNC_ON_SECONDARY", REQUEST_TIMEOUT_MS="1000").start()


def open_shadow(client, proxy):
    """Reads until the session's shadow connection is up: copies before that are dropped."""

    def is_open():
        assert reads_from(client, "ks") == "origin"
        return proxy.metric(SENT) >= 1

    wait_until(is_open, "the shadow connection is open")


def async_series(proxy, name):
    return {series: value for series, value in proxy.metrics().items() if series.startswith(f"zdm_async_{name}")}


def total(series):
    return sum(series.values())


def test_reads_are_copied_and_answers_stay_those_of_the_primary(shadowed, named_pair):
    origin, target = named_pair
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        before = reads(target)
        prepared = client.prepare("SELECT v FROM ks.kv WHERE k = ?")
        with shadowed.metric_delta() as delta:
            for _ in range(10):
                assert client.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"origin"]]
                assert client.execute(prepared, [wire.int_value(1)]).rows == [[b"origin"]]
            wait_until(lambda: reads(target) == before + 20, "every copy has reached the target")
            wait_until(lambda: total(async_series(shadowed, "inflight_requests_total")) == 0, "and was answered")
        assert delta[SENT] == 20
        assert delta['zdm_proxy_request_duration_seconds_count{type="reads_origin"}'] == 20
        node = f'{{node="{target.node}",type="reads"}}'
        assert delta[f"zdm_async_request_duration_seconds_count{node}"] == 20
        assert total(async_series(shadowed, "connections_total")) == 1
    wait_until(lambda: total(async_series(shadowed, "connections_total")) == 0, "it ends with its client")


def test_only_reads_of_application_tables_are_copied(shadowed, named_pair):
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        with shadowed.metric_delta() as delta:
            client.query("INSERT INTO ks.kv (k, v) VALUES (2, 'two')")
            client.rows("SELECT keyspace_name FROM system_schema.keyspaces")
            client.rows("SELECT cluster_name FROM system.local")
            client.query("DELETE FROM ks.kv WHERE k = 2")
            client.prepare("SELECT v FROM ks.kv WHERE k = ?")
        assert SENT not in delta


@pytest.mark.parametrize("fault", ["silence", "error", "close", "garbage", "delay"])
def test_a_bad_secondary_is_felt_by_nobody(shadowed, named_pair, fault):
    _, target = named_pair
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        target.fault(fault, "reads", **{"error": {"code": 0x1001}, "delay": {"ms": 3000}}.get(fault, {}))
        before = shadowed.metrics()
        with Load(shadowed, "ks", write_every=10**9) as load:
            wait_until(lambda: load.total > 300, "reads go on")
        load.check()
        after = shadowed.metrics()
        assert after.get(DROPPED + '{reason="not_ready"}', 0) + after[SENT] > before[SENT]
        target.clear_faults()

        def copied_again():
            sent = shadowed.metric(SENT)
            reads_from(client, "ks")
            return shadowed.metric(SENT) > sent

        wait_until(copied_again, "the shadow connection heals", 20)
        client.query("INSERT INTO ks.kv (k, v) VALUES (9, 'both')")
    assert target.rows("SELECT v FROM ks.kv WHERE k = 9") == [[b"both"]]


def test_silent_copies_are_counted_as_timeouts_and_bounded(shadowed, named_pair):
    _, target = named_pair
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        target.fault("silence", "reads")
        for _ in range(300):
            reads_from(client, "ks")
        metrics = shadowed.metrics()
        assert total(async_series(shadowed, "used_stream_ids_total")) <= 128
        assert metrics[DROPPED + '{reason="no_stream_id"}'] >= 300 - 128 - 1
        failed = f'zdm_async_requests_failed_total{{error="client_timeout",node="{target.node}"}}'
        wait_until(lambda: shadowed.metric(failed) > 60, "the silent copies are given up")
        target.clear_faults()


def test_a_node_that_forgot_a_statement_is_told_again(shadowed, named_pair):
    _, target = named_pair
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        prepared = client.prepare("SELECT v FROM ks.kv WHERE k = ?")
        target.tell("unprepare")
        failed = f'zdm_async_requests_failed_total{{error="unprepared",node="{target.node}"}}'
        assert client.execute(prepared, [wire.int_value(1)]).rows == [[b"origin"]]
        wait_until(lambda: shadowed.metric(failed) == 1, "the copy was refused")

        def copy_succeeds():
            before = reads(target)
            client.execute(prepared, [wire.int_value(1)])
            return reads(target) > before

        wait_until(copy_succeeds, "the statement is known again")
        assert shadowed.metric(failed) < 5


def test_the_shadow_follows_the_keyspace(shadowed, named_pair):
    _, target = named_pair
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        client.query("USE ks")
        before = reads(target)
        for _ in range(5):
            assert client.rows("SELECT v FROM kv WHERE k = 1") == [[b"origin"]]
        wait_until(lambda: reads(target) == before + 5, "unqualified names are understood there")


def test_the_next_pages_are_not_copied(shadowed, named_pair):
    for cluster in named_pair:
        for k in range(2, 12):
            cluster.query(f"INSERT INTO ks.kv (k, v) VALUES ({k}, 'x')")
    with shadowed.connect() as client:
        open_shadow(client, shadowed)
        first = client.query("SELECT k FROM ks.kv", page_size=5)
        assert first.paging_state is not None
        with shadowed.metric_delta() as delta:
            client.query("SELECT k FROM ks.kv", page_size=5, paging_state=first.paging_state)
        assert SENT not in delta and delta[DROPPED + '{reason="paging_state"}'] == 1


def test_the_share_is_switched_at_run_time(controlled, named_pair):
    control, proxy, _ = controlled
    origin, target = named_pair
    with proxy.connect() as client, Load(proxy, "ks") as load:
        assert proxy.metric(SENT) == 0
        assert control.patch(shadow_read_percent=100)[0] == 200
        open_shadow(client, proxy)
        assert control.patch(shadow_read_percent=0)[0] == 200
        wait_until(lambda: total(async_series(proxy, "connections_total")) == 0, "shadow connections are closed")
        assert control.patch(shadow_read_percent=100)[0] == 200
        wait_until(lambda: total(async_series(proxy, "connections_total")) >= 2, "and opened again")
        assert control.patch(forward_reads_to_target=True)[0] == 200
        node = f'zdm_async_request_duration_seconds_count{{node="{origin.node}",type="reads"}}'
        wait_until(lambda: proxy.metric(node) > 0, "the origin is the shadow of the target")
        assert reads_from(client, "ks") == "target"
    load.check(at_least=20)


@pytest.mark.parametrize("percent, low, high", [(10, 18, 22), (50, 98, 102)])
def test_the_share_is_kept(lab, named_pair, percent, low, high):
    proxy = lab.proxy(*named_pair, SHADOW_READ_PERCENT=str(percent), PROXY_WORKERS="1").start()
    with proxy.connect() as client:
        open_shadow(client, proxy)
        with proxy.metric_delta() as delta:
            for _ in range(200):
                reads_from(client, "ks")
        assert low <= delta[SENT] <= high


@pytest.mark.parametrize("options", [{"version": 5}, {"version": 5, "compression": "lz4"}, {"version": 4, "compression": "lz4"},
                                     {"version": 3, "compression": "snappy"}])  # fmt: skip
def test_copies_in_every_dialect(lab, options):
    clusters = lab.named_pair(options=["--release-version", "5.0.6"])
    proxy = lab.proxy(*clusters, SHADOW_READ_PERCENT="100").start()
    with proxy.connect(**options) as client:
        open_shadow(client, proxy)
        client.query("USE ks")
        prepared = client.prepare("SELECT v FROM kv WHERE k = ?")
        clusters[1].tell("unprepare")
        failed = f'zdm_async_requests_failed_total{{error="unprepared",node="{clusters[1].node}"}}'
        answered = f'zdm_async_request_duration_seconds_count{{node="{clusters[1].node}",type="reads"}}'
        assert client.execute(prepared, [wire.int_value(1)]).rows == [[b"origin"]]
        wait_until(lambda: proxy.metric(failed) == 1, "the copy was refused")
        before = proxy.metric(answered), reads(clusters[1])
        for _ in range(10):
            assert client.execute(prepared, [wire.int_value(1)]).rows == [[b"origin"]]
        wait_until(lambda: proxy.metric(answered) == before[0] + 10, "every copy was answered")
        assert reads(clusters[1]) - before[1] >= 8, "the statement is known again"
        assert proxy.metric(failed) <= 3
