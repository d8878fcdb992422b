"""Plays against Apache Cassandra 3.11 (origin) and 5.0 (target): what a user does, with the rows looked up in each cluster.

The plays that stop a cluster come last; each leaves both clusters serving.
"""

import json
import re
import shutil
import subprocess
import sys
import time
import uuid

import pytest
from cassandra import AuthenticationFailed, ConsistencyLevel
from cassandra.cluster import NoHostAvailable
from cassandra.query import BatchStatement, BatchType, SimpleStatement

from conftest import (CONTROL_PORT, METRICS_PORT, ORIGIN, PROXY, QUERY_PORT, REQUEST_TIMEOUT, ROOT, TARGET, http, is_ready,
                      session_to, wait_until)

REPLICATION = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
ROUTING = f"http://{PROXY}:{CONTROL_PORT}/api/v1/routing"


@pytest.fixture
def keyspace(client):
    """A keyspace of its own for a play, created through the proxy, so on both clusters."""
    name = f"play_{uuid.uuid4().hex[:8]}"
    client.execute(f"CREATE KEYSPACE {name} WITH replication = {REPLICATION}")
    yield name
    client.execute(f"DROP KEYSPACE {name}")


def cqlsh(text, *options):
    """Feeds statements to cqlsh as typed; returns its output and fails on an error."""
    program = shutil.which("cqlsh", path=str(ROOT / "build" / "venv" / "bin")) or shutil.which("cqlsh")
    result = subprocess.run([program, "-u", "cassandra", "-p", "cassandra", *options, PROXY, str(QUERY_PORT)], input=text,
                            capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def set_routing(**change):
    status, state = http("PATCH", ROUTING, change)
    assert status == 200, (status, state)
    for name, value in change.items():
        assert state[name] == value
    return state


@pytest.fixture
def routing(programs):
    """Routing as it was, afterwards."""
    wait_until(lambda: http("GET", ROUTING)[0] == 200, 10, "the control plane answers")
    yield set_routing
    set_routing(forward_reads_to_target=False, forward_system_queries_to_target=True)


def test_the_walk_of_the_readme_by_cqlsh(programs, direct):
    walk = re.search(r"```cql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    output = cqlsh(walk)
    assert "Ada" in output and "Grace" in output
    try:
        origin, target = direct("SELECT id, name, city FROM walk.people")
        assert origin and sorted(origin) == sorted(target)
        assert (1, "Ada", "London") in origin
        assert all(row[0] != 2 for row in origin), "the DELETE reached neither"
        assert {row[0] for row in origin} >= {3, 4}, "the batch is missing"
    finally:
        cqlsh("DROP KEYSPACE walk;")


def test_cqlsh_at_version_3_and_4_describes_what_it_created(programs, any_version):
    keyspace = f"described_{any_version}"
    output = cqlsh(f"CREATE KEYSPACE {keyspace} WITH replication = {REPLICATION};\n"
                   f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, b text);\n"
                   f"USE {keyspace};\nINSERT INTO t (a, b) VALUES (1, 'one');\nSELECT * FROM t;\n"
                   f"DROP KEYSPACE {keyspace};\n", "--protocol-version", str(any_version))
    assert "one" in output and "(1 rows)" in output


def test_prepared_statements_write_to_both_and_read(client, keyspace, direct):
    client.execute(f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, b text, c list<int>, d map<text, uuid>)")
    insert = client.prepare(f"INSERT INTO {keyspace}.t (a, b, c, d) VALUES (?, ?, ?, ?)")
    select = client.prepare(f"SELECT b, c, d FROM {keyspace}.t WHERE a = ?")
    key = uuid.uuid4()
    for number in range(20):
        client.execute(insert, (number, f"row {number}", [number, 1], {"k": key}))
    row = client.execute(select, (7,)).one()
    assert (row.b, list(row.c), dict(row.d)) == ("row 7", [7, 1], {"k": key})
    client.execute(client.prepare(f"UPDATE {keyspace}.t SET b = ? WHERE a = ?"), ("changed", 7))
    client.execute(client.prepare(f"DELETE FROM {keyspace}.t WHERE a = ?"), (8,))
    origin, target = direct(f"SELECT a, b FROM {keyspace}.t")
    assert sorted(origin) == sorted(target)
    assert len(origin) == 19 and (7, "changed") in origin


def test_unqualified_names_after_use(client, keyspace, direct):
    client.execute(f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, b text)")
    client.set_keyspace(keyspace)
    client.execute("INSERT INTO t (a, b) VALUES (1, 'one')")
    client.execute(client.prepare("INSERT INTO t (a, b) VALUES (?, ?)"), (2, "two"))
    assert {row.a for row in client.execute("SELECT a FROM t")} == {1, 2}
    origin, target = direct(f"SELECT a, b FROM {keyspace}.t")
    assert sorted(origin) == sorted(target) == [(1, "one"), (2, "two")]


@pytest.mark.parametrize("kind", [BatchType.LOGGED, BatchType.UNLOGGED], ids=["logged", "unlogged"])
def test_batches_of_prepared_and_plain_statements(client, keyspace, direct, kind):
    client.execute(f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, b text)")
    insert = client.prepare(f"INSERT INTO {keyspace}.t (a, b) VALUES (?, ?)")
    batch = BatchStatement(batch_type=kind)
    batch.add(insert, (1, "prepared"))
    batch.add(SimpleStatement(f"INSERT INTO {keyspace}.t (a, b) VALUES (2, 'plain')"))
    batch.add(insert, (3, "prepared too"))
    client.execute(batch)
    client.execute(f"BEGIN BATCH INSERT INTO {keyspace}.t (a, b) VALUES (4, 'text'); DELETE FROM {keyspace}.t WHERE a = 3; APPLY BATCH")
    origin, target = direct(f"SELECT a, b FROM {keyspace}.t")
    assert sorted(origin) == sorted(target) == [(1, "prepared"), (2, "plain"), (4, "text")]


def test_counters_are_counted_once_in_each(client, keyspace, direct):
    client.execute(f"CREATE TABLE {keyspace}.c (a int PRIMARY KEY, n counter)")
    for _ in range(5):
        client.execute(f"UPDATE {keyspace}.c SET n = n + 2 WHERE a = 1")
    assert direct(f"SELECT a, n FROM {keyspace}.c") == ([(1, 10)], [(1, 10)])


def test_paging_walks_through_every_row(client, keyspace):
    client.execute(f"CREATE TABLE {keyspace}.t (a int, b int, PRIMARY KEY (a, b))")
    insert = client.prepare(f"INSERT INTO {keyspace}.t (a, b) VALUES (?, ?)")
    for future in [client.execute_async(insert, (number % 7, number)) for number in range(500)]:
        future.result()
    select = client.prepare(f"SELECT b FROM {keyspace}.t")
    select.fetch_size = 23
    assert sorted(row.b for row in client.execute(select)) == list(range(500))
    plain = SimpleStatement(f"SELECT b FROM {keyspace}.t WHERE a = 3", fetch_size=10)
    assert [row.b for row in client.execute(plain)] == [number for number in range(500) if number % 7 == 3]


def test_lightweight_transactions_say_whether_they_applied(client, keyspace, direct):
    client.execute(f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, b text)")
    insert = client.prepare(f"INSERT INTO {keyspace}.t (a, b) VALUES (?, ?) IF NOT EXISTS")
    assert client.execute(insert, (1, "first")).was_applied
    assert not client.execute(insert, (1, "second")).was_applied
    assert client.execute(f"UPDATE {keyspace}.t SET b = 'third' WHERE a = 1 IF b = 'first'").was_applied
    assert direct(f"SELECT a, b FROM {keyspace}.t") == ([(1, "third")], [(1, "third")])


def test_an_error_of_the_clusters_reaches_the_client(client, keyspace):
    with pytest.raises(Exception, match="(?i)unconfigured table|does not exist"):
        client.execute(f"SELECT * FROM {keyspace}.nothing_here")
    with pytest.raises(Exception, match="(?i)unconfigured table|does not exist"):
        client.execute(f"INSERT INTO {keyspace}.nothing_here (a) VALUES (1)")


def test_a_wrong_password_is_refused(programs):
    with pytest.raises((AuthenticationFailed, NoHostAvailable), match="(?i)username|password|credentials|authentication"):
        with session_to(PROXY, QUERY_PORT, username="cassandra", password="wrong"):
            pass


def test_the_driver_sees_the_proxy_as_the_only_node(client):
    hosts = client.cluster.metadata.all_hosts()
    assert [host.address for host in hosts] == [PROXY]
    assert client.execute("SELECT release_version FROM system.local").one().release_version.startswith("5.0")


def test_a_schema_change_reaches_the_driver(client, keyspace):
    with session_to(PROXY, QUERY_PORT) as other:
        other.execute(f"CREATE TABLE {keyspace}.seen (a int PRIMARY KEY)")
    wait_until(lambda: "seen" in client.cluster.metadata.keyspaces[keyspace].tables, 10, "the driver learnt of the new table")


def test_reads_move_with_the_toggle(routing, client, keyspace):
    client.execute(f"CREATE TABLE {keyspace}.t (a int PRIMARY KEY, side text)")
    for address, side in ((ORIGIN, "origin"), (TARGET, "target")):
        with session_to(address) as session:
            session.execute(f"INSERT INTO {keyspace}.t (a, side) VALUES (1, '{side}')")
    select = client.prepare(f"SELECT side FROM {keyspace}.t WHERE a = ?")
    for to_target in (False, True, False, True, False):
        state = routing(forward_reads_to_target=to_target)
        assert client.execute(select, (1,)).one().side == ("target" if to_target else "origin"), state


def load(seconds, *options):
    """The load generator, running; its last line are the counts."""
    process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "bench" / "load.py"), "--address", PROXY, "--port", str(QUERY_PORT),
                                "--username", "cassandra", "--password", "cassandra", "--keyspace", "loaded",
                                "--seconds", str(seconds), *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "load running"
    return process


def finished(process):
    output, _ = process.communicate(timeout=60)
    return json.loads(output.strip().splitlines()[-1])


def test_switching_under_load_fails_no_request(routing):
    process = load(0, "--reads", "100", "--writes", "100")
    for number in range(100):
        routing(forward_reads_to_target=number % 2 == 0)
    process.terminate()
    counts = finished(process)
    assert counts["reads"] > 20 and counts["writes"] > 20
    assert (counts["failed_reads"], counts["failed_writes"], counts["lost_connections"]) == (0, 0, 0), counts


def test_killing_the_control_plane_under_load_fails_no_request(routing, programs):
    before = routing(forward_reads_to_target=True)
    process = load(6, "--reads", "50", "--writes", "50")
    programs.control.kill()
    counts = finished(process)
    assert (counts["failed_reads"], counts["failed_writes"], counts["lost_connections"]) == (0, 0, 0), counts
    programs.control.start()
    state = wait_until(lambda: (lambda status, body: body if status == 200 else None)(*http("GET", ROUTING)), 10, "it is back")
    assert state == before

    def applied():
        status, body = http("GET", f"http://{PROXY}:{CONTROL_PORT}/api/v1/dataplanes")
        return status == 200 and f'"applied_revision": {before["revision"]}' in json.dumps(body)
    wait_until(applied, 10, "the data plane is connected again, at the same revision")


def test_metrics_are_what_prometheus_expects(programs):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; scripts/test.sh --full brings it")
    status, text = http("GET", f"http://{PROXY}:{METRICS_PORT}/metrics")
    assert status == 200 and "zdm_" in text
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # Two rules of the linter contradict names that existing dashboards rely on.
    findings = [line for line in (result.stdout + result.stderr).splitlines()
                if line and 'should not have "_total" suffix' not in line and "metric names should not contain abbreviated" not in line]
    assert not findings


def writes_work(session, table):
    try:
        session.execute(f"INSERT INTO {table} (a) VALUES (1)")
        return True
    except Exception:  # whatever the driver makes of a cluster that is away
        return False


def reads_work(session, table):
    try:
        session.execute(f"SELECT a FROM {table}")
        return True
    except Exception:
        return False


@pytest.fixture
def fault_table(programs):
    with session_to(PROXY, QUERY_PORT) as session:
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS faults WITH replication = {REPLICATION}")
        session.execute("CREATE TABLE IF NOT EXISTS faults.t (a int PRIMARY KEY)")
    return "faults.t"


@pytest.mark.parametrize("side", ["origin", "target"])
def test_a_stopped_cluster_is_answered_in_time_and_comes_back(clusters, programs, fault_table, side):
    node = getattr(clusters, side)
    with session_to(PROXY, QUERY_PORT) as session:
        assert writes_work(session, fault_table)
        node.pause()
        try:
            begin = time.monotonic()
            with pytest.raises(Exception) as failure:
                session.execute(f"INSERT INTO {fault_table} (a) VALUES (2)")
            assert time.monotonic() - begin < REQUEST_TIMEOUT + 2, failure.value
            assert "OperationTimedOut" not in repr(failure.value), "the driver gave up by itself: the proxy was silent"
            if side == "target":
                assert reads_work(session, fault_table), "reads go to the origin, which is well"
        finally:
            node.resume()
        wait_until(lambda: writes_work(session, fault_table), 30, f"writes work again after the {side} went on")
        assert reads_work(session, fault_table)
    assert programs.proxy.is_alive()


@pytest.mark.parametrize("side", ["target", "origin"])
def test_a_killed_cluster_comes_back_without_a_proxy_restart(clusters, programs, fault_table, side):
    node = getattr(clusters, side)
    with session_to(PROXY, QUERY_PORT) as session:
        assert writes_work(session, fault_table)
        node.kill()
        begin = time.monotonic()
        assert not writes_work(session, fault_table)
        assert time.monotonic() - begin < REQUEST_TIMEOUT + 6
        if side == "origin":  # the primary
            wait_until(lambda: not is_ready(), 15, "readiness says that the primary is away")
        else:
            assert is_ready(), "a secondary that is away must not take the proxy out of service"
        node.start().wait_ready()
        wait_until(lambda: writes_work(session, fault_table), 60, f"writes work again after the {side} came back")
        assert reads_work(session, fault_table)
        wait_until(is_ready, 15, "the proxy is ready again")
    assert programs.proxy.is_alive()


def test_a_restarted_data_plane_serves_its_last_good_state_alone(clusters, programs, fault_table):
    wait_until(lambda: http("GET", ROUTING)[0] == 200, 10, "the control plane answers")
    revision = set_routing(forward_reads_to_target=True)["revision"]
    programs.control.kill()
    try:
        programs.proxy.stop()
        programs.proxy.start()
        wait_until(is_ready, 30, "the proxy is ready without a control plane")
        _, text = http("GET", f"http://{PROXY}:{METRICS_PORT}/metrics")
        assert re.search(rf"^zdm_routing_revision(\{{[^}}]*\}})? {revision}$", text, re.MULTILINE), "it forgot the routing"
        with session_to(PROXY, QUERY_PORT) as session:
            statement = SimpleStatement(f"SELECT a FROM {fault_table}", consistency_level=ConsistencyLevel.ONE)
            session.execute(statement)
    finally:
        programs.control.start()
        wait_until(lambda: http("GET", ROUTING)[0] == 200, 10, "the control plane is back")
        set_routing(forward_reads_to_target=False)
