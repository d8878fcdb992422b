"""The control plane's memory: killed at any moment, on a full disk, on one that cannot be written; backed up, restored, verified."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import resource
import sqlite3
import subprocess
import threading
import time

import pytest

from support.cramped import CrampedControl, needs_mounts
from support.programs import ADMIN, ADMIN_TOKEN, BIN, ROOT, is_sanitized
from support.waiting import wait_until

READS, SHADOW = "forward_reads_to_target", "shadow_read_percent"
LIVES = 200


def cloudgate_control(*words, **environment):
    result = subprocess.run([BIN / "cloudgate-control", *map(str, words)], capture_output=True, text=True, timeout=60,
                            env={**os.environ, **environment})  # fmt: skip
    return result.returncode, result.stdout, result.stderr


def database_of(control):
    return control.settings["CONTROL_DATABASE"]


def audit(control, **query):
    return control_get(control, "/api/v1/audit?" + "&".join(f"{name}={value}" for name, value in query.items()))


def control_get(control, path):
    status, _, body = control.call("GET", path)
    assert status == 200, body
    return json.loads(body)


def ctl(control, *words):
    result = subprocess.run([BIN / "cloudgatectl", "--url", control.url(""), *map(str, words)], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "CLOUDGATE_TOKEN": ADMIN_TOKEN})  # fmt: skip
    return result.returncode, result.stdout, result.stderr


class Operators:
    """A stream of changes from several sides at once; remembers what each was answered."""

    def __init__(self, control, sides, seed):
        self.control, self.acknowledged, self.lock = control, {}, threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.change, args=(random.Random(seed * 10 + side),)) for side in range(sides)]

    def change(self, chance):
        connection = http.client.HTTPConnection(self.control.address, self.control.http_port, timeout=10)
        while not self.over.is_set():
            wish = {SHADOW: chance.randrange(101), READS: chance.random() < 0.5}
            try:
                connection.request("PATCH", "/api/v1/routing", json.dumps(wish), {**ADMIN, "Content-Type": "application/json"})
                answer = connection.getresponse()
                state = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()  # killed: whether it was stored nobody knows
                self.over.wait(0.002)
                continue
            assert answer.status in (200, 202), state
            with self.lock:
                self.acknowledged[state["revision"]] = {name: state[name] for name in (SHADOW, READS)}

    def __enter__(self):
        [thread.start() for thread in self.threads]
        return self

    def __exit__(self, *_):
        self.over.set()
        [thread.join() for thread in self.threads]


@pytest.mark.timeout(280)
def test_killed_at_200_points_under_changes(lab, named_pair):
    """Chance is seeded, so that a failure comes again as far as the machine allows."""
    chance = random.Random(20260)
    control = lab.control()
    control.settings["LOG_LEVEL"] = "WARN"
    proxies = []
    for name in ("one", "two"):
        state = lab.directory / f"state-{name}"
        state.mkdir()
        proxies.append(lab.proxy(*named_pair, name=name, CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state)))
    control.start()
    [proxy.start() for proxy in proxies]
    known, revision = {}, 1
    lives = LIVES // 10 if is_sanitized() else LIVES
    for life in range(lives):
        if not control.is_running():
            control.launch()
            if chance.random() < 0.1:  # some die while they start
                threading.Event().wait(chance.random() * 0.03)
                control.kill()
                continue
            control.wait_up()
            now = control.routing()
            newest = max(known, default=1)
            assert now["revision"] >= max(newest, revision), "the revision went back"
            # Only what was on its way when the power went may have come on top.
            assert now["revision"] <= max(newest, revision) + 3, "changes nobody made"
            if now["revision"] in known:
                assert {name: now[name] for name in (SHADOW, READS)} == known[now["revision"]]
            revision = now["revision"]
        with Operators(control, 3, life) as operators:
            wait_until(lambda: operators.acknowledged, "the first change is answered", timeout=30)
            threading.Event().wait(chance.random() * 0.12)
            control.kill()
        for number, state in operators.acknowledged.items():  # the same number again: nothing was left to change
            assert number >= revision and known.setdefault(number, state) == state, "a revision was given twice"
    assert len(known) > 3 * lives

    code, out, err = cloudgate_control("--verify-audit", database_of(control))
    assert code == 0, err
    with contextlib.closing(sqlite3.connect(database_of(control))) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = database.execute("SELECT revision, after FROM audit WHERE action IN ('create', 'seed', 'change') ORDER BY id").fetchall()
    by_revision = {number: json.loads(after) for number, after in rows}
    revisions = [number for number, _ in rows]
    assert sorted(set(revisions)) == list(range(1, revisions[-1] + 1)) and revisions == sorted(revisions)
    for number, wanted in known.items():
        assert {name: by_revision[number][name] for name in wanted} == wanted, "an acknowledged change is not what was stored"

    control.start()
    last = control.routing()
    assert last["revision"] == revisions[-1]
    for proxy in proxies:
        proxy.wait_metric("zdm_routing_revision", last["revision"], timeout=30)
    wait_until(lambda: all(plane["in_sync"] for plane in control.dataplanes() if plane["connected"]), "all are in sync")
    assert control.patch(**{SHADOW: 1 if last[SHADOW] != 1 else 2})[0] == 200


# --- the audit log, all of it -----------------------------------------------------------------------------------------------


def download(control, method, path):
    return control.call(method, path, timeout=20)


def fill(control, changes, start=0):
    for turn in range(start, start + changes):
        assert control.patch(**{SHADOW: turn % 100 + 1})[0] == 200


def documented_check(path, tmp_path):
    """The shell lines of docs/audit.md, as they stand there."""
    text = (ROOT / "docs/audit.md").read_text()
    (script,) = re.findall(r"^    previous=.*?^    done < audit.jsonl$", text, re.M | re.S)
    script = "\n".join(line.removeprefix("    ") for line in script.splitlines()).replace("audit.jsonl", str(path))
    return subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=60)


def test_the_export_is_the_log_and_can_be_checked_without_us(lab, tmp_path):
    control = lab.control().start()
    fill(control, 450)
    status, headers, body = download(control, "GET", "/api/v1/audit/export")
    assert status == 200 and headers["Content-Type"] == "application/x-ndjson" and headers["Transfer-Encoding"] == "chunked"
    rows = [json.loads(line) for line in body.decode().splitlines()]
    assert [row["id"] for row in rows] == list(range(1, 453)) and rows[-1]["after"][SHADOW] == 50
    previous = "0" * 64
    for line, row in zip(body.decode().splitlines(), rows):
        content = line.replace(f'"hash":"{row["hash"]}",', "", 1)
        assert row["previous"] == previous and hashlib.sha256(content.encode()).hexdigest() == row["hash"]
        previous = row["hash"]
    page = audit(control, limit=1)
    assert page["head"] == {"id": 452, "hash": previous} and page["entries"][0]["hash"] == previous
    # From a row or a time on.
    assert len(download(control, "GET", "/api/v1/audit/export?after=450")[2].splitlines()) == 2
    late = download(control, "GET", f"/api/v1/audit/export?since_ms={rows[300]['time_ms']}")[2]
    assert json.loads(late.splitlines()[0])["time_ms"] == rows[300]["time_ms"]
    for query in ("after=x", "after=-1", "since_ms=", "since_ms=soon"):
        assert download(control, "GET", f"/api/v1/audit/export?{query}")[0] == 400
    # The document's own way.
    exported = tmp_path / "audit.jsonl"
    exported.write_bytes(body)
    assert documented_check(exported, tmp_path).stdout == ""
    exported.write_bytes(body.replace(b'"shadow_read_percent":7,', b'"shadow_read_percent":8,', 1))
    assert "does not fit" in documented_check(exported, tmp_path).stdout


def test_tampering_shows_wherever_it_is_looked_for(lab, tmp_path):
    control = lab.control().start()
    fill(control, 20)
    verdict = control_get(control, "/api/v1/audit/verify")
    assert verdict["whole"] and verdict["entries"] == 22 and verdict["detail"] == ""
    noted = f"{verdict['head']['id']}:{verdict['head']['hash']}"
    assert f"event=audit_row id=22 hash={verdict['head']['hash']}" in control.log(), "the log keeps the heads"
    fill(control, 5, 50)
    assert control_get(control, f"/api/v1/audit/verify?expect={noted}")["whole"]
    assert not control_get(control, f"/api/v1/audit/verify?expect=22:{'0' * 64}")["whole"]
    for expect in ("", "21", "21:xyz", "x" * 200):
        assert download(control, "GET", f"/api/v1/audit/verify?expect={expect}")[0] == 400
    code, _, err = cloudgate_control("--verify-audit", database_of(control))
    assert code == 1 and "in use" in err
    control.stop()
    code, out, err = cloudgate_control("--verify-audit", database_of(control), noted)
    assert code == 0 and "27 rows" in out, err
    with contextlib.closing(sqlite3.connect(database_of(control))) as database:
        for trigger in ("audit_unchanged", "audit_kept", "audit_head_forward"):
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("UPDATE audit SET actor = 'nobody' WHERE id = 13")
        database.commit()
    code, _, err = cloudgate_control("--verify-audit", database_of(control))
    assert code == 1 and "row 13: its hash does not fit" in err
    control.start()  # routing goes on
    verdict = control_get(control, "/api/v1/audit/verify")
    assert not verdict["whole"] and verdict["entries"] == 12 and verdict["detail"].startswith("row 13:")
    control.stop()
    with contextlib.closing(sqlite3.connect(database_of(control))) as database:  # a thorough forger
        database.execute("DELETE FROM audit WHERE id >= 13")
        database.execute("UPDATE audit_head SET last_id = 12, hash = (SELECT hash FROM audit WHERE id = 12)")
        database.commit()
    assert cloudgate_control("--verify-audit", database_of(control))[0] == 0
    code, _, err = cloudgate_control("--verify-audit", database_of(control), noted)
    assert code == 1 and "row 22, noted elsewhere, is missing" in err


@pytest.mark.parametrize("words", [["--verify-audit"], ["--verify-audit", "a", "b", "c"], ["--restore"], ["--restore", "a", "b"]])
def test_offline_commands_want_their_words(words):
    code, _, err = cloudgate_control(*words)
    assert code == 2 and words[0] in err


def test_ctl_exports_and_verifies(lab, tmp_path):
    control = lab.control().start()
    fill(control, 30)
    code, out, err = ctl(control, "audit", "export")
    assert code == 0 and out.encode() == download(control, "GET", "/api/v1/audit/export")[2]
    head = re.search(r"rows 1 to 32, head (32:[0-9a-f]{64})", err)[1]
    assert f"audit log head {head}" in ctl(control, "status")[1]
    exported = tmp_path / "audit.jsonl"
    exported.write_text(out)
    code, said, err = ctl(control, "audit", "verify")
    assert code == 0 and f"32 rows, head {head}" in said, err
    assert ctl(control, "audit", "verify", "--expect", head)[0] == 0
    code, said, err = ctl(control, "audit", "verify", exported, "--expect", head)
    assert code == 0 and f"rows 1 to 32, head {head}" in said, err
    # A part of the log is as good, as far as it goes.
    rows = [json.loads(line) for line in out.splitlines()]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(rows[-1]["time_ms"] / 1000 + 60))
    assert ctl(control, "audit", "export", "--since", stamp)[1] == ""
    assert ctl(control, "audit", "export", "--since", "2020-01-01")[1] == out
    code, part, err = ctl(control, "audit", "export", "--since", "20")
    assert code == 0 and part == "".join(out.splitlines(keepends=True)[20:]) and f"rows 21 to 32, head {head}" in err
    exported.write_text(part)
    assert ctl(control, "audit", "verify", exported)[0] == 0
    lines = out.splitlines(keepends=True)
    for broken, word in (
        (lines[:9] + lines[10:], "row 11: the row before it is missing"),
        ([*lines[:9], lines[9].replace('"revision":9,"phase', '"revision":8,"phase'), *lines[10:]], "row 10: its hash does not fit"),
        ([*lines[:9], lines[10], lines[9]], "row 11: the row before it is missing"),
        (lines[:9] + [lines[9][:-9]], "row 10: it is not one JSON object"),
        (["nonsense\n"], "line 1 is not an audit row"),
        (lines[:-1], "row 32, noted elsewhere, is missing: the log ends with row 31"),
    ):
        exported.write_text("".join(broken))
        code, _, err = ctl(control, "audit", "verify", exported, "--expect", head)
        assert code == 1 and word in err, err
    assert ctl(control, "audit", "verify", tmp_path / "nothing")[0] == 1
    for words in (["audit", "export", "--since", "soon"], ["audit", "verify", "--expect", "1"], ["--since", "1", "status"],
                  ["--expect", head, "status"], ["audit", "export", "x"], ["audit", "verify", "x", "y"], ["backup"],
                  ["backup", "a", "b"], ["backup", exported]):  # fmt: skip
        code, _, err = ctl(control, *words)
        assert code == 2 and err.startswith("cloudgatectl: "), words


def test_ctl_takes_a_backup_that_is_whole_or_not_there(lab, tmp_path):
    control = lab.control().start()
    fill(control, 5)
    path = tmp_path / "backup.db"
    code, out, err = ctl(control, "backup", path)
    assert code == 0 and str(path.stat().st_size) in out and path.stat().st_mode & 0o777 == 0o600, err
    assert cloudgate_control("--verify-audit", path)[0] == 0
    other = tmp_path / "other.db"
    assert ctl(control, "backup", tmp_path / "nowhere" / "b.db")[0] == 1
    control.kill()
    code, _, err = ctl(control, "backup", other)
    assert code == 1 and [item.name for item in tmp_path.iterdir() if item.name.startswith("other")] == []


# --- backup and restore -----------------------------------------------------------------------------------------------------


def take_backup(control, path):
    status, headers, body = download(control, "POST", "/api/v1/backup")
    assert status == 200 and headers["Content-Type"] == "application/vnd.sqlite3", body
    assert re.search(r'filename="cloudgate-control-\d{8}T\d{6}Z\.db"', headers["Content-Disposition"])
    path.write_bytes(body)
    return path


def test_backups_under_changes_are_whole(lab, tmp_path):
    control = lab.control().start()
    with Operators(control, 2, 1) as operators:
        for turn in range(8):
            wait_until(lambda: len(operators.acknowledged) > 20 * (turn + 1), "changes go on")
            newest = max(operators.acknowledged)
            backup = take_backup(control, tmp_path / f"{turn}.db")
            with contextlib.closing(sqlite3.connect(backup)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                (revision,) = database.execute("SELECT revision FROM routing").fetchone()
                assert database.execute("SELECT max(revision) FROM audit").fetchone() == (revision,)
                assert revision >= newest
            code, _, err = cloudgate_control("--verify-audit", backup)
            assert code == 0, err
    assert {path.name for path in lab.directory.iterdir() if path.name.startswith("control.sqlite")} <= {
        "control.sqlite", "control.sqlite-wal", "control.sqlite-history", "control.sqlite-history-wal"}, "copies were left behind"  # fmt: skip


def test_the_whole_walk_of_a_restore(controlled, tmp_path):
    control, proxy, _ = controlled
    fill(control, 3)
    at_backup = control.routing()
    backup = take_backup(control, tmp_path / "backup.db")
    fill(control, 4, 50)
    later = control.routing()
    wait_until(lambda: proxy.metric("zdm_routing_revision") == later["revision"], "the proxy has the later revision")
    settings = {name: control.settings[name] for name in ("CONTROL_DATABASE", "CONTROL_SOCKET")}
    code, _, err = cloudgate_control("--restore", backup, **settings)
    assert code == 1 and "in use" in err and control.routing() == later
    control.stop()
    code, out, err = cloudgate_control("--restore", backup, **settings)
    assert code == 0 and f"revision {at_backup['revision']}" in out and "routing adopt" in out, err
    (aside,) = [path for path in lab_files(control) if ".before-restore-" in path.name]
    assert str(aside) in out and cloudgate_control("--verify-audit", aside)[0] == 0
    control.start()
    assert control.routing() == at_backup
    # Ahead of this store: the data plane refuses, says why, and goes on as it is.
    refused = wait_until(lambda: [plane for plane in control.dataplanes() if plane["last_error"]], "the data plane refuses", timeout=20)
    assert refused[0]["last_error"]["reason"] == "revision_regressed" and not refused[0]["in_sync"]
    assert proxy.metric("zdm_routing_revision") == later["revision"]
    status, _ = control.patch(**{READS: not at_backup[READS]})
    assert status == 202, "stored, and still refused"
    assert ctl(control, "routing", "adopt")[0] == 0
    now = control.routing()
    proxy.wait_metric("zdm_routing_revision", now["revision"])
    actions = [entry["action"] for entry in audit(control, limit=5)["entries"]]
    assert actions[:4] == ["adopt", "change", "restore", "backup"]
    assert control_get(control, "/api/v1/audit/verify")["whole"]
    assert control.patch(**{READS: at_backup[READS]})[0] == 200


def lab_files(control):
    return list(control.lab.directory.iterdir())


# --- disks that say no ------------------------------------------------------------------------------------------------------


@needs_mounts
def test_a_full_disk_refuses_changes_and_serves_on(lab, tmp_path):
    control = lab.add(CrampedControl).start()
    fill(control, 5)
    before = control.routing()
    with contextlib.suppress(OSError), open(control.inside("filler"), "wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    for turn in range(20):
        status, problem = control.patch(**{SHADOW: 90 - turn})
        if status != 200:  # what is left in the last blocks may take a change or two
            break
        before = control.routing()
    for _ in range(3):
        status, problem = control.patch(**{READS: not before[READS]})
        assert status == 503 and "the disk is full" in problem["detail"] and str(control.place) in problem["detail"]
        assert control.routing() == before
    status, _, body = download(control, "POST", "/api/v1/backup")
    assert status == 503 and b"the disk is full" in body
    assert control_get(control, "/api/v1/audit/verify")["whole"]
    assert http_status(control, "/health/liveness") == 200
    control.inside("filler").unlink()
    status, state = control.patch(**{READS: not before[READS]})
    assert status == 200 and state["revision"] == before["revision"] + 1
    assert control_get(control, "/api/v1/audit/verify")["whole"]
    take_backup(control, tmp_path / "backup.db")


def test_a_file_that_may_not_grow_is_a_full_disk(lab):
    """The same without mounts: the kernel lets no file of the process grow beyond a limit, until it is lifted."""
    control = lab.control()
    command = control.command
    control.command = lambda: ["sh", "-c", 'trap "" XFSZ; exec "$0"', *command()]
    control.start()
    fill(control, 3)
    before, wal = control.routing(), pathlib.Path(database_of(control) + "-wal")
    resource.prlimit(control.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, resource.RLIM_INFINITY))
    for _ in range(3):
        status, problem = control.patch(**{READS: not before[READS]})
        assert status == 503 and "the disk is full" in problem["detail"]
        assert control.routing() == before
    resource.prlimit(control.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    status, state = control.patch(**{READS: not before[READS]})
    assert status == 200 and state["revision"] == before["revision"] + 1
    control.kill()
    control.start()
    assert control.routing() == state and control_get(control, "/api/v1/audit/verify")["whole"]


def http_status(control, path):
    return download(control, "GET", path)[0]


def start_and_fail(control):
    control.launch()
    assert control.wait_exit() == 1
    return control.log()


@needs_mounts
@pytest.mark.parametrize("is_there", [False, True])
def test_a_directory_that_cannot_be_written_stops_the_start(lab, is_there):
    control = lab.add(CrampedControl)
    if is_there:
        first = lab.control(name="first").start()
        first.kill()
        control.first = database_of(first)
    control.script = 'mount -t tmpfs tmpfs "$1" && { [ -z "$3" ] || cp "$3" "$1/control.sqlite"; } && mount -o remount,ro "$1" && exec "$2"'
    assert "control.sqlite: cannot open it: the file or its directory cannot be written" in start_and_fail(control)


def test_a_directory_that_is_not_there_stops_the_start(lab):
    control = lab.control(CONTROL_DATABASE=str(lab.directory / "nowhere/control.sqlite"))
    assert "nowhere/control.sqlite: cannot open it: No such file or directory" in start_and_fail(control)


def test_databases_that_are_not_ours_to_use(lab):
    control = lab.control().start()
    fill(control, 3)
    control.stop()
    path = pathlib.Path(database_of(control))
    good = path.read_bytes()

    path.write_bytes(good[:2048] + b"\xa5" * (len(good) - 2048))
    assert "restore a backup with cloudgate-control --restore FILE" in start_and_fail(control)
    path.write_bytes(b"not a database, and never was one" * 100)
    assert "--restore FILE" in start_and_fail(control)
    path.write_bytes(good)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    assert "newer than this program knows" in start_and_fail(control)
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE somebody_elses (x)")
    assert "not a Cloud-Gate control store; set CONTROL_DATABASE" in start_and_fail(control)
    path.write_bytes(good)
    control.start()
    second = lab.control(name="second", CONTROL_DATABASE=str(path))
    assert "in use by another process" in start_and_fail(second)
    assert control.patch(**{READS: True})[0] == 200
