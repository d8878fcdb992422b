"""Health: when a load balancer should send clients here, and when not."""

import json
import signal

import pytest

from support import wire
from support.programs import http
from support.waiting import never_during, wait_until

QUICK = {
    "HEARTBEAT_INTERVAL_MS": "200",
    "HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50",
    "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "200",
    "CLUSTER_CONNECTION_TIMEOUT_MS": "1000",
    "REQUEST_TIMEOUT_MS": "1000",
}


def test_ready_body(world):
    status, headers, body = http("GET", world.proxy.url("/health/readiness"))
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        side: {"Addr": cluster.node, "CurrentFailureCount": 0, "FailureCountThreshold": 1, "Status": "UP"}
        for side, cluster in (("OriginStatus", world.origin), ("TargetStatus", world.target))
    } | {"Status": "UP"}


def test_liveness_paths_and_methods(world):
    assert http("GET", world.proxy.url("/health/liveness"))[::2] == (200, b"OK")
    assert http("HEAD", world.proxy.url("/health/liveness"))[::2] == (200, b"")
    assert http("POST", world.proxy.url("/health/readiness"), b"x")[0] == 405
    assert http("GET", world.proxy.url("/nowhere"))[0] == 404


def test_starting_is_not_ready_and_recovers_by_itself(lab):
    origin, target = lab.cluster("origin").start(), lab.cluster("target")
    proxy = lab.proxy(origin, target, **QUICK)
    proxy.launch()
    wait_until(lambda: http("GET", proxy.url("/health/liveness"))[0] == 200, "HTTP answers before the clusters do")
    status, body = proxy.readiness()
    assert (status, body["Status"]) == (503, "STARTUP")
    status, _, body = http("GET", proxy.url("/metrics"))
    assert (status, body) == (503, b"Proxy metrics haven't been initialized yet.")
    with pytest.raises(ConnectionError):
        wire.Connection(proxy.address, proxy.port)
    target.start()
    proxy.wait_up()
    with proxy.connect() as client:
        client.query("SELECT * FROM system.local")


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_only_the_primary_makes_unready(lab, how):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, **QUICK).start()
    getattr(target, how)()
    wait_until(lambda: proxy.readiness()[1]["TargetStatus"]["Status"] == "DOWN", "the target counts as down")
    status, body = proxy.readiness()
    assert (status, body["Status"], body["OriginStatus"]["Status"]) == (200, "UP", "UP")
    assert body["TargetStatus"]["CurrentFailureCount"] >= 1
    target.start() if how == "kill" else target.resume()
    wait_until(lambda: proxy.readiness()[1]["TargetStatus"]["Status"] == "UP", "the target is back")
    assert proxy.readiness()[1]["TargetStatus"]["CurrentFailureCount"] == 0

    getattr(origin, how)()
    wait_until(lambda: proxy.readiness()[0] == 503, "a lost primary makes unready")
    assert proxy.readiness()[1]["Status"] == "DOWN"
    origin.start() if how == "kill" else origin.resume()
    wait_until(lambda: proxy.readiness()[0] == 200, "ready again")


def test_the_primary_is_the_one_reads_go_to(lab):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, FORWARD_READS_TO_TARGET="true", **QUICK).start()
    origin.kill()
    wait_until(lambda: proxy.readiness()[1]["OriginStatus"]["Status"] == "DOWN", "the origin counts as down")
    assert proxy.readiness()[0] == 200
    target.kill()
    wait_until(lambda: proxy.readiness()[0] == 503, "unready without the primary")


def test_both_can_be_required(lab):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, READINESS_REQUIRES_BOTH="true", **QUICK).start()
    target.kill()
    wait_until(lambda: proxy.readiness()[0] == 503, "unready without the secondary")
    target.start()
    wait_until(lambda: proxy.readiness()[0] == 200, "ready again")


def test_a_failure_threshold_forgives_single_failures(lab):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, HEARTBEAT_FAILURE_THRESHOLD="1000", **QUICK).start()
    origin.kill()
    wait_until(lambda: proxy.readiness()[1]["OriginStatus"]["CurrentFailureCount"] >= 1, "a failure was counted")
    never_during(lambda: proxy.readiness()[0] != 200, 0.5, "unready below the threshold")


def test_draining_is_not_ready(lab):
    origin, target = lab.pair()
    proxy = lab.proxy(origin, target, REQUEST_TIMEOUT_MS="5000").start()
    with proxy.connect() as client:
        origin.pause()
        client.send("QUERY", wire.query_body("SELECT * FROM ks.unanswered"), 7)
        proxy.wait_metric('zdm_proxy_inflight_requests_total{type="reads_origin"}', 1)
        proxy.signal(signal.SIGTERM)
        wait_until(lambda: proxy.readiness()[1]["Status"] == "DRAINING", "readiness tells of the drain")
        assert proxy.readiness()[0] == 503
        assert http("GET", proxy.url("/health/liveness"))[0] == 200
        origin.resume()
        assert client.receive_for(7).name == "ERROR"  # there is no such keyspace; what counts is an answer
    assert proxy.wait_exit() == 0
