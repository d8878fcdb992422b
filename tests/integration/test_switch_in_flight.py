"""What is on its way when a phase changes: writes, handshakes, USE, prepared statements. An answer that comes after the change is as
good as the new phase promises, and whatever cannot go on is told so."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import wire
from support.load import Crew, Load, reads_from
from support.waiting import wait_until
from support.walk import ENDS, KEYS, SCHEMA, SPLIT, Walk, write


def insert_body(key, keyspace="ks."):
    return wire.query_body(f"INSERT INTO {keyspace}kv (k, v) VALUES ({key}, 'x')")


# ---- requests ----


def test_a_use_on_its_way_holds_for_both(walk, end):
    """Answered after the other cluster has come into use: unqualified names belong to the same keyspace on both."""
    used, idle = walk.to(end)
    for cluster in (used, idle):
        cluster.query("CREATE KEYSPACE other WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                      "CREATE TABLE other.kv (k int PRIMARY KEY, v text)")  # fmt: skip
    with walk.proxy.connect() as client:
        client.query("USE other")
        used.fault("delay", "QUERY", times=1, ms=700)
        client.send("QUERY", wire.query_body("USE ks"), 5)
        before = used.stats()["opcodes"]["QUERY"]
        wait_until(lambda: used.stats()["opcodes"]["QUERY"] > before - 1, "it has arrived")
        walk.go(SPLIT[end])
        assert client.receive_for(5).name == "RESULT"
        key = next(KEYS)
        client.query(f"INSERT INTO kv (k, v) VALUES ({key}, 'x')")
        assert walk.has(used, key) and walk.has(idle, key)


def test_a_use_before_the_last_handshake_holds_for_both(walk, end):
    """One client's connection to the cluster that comes into use is there already, another one's is not yet."""
    used, idle = walk.to(end)
    for cluster in (used, idle):
        cluster.query("CREATE KEYSPACE other WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                      "CREATE TABLE other.kv (k int PRIMARY KEY, v text)")  # fmt: skip
    with walk.proxy.connect() as one, walk.proxy.connect() as two, ThreadPoolExecutor() as pool:
        for client in (one, two):
            client.query("USE other")
        idle.fault("delay", "STARTUP", times=1, ms=1000)
        change = pool.submit(walk.go, SPLIT[end])
        wait_until(lambda: walk.upstreams(idle.name) == 1, "one is there")
        for client in (one, two):
            client.query("USE ks")
        assert not change.done()
        change.result()
        for client in (one, two):
            key = next(KEYS)
            client.query(f"INSERT INTO kv (k, v) VALUES ({key}, 'x')")
            assert walk.has(used, key) and walk.has(idle, key)


# ---- credentials that do not fit ----

ORIGIN, TARGET = ("origin-user", "origin-secret"), ("target-user", "target-secret")


def guarded(lab, origin=ORIGIN, target=TARGET, **settings):
    """A walk between two clusters, each with its own credentials or none."""
    clusters = []
    for name, pair in (("origin", origin), ("target", target)):
        options = {"user": pair[0], "password": pair[1]} if pair else {}
        cluster = lab.cluster(name, **options).start()
        cluster.query(*SCHEMA, f"INSERT INTO ks.kv (k, v) VALUES (1, '{name}')")
        clusters.append(cluster)
    return Walk(lab, clusters, **settings)


@pytest.fixture(params=["changed", "unknown"])
def misfit(request, lab):
    """Passthrough, and credentials that will not be taken by the target: its password was changed meanwhile; or it asks for one, which
    nobody knew."""
    walk = guarded(lab, target=TARGET if request.param == "changed" else None, READINESS_REQUIRES_BOTH="false")
    target = walk.clusters["target"]
    walk.go("passthrough")
    target.stop()
    target.user, target.password = TARGET[0], "another-secret"
    target.start()
    target.query(*SCHEMA)
    return walk


def test_credentials_that_do_not_fit_there(misfit):
    """Reads go on, each write is told why it cannot be, nobody is disconnected, and the way back is open."""
    origin, target = misfit.clusters.values()
    with misfit.proxy.connect(*ORIGIN) as client:
        origin.fault("delay", "reads", times=1, ms=700)
        client.send("QUERY", wire.query_body("SELECT v FROM ks.kv WHERE k = 1"), 5)
        wait_until(lambda: origin.last_request("QUERY", "reads"), "a read is on its way")
        misfit.go("dual_write")
        assert client.receive_for(5).name == "RESULT"
        for _ in range(3):
            assert reads_from(client, "ks") == "origin"
            code, message = client.query_error("INSERT INTO ks.kv (k, v) VALUES (77, 'x')")[:2]
            assert code == wire.UNAVAILABLE and "The target cluster is not reachable" in message and "credentials" in message
        misfit.go("passthrough")
        assert misfit.has(origin, write(client)) and not misfit.has(origin, 77)
    assert "event=upstream_refused" in misfit.proxy.log()
    for _, secret in (ORIGIN, TARGET):
        assert secret not in misfit.proxy.log()


# ---- handshakes ----


def test_a_handshake_does_not_wait_for_a_cluster_that_went_out_of_use(walk, end):
    """It hangs, so the phase is changed: who is connecting just then is served by the one that is left."""
    used, idle = (walk.clusters[name] for name in ENDS[end])
    walk.go(SPLIT[end])
    idle.tell("mute on")
    before = used.stats()["opcodes"]["STARTUP"]
    with walk.proxy.connect(is_ready=False) as client:
        client.send("STARTUP", wire.startup_body())
        wait_until(lambda: used.stats()["opcodes"]["STARTUP"] > before, "the handshake is on its way")
        walk.go(end)
        assert client.receive_for(0).name == "READY"
        assert walk.has(used, write(client))


@pytest.mark.parametrize("has_shown", [False, True], ids=["before", "after"])
def test_a_log_in_does_not_wait_for_a_cluster_that_went_out_of_use(lab, has_shown):
    """The same for a client that has been asked for its credentials, and for one that has shown them."""
    walk = guarded(lab)
    origin, target = walk.clusters.values()
    token = wire.value(wire.plain_token(*TARGET))
    with walk.proxy.connect(is_ready=False) as client:
        assert client.ask("STARTUP", wire.startup_body()).name == "AUTHENTICATE"
        target.fault("silence", "AUTH_RESPONSE")
        if has_shown:
            so_far = target.stats()["opcodes"]["AUTH_RESPONSE"]
            client.send("AUTH_RESPONSE", token, 1)
            wait_until(lambda: target.stats()["opcodes"]["AUTH_RESPONSE"] > so_far, "the target has been asked")
        walk.go("passthrough")
        if not has_shown:
            client.send("AUTH_RESPONSE", token, 1)
        assert client.receive_for(1, timeout=1).name == "AUTH_SUCCESS"
        assert walk.has(origin, write(client))
        target.clear_faults()
        walk.go("dual_write")
        key = write(client)
        assert walk.has(origin, key) and walk.has(target, key)


@pytest.mark.parametrize("slow", ["origin", "target"])
def test_wrong_credentials_are_wrong_whatever_goes_out_of_use(lab, slow):
    """The origin is shown the proxy's own credentials: only the target can tell that the client's are wrong."""
    walk = guarded(lab)
    with walk.proxy.connect(is_ready=False) as client:
        assert client.ask("STARTUP", wire.startup_body()).name == "AUTHENTICATE"
        cluster = walk.clusters[slow]
        cluster.fault("delay", "AUTH_RESPONSE", times=1, ms=700)
        so_far = cluster.stats()["opcodes"]["AUTH_RESPONSE"]
        client.send("AUTH_RESPONSE", wire.value(wire.plain_token(TARGET[0], "wrong")), 1)
        wait_until(lambda: cluster.stats()["opcodes"]["AUTH_RESPONSE"] > so_far, "it is asked")
        walk.go("passthrough")
        answer = client.receive_for(1)
        assert answer.name == "ERROR" and wire.parse_error(answer.body)[0] == wire.BAD_CREDENTIALS


def test_who_was_refused_stays_refused(lab):
    """By the target, which goes out of use before the client has gone: that the origin has let the proxy in is nothing to it."""
    walk = guarded(lab)
    with walk.proxy.connect(is_ready=False) as client, walk.proxy.connect(*TARGET) as other:
        assert client.ask("STARTUP", wire.startup_body()).name == "AUTHENTICATE"
        refusal = client.ask("AUTH_RESPONSE", wire.value(wire.plain_token(TARGET[0], "wrong")))
        assert wire.parse_error(refusal.body)[0] == wire.BAD_CREDENTIALS
        for phase in ("passthrough", "dual_write"):
            walk.go(phase)
            assert client.query_error("SELECT v FROM ks.kv WHERE k = 1")[0] == wire.BAD_CREDENTIALS
            assert client.error("AUTH_RESPONSE", wire.value(wire.plain_token(*TARGET)))[0] == wire.BAD_CREDENTIALS
            assert write(other)


# ---- a cluster that does not answer ----


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_cluster_that_comes_into_use_and_does_not_answer_keeps_nobody(lab, how):
    """Nothing has told the proxy that it is away. Reads go on before the change, while it is under way, and after it."""
    walk = Walk(lab, REQUEST_TIMEOUT_MS="10000", HEARTBEAT_INTERVAL_MS="30000", HEARTBEAT_RETRY_INTERVAL_MAX_MS="30000")
    origin, target = walk.to("passthrough")
    slowest = 0.0
    with walk.proxy.connect() as client, ThreadPoolExecutor() as pool:
        getattr(target, how)()
        change = pool.submit(walk.go, "dual_write")
        is_over = False
        while not is_over:
            begin, is_over = time.monotonic(), change.done()
            assert reads_from(client, "ks") == "origin"
            slowest = max(slowest, time.monotonic() - begin)
        change.result()
        assert slowest < 1.0, slowest
        code, message = client.query_error("INSERT INTO ks.kv (k, v) VALUES (77, 'x')")[:2]
        assert code == wire.UNAVAILABLE and "The target cluster is not reachable" in message
        assert not walk.has(origin, 77)
        if how == "pause":
            target.resume()


def test_clients_do_not_wait_for_slow_handshakes(walk, end):
    """They are made before the change: until then the phase is the old one, from then on writes are on both."""
    used, idle = walk.to(end)
    with walk.proxy.connect() as one, walk.proxy.connect() as other, ThreadPoolExecutor() as pool:
        before = idle.stats()["opcodes"]["STARTUP"]
        idle.fault("delay", "STARTUP", ms=1000)
        change = pool.submit(walk.go, SPLIT[end])
        wait_until(lambda: idle.stats()["opcodes"]["STARTUP"] > before, "they are under way")
        alone = [write(client) for client in (one, other)]
        assert not change.done() and not any(walk.has(idle, key) for key in alone)
        change.result()
        both = [write(client) for client in (one, other)]
        assert all(walk.has(used, key) for key in alone + both) and all(walk.has(idle, key) for key in both)


# ---- all at once ----

TOUR = ("dual_write", "target_primary", "target_only", "target_primary", "dual_write", "passthrough")
WRITES_TO = {"passthrough": ("origin",), "target_only": ("target",)}


class Comers(Crew):
    """Clients that come, write some rows of their own, as text, prepared and in batches, and go. written: key, when it was sent, when
    the answer was there."""

    def __init__(self, walk, threads=6):
        super().__init__(threads)
        self.walk = walk
        self.written, self.connected = [], 0

    def _work(self, _):
        try:
            while not self.stop_wanted.is_set():
                with self.walk.proxy.connect(version=next(self.versions)) as client:
                    self.connected += 1
                    self._visit(client)
        except Exception as error:  # whatever ends a visit is what this looks for
            self.failures.append(repr(error))

    versions = itertools.cycle((4, 5, 3))

    def _visit(self, client):
        client.query("USE ks")
        for turn in range(6):
            key, begin = next(KEYS), time.monotonic()
            if turn % 3 == 0:
                client.query(f"INSERT INTO kv (k, v) VALUES ({key}, 'x')")
            elif turn % 3 == 1:
                client.batch([(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')", ())])
            else:
                self._execute(client, key)
            self.written.append((key, begin, time.monotonic()))

    def _execute(self, client, key):
        """As drivers do: what is not prepared any more is prepared again."""
        for _ in range(4):
            prepared = client.prepare("INSERT INTO ks.kv (k, v) VALUES (?, 'x')")
            try:
                client.execute(prepared, [wire.int_value(key)])
                return
            except wire.ServerError as error:
                if error.code != wire.UNPREPARED:
                    raise
        raise AssertionError("asked to prepare again and again")


def keys_of(cluster):
    return {row["k"] for row in cluster.dump("ks.kv")}


@pytest.mark.timeout(300)
def test_two_hundred_changes_while_clients_come_and_go(lab):
    """No request fails, nobody is turned away, and what was written while a phase was in force is wherever that phase writes."""
    walk = Walk(lab, lab.named_pair(options=["--release-version", "5.0.3"]))
    walk.go("passthrough")
    in_force = []
    with Load(walk.proxy, "ks", pause_s=0.002) as load, Comers(walk) as comers:
        for phase in itertools.islice(itertools.cycle(TOUR), 200):
            walk.go(phase)
            begin, so_far = time.monotonic(), len(comers.written)
            wait_until(lambda so_far=so_far: len(comers.written) > so_far + 3 or comers.failures, "rows are written", poll=0.002)
            in_force.append((begin, time.monotonic(), phase))
            assert not comers.failures and not load.failures, (phase, comers.failures, load.failures)
    load.check(at_least=100)
    assert comers.failures == [] and comers.connected > 100
    there = {name: keys_of(cluster) for name, cluster in walk.clusters.items()}
    checked = 0
    for key, sent, answered in comers.written:
        assert any(key in keys for keys in there.values()), key
        for begin, end, phase in in_force:
            if begin <= sent and answered <= end:
                checked += 1
                for name in WRITES_TO.get(phase, ("origin", "target")):
                    assert key in there[name], (key, phase, name)
    assert checked > 200
    assert "event=upstream_lost" not in walk.proxy.log() and "level=warning" not in walk.proxy.log()


class LoggingIn(Comers):
    """Clients that log in, rightly, wrongly, or leave in the middle of it; the right ones write."""

    ways = itertools.cycle(("right", "wrong", "right", "leaves", "slow", "right", "leaves sooner"))

    def _work(self, _):
        try:
            while not self.stop_wanted.is_set():
                with self.walk.proxy.connect(is_ready=False) as client:
                    self._log_in(client, next(self.ways))
        except Exception as error:  # whatever ends a visit is what this looks for
            self.failures.append(repr(error))

    def _log_in(self, client, way):
        if way == "leaves sooner":
            client.send("STARTUP", wire.startup_body())
            return
        assert client.ask("STARTUP", wire.startup_body()).name == "AUTHENTICATE"
        if way == "leaves":
            return
        if way == "slow":
            self.stop_wanted.wait(0.05)
        user, password = TARGET
        answer = client.ask("AUTH_RESPONSE", wire.value(wire.plain_token(user, "wrong" if way == "wrong" else password)))
        if way == "wrong":
            assert wire.parse_error(answer.body)[0] == wire.BAD_CREDENTIALS
            self.stop_wanted.wait(0.05)
            client.send("QUERY", wire.query_body("SELECT v FROM ks.kv WHERE k = 1"))
            assert client.receive().name == "ERROR"
        else:
            assert answer.name == "AUTH_SUCCESS", wire.parse_error(answer.body)
            self.connected += 1
            self._visit(client)


@pytest.mark.timeout(300)
def test_a_hundred_changes_while_clients_log_in(lab):
    """Who has the right credentials gets in, nobody else does, whatever the phase becomes between the steps."""
    walk = guarded(lab)
    with LoggingIn(walk) as comers:
        for phase in itertools.islice(itertools.cycle(TOUR), 1, 101):
            walk.go(phase)
            so_far = comers.connected
            wait_until(lambda so_far=so_far: comers.connected > so_far + 1 or comers.failures, "clients get in", poll=0.002)
            assert not comers.failures, (phase, comers.failures)
    assert comers.failures == [] and comers.connected > 100
    assert walk.proxy.is_running() and "event=upstream_refused" not in walk.proxy.log()
