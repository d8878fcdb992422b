"""What an application does, with the Python driver; see ../README.md for the environment it reads and the lines it prints."""

import os
import ssl
import sys
import threading
import time

from cassandra import InvalidRequest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, SimpleStatement

ADDRESS, PORT = os.environ["CQL_ADDRESS"], int(os.environ["CQL_PORT"])
KEYSPACE = os.environ["CQL_KEYSPACE"]


def cluster():
    options = {}
    if os.environ.get("CQL_PROTOCOL"):
        options["protocol_version"] = int(os.environ["CQL_PROTOCOL"])
    if os.environ.get("CQL_COMPRESSION"):
        options["compression"] = False if os.environ["CQL_COMPRESSION"] == "none" else os.environ["CQL_COMPRESSION"]
    if os.environ.get("CQL_USERNAME"):
        options["auth_provider"] = PlainTextAuthProvider(os.environ["CQL_USERNAME"], os.environ["CQL_PASSWORD"])
    if os.environ.get("CQL_CA"):
        context = ssl.create_default_context(cafile=os.environ["CQL_CA"])
        if os.environ.get("CQL_CERT"):
            context.load_cert_chain(os.environ["CQL_CERT"], os.environ["CQL_KEY"])
        options["ssl_context"] = context
        options["ssl_options"] = {"server_hostname": ADDRESS}
    return Cluster([ADDRESS], port=PORT, **options)


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r:.200}, not {wanted!r:.200}")


def simple(session):
    session.execute("INSERT INTO t (k, v) VALUES (1, 'one')")
    session.execute("INSERT INTO t (k, v) VALUES (%s, %s)", (2, "zwei ö"))
    equal(tuple(session.execute("SELECT k, v FROM t WHERE k = %s", (2,)).one()), (2, "zwei ö"))
    equal(session.execute("SELECT v FROM t WHERE k = 0").one(), None)
    try:
        session.execute("SELECT nothing FROM t")
    except InvalidRequest:
        return
    raise AssertionError("a wrong column was not refused")


def prepared(session):
    insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
    select = session.prepare("SELECT v FROM t WHERE k = ?")
    for k in range(10, 20):
        session.execute(insert, (k, f"value {k}"))
    for k in range(10, 20):
        equal(session.execute(select, (k,)).one().v, f"value {k}")


def batch(session):
    insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
    for kind, first in ((BatchType.LOGGED, 30), (BatchType.UNLOGGED, 40)):
        statements = BatchStatement(kind)
        statements.add(insert, (first, "prepared"))
        statements.add(SimpleStatement("INSERT INTO t (k, v) VALUES (%s, 'text')"), (first + 1,))
        statements.add(insert, (first + 2, "prepared"))
        session.execute(statements)
        rows = session.execute(f"SELECT k, v FROM t WHERE k IN ({first}, {first + 1}, {first + 2})")
        equal(sorted(map(tuple, rows)), [(first, "prepared"), (first + 1, "text"), (first + 2, "prepared")])


def paging(session):
    insert = session.prepare("INSERT INTO p (k, c) VALUES (1, ?)")
    execute_concurrent_with_args(session, insert, [(c,) for c in range(250)])
    for statement in (SimpleStatement("SELECT c FROM p WHERE k = 1"), session.prepare("SELECT c FROM p WHERE k = 1").bind(())):
        statement.fetch_size = 30
        pages = session.execute(statement)
        equal(pages.has_more_pages, True)
        equal([row.c for row in pages], list(range(250)))


def lwt(session):
    insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?) IF NOT EXISTS")
    equal(session.execute(insert, (50, "first")).was_applied, True)
    again = session.execute(insert, (50, "second"))
    equal((again.was_applied, again.one().v), (False, "first"))
    equal(session.execute("UPDATE t SET v = 'third' WHERE k = 50 IF v = 'first'").was_applied, True)


def use(session):
    with cluster() as other:
        unbound = other.connect()
        unbound.execute(f"USE {KEYSPACE}")
        equal(unbound.execute("SELECT v FROM t WHERE k = 1").one().v, "one")
        unbound.set_keyspace("system")
        equal(unbound.execute(unbound.prepare("SELECT key FROM local")).one().key, "local")


def events(session):
    with cluster() as other:
        other.connect(KEYSPACE).execute("CREATE TABLE announced (k int PRIMARY KEY)")
    tables = session.cluster.metadata.keyspaces[KEYSPACE].tables
    deadline = time.monotonic() + 10
    while "announced" not in tables and time.monotonic() < deadline:
        time.sleep(0.05)
        tables = session.cluster.metadata.keyspaces[KEYSPACE].tables
    equal("announced" in tables, True)


def load(session):
    insert = session.prepare("INSERT INTO t (k, v) VALUES (?, ?)")
    select = session.prepare("SELECT k, v FROM t WHERE k = ?")
    keys = range(1000, 1500)
    execute_concurrent_with_args(session, insert, [(k, f"value {k}") for k in keys], concurrency=250)
    questions = [(k,) for k in keys] * 3
    answers = execute_concurrent_with_args(session, select, questions, concurrency=300)
    for (k,), (_, rows) in zip(questions, answers, strict=True):
        equal(tuple(rows.one()), (k, f"value {k}"))


def large(session):
    blob = bytes(index * 31 % 251 for index in range(200_000))
    session.execute(session.prepare("INSERT INTO t (k, b) VALUES (60, ?)"), (blob,))
    equal(session.execute("SELECT b FROM t WHERE k = 60").one().b, blob)
    equal(session.execute(session.prepare("SELECT b FROM t WHERE k = ?"), (60,)).one().b, blob)


def nulls(session):
    insert = session.prepare("INSERT INTO t (k, v, b) VALUES (?, ?, ?)")
    session.execute(insert, (70, "kept", b"gone"))
    session.execute(insert, (70, UNSET_VALUE if session.cluster.protocol_version >= 4 else "kept", None))
    equal(tuple(session.execute("SELECT v, b FROM t WHERE k = 70").one()), ("kept", None))


def collections(session):
    values = ([1, 2, 3], {"a", "b"}, {"x": 1, "y": 2})
    session.execute(session.prepare("INSERT INTO t (k, l, s, m) VALUES (80, ?, ?, ?)"), values)
    row = session.execute("SELECT l, s, m FROM t WHERE k = 80").one()
    equal((list(row.l), set(row.s), dict(row.m)), values)


CHECKS = (simple, prepared, batch, paging, lwt, use, events, load, large, nulls, collections)


def main():
    # A driver that waits for ever must fail here, not hang its caller.
    watchdog = threading.Timer(100, lambda: os._exit(2))
    watchdog.daemon = True
    watchdog.start()
    failed = 0
    with cluster() as connected:
        session = connected.connect()
        print("protocol", connected.protocol_version)
        session.execute(f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
        session.set_keyspace(KEYSPACE)
        session.execute("CREATE TABLE t (k int PRIMARY KEY, v text, b blob, l list<int>, s set<text>, m map<text, int>)")
        session.execute("CREATE TABLE p (k int, c int, PRIMARY KEY (k, c))")
        for check in CHECKS:
            try:
                check(session)
                print(check.__name__, "ok", flush=True)
            except Exception as error:  # whatever it is, it belongs to this check
                print(check.__name__, "FAILED", type(error).__name__, " ".join(str(error).split()), flush=True)
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
