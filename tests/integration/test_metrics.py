"""/metrics: names, labels and types that dashboards rely on, and that each request moves exactly the series it should."""

import re
import shutil
import subprocess

import pytest

from support import wire
from support.programs import ROOT, http
from support.waiting import wait_until

REQUEST_TYPES = ("reads_origin", "reads_target", "writes")
NODE_ERRORS = (
    "client_timeout", "read_timeout", "read_failure", "write_timeout", "write_failure", "overloaded", "unavailable",
    "unprepared", "other",
)  # fmt: skip
BOUNDS = "0.001 0.004 0.007 0.01 0.025 0.04 0.06 0.08 0.1 0.15 0.25 0.5 1 2.5 5 10 15 +Inf".split()


def test_series_stand_at_zero_from_the_start(lab):
    proxy = lab.proxy(*lab.pair()).start()
    lines = proxy.metrics_text().splitlines()
    expected = [f'zdm_proxy_failed_connections_total{{cluster="{c}"}} 0' for c in ("origin", "target")]
    expected += [f'zdm_proxy_failed_reads_total{{cluster="{c}"}} 0' for c in ("origin", "target")]
    expected += [f'zdm_proxy_failed_writes_total{{failed_on="{c}"}} 0' for c in ("origin", "target", "both")]
    expected += [f'zdm_proxy_inflight_requests_total{{type="{t}"}} 0' for t in REQUEST_TYPES]
    expected += [f'zdm_proxy_request_duration_seconds_count{{type="{t}"}} 0' for t in REQUEST_TYPES]
    expected += [
        f'zdm_proxy_request_duration_seconds_bucket{{type="{t}",le="{bound}"}} 0' for t in REQUEST_TYPES for bound in BOUNDS
    ]
    expected += [
        "zdm_client_connections_total 0",
        "zdm_pscache_entries_total 0",
        "zdm_pscache_miss_total 0",
        "zdm_routing_revision 0",
        "zdm_control_connected 0",
    ]
    assert [line for line in expected if line not in lines] == []
    assert not [line for line in lines if 'node="' in line], "node series before the first client"


def test_node_series_appear_with_the_first_client(world):
    with world.proxy.connect():
        metrics = world.proxy.metrics()
    for side, cluster in (("origin", world.origin), ("target", world.target)):
        for error in NODE_ERRORS:
            assert metrics[f'zdm_{side}_requests_failed_total{{error="{error}",node="{cluster.node}"}}'] == 0
        for kind in ("reads", "writes"):
            assert f'zdm_{side}_request_duration_seconds_count{{node="{cluster.node}",type="{kind}"}}' in metrics
        assert metrics[f'zdm_{side}_connections_total{{node="{cluster.node}"}}'] == 1
        assert metrics[f'zdm_{side}_failed_connections_total{{node="{cluster.node}"}}'] == 0
        assert metrics[f'zdm_{side}_used_stream_ids_total{{node="{cluster.node}"}}'] == 0


def test_types_and_help(world):
    text = world.proxy.metrics_text()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.M))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, flags=re.M))
    assert types.keys() == helps.keys()
    assert types["zdm_proxy_request_duration_seconds"] == "histogram"
    for name in ("proxy_failed_connections", "proxy_failed_reads", "proxy_failed_writes", "pscache_miss"):
        assert types[f"zdm_{name}_total"] == "counter"
    for name in ("proxy_inflight_requests", "client_connections", "pscache_entries"):
        assert types[f"zdm_{name}_total"] == "gauge"
    for name in ("process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes", "process_max_fds"):
        assert name in types
    assert helps["zdm_proxy_failed_writes_total"] == "Running total of failed writes"
    assert helps["zdm_client_connections_total"] == "Number of client connections currently open"
    assert re.search(r'^zdm_build_info\{version="\d+\.\d+\.\d+[^"]*"\} 1$', text, flags=re.M)


def test_every_series_is_documented(world):
    with world.proxy.connect():
        text = world.proxy.metrics_text()
    document = (ROOT / "docs/metrics.md").read_text()
    families = re.findall(r"^# TYPE (\S+) ", text, flags=re.M)
    assert [name for name in families if f"`{name}`" not in document] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_only_names_that_compatibility_forces(world):
    with world.proxy.connect():
        text = world.proxy.metrics_text()
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    document = (ROOT / "docs/metrics.md").read_text().split("## Names kept for compatibility")[1]
    forced = set(re.findall(r"`(zdm_\w+_total)`", document))
    complaints = [line for line in (result.stdout + result.stderr).splitlines() if line]
    unexpected = [
        line
        for line in complaints
        if not (line.endswith('non-counter metrics should not have "_total" suffix') and line.split()[0] in forced)
    ]
    assert unexpected == []


def counts(*series):
    return {name: 1.0 for name in series}


def settled(world, delta):
    """The delta without what is about connections rather than requests."""
    return {name: value for name, value in delta.items() if "connections" not in name}


def test_a_read_counts_where_it_went(world, keyspace):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.query(f"SELECT * FROM {keyspace}.kv")
    node = world.origin.node
    assert settled(world, delta) == counts(
        'zdm_proxy_request_duration_seconds_count{type="reads_origin"}',
        f'zdm_origin_request_duration_seconds_count{{node="{node}",type="reads"}}',
    )


def test_a_write_counts_on_both(world, keyspace):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'a')")
    assert settled(world, delta) == counts(
        'zdm_proxy_request_duration_seconds_count{type="writes"}',
        f'zdm_origin_request_duration_seconds_count{{node="{world.origin.node}",type="writes"}}',
        f'zdm_target_request_duration_seconds_count{{node="{world.target.node}",type="writes"}}',
        "zdm_proxy_stamped_writes_total",
    )


def test_use_counts_as_a_write(world, keyspace):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.query(f"USE {keyspace}")
    assert delta['zdm_proxy_request_duration_seconds_count{type="writes"}'] == 1


def test_a_batch_counts_as_one_write(world, keyspace):
    children = [(f"INSERT INTO {keyspace}.kv (k, v) VALUES ({k}, 'b')", ()) for k in range(3)]
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.batch(children)
    assert delta['zdm_proxy_request_duration_seconds_count{type="writes"}'] == 1


def test_preparing_is_counted_nowhere_and_executing_is(world, keyspace):
    with world.proxy.connect() as client:
        with world.proxy.metric_delta() as delta:
            prepared = client.prepare(f"SELECT v FROM {keyspace}.kv WHERE k = ?")
        assert settled(world, delta) == counts("zdm_pscache_entries_total")
        with world.proxy.metric_delta() as delta:
            client.execute(prepared, [wire.int_value(1)])
        assert delta['zdm_proxy_request_duration_seconds_count{type="reads_origin"}'] == 1


def test_what_the_proxy_answers_itself_is_counted_nowhere(world):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        client.query("SELECT * FROM system.local WHERE key = 'local'")
        client.query("SELECT * FROM system.peers")
        client.ask("OPTIONS")
    assert settled(world, delta) == {}


def test_a_prepared_miss_is_counted(world):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        code, _, details = client.error("EXECUTE", wire.execute_body(b"0123456789abcdef"))
    assert code == wire.UNPREPARED and details == wire.short_bytes(b"0123456789abcdef")
    assert delta["zdm_pscache_miss_total"] == 1


def test_a_failed_read_is_a_failed_read(world):
    with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
        code, _, _ = client.query_error("SELECT * FROM no_such_keyspace.kv")
    assert code == wire.INVALID
    assert delta['zdm_proxy_failed_reads_total{cluster="origin"}'] == 1
    assert delta[f'zdm_origin_requests_failed_total{{error="other",node="{world.origin.node}"}}'] == 1
    assert not [name for name in delta if "target" in name and "fail" in name]


def test_failed_writes_name_the_side(world, keyspace):
    world.origin.query(f"CREATE TABLE {keyspace}.only_origin (k int PRIMARY KEY)")
    world.target.query(f"CREATE TABLE {keyspace}.only_target (k int PRIMARY KEY)")
    for table, failed_on in (("only_origin", "target"), ("only_target", "origin"), ("nowhere", "both")):
        with world.proxy.connect() as client, world.proxy.metric_delta() as delta:
            client.query_error(f"INSERT INTO {keyspace}.{table} (k) VALUES (1)")
        assert delta[f'zdm_proxy_failed_writes_total{{failed_on="{failed_on}"}}'] == 1
        failed = {name for name in delta if "_requests_failed_total" in name}
        sides = {"origin", "target"} if failed_on == "both" else {failed_on}
        nodes = {"origin": world.origin.node, "target": world.target.node}
        assert failed == {f'zdm_{side}_requests_failed_total{{error="other",node="{nodes[side]}"}}' for side in sides}


def test_gauges_return_to_where_they_were(world, keyspace):
    def gauges():
        metrics = world.proxy.metrics()
        return {name: metrics[name] for name in metrics if re.match(r"zdm_\w*(connections|inflight|stream_ids)\w*_total", name)
                and "failed" not in name and "disconnections" not in name}

    before = wait_until(lambda: (g := gauges())["zdm_client_connections_total"] == 0 and g, "no client is left")
    clients = [world.proxy.connect() for _ in range(5)]
    assert world.proxy.metric("zdm_client_connections_total") == 5
    assert world.proxy.metric(f'zdm_target_connections_total{{node="{world.target.node}"}}') == 5
    for client in clients:
        client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (1, 'a')")
        client.close()
    wait_until(lambda: {**gauges(), **before} == gauges(), "all gauges are back")


def test_a_scrape_during_load_is_consistent(world, keyspace):
    """A histogram's count is its +Inf bucket, buckets never fall, counters never go back."""
    last = {}
    with world.proxy.connect() as client:
        for turn in range(50):
            for stream in range(20):
                client.send("QUERY", wire.query_body(f"SELECT * FROM {keyspace}.kv WHERE k = {turn}"), stream)
            metrics = world.proxy.metrics()
            for stream in range(20):
                assert client.receive_for(stream).name == "RESULT"
            for kind in REQUEST_TYPES:
                name = "zdm_proxy_request_duration_seconds"
                buckets = [metrics[f'{name}_bucket{{type="{kind}",le="{bound}"}}'] for bound in BOUNDS]
                assert buckets == sorted(buckets)
                assert buckets[-1] == metrics[f'{name}_count{{type="{kind}"}}']
                assert buckets[-1] >= last.get(kind, 0)
                last[kind] = buckets[-1]
    wait_until(lambda: world.proxy.metric('zdm_proxy_inflight_requests_total{type="reads_origin"}') == 0, "none in flight")


def test_metrics_can_be_switched_off(lab):
    proxy = lab.proxy(*lab.pair(), ENABLE_METRICS="false").start()
    status, _, body = http("GET", proxy.url("/metrics"))
    assert (status, body) == (404, b"Metrics are disabled on this proxy instance.")
    assert http("GET", proxy.url("/health/liveness"))[0] == 200
