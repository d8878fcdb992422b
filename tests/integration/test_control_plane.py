"""Plays of the control plane alone: the real cloudgate-control and cloudgatectl, and data planes written here against docs/control-link.md.
Self-contained: needs no CQL server."""

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from support.control_plane import BIN, JSON, READS, ROOT, SHADOW, SYSTEM, Control, DataPlane, ctl, ctl_environment, routing_state, settings
from support.programs import ADMIN, ADMIN_TOKEN
from support.waiting import wait_until

# --- routing ------------------------------------------------------------------------------------------------------------


def test_a_new_store_has_the_defaults(control):
    status, headers, body = control.call("GET", "/api/v1/routing")
    assert json.loads(body) == routing_state(1, reads=False, system=True)
    assert re.fullmatch(r'"[0-9a-f-]{36}\.1"', headers["ETag"])


def test_a_change_without_data_planes_is_stored_and_audited(control):
    status, headers, body = control.patch({READS: True})
    assert (status, body) == (200, routing_state(2, reads=True, system=True))
    assert control.routing() == body
    entry = control.get("/api/v1/audit?limit=1")["entries"][0]
    assert entry["actor"] == "token:admin@127.0.0.1" and entry["action"] == "change" and entry["revision"] == 2
    assert entry["before"][READS] is False and entry["after"][READS] is True
    assert abs(entry["time_ms"] / 1000 - time.time()) < 60


def test_a_change_of_nothing_keeps_the_revision(control):
    entries = len(control.get("/api/v1/audit")["entries"])
    for change in ({}, {READS: False}, {READS: False, SYSTEM: True}):
        assert control.patch(change)[::2] == (200, routing_state(1, reads=False, system=True))
    assert len(control.get("/api/v1/audit")["entries"]) == entries


@pytest.mark.parametrize(
    "body, status, name",
    [
        (b"", 400, ""), (b"{", 400, ""), (b"{}{}", 400, ""), (b"nope", 400, ""), (b'{"a":::1}', 400, ""), (b"\xff", 400, ""),
        (b'{"%s":true,"%s":false}' % (READS.encode(), READS.encode()), 422, "twice"),
        (b"[" * 5000, 400, "deep"),
        (b"[]", 422, "object"), (b"null", 422, "object"),
        (b'{"forward_reads":true}', 422, "forward_reads"), (b'{"a/b~":1}', 422, "a~1b~0"),
        (b'{"%s":1}' % READS.encode(), 422, READS), (b'{"%s":"true"}' % SYSTEM.encode(), 422, SYSTEM),
        (b'{"%s":null}' % READS.encode(), 422, READS),
        (b'{"%s":101}' % SHADOW.encode(), 422, SHADOW), (b'{"%s":-1}' % SHADOW.encode(), 422, SHADOW),
        (b'{"%s":1.5}' % SHADOW.encode(), 422, SHADOW), (b'{"%s":true}' % SHADOW.encode(), 422, SHADOW),
        (b'{"%s":true,"typo":true}' % READS.encode(), 422, "typo"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_by_name_and_changes_nothing(control, body, status, name):
    got, headers, problem = control.patch(body)
    assert got == status and headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status and name in problem["detail"] + json.dumps(problem.get("errors", ""))
    assert control.routing()["revision"] == 1


def test_conditions(control):
    etag = control.call("GET", "/api/v1/routing")[1]["ETag"]
    assert control.patch({READS: True}, If_Match='"x.1"')[0] == 412
    assert control.patch({READS: True}, If_Match="W/" + etag)[0] == 412
    assert control.patch({READS: True}, If_Match='"other", ' + etag)[0] == 200
    status, headers, problem = control.patch({READS: False}, If_Match=etag)
    assert status == 412 and headers["ETag"] != etag and problem["status"] == 412
    assert control.routing()[READS] is True
    assert control.patch({READS: False}, If_Match="*")[0] == 200


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Content-Type": "text/plain"}, 415), ({"Content-Type": ""}, 415), ({"Content-Type": "application/jsonx"}, 415),
        ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403), ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Content-Type": "application/merge-patch+json; charset=utf-8"}, 200),
    ],
)  # fmt: skip
def test_who_may_change(control, headers, status):
    assert control.call("PATCH", "/api/v1/routing", json.dumps({READS: True}), {**JSON, **headers})[0] == status
    assert control.routing()[READS] is (status == 200)


def test_the_same_origin_may_change(control):
    origin = {"Origin": f"http://127.0.0.1:{control.port}"}
    assert control.call("PATCH", "/api/v1/routing", json.dumps({READS: True}), {**JSON, **origin})[0] == 200


def test_bodies_are_bounded(control):
    assert control.patch(b" " * 16385)[0] == 413
    head = "PATCH /api/v1/routing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {ADMIN_TOKEN}\r\n"
    endless = head + "Transfer-Encoding: chunked\r\n\r\n" + ("1000\r\n" + "x" * 0x1000 + "\r\n") * 10
    assert control.raw(endless.encode()).startswith(b"HTTP/1.1 413")
    for lengths in ("Content-Length: 2\r\nContent-Length: 30", "Content-Length: 2\r\nTransfer-Encoding: chunked"):
        assert control.raw(f"{head}{lengths}\r\n\r\n{{}}".encode()).startswith(b"HTTP/1.1 400")
    assert control.raw(f"{head}Content-Length: 99999999999\r\n\r\n{{}}".encode()).startswith(b"HTTP/1.1 413")
    assert control.raw(f"{head}Content-Length: 50\r\n\r\n{{}}".encode()).startswith(b"HTTP/1.1 400")
    assert control.routing()["revision"] == 1


def test_concurrent_changes_are_serialised(control, dataplane):
    plane = dataplane()
    failures = []

    def toggle(number):
        for turn in range(20):
            status, _, body = control.patch({READS if number % 2 else SYSTEM: bool(turn % 2)})
            if status != 200:
                failures.append((status, body))

    threads = [threading.Thread(target=toggle, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
    entries = control.get("/api/v1/audit?limit=1000")["entries"]
    revisions = [entry["revision"] for entry in entries]
    assert revisions == sorted(revisions, reverse=True) and revisions[0] == control.routing()["revision"]
    changes = [entry for entry in entries if entry["action"] == "change"]
    assert len({entry["revision"] for entry in changes}) == len(changes)
    for newer, older in zip(changes, changes[1:]):
        assert newer["before"] == older["after"]
    assert [s["revision"] for s in plane.snapshots] == sorted(s["revision"] for s in plane.snapshots)
    wait_until(lambda: plane.revision() == revisions[0], "the data plane has the last revision")


# --- data planes --------------------------------------------------------------------------------------------------------


def test_a_change_answers_once_all_have_acknowledged(control, dataplane):
    planes = [dataplane(address=f"127.0.0.{n}:9042#{n}") for n in range(1, 4)]
    wait_until(lambda: sum(entry["in_sync"] for entry in control.dataplanes()) == 3, "three data planes in sync")
    status, _, body = control.patch({READS: True})
    assert status == 200 and all(plane.revision() == body["revision"] and plane.applied[READS] for plane in planes)
    for entry in control.dataplanes():
        assert entry["connected"] and entry["in_sync"] and entry["applied_revision"] == body["revision"]
        assert entry["last_error"] is None
    planes[0].close()
    gone = wait_until(lambda: [entry for entry in control.dataplanes() if not entry["connected"]], "one is disconnected")
    assert gone[0]["address"] == "127.0.0.1:9042#1" and gone[0]["last_error"]["reason"] == "disconnected"


def test_a_refusal_is_a_202_that_names_it(control, dataplane):
    good, bad = dataplane(address="good:1#0"), dataplane(address="bad:1#1")
    wait_until(lambda: good.snapshots and bad.snapshots, "both got a snapshot")
    bad.mode = "not_saved"
    begin = time.monotonic()
    status, headers, body = control.patch({READS: True})
    assert status == 202 and headers["ETag"].endswith('.2"') and time.monotonic() - begin < 4, "a NACK needs no waiting"
    assert [(entry["address"], entry["reason"]) for entry in body["pending"]] == [("bad:1#1", "not_saved")]
    entry = next(entry for entry in control.dataplanes() if entry["address"] == "bad:1#1")
    assert not entry["in_sync"] and entry["last_error"]["reason"] == "not_saved"
    bad.mode = "ack"
    assert control.patch({READS: False})[0] == 200
    assert all(entry["in_sync"] for entry in control.dataplanes())


def test_silence_is_a_202_after_five_seconds(control, dataplane):
    plane = dataplane(address="mute:1#0")
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    plane.mode = "silent"
    begin = time.monotonic()
    status, _, body = control.patch({READS: True})
    took = time.monotonic() - begin
    assert status == 202 and 4.5 < took < 8 and body["pending"][0]["reason"] == "no_answer"
    assert control.routing()[READS] is True


def test_the_first_data_plane_seeds_an_untouched_store(control, dataplane):
    dataplane(seed={READS: True, SYSTEM: False})
    wait_until(lambda: control.routing() == routing_state(2, reads=True, system=False), "the store is seeded")
    second = dataplane(address="late:1#1", seed={READS: False, SYSTEM: False})
    wait_until(lambda: second.revision() == 2, "the second data plane got the store's state")
    assert control.routing()["revision"] == 2
    assert [entry["action"] for entry in control.get("/api/v1/audit")["entries"]] == ["seed", "token_create", "create"]
    wait_until(lambda: "event=store_wins" in control.log(), "the log says that the store wins")


def test_a_changed_store_is_never_seeded(control, dataplane):
    control.patch({SYSTEM: False})
    plane = dataplane(seed={READS: True, SYSTEM: True})
    wait_until(lambda: plane.revision() == 2, "the data plane got the store's state")
    assert control.routing() == routing_state(2, reads=False, system=False)


def test_adopt_is_said_once_by_an_operator(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    assert ctl(control, "routing", "adopt")[0] == 0
    wait_until(lambda: plane.snapshots[-1].get("adopt") is True, "the snapshot says adopt")
    control.patch({READS: True})
    wait_until(lambda: plane.revision() == 2, "the next change arrived")
    assert plane.snapshots[-1].get("adopt") is False
    assert control.get("/api/v1/audit?limit=2")["entries"][1]["action"] == "adopt"


def test_statistics_are_shown(control, dataplane):
    plane = dataplane()
    counts = dict(reads_origin=5, reads_target=6, writes=7, failed_reads=1, failed_writes=2, client_connections=3)
    plane.send(type="STATS", **counts)
    shown = wait_until(lambda: next((known["stats"] for known in control.dataplanes()), None), "the statistics arrived")
    assert {name: shown[name] for name in counts} == counts


def frame(body):
    return struct.pack(">I", len(body)) + body


HELLO = {"type": "HELLO", "protocol": 1, "instance": "x", "address": "a", "pid": 1, "version": "v", "applied_store_id": "",
         "applied_revision": 0, "applied_digest": "", READS: False, SYSTEM: True}  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xffabc", frame(b"{}"), frame(b"not json"), frame(b'{"type":"ACK"}'),
        frame(json.dumps({**HELLO, "protocol": 2}).encode()), frame(json.dumps({**HELLO, "instance": ""}).encode()),
        frame(json.dumps({**HELLO, "pid": -1}).encode()), frame(json.dumps({**HELLO, "instance": "x" * 64}).encode()),
        frame(json.dumps(HELLO).encode()) * 2, frame(json.dumps(HELLO).encode()) + frame(b'{"type":"SNAPSHOT"}'),
    ],
)  # fmt: skip
def test_garbage_on_the_link_costs_only_itself(control, dataplane, data):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "the good data plane got a snapshot")
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(15)
        link.connect(control.socket_path)
        link.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            while link.recv(65536):
                pass
    assert control.patch({READS: True})[0] == 200 and plane.applied[READS] is True


def test_a_silent_link_is_closed(control):
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(15)
        link.connect(control.socket_path)
        answer = b"".join(iter(lambda: link.recv(65536), b""))
        assert b'"REFUSED"' in answer and b"no_hello" in answer


def test_unknown_messages_and_members_are_ignored(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    plane.send(type="FROM_THE_FUTURE", x=[1, {"y": 2}])
    plane.send(type="PING", novelty=True)
    assert control.patch({READS: True})[0] == 200


def test_both_ends_say_that_they_live(control, dataplane):
    plane = dataplane()
    wait_until(lambda: any(message["type"] == "PING" for message in plane.messages), "the control plane pings", 6)
    # This data plane sends nothing by itself: it is given up.
    wait_until(lambda: not control.dataplanes()[0]["connected"], "a silent data plane is given up", 12)


def test_the_same_instance_replaces_its_connection(control, dataplane):
    first = dataplane(instance="twin")
    wait_until(lambda: first.snapshots, "the first got a snapshot")
    second = dataplane(instance="twin")
    wait_until(lambda: second.snapshots, "the second got a snapshot")
    wait_until(lambda: first.error is not None, "the first was closed")
    assert len(control.dataplanes()) == 1 and control.dataplanes()[0]["connected"]
    assert control.patch({READS: True})[0] == 200


# --- life and death -----------------------------------------------------------------------------------------------------


def test_a_thousand_toggles_are_quick(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    connection = http.client.HTTPConnection("127.0.0.1", control.port, timeout=15)
    worst, begin = 0.0, time.monotonic()
    for turn in range(1000):
        sent = time.monotonic()
        connection.request("PATCH", "/api/v1/routing", json.dumps({READS: turn % 2 == 0}), {**JSON, **ADMIN})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200 and plane.revision() == body["revision"]
        worst = max(worst, time.monotonic() - sent)
    took = time.monotonic() - begin
    connection.close()
    assert control.routing()["revision"] == 1001
    assert took < 60, f"1000 toggles took {took:.1f} s, the slowest {worst * 1000:.0f} ms"


def test_killed_at_any_moment_it_has_the_last_acknowledged_state(tmp_path):
    control = Control(tmp_path)
    known = None
    for turn in range(12):
        control.start()
        if known is not None:
            now = control.routing()
            # The change that was under way when the process died may have been committed, unheard.
            assert now["revision"] in (known["revision"], known["revision"] + 1)
            if now["revision"] == known["revision"]:
                assert now == known
        known = control.routing()
        stop = threading.Timer(0.02 + 0.013 * turn, control.process.kill)
        stop.start()
        value = known[READS]
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            while True:
                value = not value
                status, _, body = control.patch({READS: value})
                assert status == 200
                known = body
        control.process.wait()
    control.start()
    entries = page = control.get("/api/v1/audit?limit=200")["entries"]
    while len(page) == 200:
        page = control.get(f"/api/v1/audit?limit=200&before={page[-1]['id']}")["entries"]
        entries = entries + page
    state = control.routing()
    assert entries[0]["phase_after"] == state.pop("phase")
    assert state.items() <= entries[0]["after"].items(), "each change has its audit row"
    assert [entry["revision"] for entry in entries if entry["action"] != "token_create"] == list(range(entries[0]["revision"], 0, -1))
    assert control.stop() == 0


def test_a_restart_changes_nothing(tmp_path):
    control = Control(tmp_path).start()
    control.patch({READS: True})
    etag = control.call("GET", "/api/v1/routing")[1]["ETag"]
    control.kill()
    control.start()
    assert control.call("GET", "/api/v1/routing")[1]["ETag"] == etag
    plane = DataPlane(control, seed={READS: False, SYSTEM: False})
    wait_until(lambda: plane.revision() == 2 and plane.applied[READS], "the data plane has the stored state")
    assert control.stop() == 0
    assert not os.path.exists(control.socket_path), "the socket file is gone after a clean stop"
    plane.close()
    control.start()
    assert control.routing() == routing_state(2, reads=True, system=True)
    assert control.stop() == 0


def test_sigterm_ends_waits_and_streams(control, dataplane):
    plane = dataplane(mode="silent")
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    statuses = []
    waiter = threading.Thread(target=lambda: statuses.append(control.patch({READS: True})[0]))
    stream = http.client.HTTPConnection("127.0.0.1", control.port, timeout=15)
    stream.request("GET", "/api/v1/events", headers=ADMIN)
    stream.getresponse().readline()
    waiter.start()
    wait_until(lambda: len(plane.snapshots) == 2, "the change is on its way")
    begin = time.monotonic()
    assert control.stop() == 0
    assert time.monotonic() - begin < 4
    waiter.join()
    stream.close()
    assert statuses == [202]


def test_two_cannot_share_a_store_or_a_socket(control, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for settings, word in (
        ({"CONTROL_SOCKET": str(other / "s")}, "control.db"),
        ({"CONTROL_DATABASE": str(other / "db")}, "listening"),
        ({"CONTROL_DATABASE": str(other / "db"), "CONTROL_SOCKET": str(other / "s")}, "CONTROL_API_SOCKET"),
        ({"CONTROL_DATABASE": str(other / "db"), "CONTROL_SOCKET": str(other / "s"), "CONTROL_API_SOCKET": str(other / "a"),
          "CONTROL_HTTP_PORT": str(control.port)}, "CONTROL_HTTP_PORT"),
    ):
        result = subprocess.run([BIN / "cloudgate-control"], env={**control.environment(), **settings}, capture_output=True,
                                text=True, timeout=30)  # fmt: skip
        assert result.returncode == 1 and word in result.stderr
    assert control.routing()["revision"] == 1
    assert os.stat(control.socket_path).st_mode & 0o777 == 0o660


@pytest.mark.parametrize("name, value, allowed", [
    ("CONTROL_HTTP_PORT", "70000", "65535"), ("CONTROL_HTTP_PORT", "x", "65535"), ("CONTROL_HTTP_ADDRESS", "localhost", "IPv4"),
    ("CONTROL_HTTP_ADDRESS", "", ""), ("CONTROL_SOCKET", "", ""), ("CONTROL_DATABASE", "", ""),
    ("CONTROL_SOCKET", "/" + "x" * 108, "107"), ("LOG_LEVEL", "LOUD", "DEBUG"),
])  # fmt: skip
def test_bad_settings_stop_the_start(tmp_path, name, value, allowed):
    control = Control(tmp_path, **{name: value})
    for words in ([], ["--check-config"]):
        result = subprocess.run([BIN / "cloudgate-control", *words], env=control.environment(), capture_output=True, text=True,
                                timeout=30)  # fmt: skip
        assert result.returncode == 1
        (line,) = [line for line in result.stderr.splitlines() if "level=" not in line]
        assert name in line and allowed in line


def test_help_version_and_check_config(tmp_path):
    control = Control(tmp_path)
    run = lambda *words: subprocess.run([BIN / "cloudgate-control", *words], env=control.environment(), capture_output=True,
                                        text=True, timeout=30)  # fmt: skip # noqa: E731
    assert run("--version").stdout.startswith("cloudgate-control ")
    assert all(name in run("--help").stdout for name in ("CONTROL_HTTP_ADDRESS", "CONTROL_DATABASE", "LOG_LEVEL"))
    checked = run("--check-config")
    assert checked.returncode == 0 and "CONTROL_HTTP_PORT=0  # environment" in checked.stdout
    assert "LOG_LEVEL=INFO  # default" in checked.stdout and not (tmp_path / "control.db").exists()
    assert run("--nonsense").returncode == 2


# --- the rest of the API --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method, path, status, allow", [
    ("GET", "/nothing", 404, None), ("GET", "/api/v1/routing/", 404, None), ("GET", "/api/v1/routing%00x", 404, None),
    ("GET", "/api/v1/routingx", 404, None), ("GET", "/../etc/passwd", 404, None), ("PUT", "/x.txt", 404, None),
    ("PUT", "/api/v1/routing", 405, "GET, HEAD, PATCH"), ("DELETE", "/", 405, "GET, HEAD"), ("OPTIONS", "/metrics", 405, "GET, HEAD"),
    *((method, path, 405, "GET, HEAD, POST, PUT, PATCH, DELETE") for method in ("PROPFIND", "TRACE") for path in ("/", "/nothing")),
])  # fmt: skip
def test_what_is_not_there(control, method, path, status, allow):
    got, headers, body = control.call(method, path)
    assert got == status and headers.get("Allow") == allow
    assert headers["Content-Type"] == "application/problem+json" and json.loads(body)["status"] == status


@pytest.mark.parametrize("path", ["/", "/assets/app.js", "/assets/style.css", "/api/v1/routing", "/api/v1/dataplanes", "/api/v1/audit", "/metrics",
                                  "/health/liveness", "/health/readiness"])  # fmt: skip
def test_head_is_get_without_a_body(control, path):
    status, headers, body = control.call("GET", path)
    head_status, head_headers, head_body = control.call("HEAD", path)
    assert status == head_status == 200 and head_body == b""
    assert head_headers["Content-Type"] == headers["Content-Type"] and headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_page_is_revalidated_by_its_tag(control):
    for path in ("/", "/assets/app.js", "/assets/style.css"):
        headers = control.call("GET", path)[1]
        assert control.call("GET", path, headers={"If-None-Match": headers["ETag"]})[0] == 304
    page = control.call("GET", "/")[2].decode()
    assert not re.search(r"<script(?! type=\"module\" src=)|style=|\son\w+=", page), "the policy forbids inline code"


def test_the_pages_files_are_compressed_for_those_who_take_it(control):
    for path in ("/", "/assets/app.js", "/assets/uplot.js", "/assets/uplot-license.txt"):
        _, plain, body = control.call("GET", path)
        assert "Content-Encoding" not in plain
        for accepted in ("gzip, br", "br, gzip;q=0.5"):
            _, headers, packed = control.call("GET", path, headers={"Accept-Encoding": accepted})
            assert headers["Content-Encoding"] == "gzip" and gzip.decompress(packed) == body and len(packed) < len(body)
            assert headers["Vary"] == "Accept-Encoding" and headers["ETag"] != plain["ETag"] and headers["ETag"].startswith('"')
        assert "Content-Encoding" not in control.call("GET", path, headers={"Accept-Encoding": "gzip;q=0, br"})[1]
    for path in ("/assets/nothing.js", "/assets/", "/assets/../app.js", "/assets/app.js/x", "/app.js"):
        assert control.call("GET", path)[0] == 404


def test_audit_pages(control):
    for turn in range(5):
        control.patch({READS: turn % 2 == 0})
    newest = control.get("/api/v1/audit?limit=2")["entries"]
    assert [entry["revision"] for entry in newest] == [6, 5]
    older = control.get(f"/api/v1/audit?limit=2&before={newest[-1]['id']}")["entries"]
    assert [entry["revision"] for entry in older] == [4, 3]
    for query in ("limit=0", "limit=x", "limit=1001", "limit=", "before=0", "limit=-1"):
        assert control.call("GET", f"/api/v1/audit?{query}")[0] == 400


def test_metrics_and_health(control, dataplane):
    plane = dataplane()
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    control.patch({READS: True})
    text = control.call("GET", "/metrics")[2].decode()
    for line in ("cloudgate_control_routing_revision 2", "cloudgate_control_forward_reads_to_target 1",
                 'cloudgate_control_dataplanes{state="connected"} 1', "cloudgate_control_dataplanes_in_sync 1",
                 "cloudgate_control_routing_changes_total 1"):  # fmt: skip
        assert line in text.splitlines()
    with contextlib.suppress(FileNotFoundError):
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=30)
        assert checked.returncode == 0 and not checked.stdout + checked.stderr
    assert control.get("/health/liveness") == {"status": "UP"}
    assert control.get("/health/readiness")["status"] == "UP"


class Stream:
    def __init__(self, control):
        self.connection = http.client.HTTPConnection("127.0.0.1", control.port, timeout=15)
        self.connection.request("GET", "/api/v1/events", headers=ADMIN)
        self.answer = self.connection.getresponse()

    def event(self, *wanted):
        name, number = None, None
        deadline = time.monotonic() + 15
        while True:
            assert time.monotonic() < deadline, f"no event {wanted}"
            line = self.answer.readline().decode().rstrip("\n")
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and (not wanted or name in wanted):
                return name, number, json.loads(line[6:])

    def close(self):
        self.connection.close()


def test_events(control, dataplane):
    stream = Stream(control)
    assert stream.answer.status == 200 and stream.answer.getheader("Content-Type") == "text/event-stream"
    name, first, state = stream.event()
    assert name == "state" and state == {"routing": routing_state(1), "settings": settings(1), "dataplanes": []}
    plane = dataplane()
    name, number, entry = stream.event("dataplane")
    assert number > first and entry["id"] == plane.instance and entry["in_sync"]
    control.patch({READS: True})
    assert stream.event("routing")[2] == routing_state(2, reads=True, system=True)
    assert stream.event("dataplane")[2]["applied_revision"] == 2
    plane.send(type="STATS", reads_origin=1, reads_target=2, writes=3, failed_reads=4, failed_writes=5, client_connections=6)
    assert stream.event("stats")[2]["reads_target"] == 2
    stream.close()


def test_streams_are_capped_and_the_api_stays_free(control):
    streams = [Stream(control) for _ in range(8)]
    assert all(stream.event()[0] == "state" for stream in streams)
    status, headers, _ = control.call("GET", "/api/v1/events")
    assert status == 503 and headers["Retry-After"] == "5"
    assert control.patch({READS: True})[0] == 200
    streams.pop().close()

    def free():
        control.patch({READS: not control.routing()[READS]})  # a write is what tells the server that a client is gone
        stream = Stream(control)
        streams.append(stream)
        return stream.answer.status == 200

    wait_until(free, "the place of a closed stream is free again")
    for stream in streams:
        stream.close()


# --- cloudgatectl ---------------------------------------------------------------------------------------------------------


def test_ctl_reads_and_sets(control, dataplane):
    dataplane(address="10.0.0.1:9042#0")
    wait_until(lambda: control.dataplanes() and control.dataplanes()[0]["in_sync"], "the data plane is in sync")
    code, out, _ = ctl(control, "status")
    assert code == 0 and "10.0.0.1:9042#0" in out and "in sync" in out and re.search(rf"{READS}\s+false", out)
    code, out, _ = ctl(control, "routing", "set", f"{READS}=true", f"{SYSTEM}=false")
    assert code == 0 and re.search(rf"{READS}\s+true", out)
    assert json.loads(ctl(control, "routing", "--json")[1]) == routing_state(2, reads=True, system=False)
    assert ctl(control, "routing", "set", f"{READS}=false", "--if-match", "1")[0] == 1
    assert ctl(control, "routing", "set", f"{READS}=false", "--if-match=2")[0] == 0
    code, out, _ = ctl(control, "audit", "--limit", "1")
    assert code == 0 and len(out.splitlines()) == 1 and f"{READS}=false" in out
    assert json.loads(ctl(control, "dataplanes", "--json")[1])["dataplanes"][0]["connected"] is True


def test_the_share_of_shadow_reads_is_set_pushed_and_seeded(control, dataplane):
    first = dataplane(address="first:1#0", seed={READS: False, SYSTEM: True, SHADOW: 30})
    wait_until(lambda: control.routing()[SHADOW] == 30, "the store is seeded")
    assert control.patch({SHADOW: 100})[0] == 200 and first.applied[SHADOW] == 100
    code, out, _ = ctl(control, "routing", "set", f"{SHADOW}=7")
    assert code == 0 and re.search(rf"{SHADOW}\s+7", out) and first.applied[SHADOW] == 7
    assert f"{SHADOW}=7" in ctl(control, "audit", "--limit", "1")[1]
    for value in ("101", "-1", "", "0x5", "true", "5%"):
        code, out, err = ctl(control, "routing", "set", f"{SHADOW}={value}")
        assert code == 2 and "0 to 100" in err and out == "", value
    assert "known are" in ctl(control, "routing", "set", "shadow=5")[2]
    control.kill()
    control.start()
    assert control.routing()[SHADOW] == 7


def test_ctl_exit_codes(control, dataplane):
    plane = dataplane(address="bad:1#0")
    wait_until(lambda: plane.snapshots, "it got a snapshot")
    plane.mode = "not_saved"
    code, out, err = ctl(control, "routing", "set", f"{READS}=true")
    assert code == 3 and "bad:1#0" in out and "not every data plane" in err
    for words in ([], ["nonsense"], ["routing", "set"], ["routing", "set", "x=true"], ["routing", "set", f"{READS}=1"], ["status", "x"],
                  ["--limit", "0", "audit"], ["--nonsense"], ["--url"], ["--if-match", "1", "status"],
                  ["routing", "set", f"{READS}=true", f"{READS}=false"]):  # fmt: skip
        code, out, err = ctl(control, *words)
        assert code == 2 and err.startswith("cloudgatectl: ") and out == "", words
    code, _, err = ctl(control, "--url", "http://127.0.0.1:1", "status")
    assert code == 1 and "127.0.0.1" in err
    assert ctl(control, "--version")[1].startswith("cloudgatectl ") and "routing set" in ctl(control, "--help")[1]


def test_ctl_follows_events(control):
    follower = subprocess.Popen([BIN / "cloudgatectl", "events"], stdout=subprocess.PIPE, text=True,
                                env=ctl_environment(control))  # fmt: skip
    assert follower.stdout.readline().startswith("state ")
    control.patch({READS: True})
    assert follower.stdout.readline().startswith("routing ")
    follower.terminate()
    follower.wait(10)


# --- documents ------------------------------------------------------------------------------------------------------------


def test_every_route_is_documented():
    described = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    routes = re.findall(r'^ROUTE\("(\w+)", "([^"]+)"', (ROOT / "controlplane/routes.def").read_text(), re.M)
    pages = {"/", "/assets/{file}"}
    assert {(method.lower(), path) for method, path in routes if path not in pages} == {
        (method, path) for path, entry in described.items() for method in entry if method != "parameters"
    }
