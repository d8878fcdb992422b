"""Plays of the history behind the dashboard's plots: what is told, that it survives its process and its file, that its disk hurts
nobody."""

import contextlib
import json
import time

import pytest

from support.control_plane import SHADOW, DataPlane
from support.cramped import CrampedControl, needs_mounts
from support.load import Load
from support.programs import http
from support.waiting import wait_until

HISTORY = "/api/v1/history"
RATES = ["reads_origin", "reads_target", "writes", "shadow", "failed_reads", "failed_writes", "errors_origin", "errors_target", "errors_shadow"]
LATENCIES = [f"p{percent}_{side}_ms" for side in ("origin", "target", "shadow") for percent in (50, 99)]


def history(control, query=""):
    status, _, body = control.call("GET", HISTORY + query)
    assert status == 200, body
    return json.loads(body)


def known(control, name="reads_origin", query=""):
    """{moment in s: value} of the steps of which something is known."""
    answer = history(control, query)
    begin = answer["from"] // 1000
    return {begin + at * answer["step_s"]: value for at, value in enumerate(answer["series"][name]) if value is not None}


def wait_known(control, count, name="reads_origin", timeout=40):
    return wait_until(lambda: (points := known(control, name)) and len(points) >= count and points, f"{count} steps of {name}", timeout)


class Told:
    """A data plane that tells, each time it is asked to, of 100 more reads and writes."""

    def __init__(self, plane):
        self.plane, self.total = plane, 0

    def tell(self):
        self.total += 100
        slow, all_of = self.total // 10, self.total
        counts = dict.fromkeys(("reads_origin", "requests_origin", "writes", "requests_target"), self.total)
        self.plane.send(type="STATS", **counts, reads_target=0, failed_reads=0, failed_writes=0, client_connections=1, shadow=0,
                        errors_origin=0, errors_target=0, errors_shadow=0, origin_health="up", target_health="up",
                        latency_origin=f"1000:{all_of} 4000:0 inf:0", latency_target=f"1000:{all_of - slow} 4000:{slow} inf:0",
                        latency_shadow="1000:0 4000:0 inf:0")  # fmt: skip


def tell_until(told, condition, what, timeout=40):
    """Tells about each second, as a data plane does."""

    def told_and_so():
        if time.monotonic() >= told_and_so.next:
            told.tell()
            told_and_so.next += 1
        return condition()

    told_and_so.next = time.monotonic()
    return wait_until(told_and_so, what, timeout)


@pytest.fixture
def dataplane_of():
    planes = []

    def connect(control):
        control.socket_path = str(control.socket_path)
        planes.append(DataPlane(control))
        return planes[-1]

    yield connect
    for plane in planes:
        plane.close()


def test_what_the_load_does_is_what_the_history_tells(controlled):
    control, proxy, _ = controlled
    before = history(control)
    assert before["step_s"] == 5 and sorted(before["series"]) == sorted(RATES + LATENCIES)
    with proxy.metric_delta() as delta, Load(proxy, "ks") as load:
        assert control.patch(**{SHADOW: 100})[0] == 200
        wait_known(control, 3, "p99_shadow_ms")
    load.check()
    (told,) = [plane["stats"] for plane in control.dataplanes()]
    wait_until(lambda: control.dataplanes()[0]["stats"]["time_ms"] > told["time_ms"] + 1000, "the last totals have come")
    told_s = told["time_ms"] / 1000 + 3

    def is_over():
        answer = history(control)
        return answer["from"] / 1000 + 5 * len(answer["series"]["writes"]) > told_s

    wait_until(is_over, "so has their step")
    for name in ("reads_origin", "writes"):
        counted = sum(5 * value for value in known(control, name).values())
        real = delta[f'zdm_proxy_request_duration_seconds_count{{type="{name}"}}']
        assert 0.5 * real <= counted <= 2 * real, (name, counted, real)
    for name in ("failed_reads", "failed_writes", "errors_origin", "errors_target"):
        assert set(known(control, name).values()) == {0}
    for side in ("origin", "target", "shadow"):
        middle, high = known(control, f"p50_{side}_ms"), known(control, f"p99_{side}_ms")
        assert middle and all(0 < middle[moment] <= high[moment] for moment in middle), side
    assert len(set(map(len, history(control)["series"].values()))) == 1, "all series are of one length"


def test_history_survives_kill_and_restart(lab, dataplane_of):
    control = lab.control().start()
    told = Told(dataplane_of(control))
    points = tell_until(told, lambda: len(found := known(control)) >= 2 and found, "two steps are known")
    # What was told up to then is written within 5 s.
    tell_until(told, lambda: len(known(control)) >= 4, "and kept")
    control.kill()
    control.start()
    after = known(control)
    assert points.items() <= after.items(), "what was kept is told as before"
    last = max(after)
    told = Told(dataplane_of(control))
    tell_until(told, lambda: max(known(control)) > last, "it goes on")
    assert points.items() <= known(control).items()
    assert "history_damaged" not in control.log()


def test_gates_remember_failures_across_a_restart(lab, dataplane_of):
    control = lab.control().start()
    told = Told(dataplane_of(control))
    tell_until(told, lambda: len(known(control)) >= 1, "figures come")
    base = dict.fromkeys(("reads_origin", "requests_origin", "writes", "requests_target"), told.total)
    told.plane.send(type="STATS", **base, reads_target=0, failed_reads=0, failed_writes=3, client_connections=1, origin_health="up",
                    target_health="up")  # fmt: skip

    def gate():
        phase = json.loads(control.call("GET", "/api/v1/phase")[2])
        return next(check for check in phase["gates"] if check["name"] == "failed_writes")

    wait_until(lambda: gate()["figure"] == "3", "three writes failed")
    control.stop()
    control.start()
    assert not gate()["known"], "nobody has told anything yet"
    told = Told(dataplane_of(control))
    check = tell_until(told, lambda: (found := gate())["known"] and found, "figures come again")
    assert check["figure"] == "3" and not check["ok"]


def history_file(control):
    return control.lab.directory / f"{control.name}.sqlite-history"


def test_a_damaged_file_is_set_aside(lab, dataplane_of):
    control = lab.control().start()
    told = Told(dataplane_of(control))
    tell_until(told, lambda: len(known(control)) >= 2, "figures come")
    control.stop()
    path = history_file(control)
    path.write_bytes(b"x" * path.stat().st_size)
    control.start()
    assert known(control) == {} and "event=history_damaged" in control.log()
    assert path.with_name(path.name + ".damaged").read_bytes().startswith(b"xxx")
    told = Told(dataplane_of(control))
    kept = tell_until(told, lambda: known(control), "it begins anew")
    tell_until(told, lambda: len(known(control)) >= len(kept) + 2, "and is kept")
    control.stop()
    control.start()
    assert kept.items() <= known(control).items()
    assert control.patch(**{SHADOW: 3})[0] == 200


@needs_mounts
def test_a_full_disk_hurts_neither_the_history_nor_anybody_else(lab, dataplane_of):
    control = lab.add(CrampedControl)
    control.settings["CONTROL_DATABASE"] = str(lab.directory / "control.sqlite")
    control.settings["CONTROL_METRICS_HISTORY"] = str(control.place / "history.db")
    control.start()
    told = Told(dataplane_of(control))
    with contextlib.suppress(OSError), open(control.inside("filler"), "wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    tell_until(told, lambda: "event=history_not_kept" in control.log(), "it cannot be written", timeout=90)
    before = known(control)
    assert control.log().count("event=history_not_kept") == 1 and "the disk is full" in control.log()
    assert control.patch(**{SHADOW: 5})[0] == 200 and http("GET", control.url("/health/readiness"))[0] == 200
    tell_until(told, lambda: len(known(control)) > len(before), "memory goes on")
    assert control.log().count("event=history_not_kept") == 1, "one line for an outage"
    control.inside("filler").unlink()
    tell_until(told, lambda: "event=history_kept_again" in control.log(), "it is written again")
    metrics = control.call("GET", "/metrics")[2].decode()
    assert 'cloudgate_control_history_writes_total{result="failed"} 0' not in metrics


def test_memory_alone_will_do(lab, dataplane_of):
    control = lab.control(CONTROL_METRICS_HISTORY="none").start()
    told = Told(dataplane_of(control))
    tell_until(told, lambda: known(control), "figures come")
    assert not history_file(control).exists()


def test_questions_that_make_no_sense_are_refused(lab):
    control = lab.control().start()
    for query, word in (("step=7", "step"), ("step=0", "step"), ("step=x", "step"), ("step=", "step"), ("from=-1", "from"),
                        ("from=soon", "from"), ("from=253402300800000", "from"), ("from=99999999999999999999", "from")):  # fmt: skip
        status, headers, body = control.call("GET", f"{HISTORY}?{query}")
        assert status == 400 and headers["Content-Type"] == "application/problem+json", query
        assert json.loads(body)["detail"].startswith(f"{word} must be "), body
    assert history(control, "?step=60")["step_s"] == 60
    now = int(time.time())
    for ago, step in ((10, 5), (3500, 5), (3700, 60), (86000, 60), (90000, 900), (10**8, 900)):
        answer = history(control, f"?from={(now - ago) * 1000}")
        assert answer["step_s"] == step and answer["from"] % (step * 1000) == 0
        assert answer["from"] <= (now - ago) * 1000 or step == 900
    assert history(control, "?from=0&step=900")["series"]["writes"] == [None] * 2879
    assert history(control, f"?from={(now + 10**6) * 1000}")["series"]["writes"] == []
    database = control.settings["CONTROL_DATABASE"]
    other = lab.control(name="other", CONTROL_DATABASE=database, CONTROL_METRICS_HISTORY=database)
    other.launch()
    assert other.wait_exit() == 1 and "are the same file" in other.log()
