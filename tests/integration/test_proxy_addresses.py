"""Several proxies shown to drivers as one cluster: addresses, names and ports of their own."""

import contextlib
import subprocess

import pytest

from support import wire
from support.programs import BIN, free_port
from support.waiting import wait_until


@contextlib.contextmanager
def driver_cluster(address, port, protocol_version=4):
    from cassandra.cluster import Cluster

    cluster = Cluster([address], port=port, protocol_version=protocol_version, connect_timeout=15)
    try:
        yield cluster, cluster.connect()
    finally:
        cluster.shutdown()


def two_on_one_address(lab, pair, address="127.0.0.1", item="{address}:{port}"):
    """Two proxies that differ by their ports only."""
    ports = []
    while len(ports) < 2:
        port = free_port(address)
        if port not in ports:
            ports.append(port)
    listed = ",".join(item.format(address=address, port=port) for port in ports)
    proxies = []
    for index, port in enumerate(ports):
        proxy = lab.proxy(
            *pair,
            name=f"proxy{index}",
            PROXY_ADDRESSES=listed,
            PROXY_INDEX=str(index),
            PROXY_QUERY_ADDRESS=address,
            PROXY_QUERY_PORT=str(port),
        )
        proxy.port = port
        proxy.cql_address = address
        proxies.append(proxy.start())
    return proxies


@pytest.mark.parametrize("address, item", [("127.0.0.1", "{address}:{port}"), ("127.0.0.1", "localhost:{port}"), ("::1", "[{address}]:{port}")])
def test_a_driver_sees_two_proxies_on_one_address(lab, address, item):
    pair = lab.pair()
    proxies = two_on_one_address(lab, pair, address, item)
    with driver_cluster(address, proxies[0].port) as (cluster, session):
        hosts = {(host.endpoint.address, host.endpoint.port): host.host_id for host in cluster.metadata.all_hosts()}
        assert set(hosts) == {(address, proxy.port) for proxy in proxies}
        assert len(set(hosts.values())) == 2
        wait_until(lambda: all(host.is_up for host in cluster.metadata.all_hosts()), "both are up")
        wait_until(lambda: proxies[1].metric("zdm_client_connections_total") >= 1, "the driver is connected to the other one too")
        coordinators = set()
        for _ in range(8):
            future = session.execute_async("SELECT release_version FROM system.local")
            future.result()
            coordinators.add(future.coordinator_host.endpoint.port)
        assert coordinators == {proxy.port for proxy in proxies}
        assert len(cluster.metadata.token_map.ring) == 16


def test_both_proxies_tell_the_same_story(lab):
    pair = lab.pair()
    proxies = two_on_one_address(lab, pair)
    seen = []
    for proxy in proxies:
        with wire.Connection("127.0.0.1", proxy.port).startup(None, None) as client:
            local = client.rows("SELECT host_id, tokens FROM system.local")
            peers = client.rows("SELECT host_id, tokens FROM system.peers_v2")
            assert client.rows("SELECT peer, native_port FROM system.peers_v2") == [
                [b"\x7f\0\0\1", next(p.port for p in proxies if p is not proxy).to_bytes(4, "big")]
            ]
            seen.append((local[0], peers[0]))
    assert seen[0] == seen[1][::-1]


def test_a_client_comes_in_over_ipv6(lab):
    pair = lab.pair()
    proxy = lab.proxy(*pair, PROXY_QUERY_ADDRESS="::1", PROXY_ADDRESSES="::1").start()
    with wire.Connection("::1", proxy.port).startup(None, None) as client:
        assert client.rows("SELECT rpc_address FROM system.local") == [[bytes(15) + b"\1"]]


def test_the_listener_may_be_a_name(lab):
    pair = lab.pair()
    proxy = lab.proxy(*pair, PROXY_QUERY_ADDRESS="localhost", PROXY_ADDRESSES="localhost").start()
    with wire.Connection("127.0.0.1", proxy.port).startup(None, None) as client:
        assert client.rows("SELECT rpc_address FROM system.local") == [[b"\x7f\0\0\1"]]
    assert "name=localhost address=127.0.0.1" in proxy.log()


def test_contact_points_may_be_names_and_ipv6(lab):
    origin, target = lab.cluster("origin"), lab.cluster("target")
    origin.address, target.address = "::1", "127.0.0.1"
    for cluster in (origin, target):
        cluster.start()
    proxy = lab.proxy(origin, target, TARGET_CASSANDRA_CONTACT_POINTS="localhost").start()
    with proxy.connect() as client:
        client.query("SELECT release_version FROM system.local")
    status, body = proxy.readiness()
    assert status == 200
    assert body["OriginStatus"]["Addr"] == origin.node.replace("::1", "[::1]")


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"PROXY_ADDRESSES": "127.0.0.1:1,localhost:1"}, ["PROXY_ADDRESSES", "127.0.0.1:1", "twice"]),
        ({"PROXY_ADDRESSES": "127.0.0.1:0"}, ["PROXY_ADDRESSES", "127.0.0.1:0"]),
        ({"PROXY_QUERY_ADDRESS": "a b"}, ["PROXY_QUERY_ADDRESS", "a b"]),
    ],
)
def test_a_bad_address_stops_the_start_with_its_name(lab, settings, words):
    pair = lab.cluster("origin"), lab.cluster("target")
    proxy = lab.proxy(*pair, **settings)
    ended = subprocess.run([str(BIN / "cloudgate-proxy")], env=proxy.environment(), capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert all(word in last for word in words), last
