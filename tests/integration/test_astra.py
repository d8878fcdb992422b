"""Secure-connect bundles: metadata over mutual TLS, every connection through the SNI proxy by host id, refreshed when it moves."""

import types
import zipfile

import pytest

from support import wire
from support.astra import Astra, settings_for
from support.certificates import Authority
from support.waiting import never_during, wait_until

QUICK = {"HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50", "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "200", "HEARTBEAT_INTERVAL_MS": "500"}


@pytest.fixture
def place(lab, tmp_path):
    """lab, authority, origin, target of two nodes, astra in front of the target."""
    origin, target = lab.cluster("origin"), lab.cluster("target")
    target.options += ["--listen", "127.0.33.41"]
    started = []
    for cluster in (origin, target):
        cluster.start().query(
            "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
        )
    authority = Authority(tmp_path)

    def front(cluster, **options):
        started.append(Astra(tmp_path, authority, cluster, **options).start())
        return started[-1]

    yield types.SimpleNamespace(lab=lab, authority=authority, origin=origin, target=target, front=front)
    for one in started:
        one.stop()


def assert_serves(proxy, place, key=1):
    with proxy.connect() as client:
        client.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'here')")
        assert client.rows(f"SELECT v FROM ks.kv WHERE k = {key}") == [[b"here"]]
    for cluster in (place.origin, place.target):
        assert cluster.rows(f"SELECT v FROM ks.kv WHERE k = {key}") == [[b"here"]]


def test_target_by_bundle(place):
    astra = place.front(place.target)
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("TARGET", astra)).start()
    assert len(astra.nodes) == 2
    for key in range(6):
        assert_serves(proxy, place, key)
    assert set(astra.front.server_names) == set(astra.nodes)  # both nodes, and nothing else is ever asked for
    _, body = proxy.readiness()
    assert body["TargetStatus"]["Addr"] in astra.nodes
    metrics = proxy.metrics()
    for host in astra.nodes:
        assert f'zdm_target_connections_total{{node="{host}"}}' in metrics
    assert f'zdm_tls_certificate_expiry_seconds{{file="{astra.bundle}",side="target"}}' in metrics
    assert astra.requests == 1


def test_both_by_bundles(place):
    one, two = place.front(place.origin, name="one"), place.front(place.target, name="two")
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("ORIGIN", one), **settings_for("TARGET", two)).start()
    assert_serves(proxy, place)
    assert one.requests == two.requests == 1


def test_moved_sni_proxy_is_found_again(place):
    astra = place.front(place.target)
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("TARGET", astra), **QUICK).start()
    with proxy.connect() as client:
        client.query("INSERT INTO ks.kv (k, v) VALUES (1, 'before')")
        astra.start_proxy()
        wait_until(lambda: astra.requests >= 2, "the metadata is asked for again")
        wait_until(lambda: proxy.readiness()[1]["TargetStatus"]["Status"] == "UP", "the control connection is back")
        text = "INSERT INTO ks.kv (k, v) VALUES (1, 'after')"
        wait_until(lambda: client.ask("QUERY", wire.query_body(text)).name == "RESULT", "the upstream is back", 20)
    assert place.target.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"after"]]


def test_replaced_bundle_is_read(place):
    astra = place.front(place.target)
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("TARGET", astra)).start()
    astra.user = place.authority.issue("successor")
    astra.write_bundle()
    wait_until(lambda: proxy.metric('zdm_tls_reloads_total{result="ok",side="target"}') == 1, "the bundle is read again")
    assert_serves(proxy, place)


def test_metadata_service_away_at_the_start(place):
    astra = place.front(place.target)
    astra.stop_service()
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("TARGET", astra), **QUICK)
    proxy.launch()
    wait_until(lambda: proxy.log().count("control_connection_failed cluster=target") >= 2, "two failures", timeout=20)
    assert f"the metadata service at localhost:{astra.http_port}:" in proxy.log()
    astra.start_service()
    proxy.wait_up()
    assert_serves(proxy, place)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"{", "it is no JSON"),
        (b"{}", "it has no usable contact_info.local_dc"),
        (b'{"contact_info": {"local_dc": "dc1", "sni_proxy_address": "nowhere"}}', "it has no usable contact_info.sni_proxy_address"),
        (b'{"contact_info": {"local_dc": "dc1", "sni_proxy_address": "localhost:1"}}', "it has no contact_info.contact_points"),
        (b'{"contact_info": {"local_dc": "dc1", "sni_proxy_address": "localhost:1", "contact_points": ["a b"]}}', "is no host id"),
        (b'{"contact_info": {"local_dc": "dc1", "sni_proxy_address": "localhost:1", "contact_points": ["a"]}}', "Connection refused"),
        (b" " * (300 << 10) + b"{}", "its answer is larger than 256 KiB"),
    ],
)
def test_metadata_of_no_use(place, answer, words):
    astra = place.front(place.target)
    astra.answer = answer
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("TARGET", astra), **QUICK)
    proxy.launch()
    wait_until(lambda: proxy.log().count("control_connection_failed cluster=target") >= 2, "two failures", timeout=20)
    assert words in proxy.log()
    astra.answer = None
    proxy.wait_up()
    assert_serves(proxy, place)


def test_certificate_for_another_host(place):
    """The SNI proxy and the metadata service must prove to be who the bundle says."""
    astra = place.front(place.target, names=["other.example"])
    proxy = place.lab.proxy(place.origin, place.target, **settings_for("TARGET", astra), **QUICK)
    proxy.launch()
    wait_until(lambda: proxy.log().count("control_connection_failed cluster=target") >= 2, "two failures", timeout=20)
    never_during(lambda: proxy.readiness()[0] == 200, 0.3, "it serves")
    assert "SSL: no alternative certificate subject name matches target host name 'localhost'" in proxy.log()


def test_bundles_and_settings_of_no_use(place, tmp_path):
    astra = place.front(place.target)
    good = settings_for("TARGET", astra)
    text, empty, half = tmp_path / "text.zip", tmp_path / "empty.zip", tmp_path / "half.zip"
    text.write_text("no zip")
    with zipfile.ZipFile(empty, "w") as bundle:
        bundle.writestr("readme", "nothing")
    half.write_bytes(astra.bundle.read_bytes()[:-100])
    for settings, words in (
        ({"TARGET_SECURE_CONNECT_BUNDLE_PATH": "/nowhere.zip"}, "/nowhere.zip cannot be read: No such file or directory"),
        ({"TARGET_SECURE_CONNECT_BUNDLE_PATH": str(text)}, "is no secure-connect bundle: Not a zip archive"),
        ({"TARGET_SECURE_CONNECT_BUNDLE_PATH": str(empty)}, "is no secure-connect bundle: it has no config.json"),
        ({"TARGET_SECURE_CONNECT_BUNDLE_PATH": str(half)}, "is no secure-connect bundle"),
        ({"TARGET_CASSANDRA_CONTACT_POINTS": "127.0.0.1"}, "mutually exclusive"),
        (
            {"TARGET_TLS_SERVER_CA_PATH": str(place.authority.ca)},
            "Incorrect TLS configuration for Target: Secure Connect Bundle and custom TLS parameters cannot be specified at the same time.",
        ),
    ):
        proxy = place.lab.proxy(place.origin, place.target, name=f"wrong{len(place.lab.programs)}", **(good | settings))
        proxy.launch()
        assert proxy.wait_exit() == 1
        proxy.process = None
        assert words in proxy.log(), proxy.log()
