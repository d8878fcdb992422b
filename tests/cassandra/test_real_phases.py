"""The walk of a migration between a real origin and a real target, each of which is really off while the phase has no use for it. One
driver session stays connected all the way."""

import pytest

from conftest import CONTROL_PORT, METRICS_PORT, ORIGIN, PROXY, QUERY_PORT, TARGET, http, is_ready, session_to, wait_until

API = f"http://{PROXY}:{CONTROL_PORT}/api/v1"
SCHEMA = ("CREATE KEYSPACE IF NOT EXISTS walked WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
          "CREATE TABLE IF NOT EXISTS walked.t (a int PRIMARY KEY, b text)")  # fmt: skip


def go(phase):
    wait_until(lambda: http("GET", f"{API}/phase")[0] == 200, 10, "the control plane answers")
    status, answer = http("PUT", f"{API}/phase", {"phase": phase, "confirm": phase, "force": True, "reason": "the play walks"}, If_Match="*")
    assert status == 200 and answer["phase"] == phase, answer


def is_up(side):
    status, body = http("GET", f"http://{PROXY}:{METRICS_PORT}/health/readiness")
    return status == 200 and body[f"{side}Status"]["Status"] == "UP"


def rows(address):
    with session_to(address) as session:
        return dict(session.execute("SELECT a, b FROM walked.t"))


@pytest.fixture
def walk(clusters, programs):
    """Both clusters with the table; afterwards as it was, whatever came of the play."""
    for address in (ORIGIN, TARGET):
        with session_to(address) as session:
            for text in SCHEMA:
                session.execute(text)
            session.execute("TRUNCATE walked.t")
    yield
    for node in (clusters.origin, clusters.target):
        if node.process is None:
            node.start().wait_ready()
    go("target_primary")
    go("dual_write")
    wait_until(is_ready, 60, "the proxy is ready again")


def test_from_the_origin_alone_to_the_target_alone(walk, clusters, programs):
    go("passthrough")
    clusters.target.stop()
    programs.proxy.stop()
    programs.proxy.start()
    wait_until(is_ready, 30, "the proxy is ready without the target")
    with session_to(PROXY, QUERY_PORT) as session:
        insert = session.prepare("INSERT INTO walked.t (a, b) VALUES (?, ?)")
        select = session.prepare("SELECT b FROM walked.t WHERE a = ?")

        def write_and_read(key, phase):
            session.execute(insert, (key, phase))
            assert session.execute(select, (key,)).one().b == phase

        write_and_read(1, "passthrough")
        clusters.target.start().wait_ready()
        wait_until(lambda: is_up("Target"), 60, "the proxy has reached the target")
        go("dual_write")
        write_and_read(2, "dual_write")
        assert rows(ORIGIN) == {1: "passthrough", 2: "dual_write"} and rows(TARGET) == {2: "dual_write"}
        go("target_primary")
        write_and_read(3, "target_primary")
        go("target_only")
        clusters.origin.stop()
        for key in range(4, 24):
            write_and_read(key, "target_only")
        with session_to(PROXY, QUERY_PORT) as late:
            assert late.execute("SELECT b FROM walked.t WHERE a = 23").one().b == "target_only"
        assert is_ready()
        clusters.origin.start().wait_ready()
        wait_until(lambda: is_up("Origin"), 60, "the proxy has reached the origin")
        go("target_primary")
        write_and_read(24, "back")
    origin, target = rows(ORIGIN), rows(TARGET)
    assert origin == {1: "passthrough", 2: "dual_write", 3: "target_primary", 24: "back"}
    assert set(target) == set(range(2, 25))
