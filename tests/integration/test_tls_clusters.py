"""Clusters over TLS: one-way and mutual, whom certificates must be for, and what a node that will not do is told to be."""

import pytest

from support.certificates import Authority
from support.load import Load
from support.tls import OverTls, client_context, secure
from support.waiting import never_during, wait_until

SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
    "INSERT INTO ks.kv (k, v) VALUES (1, 'one')",
)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def handshakes(side, kind="full"):
    return f'zdm_tls_handshakes_total{{kind="{kind}",side="{side}"}}'


def trusting(authority, sides=("ORIGIN", "TARGET"), **more):
    return {f"{side}_TLS_SERVER_CA_PATH": str(authority.ca) for side in sides} | more


def over_tls(cluster, authority, pair=None):
    return OverTls(cluster, client_context(authority, pair, checks_name=False))


def assert_serves(proxy, clusters, value="two"):
    with proxy.connect() as client:
        client.query(f"INSERT INTO ks.kv (k, v) VALUES (2, '{value}')")
        assert client.rows("SELECT v FROM ks.kv WHERE k = 2") == [[value.encode()]]
    for cluster in clusters:
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = 2") == [[value.encode()]]


@pytest.mark.parametrize("mode", ["one-way", "mutual", "mutual where one-way would do"])
def test_both_clusters(lab, authority, mode):
    user = authority.issue("user")
    settings = {}
    if mode != "one-way":
        settings = {f"{side}_TLS_CLIENT_{what}_PATH": str(path) for side in ("ORIGIN", "TARGET")
                    for what, path in (("CERT", user.cert), ("KEY", user.key))}  # fmt: skip
    clusters = []
    for name in ("origin", "target"):
        cluster = secure(lab.cluster(name), authority, requires=authority if mode == "mutual" else None).start()
        clusters.append(over_tls(cluster, authority, user))
        clusters[-1].query(*SCHEMA)
    proxy = lab.proxy(*(one.program for one in clusters), **trusting(authority, **settings)).start()
    assert_serves(proxy, clusters)
    metrics = proxy.metrics()
    assert metrics[handshakes("origin")] >= 2 and metrics[handshakes("target")] >= 2  # control connection and upstream
    assert not [name for name, value in metrics.items() if name.startswith("zdm_tls_handshake_failures_total") and value]


def test_one_cluster_plain_the_other_not(lab, authority):
    origin = lab.cluster("origin").start()
    target = secure(lab.cluster("target"), authority).start()
    ends = [origin, over_tls(target, authority)]
    for one in ends:
        one.query(*SCHEMA)
    proxy = lab.proxy(origin, target, **trusting(authority, ["TARGET"])).start()
    assert_serves(proxy, ends)
    assert proxy.metric(handshakes("origin")) == 0


def test_one_settings_zdm_names(lab, authority):
    origin = secure(lab.cluster("origin"), authority).start()
    target = secure(lab.cluster("target"), authority).start()
    ends = [over_tls(one, authority) for one in (origin, target)]
    for one in ends:
        one.query(*SCHEMA)
    proxy = lab.proxy(origin, target, ZDM_ORIGIN_TLS_SERVER_CA_PATH=str(authority.ca), ZDM_TARGET_TLS_SERVER_CA_PATH=str(authority.ca))
    proxy.start()
    assert_serves(proxy, ends)


def refuse(lab, authority, words, *, start=None, target=None, **settings):
    """The proxy never serves, tries again and again, and says why."""
    origin = lab.cluster("origin").start()
    target = target or lab.cluster("target")
    (start or (lambda: secure(target, authority)))()
    target.start()
    more = {"HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50", "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "100"}
    proxy = lab.proxy(origin, target, **(trusting(authority, ["TARGET"]) | more | settings))
    proxy.launch()
    wait_until(lambda: proxy.log().count("event=control_connection_failed cluster=target") >= 3, "three failures", timeout=20)
    # A node that resets the connection may take its last word with it: another attempt hears it.
    wait_until(lambda: words in proxy.log(), f"the log says {words!r}", timeout=20)
    never_during(lambda: proxy.readiness()[0] == 200, 0.3, "it serves")


def test_unknown_authority(lab, authority):
    strangers = Authority(lab.directory, "strangers")
    refuse(lab, authority, "certificate signed by unknown authority", TARGET_TLS_SERVER_CA_PATH=str(strangers.ca))


def test_system_authorities_know_nothing_of_ours(lab, authority):
    refuse(lab, authority, "certificate signed by unknown authority", TARGET_TLS_SERVER_CA_PATH="", TARGET_TLS_ENABLED="true")


def test_certificate_has_expired(lab, authority):
    target = lab.cluster("target")
    pair = authority.expired("node", target.address)
    refuse(lab, authority, "certificate has expired", target=target, start=lambda: secure(target, authority, issued=pair))


@pytest.mark.parametrize("names", [["127.8.8.8"], ["other.example"]])
def test_certificate_for_somebody_else(lab, authority, names):
    target = lab.cluster("target")
    words = f"its certificate is not for the address of {target.address}:"
    refuse(lab, authority, words, target=target, start=lambda: secure(target, authority, *names))


def test_certificate_for_somebody_else_and_names_do_not_matter(lab, authority):
    origin = lab.cluster("origin").start()
    target = secure(lab.cluster("target"), authority, "other.example").start()
    ends = [origin, over_tls(target, authority)]
    for one in ends:
        one.query(*SCHEMA)
    proxy = lab.proxy(origin, target, **trusting(authority, ["TARGET"], TARGET_TLS_VERIFY_HOSTNAME="false")).start()
    assert_serves(proxy, ends)


def test_node_that_wants_a_certificate(lab, authority):
    target = lab.cluster("target")
    refuse(lab, authority, "refused by the peer", target=target, start=lambda: secure(target, authority, requires=authority))


def test_tls_with_a_plain_node(lab, authority):
    refuse(lab, authority, "first record does not look like a TLS handshake", start=lambda: None)


def test_plain_with_a_tls_node(lab, authority):
    refuse(lab, authority, "control_connection_failed", TARGET_TLS_SERVER_CA_PATH="")


def test_contact_point_by_name(lab, authority):
    """The certificate is for the name alone; the node that is then discovered under its address keeps that name."""
    origin = lab.cluster("origin").start()
    target = lab.cluster("target")
    target.address = "127.0.0.1"
    secure(target, authority, "localhost").start()
    ends = [origin, over_tls(target, authority)]
    for one in ends:
        one.query(*SCHEMA)
    proxy = lab.proxy(origin, target, **trusting(authority, ["TARGET"], TARGET_CASSANDRA_CONTACT_POINTS="localhost")).start()
    assert_serves(proxy, ends)


def test_broken_upstreams_come_back_and_resume(lab, authority):
    clusters = []
    for name in ("origin", "target"):
        clusters.append(over_tls(secure(lab.cluster(name), authority).start(), authority))
        clusters[-1].query(*SCHEMA)
    proxy = lab.proxy(*(one.program for one in clusters), **trusting(authority, PROXY_WORKERS="1")).start()
    with proxy.connect() as client:
        assert client.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"one"]]
        for turn in range(1, 6):
            for one in clusters:
                one.program.tell("disconnect")
            for side in ("origin", "target"):
                proxy.wait_metric(f'zdm_proxy_upstream_reopened_total{{cluster="{side}"}}', turn)
            client.query(f"INSERT INTO ks.kv (k, v) VALUES (3, '{turn}')")
    metrics = proxy.metrics()
    for side in ("origin", "target"):
        assert metrics[handshakes(side, "resumed")] >= 5
    for one in clusters:
        assert one.rows("SELECT v FROM ks.kv WHERE k = 3") == [[b"5"]]


def test_everything_over_tls_under_load(lab, authority):
    clusters = []
    for name in ("origin", "target"):
        clusters.append(over_tls(secure(lab.cluster(name), authority).start(), authority))
        clusters[-1].query(*SCHEMA)
    proxy = lab.proxy(*(one.program for one in clusters), **trusting(authority))
    listener = authority.issue("listener", proxy.address)
    proxy.settings |= {"PROXY_TLS_CERT_PATH": str(listener.cert), "PROXY_TLS_KEY_PATH": str(listener.key)}
    proxy.start()
    with Load(OverTls(proxy, client_context(authority)), "ks", threads=6, window=32) as load:
        wait_until(lambda: load.total > 6000, "6000 answers", timeout=60)
    load.check(at_least=500)
    origin, target = (sorted(one.rows("SELECT k, v FROM ks.kv")) for one in clusters)
    assert origin == target and len(origin) == 7
