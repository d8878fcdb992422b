"""Settings: a bad one stops the start with one line that names it; --check-config, --help and --version say what is in force."""

import re
import subprocess

import pytest

from support.programs import BIN, ROOT, base_environment
from support.waiting import wait_until

REQUIRED = {
    "ORIGIN_CASSANDRA_CONTACT_POINTS": "127.0.0.1",
    "ORIGIN_CASSANDRA_USERNAME": "",
    "ORIGIN_CASSANDRA_PASSWORD": "",
    "TARGET_CASSANDRA_CONTACT_POINTS": "127.0.0.1",
    "TARGET_CASSANDRA_USERNAME": "cassandra",
    "TARGET_CASSANDRA_PASSWORD": "hunter2",
}


def run(program, *arguments, settings=None):
    return subprocess.run(
        [str(BIN / program), *arguments],
        env={**base_environment(), **(settings or {})},
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def table(program):
    """(kind, name, rest) of each row of the program's settings table."""
    folder = {"cloudgate-proxy": "dataplane", "cloudgate-control": "controlplane"}[program]
    text = (ROOT / folder / "config.def").read_text()
    return [match.groups() for match in re.finditer(r"^SETTING_(\w+)\((\w+), (.*)\)$", text, flags=re.M)]


def bad_values():
    """Every setting of both programs with every kind of value that is not one of its own."""
    for program, required in (("cloudgate-proxy", REQUIRED), ("cloudgate-control", {})):
        for kind, name, rest in table(program):
            if kind == "INT":
                _, _, low, high = [part.strip() for part in rest.split(",")[:4]]
                bad = ["", "abc", "1.5", " 1", "0x", str(int(low) - 1), str(int(high) + 1), "99999999999999999999"]
            elif kind == "BOOL":
                bad = ["", "yes", "on", "TrUe", "2"]
            elif kind == "LOG_LEVEL":
                bad = ["", "LOUD", "INFO,DEBUG"]
            elif kind == "TEXT_NONEMPTY":
                bad = [""]
            elif kind == "DOUBLE":
                _, _, low, high = [part.strip() for part in rest.split(",")[:4]]
                bad = ["", "x", "nan", str(float(low) - 1), str(float(high) + 1), "1e9", "1,5"]
            elif kind == "NUMBERS":
                bad = ["", "1,,2", "2,1", "0", "1,x"]
            elif kind == "CHOICE":
                bad = ["", "none", "PRIMARY_ONLY,"]
            else:
                continue
            for value in bad:
                yield pytest.param(program, required, name, value, id=f"{name}={value}")


@pytest.mark.parametrize("program,required,name,value", list(bad_values()))
def test_a_bad_value_stops_the_start_with_one_line(program, required, name, value):
    for arguments in ([], ["--check-config"]):
        result = run(program, *arguments, settings={**required, name: value})
        assert result.returncode == 1
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line]
        assert len(lines) == 1, lines
        assert name in lines[0]
        assert value in lines[0]
        assert re.search(r"must|allowed|expected|possible values", lines[0])


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_setting_is_missed_by_name(name):
    settings = {key: value for key, value in REQUIRED.items() if key != name}
    for arguments in ([], ["--check-config"]):
        result = run("cloudgate-proxy", *arguments, settings=settings)
        assert result.returncode == 1
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line]
        assert len(lines) == 1 and name in lines[0] and "required" in lines[0], lines


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"PROXY_INDEX": "1"}, ["PROXY_INDEX", "PROXY_ADDRESSES"]),
        ({"PROXY_ADDRESSES": "127.0.0.1,proxy b"}, ["PROXY_ADDRESSES", "proxy b"]),
        ({"ORIGIN_CASSANDRA_CONTACT_POINTS": ""}, ["ORIGIN_CASSANDRA_CONTACT_POINTS"]),
        ({"TARGET_CASSANDRA_CONTACT_POINTS": ","}, ["TARGET_CASSANDRA_CONTACT_POINTS"]),
        ({"PROXY_METRICS_PORT": "14002"}, ["PROXY_METRICS_PORT", "PROXY_QUERY_PORT"]),
        (
            {"HEARTBEAT_RETRY_INTERVAL_MIN_MS": "2", "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "1"},
            ["HEARTBEAT_RETRY_INTERVAL_MIN_MS", "HEARTBEAT_RETRY_INTERVAL_MAX_MS"],
        ),
    ],
)
def test_settings_that_contradict_each_other(settings, words):
    result = run("cloudgate-proxy", "--check-config", settings={**REQUIRED, **settings})
    assert result.returncode == 1
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line]
    assert len(lines) == 1 and all(word in lines[0] for word in words), lines


def test_check_config_shows_values_and_sources_and_no_secret():
    result = run(
        "cloudgate-proxy",
        "--check-config",
        settings={**REQUIRED, "PROXY_QUERY_PORT": "0x1F90", "ENABLE_METRICS": "F", "REQUEST_TIMEOUT_MS": "5_000"},
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for _, name, _ in table("cloudgate-proxy"):
        assert sum(line.startswith(f"{name}=") for line in lines) == 1, name
    assert "PROXY_QUERY_PORT=8080  # environment" in lines
    assert "ENABLE_METRICS=false  # environment" in lines
    assert "REQUEST_TIMEOUT_MS=5000  # environment" in lines
    assert "MAX_CLIENTS_THRESHOLD=500  # default" in lines
    assert "TARGET_CASSANDRA_PASSWORD=***  # environment" in lines
    assert "ORIGIN_CASSANDRA_PASSWORD=  # environment" in lines
    assert "hunter2" not in result.stdout + result.stderr


def test_defaults_are_the_documented_ones():
    expected = """PROXY_INDEX=0 PROXY_ADDRESSES=127.0.0.1 ORIGIN_ENABLE_HOST_ASSIGNMENT=true TARGET_ENABLE_HOST_ASSIGNMENT=true
        ORIGIN_CASSANDRA_PORT=9042 TARGET_CASSANDRA_PORT=9042 PROXY_METRICS_ADDRESS=127.0.0.1 PROXY_METRICS_PORT=14001
        PROXY_QUERY_ADDRESS=127.0.0.1 PROXY_QUERY_PORT=14002 CLUSTER_CONNECTION_TIMEOUT_MS=30000 HEARTBEAT_INTERVAL_MS=30000
        ENABLE_METRICS=true MAX_CLIENTS_THRESHOLD=500 FORWARD_READS_TO_TARGET=false FORWARD_SYSTEM_QUERIES_TO_TARGET=true
        REQUEST_TIMEOUT_MS=10000 LOG_LEVEL=INFO CONTROL_SOCKET= READINESS_REQUIRES_BOTH=false""".split()
    lines = run("cloudgate-proxy", "--check-config", settings=REQUIRED).stdout.splitlines()
    for setting in expected:
        assert f"{setting}  # default" in lines
    lines = run("cloudgate-control", "--check-config").stdout.splitlines()
    for setting in ("CONTROL_HTTP_ADDRESS=127.0.0.1", "CONTROL_HTTP_PORT=14003", "LOG_LEVEL=INFO"):
        assert f"{setting}  # default" in lines


def test_debug_is_an_alias_of_the_log_level():
    result = run("cloudgate-proxy", "--check-config", settings={**REQUIRED, "DEBUG": "true"})
    assert "LOG_LEVEL=DEBUG  # environment" in result.stdout.splitlines()


@pytest.mark.parametrize(
    "unknown,nearest",
    [
        ("PROXY_QUERRY_PORT", "PROXY_QUERY_PORT"),
        ("ORIGIN_CASSANDRA_USER", "ORIGIN_CASSANDRA_USERNAME"),
        ("LOG_LEVL", "LOG_LEVEL"),
        ("MAX_CLIENTS_TRESHOLD", "MAX_CLIENTS_THRESHOLD"),
    ],
)
def test_an_unknown_variable_is_warned_about_with_the_nearest_name(unknown, nearest):
    result = run("cloudgate-proxy", "--check-config", settings={**REQUIRED, unknown: "hunter3"})
    assert result.returncode == 0
    warnings = [line for line in result.stderr.splitlines() if unknown in line]
    assert len(warnings) == 1 and nearest in warnings[0] and "level=warning" in warnings[0], result.stderr
    assert "hunter3" not in result.stdout + result.stderr


def test_variables_of_others_are_nobody_s_business():
    settings = {"HTTP_PROXY": "x", "TARGET_SERVICE_HOST": "10.0.0.1", "CONTROL_HTTP_PORT": "14003", "TERM": "x", "EDITOR": "x"}
    result = run("cloudgate-proxy", "--check-config", settings={**REQUIRED, **settings})
    assert result.returncode == 0
    assert "unknown" not in result.stderr


@pytest.mark.parametrize("program", ["cloudgate-proxy", "cloudgate-control", "cloudgatectl", "cqlsim"])
def test_help_and_version(program):
    result = run(program, "--help")
    assert result.returncode == 0 and program in result.stdout
    if program in ("cloudgate-proxy", "cloudgate-control"):
        for _, name, _ in table(program):
            assert name in result.stdout, name
        assert "--check-config" in result.stdout
    result = run(program, "--version")
    assert result.returncode == 0
    assert re.fullmatch(rf"{program} \d+\.\d+\.\d+\S*\n", result.stdout), result.stdout


@pytest.mark.parametrize("program", ["cloudgate-proxy", "cloudgate-control", "cloudgatectl", "cqlsim"])
def test_an_unknown_option_is_refused_by_name(program):
    result = run(program, "--no-such-option", settings=REQUIRED)
    assert result.returncode not in (0, -6, -11)
    assert "--no-such-option" in result.stderr


def test_credentials_stay_out_of_the_log(lab):
    origin = lab.cluster("origin", user="alice", password="wonder-origin").start()
    target = lab.cluster("target", user="bob", password="wonder-target").start()
    proxy = lab.proxy(origin, target, LOG_LEVEL="DEBUG").start()
    with proxy.connect("bob", "wonder-target") as client:
        client.query("SELECT * FROM system.local")
    wait_until(lambda: "time=" in proxy.log(), "something was logged")
    assert "wonder" not in proxy.log()
