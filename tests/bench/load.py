#!/usr/bin/env python3
"""A gentle, steady load for the demo and for tests that switch something under it: prepared reads and writes.

It survives what a migration brings: a failed request is counted and the next one goes out. It ends after --seconds or
on SIGTERM or SIGINT with one line of counts, and with status 1 when a request failed. Not a benchmark.
"""

import argparse
import json
import logging
import random
import signal
import sys
import threading
import time

from cassandra.cluster import Cluster, ExecutionProfile, EXEC_PROFILE_DEFAULT, NoHostAvailable
from cassandra.auth import PlainTextAuthProvider
from cassandra.policies import ConstantReconnectionPolicy, FallthroughRetryPolicy, HostStateListener, RoundRobinPolicy

KEYS = 1000


class Counts:
    """What happened so far; answers come back on the driver's thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.values = {"reads": 0, "writes": 0, "failed_reads": 0, "failed_writes": 0, "lost_connections": 0}
        self.errors = {}
        self.sent = 0

    def add(self, name, error=None):
        with self.lock:
            self.values[name] += 1
            if error is not None:
                kind = type(error).__name__
                self.errors[kind] = self.errors.get(kind, 0) + 1

    def answered(self):
        with self.lock:
            return sum(count for name, count in self.values.items() if name != "lost_connections")

    def copy(self):
        with self.lock:
            return dict(self.values, errors=dict(self.errors))


class Watcher(HostStateListener):
    """Counts how often the driver gave the proxy up."""

    def __init__(self, counts):
        self.counts = counts

    def on_up(self, host):
        pass

    def on_add(self, host):
        pass

    def on_remove(self, host):
        pass

    def on_down(self, host):
        self.counts.add("lost_connections")


def connect(options):
    """Opens a session, waiting for a proxy that is still starting."""
    profile = ExecutionProfile(request_timeout=options.timeout, retry_policy=FallthroughRetryPolicy(),
                               load_balancing_policy=RoundRobinPolicy())
    login = PlainTextAuthProvider(options.username, options.password) if options.username else None
    deadline = time.monotonic() + 30
    while True:
        cluster = Cluster([options.address], port=options.port, protocol_version=4, auth_provider=login,
                          execution_profiles={EXEC_PROFILE_DEFAULT: profile},
                          reconnection_policy=ConstantReconnectionPolicy(1.0, max_attempts=None))
        try:
            return cluster, cluster.connect()
        except NoHostAvailable:
            cluster.shutdown()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def prepare(session, keyspace):
    session.execute(f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = "
                    "{'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute(f"CREATE TABLE IF NOT EXISTS {keyspace}.readings (sensor int PRIMARY KEY, value double, note text)")
    return (session.prepare(f"SELECT value, note FROM {keyspace}.readings WHERE sensor = ?"),
            session.prepare(f"INSERT INTO {keyspace}.readings (sensor, value, note) VALUES (?, ?, ?)"))


def run(session, statements, options, counts, stop):
    """Sends each request at its moment, whether or not earlier ones are answered; returns when told to stop."""
    select, insert = statements
    every = {"reads": 1 / options.reads if options.reads else None, "writes": 1 / options.writes if options.writes else None}
    begin = time.monotonic()
    due = {kind: begin for kind, period in every.items() if period}
    report_at = begin + 10
    while not stop.is_set() and due:
        kind = min(due, key=due.get)
        now = time.monotonic()
        if options.seconds and now - begin >= options.seconds:
            break
        if due[kind] > now:
            stop.wait(min(due[kind] - now, 0.5))
            continue
        due[kind] += every[kind]
        counts.sent += 1
        sensor = random.randrange(KEYS)
        bound = (select, (sensor,)) if kind == "reads" else (insert, (sensor, random.random(), "a reading"))
        try:
            future = session.execute_async(*bound)
        except Exception as error:  # no host is available just now: that too is a failed request
            counts.add(f"failed_{kind}", error)
        else:
            future.add_callbacks(lambda _rows, name=kind: counts.add(name),
                                 lambda error, name=f"failed_{kind}": counts.add(name, error))
        if now >= report_at:
            report_at += 10
            print(json.dumps(counts.copy()), flush=True)
    # What is under way is not a failure: let it finish.
    deadline = time.monotonic() + options.timeout + 1
    while counts.answered() < counts.sent and time.monotonic() < deadline:
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description="A gentle load of prepared reads and writes through the proxy.")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=14002)
    parser.add_argument("--username", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--keyspace", default="demo")
    parser.add_argument("--reads", type=float, default=20, help="reads a second")
    parser.add_argument("--writes", type=float, default=20, help="writes a second")
    parser.add_argument("--seconds", type=float, default=0, help="how long; 0: until told to stop")
    parser.add_argument("--timeout", type=float, default=12, help="seconds the driver waits for one answer")
    options = parser.parse_args()
    logging.getLogger("cassandra").setLevel(logging.ERROR)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    counts = Counts()
    cluster, session = connect(options)
    cluster.register_listener(Watcher(counts))
    try:
        statements = prepare(session, options.keyspace)
        print("load running", flush=True)
        run(session, statements, options, counts, stop)
    finally:
        cluster.shutdown()
    final = counts.copy()
    print(json.dumps(final), flush=True)
    return 1 if final["failed_reads"] or final["failed_writes"] else 0


if __name__ == "__main__":
    sys.exit(main())
