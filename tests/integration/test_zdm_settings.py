"""Coming from zdm-proxy: its configuration file and its ZDM_ environment start this proxy as they are. Which source of a setting wins,
what is said of knobs without effect and of slips, and that metrics are named and counted as the settings say."""

import re

import pytest

from support.programs import BIN, ROOT, Proxy, http
from support.waiting import wait_until
from test_settings import run

FILE = ROOT / "tests/integration/data/zdm-proxy.yml"
KEYS = re.findall(r"^(\w+):", FILE.read_text(), flags=re.M)
INERT = re.findall(r"^ACCEPTED\((\w+),", (ROOT / "dataplane/config.def").read_text(), flags=re.M)


class ZdmProxy(Proxy):
    """A proxy that is told everything in zdm-proxy's words, by a file or by the environment."""

    def __init__(self, lab, address, origin, target, by_file, changes=None, environment=None):
        super().__init__(lab, "proxy", address, origin, target, {})
        self.by_file, self.extra = by_file, dict(environment or {})
        changes = {
            "origin_contact_points": origin.address,
            "origin_port": origin.port,
            "origin_username": origin.user or "",
            "origin_password": origin.password or "",
            "target_contact_points": target.address,
            "target_port": target.port,
            "target_username": target.user or "",
            "target_password": target.password or "",
            "proxy_topology_addresses": address,
            "proxy_listen_address": address,
            "proxy_listen_port": self.port,
            "metrics_address": address,
            "metrics_port": self.http_port,
            **(changes or {}),
        }
        text = FILE.read_text()
        for key, value in changes.items():
            text, count = re.subn(rf"(?m)^{key}:.*$", f"{key}: {value}" if value != "" else f'{key}: ""', text)
            assert count == 1, key
        self.values = {key: value.strip().strip('"') for key, value in re.findall(r"^(\w+):(.*)$", text, flags=re.M)}
        self.path = lab.directory / f"{self.name}.yml"
        self.path.write_text(text)

    def command(self):
        return [str(BIN / "cloudgate-proxy"), *(["-config", str(self.path)] if self.by_file else [])]

    def environment(self):
        named = {} if self.by_file else {f"ZDM_{key.upper()}": value for key, value in self.values.items()}
        return {**named, **self.extra}


@pytest.fixture(params=["file", "environment"])
def by_file(request):
    return request.param == "file"


@pytest.fixture
def zdm(lab, named_pair):
    """Makes and starts a proxy between the named pair."""
    return lambda **options: lab.add(ZdmProxy, *named_pair, **options).start()


def who_answers(proxy):
    with proxy.connect() as client:
        return client.query("SELECT v FROM ks.kv WHERE k = 1").rows[0][0].decode()


def test_the_example_has_every_setting():
    assert len(KEYS) == len(set(KEYS)) == 71


def test_a_proxy_of_zdm_s_settings_serves(zdm, by_file):
    proxy = zdm(by_file=by_file)
    assert proxy.readiness()[0] == 200
    assert who_answers(proxy) == "origin"
    with proxy.connect() as client:
        client.query("INSERT INTO ks.kv (k, v) VALUES (2, 'both')")
    for cluster in (proxy.origin, proxy.target):
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = 2") == [[b"both"]]
    assert proxy.metric('zdm_proxy_request_duration_seconds_count{type="writes"}') >= 1
    log = proxy.log()
    for name in INERT:
        shown = name.lower() if by_file else f"ZDM_{name}"
        assert len(re.findall(rf"event=setting_without_effect name={shown} ", log)) == 1, name
    assert "unknown_setting" not in log


def test_the_primary_cluster_answers_reads(zdm, by_file):
    assert who_answers(zdm(by_file=by_file, changes={"primary_cluster": "target"})) == "target"


def test_dual_reads_reach_the_secondary(zdm, by_file):
    proxy = zdm(by_file=by_file, changes={"read_mode": "dual_async_on_secondary"})
    assert who_answers(proxy) == "origin"
    with proxy.connect() as client:
        wait_until(
            lambda: client.query("SELECT v FROM ks.kv WHERE k = 1")
            and proxy.metric(f'zdm_async_request_duration_seconds_count{{node="{proxy.target.node}",type="reads"}}') > 0,
            "a read was repeated on the target",
        )


def test_metrics_have_the_prefix_and_the_buckets_asked_for(zdm, by_file):
    proxy = zdm(
        by_file=by_file,
        changes={
            "metrics_prefix": "mine",
            "metrics_origin_latency_buckets_ms": "0.01, 2.5, 15000",
            "metrics_target_latency_buckets_ms": "7",
        },
    )
    who_answers(proxy)
    with proxy.connect() as client:
        client.query("INSERT INTO ks.kv (k, v) VALUES (3, 'x')")
    series = proxy.metrics()
    assert not [name for name in series if not name.startswith(("mine_", "process_"))]

    def bounds(name, labels):
        pattern = re.compile(rf'{name}_bucket\{{{re.escape(labels)},le="([^"]+)"\}}')
        return [match[1] for match in map(pattern.fullmatch, series) if match]

    duration = "mine_proxy_request_duration_seconds"
    assert bounds(duration, 'type="reads_origin"') == ["1e-05", "0.0025", "15", "+Inf"]
    assert bounds(duration, 'type="writes"') == ["1e-05", "0.0025", "15", "+Inf"]
    assert bounds(duration, 'type="reads_target"') == ["0.007", "+Inf"]
    origin, target = f'node="{proxy.origin.node}"', f'node="{proxy.target.node}"'
    assert bounds("mine_origin_request_duration_seconds", f'{origin},type="writes"') == ["1e-05", "0.0025", "15", "+Inf"]
    assert bounds("mine_target_request_duration_seconds", f'{target},type="writes"') == ["0.007", "+Inf"]
    assert series[f'{duration}_bucket{{type="writes",le="+Inf"}}'] == series[f'{duration}_count{{type="writes"}}'] >= 1


def test_metrics_can_be_switched_off(zdm, by_file):
    proxy = zdm(by_file=by_file, changes={"metrics_enabled": "false"})
    status, _, body = http("GET", proxy.url("/metrics"))
    assert (status, body) == (404, b"Metrics are disabled on this proxy instance.")
    assert proxy.readiness()[0] == 200


def test_names_are_taken_for_the_addresses_to_listen_on(lab, named_pair):
    """localhost is zdm-proxy's default for both; drivers are shown what it stands for."""
    changes = {"proxy_listen_address": "localhost", "metrics_address": "localhost", "proxy_topology_addresses": ""}
    proxy = lab.add(ZdmProxy, *named_pair, by_file=True, changes=changes)
    proxy.address = "127.0.0.1"
    proxy.start()
    with proxy.connect() as client:
        row = client.query("SELECT rpc_address FROM system.local").rows[0]
    assert row == [bytes([127, 0, 0, 1])]


def test_other_sources_win_over_the_file(zdm):
    proxy = zdm(by_file=True, environment={"ZDM_PRIMARY_CLUSTER": "TARGET"})
    assert who_answers(proxy) == "target"


# ---- the command line ----


def check(tmp_path, *arguments, text=None, settings=None):
    path = tmp_path / "zdm.yml"
    path.write_text(FILE.read_text() if text is None else text)
    return run("cloudgate-proxy", "--config", str(path), "--check-config", *arguments, settings=settings)


def test_each_value_is_shown_with_its_source(tmp_path):
    result = check(
        tmp_path,
        "--set",
        "PROXY_QUERY_PORT=1003",
        settings={"ZDM_METRICS_PORT": "1002", "REQUEST_TIMEOUT_MS": "1001", "ZDM_PROXY_REQUEST_TIMEOUT_MS": "1000"},
    )
    lines = result.stdout.splitlines()
    assert "PROXY_QUERY_PORT=1003  # command line" in lines
    assert "REQUEST_TIMEOUT_MS=1001  # environment" in lines
    assert "PROXY_METRICS_PORT=1002  # environment (ZDM_METRICS_PORT)" in lines
    number = 1 + FILE.read_text().splitlines().index("heartbeat_interval_ms: 30000")
    assert f"HEARTBEAT_INTERVAL_MS=30000  # file (heartbeat_interval_ms, line {number})" in lines
    assert "STATE_DIRECTORY=  # default" in lines
    assert sum("  # file (" in line for line in lines) == 71 - 3
    warnings = [line for line in result.stderr.splitlines() if "level=warning" in line]
    assert len(warnings) == 1 and "used=REQUEST_TIMEOUT_MS ignored=ZDM_PROXY_REQUEST_TIMEOUT_MS" in warnings[0], warnings
    assert "TARGET_CASSANDRA_PASSWORD=***" in result.stdout


def test_names_that_agree_are_no_conflict(tmp_path):
    settings = {"REQUEST_TIMEOUT_MS": "0x10", "ZDM_PROXY_REQUEST_TIMEOUT_MS": "16"}
    settings |= {"FORWARD_READS_TO_TARGET": "t", "ZDM_PRIMARY_CLUSTER": "target"}
    assert "warning" not in check(tmp_path, settings=settings).stderr


def test_an_unknown_key_is_warned_about_with_its_line(tmp_path):
    result = check(tmp_path, text=FILE.read_text() + "orgin_port: 1\n")
    line = len(FILE.read_text().splitlines()) + 1
    assert result.returncode == 0
    assert f'event=unknown_setting key="orgin_port" line={line} nearest=origin_port' in result.stderr


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "could not parse yaml file {path}: EOF"),
        ("origin_port: [1\n", "could not parse yaml file {path}: line "),
        ("origin_port: 1\norigin_port: 2\n", 'could not parse yaml file {path}: line 2: key "origin_port" is given twice'),
        ("origin_port: {a: 1}\n", 'could not parse yaml file {path}: line 1: "origin_port" is a mapping'),
        ("origin_port: abc\n", "invalid target configuration: "),
        ("heartbeat_interval_ms: abc\n", 'heartbeat_interval_ms="abc" is not allowed: it must be an integer from 10 to 3600000'),
        ("a: " + "x" * 300000, "could not read configuration file {path}: File too large"),
    ],
)
def test_a_bad_file_stops_the_start(tmp_path, text, message):
    result = check(tmp_path, text=text)
    lines = [line for line in result.stderr.splitlines() if "level=" not in line]
    assert result.returncode == 1
    assert len(lines) == 1 and message.format(path=tmp_path / "zdm.yml") in lines[0], lines


def test_a_missing_file_stops_the_start(tmp_path):
    result = run("cloudgate-proxy", "-config", str(tmp_path / "none.yml"))
    assert result.returncode == 1
    assert f"could not read configuration file {tmp_path / 'none.yml'}: No such file or directory" in result.stderr
