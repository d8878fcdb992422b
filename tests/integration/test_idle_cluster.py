"""A cluster that is not in use (passthrough: the target, target_only: the origin) need not be there: proxies start, clients work and
come without it, and those who are connected stay when it comes into use and when it goes out of it again."""

import contextlib
import itertools

import pytest

from support import wire
from support.load import Load, reads_from
from support.waiting import wait_until
from support.walk import ENDS, KEYS, PACE, SCHEMA, SPLIT, Walk, write


# ---- without the idle cluster ----


def test_it_starts_and_serves_without_it(walk, end):
    """After a restart, with neither the idle cluster nor a control plane; and when the cluster is there again it comes into use."""
    used, idle = walk.to(end)
    walk.control.stop()
    idle.kill()
    walk.proxy.stop()
    walk.proxy.start()
    status, body = walk.proxy.readiness()
    side = {"origin": "OriginStatus", "target": "TargetStatus"}
    assert status == 200 and body[side[idle.name]]["InUse"] is False and body[side[idle.name]]["Status"] == "DOWN"
    assert "InUse" not in body[side[used.name]] and body[side[used.name]]["Status"] == "UP"
    with walk.proxy.connect() as client, walk.proxy.connect(version=3) as old:
        key = write(client)
        assert reads_from(client, "ks") == used.name and walk.has(used, key)
        assert old.query("SELECT cluster_name FROM system.local").rows
        assert client.ask("OPTIONS").name == "SUPPORTED"
        walk.comes_back(idle)
        walk.control.start()
        walk.follow()
        walk.go(SPLIT[end])
        for each in (client, old):
            key = write(each)
            assert walk.has(used, key) and walk.has(idle, key)
    assert "InUse" not in walk.proxy.readiness()[1][side[idle.name]]


def test_its_loss_is_nothing_to_clients(walk, end):
    """It dies, comes back and dies under load; no request fails, and no connection is kept to it."""
    used, idle = walk.to(end)
    with Load(walk.proxy, "ks") as load, walk.proxy.connect() as client:
        wait_until(lambda: walk.upstreams(idle.name) == 0, "the idle cluster is let go of")
        for how in ("kill", "pause"):
            so_far = load.total
            getattr(idle, how)()
            wait_until(lambda so_far=so_far: load.total > so_far + 300, "the load goes on")
            key = write(client)
            assert walk.has(used, key)
            with walk.proxy.connect() as late:
                assert reads_from(late, "ks") == used.name
            walk.comes_back(idle) if how == "kill" else idle.resume()
        wait_until(lambda: walk.proxy.readiness()[0] == 200, "ready")
        assert not walk.has(idle, key) and walk.upstreams(idle.name) == 0
    load.check(at_least=100)


# ---- coming and going ----


def test_coming_and_going_under_load(walk, end):
    """Rows are where they were promised, by direct reading; nothing fails, nobody is disconnected."""
    with Load(walk.proxy, "ks") as load, walk.proxy.connect() as client:
        for turn in range(3):
            used, idle = walk.to(end)
            alone = [write(client) for _ in range(5)]
            assert reads_from(client, "ks") == used.name
            wait_until(lambda idle=idle: walk.upstreams(idle.name) == 0, "the idle cluster is let go of")
            assert load.failures == [], turn
            walk.go(SPLIT[end])
            both = [write(client) for _ in range(5)]
            assert all(walk.has(used, key) for key in alone + both) and walk.upstreams(idle.name) == 5
            assert all(walk.has(idle, key) for key in both) and not any(walk.has(idle, key) for key in alone)
            so_far = load.total
            wait_until(lambda so_far=so_far: load.total > so_far + 100, "the load goes on")
        walk.go("dual_write")
    load.check(at_least=100)
    assert "event=upstream_lost" not in walk.proxy.log() and "event=client_disconnected" not in walk.proxy.log()


def test_quick_turns_under_load(walk):
    """Faster than connections open and close."""
    with Load(walk.proxy, "ks", threads=8) as load:
        for _ in range(10):
            for phase in ("passthrough", "dual_write", "target_primary", "target_only", "target_primary", "dual_write"):
                walk.go(phase)
        with walk.proxy.connect() as client:
            key = write(client)
            assert all(walk.has(cluster, key) for cluster in walk.clusters.values())
        so_far = load.total
        wait_until(lambda: load.total > so_far + 100, "the load goes on")
    load.check(at_least=100)


def test_clients_that_come_meanwhile(walk):
    """Their handshake spans a change: at READY they have what the routing state asks for by then."""
    origin, target = walk.clusters.values()
    for phase in ("passthrough", "dual_write"):
        so_far = origin.stats()["opcodes"]["STARTUP"]
        origin.fault("delay", "STARTUP", times=1, ms=700)
        client = walk.proxy.connect(is_ready=False)
        client.send("STARTUP", wire.startup_body())
        wait_until(lambda so_far=so_far: origin.stats()["opcodes"]["STARTUP"] > so_far, "it has begun")
        walk.go(phase)
        assert client.receive_for(0).name == "READY"
        key = write(client)
        assert walk.has(origin, key) and walk.has(target, key) == (phase == "dual_write")
        client.close()


def test_an_answer_on_its_way_is_waited_for(walk, end):
    """A write that went to both has its answer of both, though one goes out of use meanwhile."""
    used, idle = (walk.clusters[name] for name in ENDS[end])
    if end == "target_only":
        walk.go("target_primary")
    with walk.proxy.connect() as client:
        key = next(KEYS)
        idle.fault("delay", "writes", times=1, ms=800)
        client.send("QUERY", wire.query_body(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')"), 5)
        wait_until(lambda: walk.has(idle, key), "the write is on its way")
        walk.go(end)
        assert reads_from(client, "ks") == used.name
        assert client.receive_for(5).name == "RESULT"
        wait_until(lambda: walk.upstreams(idle.name) == 0, "then it is let go of")
        assert walk.has(used, write(client))


def test_it_comes_into_use_though_it_is_away(walk, end):
    """Reads go on, writes are refused by its name, nobody is disconnected; when it is there, all is well."""
    used, idle = walk.to(end)
    with walk.proxy.connect() as client:
        wait_until(lambda: walk.upstreams(idle.name) == 0, "the idle cluster is let go of")
        idle.kill()
        walk.go(SPLIT[end])
        assert reads_from(client, "ks") == used.name
        code, message = client.query_error("INSERT INTO ks.kv (k, v) VALUES (77, 'x')")[:2]
        assert code == wire.UNAVAILABLE and f"The {idle.name} cluster is not reachable" in message
        walk.comes_back(idle)
        wait_until(lambda: client.ask("QUERY", wire.query_body("INSERT INTO ks.kv (k, v) VALUES (78, 'x')")).name == "RESULT",
                   "writes go through")  # fmt: skip
        assert walk.has(idle, 78) and walk.has(used, 78) and not walk.has(used, 77)


def test_it_comes_into_use_though_it_was_never_reached(walk, end):
    """Since the proxy started: nodes, versions and compressions of the cluster are not even known."""
    used, idle = walk.to(end)
    idle.kill()
    walk.proxy.stop()
    walk.proxy.start()
    walk.follow()
    with walk.proxy.connect() as client:
        walk.go(SPLIT[end])
        assert reads_from(client, "ks") == used.name
        code, message = client.query_error("INSERT INTO ks.kv (k, v) VALUES (77, 'x')")[:2]
        assert code == wire.UNAVAILABLE and f"{idle.name} cluster is not reachable" in message and "has not reached it yet" in message
        with walk.proxy.connect(is_ready=False) as late:
            code, message = wire.parse_error(late.ask("STARTUP", wire.startup_body()).body)[:2]
            assert f"No node of the {idle.name} cluster could be reached" in message and "has not reached it yet" in message
        assert client.rows("SELECT cluster_name FROM system.local") and client.rows("SELECT peer FROM system.peers") == []
        walk.comes_back(idle)
        wait_until(lambda: client.ask("QUERY", wire.query_body("INSERT INTO ks.kv (k, v) VALUES (78, 'x')")).name == "RESULT",
                   "writes go through")  # fmt: skip
        assert walk.has(idle, 78) and walk.has(used, 78)


LESS = {"version": (["--release-version", "3.11.19"], "v5"),
        "compression": (["--release-version", "5.0.3", "--compression", "none"], "lz4")}  # fmt: skip


@pytest.mark.parametrize("change, sent_away", LESS.values(), ids=LESS)
def test_it_comes_back_with_less(lab, change, sent_away):
    """Who speaks what the cluster no longer does is told to connect anew; all others stay."""
    walk = Walk(lab, lab.named_pair(options=["--release-version", "5.0.3"]))
    origin, target = walk.to("passthrough")
    kinds = {"v5": {"version": 5}, "lz4": {"compression": "lz4"}, "plain": {}}
    with contextlib.ExitStack() as stack:
        clients = {name: stack.enter_context(walk.proxy.connect(**options)) for name, options in kinds.items()}
        target.stop()
        target.options = change
        walk.comes_back(target)
        wait_until(lambda: walk.proxy.readiness()[1]["TargetStatus"]["Status"] == "UP", "the proxy has reached it")
        walk.go("dual_write")
        for name, client in clients.items():
            if name == sent_away:
                code, message = client.query_error("INSERT INTO ks.kv (k, v) VALUES (77, 'x')")[:2]
                assert code == wire.OVERLOADED and "please reconnect" in message and client.is_closed(timeout=10), name
            else:
                key = write(client)
                assert walk.has(origin, key) and walk.has(target, key), name
    assert not walk.has(origin, 77)
    assert "event=upstream_refused" in walk.proxy.log()


def test_another_cluster_in_its_place_is_named(walk):
    origin, target = walk.to("passthrough")
    target.stop()
    target.name = "stranger"
    walk.comes_back(target)
    wait_until(lambda: 'event=cluster_renamed cluster=target before="target" now="stranger"' in walk.proxy.log(), "it is said")
    walk.go("dual_write")
    with walk.proxy.connect() as client:
        key = write(client)
    assert walk.has(origin, key) and walk.has(target, key)


# ---- what belongs to a connection ----


def test_theKEYSpace_goes_along(walk, end):
    used, idle = walk.to(end)
    with walk.proxy.connect() as client:
        client.query("USE ks")
        walk.go(SPLIT[end])
        key = next(KEYS)
        client.query(f"INSERT INTO kv (k, v) VALUES ({key}, 'x')")
    assert walk.has(used, key) and walk.has(idle, key)


def test_prepared_meanwhile_is_prepared_again(walk, end):
    """By the client, when the other cluster comes into use: no EXECUTE or BATCH goes to one of them alone."""
    used, idle = walk.to(end)
    text = "INSERT INTO ks.kv (k, v) VALUES (?, 'x')"
    with walk.proxy.connect() as client:
        prepared = client.prepare(text)
        alone, both = next(KEYS), next(KEYS)
        client.execute(prepared, [wire.int_value(alone)])
        assert walk.has(used, alone) and idle.stats()["prepared"] == 0
        walk.go(SPLIT[end])
        code, _, _ = client.error("EXECUTE", wire.execute_body(prepared, [wire.int_value(both)]))
        assert code == wire.UNPREPARED and not walk.has(used, both)
        again = client.prepare(text)
        client.execute(again, [wire.int_value(both)])
        assert walk.has(used, both) and walk.has(idle, both)


def test_a_driver_prepares_again_by_itself(walk, end):
    used, idle = walk.to(end)
    with walk.proxy.driver() as session:
        insert = session.prepare("INSERT INTO ks.kv (k, v) VALUES (?, 'x')")
        for phase in (SPLIT[end], end, SPLIT[end]):
            key = next(KEYS)
            session.execute(insert, [key])
            walk.go(phase)
        key = next(KEYS)
        session.execute(insert, [key])
    assert walk.has(used, key) and walk.has(idle, key)


def test_pages_of_a_cluster_out_of_use_are_refused_with_a_word(walk):
    origin = walk.clusters["origin"]
    origin.query(*(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')" for key in range(100, 130)))
    text = "SELECT k FROM ks.kv"
    with walk.proxy.connect() as client:
        state = client.query(text, page_size=10).paging_state
        walk.go("target_primary")
        assert client.query(text, page_size=10, paging_state=state).rows
        walk.go("target_only")
        frame = client.ask("QUERY", wire.query_body(text, page_size=10, paging_state=state))
        code, message = wire.parse_error(frame.body)[:2]
        assert code == wire.INVALID and "origin cluster, which is not in use" in message
        assert client.query(text, page_size=10).rows


def test_events_come_from_a_cluster_in_use(walk):
    """Whoever registered hears of changes of the schema, from the target while the origin is idle, and of each once."""
    numbers = itertools.count()

    def hears(client, cluster):
        cluster.query(f"CREATE TABLE ks.t{next(numbers)} (k int PRIMARY KEY)")
        event = client.receive()
        assert event.name == "EVENT" and event.body[2:15] == b"SCHEMA_CHANGE"

    origin, target = walk.clusters.values()
    with walk.proxy.connect() as client:
        before = target.stats()["registered"]
        assert client.ask("REGISTER", b"\0\1" + wire.string("SCHEMA_CHANGE")).name == "READY"
        hears(client, origin)
        walk.to("target_only")
        wait_until(lambda: walk.upstreams("origin") == 0, "the origin is let go of")
        wait_until(lambda: target.stats()["registered"] == before + 1, "the registration has moved")
        hears(client, target)
        walk.go("target_primary")
        assert reads_from(client, "ks") == "target"
        hears(client, origin)
        target.query("CREATE TABLE ks.unheard (k int PRIMARY KEY)")
        assert write(client) and client.events == []


# ---- credentials ----

ORIGIN, TARGET = ("origin-user", "origin-secret"), ("target-user", "target-secret")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Two clusters that ask for credentials, each for its own, and a control plane that has gone to either end."""
    from support.programs import Lab

    lab = Lab(tmp_path_factory.mktemp("guarded"))
    try:
        clusters = [lab.cluster(name, user=user, password=password).start()
                    for name, (user, password) in (("origin", ORIGIN), ("target", TARGET))]  # fmt: skip
        for cluster in clusters:
            cluster.query(*SCHEMA)
        yield lab, clusters
    finally:
        lab.close()


@pytest.mark.parametrize("forward", [False, True])
def test_credentials(guarded, end, forward):
    """Alone, a cluster takes its own credentials or, as the client cannot know the phase, those the proxy has for the other one; never
    wrong ones. The other cluster is opened later with the right ones."""
    lab, clusters = guarded
    number = next(KEYS)
    state = lab.directory / f"state-{number}"
    state.mkdir()
    control = lab.control(f"control-{number}").start()
    proxy = lab.proxy(*clusters, f"proxy-{number}", FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN=str(forward).lower(),
                      CONTROL_SOCKET=str(control.socket_path), STATE_DIRECTORY=str(state), **PACE).start()  # fmt: skip
    wait_until(lambda: [plane for plane in control.dataplanes() if plane["in_sync"]], "the proxy follows")
    for phase in ("target_primary", end) if end == "target_only" else (end,):
        control.force(phase)
    used_credentials = ORIGIN if end == "passthrough" else TARGET
    shown_in_split = ORIGIN if forward else TARGET
    keys = []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(proxy.connect(*pair)) for pair in {used_credentials, shown_in_split}]
        for user, password in ((used_credentials[0], "wrong"), (shown_in_split[0], "wrong"), (shown_in_split[0], ""), ("", "")):
            with pytest.raises(wire.ServerError):
                proxy.connect(user, password)
        control.force(SPLIT[end])
        for client in clients:
            keys.append(write(client))
    for cluster in clusters:
        assert all(cluster.rows(f"SELECT v FROM ks.kv WHERE k = {key}") == [[b"x"]] for key in keys)
    proxy.stop()
    control.stop()


def test_what_the_idle_cluster_does_not_ask_for_opens_nothing(lab):
    """The origin asks, the target does not: the credentials the proxy has for the target are good for nothing, alone or not."""
    origin, target = lab.cluster("origin", user=ORIGIN[0], password=ORIGIN[1]).start(), lab.cluster("target").start()
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    walk = Walk(lab, (origin, target), TARGET_CASSANDRA_USERNAME=TARGET[0], TARGET_CASSANDRA_PASSWORD=TARGET[1])
    for phase in ("dual_write", "passthrough"):
        walk.go(phase)
        for pair in (TARGET, (ORIGIN[0], TARGET[1]), ("", "")):
            with pytest.raises(wire.ServerError, match="incorrect"):
                walk.proxy.connect(*pair)
        with walk.proxy.connect(*ORIGIN) as client:
            assert walk.has(origin, write(client))
    for _, secret in (ORIGIN, TARGET):
        assert secret not in walk.proxy.log()


def test_a_cluster_that_asks_unexpectedly_sends_clients_back(lab):
    """The origin asks nobody, the target does: a client that came without credentials cannot go on, and is told to come again."""
    origin, target = lab.cluster("origin").start(), lab.cluster("target", user=TARGET[0], password=TARGET[1]).start()
    for cluster in (origin, target):
        cluster.query(*SCHEMA)
    control = lab.control().start()
    proxy = lab.proxy(origin, target, CONTROL_SOCKET=str(control.socket_path), **PACE).start()
    wait_until(lambda: [plane for plane in control.dataplanes() if plane["in_sync"]], "the proxy follows")

    control.force("passthrough")
    with proxy.connect() as client:
        write(client)
        origin.fault("delay", "writes", times=1, ms=500)
        client.send("QUERY", wire.query_body("INSERT INTO ks.kv (k, v) VALUES (77, 'x')"), 5)
        wait_until(lambda: origin.rows("SELECT v FROM ks.kv WHERE k = 77"), "a write is on its way")
        control.force("dual_write")
        assert client.receive_for(5).name == "RESULT"
        code, message = client.query_error("INSERT INTO ks.kv (k, v) VALUES (78, 'x')")[:2]
        assert code == wire.OVERLOADED and "please reconnect" in message
        assert client.is_closed(timeout=10)
    assert "asks for credentials" in proxy.log()
    with proxy.connect(*TARGET) as client:
        write(client)
