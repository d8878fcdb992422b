"""Nodes that are gone, silent, removed or back: what a client pays for them, and who serves it then. Clusters here have several
nodes; the tail of the address tells them apart."""

import socket
import time

import pytest

from support import wire
from support.certificates import Authority
from support.load import Load
from support.programs import free_port, is_sanitized
from support.tls import OverTls, client_context, secure
from support.waiting import wait_until

KEYSPACE = "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
TABLE = "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)"
READ = "SELECT v FROM ks.kv WHERE k = 1"
WRITE = "INSERT INTO ks.kv (k, v) VALUES (1, 'x')"

# One head start is 200 ms, looked at every 100 ms; the machine may be busy.
DELAY_S = 1.5 * (4 if is_sanitized() else 1)

SETTINGS = {
    "REQUEST_TIMEOUT_MS": "2000",
    "HEARTBEAT_INTERVAL_MS": "300",
    "HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50",
    "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "200",
}


class Play:
    """An origin of several nodes, a target of one, a proxy; the control connection of the origin is at its first node."""

    def __init__(self, lab, nodes=3, origin_options=(), authority=None, **settings):
        self.target = lab.cluster("target").start()
        self.origin = lab.cluster("origin")
        first = self.origin.address
        head, tail = first.rsplit(".", 1)
        self.addresses = [first] + [f"127.0.{35 + i}.{tail}" for i in range(nodes - 1)]
        for address in self.addresses[1:]:
            self.origin.options += ["--listen", address]
        self.origin.options += list(origin_options)
        straight = self.origin
        if authority is not None:
            secure(self.origin, authority, *self.addresses)
            straight = OverTls(self.origin, client_context(authority))
            settings["ORIGIN_TLS_SERVER_CA_PATH"] = str(authority.ca)
        self.origin.start()
        for cluster in (straight, self.target):
            cluster.query(KEYSPACE, TABLE)
        self.proxy = lab.proxy(self.origin, self.target, **{**SETTINGS, "PROXY_WORKERS": "1", **settings}).start()

    def node(self, index):
        return f"{self.addresses[index]}:{self.origin.port}"

    def connections(self):
        """Open connections by node of the origin, those without left out."""
        found = {}
        for name, value in self.proxy.metrics().items():
            if name.startswith("zdm_origin_connections_total{") and value:
                found[name.split('node="')[1].split('"')[0]] = value
        return found

    def failovers(self):
        """Clients that had to wait for another node than the first."""
        return self.proxy.metric('zdm_proxy_failovers_total{cluster="origin"}')

    def down(self):
        return self.proxy.metric('zdm_proxy_nodes_down{cluster="origin"}')

    def bring_back(self, how):
        """Ends the fault of node 1, which is then believed up and given clients again."""
        self.origin.tell(f"{how} off {self.addresses[1]}")
        wait_until(lambda: self.down() == 0, "the node is believed up", timeout=20)
        clients = [self.proxy.connect() for _ in range(3)]
        assert self.connections() == {self.node(i): 1 for i in range(3)}
        for client in clients:
            client.close()

    def serve(self, count):
        """So many clients in turn; how long each took to be ready and answered, in s."""
        times = []
        for _ in range(count):
            begin = time.monotonic()
            with self.proxy.connect(timeout=10) as client:
                client.query(WRITE)
                client.query(READ)
            times.append(time.monotonic() - begin)
        return times


def test_clients_are_spread_over_all_nodes(lab):
    play = Play(lab)
    clients = [play.proxy.connect() for _ in range(6)]
    assert play.connections() == {play.node(i): 2 for i in range(3)}
    for client in clients:
        client.close()


@pytest.mark.parametrize("how", ["refuse", "mute"])
def test_a_dead_node_costs_one_client_one_head_start(lab, how):
    """Refused connections, and connections that are accepted and never answered."""
    play = Play(lab)
    play.origin.tell(f"{how} on {play.addresses[1]}")
    times = play.serve(9)
    assert max(times) < DELAY_S, times
    assert play.failovers() == 1
    assert play.down() == 1
    metrics = play.proxy.metrics()
    assert metrics[f'zdm_origin_failed_connections_total{{node="{play.node(1)}"}}'] == 1
    assert play.proxy.log().count("event=node_down") == 1


@pytest.mark.parametrize("how", ["refuse", "mute"])
def test_under_tls_a_dead_node_costs_as_little(lab, tmp_path, how):
    """A silent node does not even shake hands; when it is back, the proxy's question goes over TLS too."""
    play = Play(lab, authority=Authority(tmp_path))
    play.origin.tell(f"{how} on {play.addresses[1]}")
    times = play.serve(9)
    assert max(times) < DELAY_S, times
    assert play.failovers() == 1
    assert play.down() == 1
    play.bring_back(how)


def test_a_node_that_swallows_connections_costs_one_head_start(lab):
    """No answer to the connection attempt itself: the listener's backlog is full, so the kernel drops what comes."""
    play = Play(lab)
    address = (play.addresses[2], play.origin.port)
    play.origin.tell(f"refuse on {play.addresses[2]}")
    hole = socket.socket()
    hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    hole.bind(address)
    hole.listen(0)
    fillers = []
    try:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        times = play.serve(9)
        assert max(times) < DELAY_S, times
        assert play.failovers() == 1
        assert play.down() == 1
    finally:
        for open_socket in [hole, *fillers]:
            open_socket.close()


@pytest.mark.parametrize("how", ["refuse", "mute"])
def test_a_node_that_is_back_gets_clients_again(lab, how):
    play = Play(lab)
    play.origin.tell(f"{how} on {play.addresses[1]}")
    play.serve(3)
    assert play.down() == 1
    play.bring_back(how)


def test_all_nodes_dead_is_told_before_a_driver_gives_up(lab):
    play = Play(lab)
    play.origin.tell("mute on")
    begin = time.monotonic()
    with pytest.raises(wire.ServerError) as refused, play.proxy.connect(timeout=15):
        pass
    assert time.monotonic() - begin < 5 + DELAY_S
    assert "No node of the origin cluster could be reached" in str(refused.value)
    play.origin.tell("mute off")
    wait_until(lambda: play.down() == 0, "all are believed up", timeout=30)
    assert max(play.serve(3)) < DELAY_S


def test_clients_of_a_node_that_dies_are_served_by_another(lab):
    play = Play(lab)
    clients = [play.proxy.connect() for _ in range(6)]
    for client in clients:
        client.query(WRITE)
    play.origin.tell(f"node down {play.addresses[2]}")
    # Right after the node is gone the count may still be that of before.
    wait_until(
        lambda: play.node(2) not in play.connections() and sum(play.connections().values()) == 6, "all are connected again, elsewhere"
    )
    for client in clients:
        client.query(WRITE)
        client.query(READ)
        client.close()
    assert play.proxy.metric('zdm_proxy_upstream_lost_total{cluster="origin"}') == 2
    assert play.proxy.metric('zdm_proxy_upstream_reopened_total{cluster="origin"}') == 2


def test_a_node_that_dies_under_load_costs_what_was_in_flight(lab):
    play = Play(lab)
    with Load(play.proxy, "ks", threads=6, window=4) as load:
        begin = time.monotonic()
        wait_until(lambda: min(load.requests) >= 40 and time.monotonic() > begin + 1.5, "connections have lived for a while")
        play.origin.tell(f"node down {play.addresses[1]}")
        before = list(load.requests)
        wait_until(lambda: all(now >= then + 80 for now, then in zip(load.requests, before)), "everybody goes on")
    # Two clients were there: each loses what it had in flight, and nothing of what it sends while its connection moves.
    assert all(isinstance(failure, tuple) for failure in load.failures), load.failures[:3]
    assert len(load.failures) <= 2 * 4, load.failures
    assert play.node(1) not in play.connections()


def test_clients_of_a_node_that_falls_silent_are_served_by_another(lab):
    """The connections stay open and nothing comes: a request that times out raises the question, the proxy asks it."""
    play = Play(lab, REQUEST_TIMEOUT_MS="1000", HEARTBEAT_INTERVAL_MS="60000")
    clients = [play.proxy.connect() for _ in range(6)]
    play.origin.tell(f"mute on {play.addresses[1]}")

    def all_served():
        outcomes = []
        for client in clients:
            client.send("QUERY", wire.query_body(WRITE), 1)
        for client in clients:
            outcomes.append(client.receive_for(1, timeout=10).name)
        return outcomes == ["RESULT"] * 6

    assert not all_served()
    begin = time.monotonic()
    wait_until(all_served, "all are served", timeout=20)
    assert time.monotonic() - begin < 6 * DELAY_S
    assert play.node(1) not in play.connections()
    assert "its node is down" in play.proxy.log()
    for client in clients:
        client.close()


def test_a_node_the_cluster_calls_down_is_asked_and_believed(lab):
    """The word of the cluster is a hint: the node itself has the last one."""
    play = Play(lab)
    play.origin.tell(f"event STATUS_CHANGE DOWN {play.node(1)}")
    wait_until(lambda: "its cluster says so" in play.proxy.log(), "the event is heard")
    wait_until(lambda: play.down() == 0, "the node has answered for itself", timeout=20)


def test_an_added_node_gets_clients_and_a_removed_one_is_left(lab):
    play = Play(lab, nodes=2)
    added = f"127.0.39.{play.addresses[0].rsplit('.', 1)[1]}"
    clients = [play.proxy.connect() for _ in range(2)]
    play.origin.tell(f"node add {added}")
    wait_until(lambda: "hosts=3 assigned=3" in play.proxy.log(), "the node is known")
    clients += [play.proxy.connect() for _ in range(3)]
    assert f"{added}:{play.origin.port}" in play.connections()
    play.origin.tell(f"node remove {added}")
    wait_until(lambda: f"{added}:{play.origin.port}" not in play.connections(), "nobody is there any more", timeout=20)
    wait_until(lambda: sum(play.connections().values()) == 5, "all are elsewhere", timeout=20)
    for client in clients:
        client.query(WRITE)
        client.close()
    wait_until(lambda: play.down() == 0, "a node that is gone is not down", timeout=30)


def test_clients_move_off_a_node_that_leaves_and_nobody_notices(lab):
    """The node still serves when the topology loses it: what is in flight is answered before the connection moves."""
    play = Play(lab)
    clients = [play.proxy.connect() for _ in range(6)]
    with Load(play.proxy, "ks", threads=3) as load:
        wait_until(lambda: load.total >= 100, "the load is on")
        play.origin.fault("delay", "writes", ms=300, times=1)
        play.origin.tell(f"node leave {play.addresses[1]}")
        wait_until(lambda: play.node(1) not in play.connections(), "nobody is at the node any more", timeout=20)
        wait_until(lambda: sum(play.connections().values()) == 9, "all are elsewhere", timeout=20)
        before = load.total
        wait_until(lambda: load.total >= before + 100, "the load goes on")
    load.check()
    for client in clients:
        client.query(WRITE)
        client.close()
    assert play.proxy.metric('zdm_proxy_upstream_moved_total{cluster="origin"}') >= 2
    assert play.proxy.metric('zdm_proxy_upstream_lost_total{cluster="origin"}') == 0


def test_only_nodes_of_the_chosen_datacenter_serve_clients(lab):
    options = ["--datacenter", "dc1", "--datacenter", "dc2", "--datacenter", "dc2"]
    play = Play(lab, origin_options=options, ORIGIN_LOCAL_DATACENTER="dc2")
    clients = [play.proxy.connect() for _ in range(4)]
    assert play.connections() == {play.node(1): 2, play.node(2): 2}
    play.origin.tell(f"node down {play.addresses[1]}")
    wait_until(lambda: play.connections() == {play.node(2): 4}, "the other node of the datacenter has them all")
    for client in clients:
        client.query(WRITE)
        client.close()


def test_an_unknown_datacenter_falls_back_with_a_warning(lab):
    play = Play(lab, nodes=2, ORIGIN_LOCAL_DATACENTER="nowhere")
    assert "datacenter_unknown" in play.proxy.log()
    assert 'wanted="nowhere"' in play.proxy.log()
    assert max(play.serve(2)) < DELAY_S


@pytest.mark.parametrize("allowed, spoken", [("2", 3), ("3", 3), ("4", 4), ("DseV2", 4)])
def test_control_connections_keep_to_the_version_allowed(lab, allowed, spoken):
    play = Play(lab, nodes=1, CONTROL_CONN_MAX_PROTOCOL_VERSION=allowed)
    opened = [line for line in play.proxy.log().splitlines() if "event=control_connection_open" in line]
    assert len(opened) == 2
    assert all(f"protocol={spoken} " in line for line in opened), opened


def test_nodes_on_ipv6(lab):
    play = Play(lab, nodes=1)
    six = lab.cluster("six")
    six.address, six.port = "::1", free_port("::1")
    six.start()
    six.query(KEYSPACE, TABLE)
    proxy = lab.proxy(six, play.target, name="proxy6", **SETTINGS).start()
    with proxy.connect() as client:
        client.query(WRITE)
    assert six.rows(READ) == [[b"x"]]
    assert proxy.metric(f'zdm_origin_failed_connections_total{{node="[::1]:{six.port}"}}') == 0
    assert f"[::1]:{six.port}" in proxy.metrics_text()
