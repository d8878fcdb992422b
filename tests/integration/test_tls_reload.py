"""TLS files that change under a running proxy: new ones are used, broken ones are told of, nobody is cut off."""

import hashlib
import shutil
import signal
import time
import types

import pytest

from support.certificates import Authority
from support.load import Load
from support.tls import OverTls, client_context, secure
from support.waiting import never_during, wait_until

SIDES = ("origin", "proxy", "target")


def reloads(side, result="ok"):
    return f'zdm_tls_reloads_total{{result="{result}",side="{side}"}}'


@pytest.fixture
def place(lab, tmp_path):
    """Everything over TLS, mutual towards the clusters; the proxy reads copies in `files`, which a play may replace."""
    authority = Authority(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    clusters = []
    for name in ("origin", "target"):
        cluster = secure(lab.cluster(name), authority, requires=authority).start()
        clusters.append(OverTls(cluster, client_context(authority, authority.issue(f"tester-{name}"))))
        clusters[-1].query(
            "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
            "INSERT INTO ks.kv (k, v) VALUES (1, 'one')",
        )
    proxy = lab.proxy(*(one.program for one in clusters))
    install(authority.issue("listener", proxy.address), files, "listener")
    install(authority.issue("user"), files, "user")
    shutil.copy(authority.ca, files / "ca.pem")
    proxy.settings |= {"PROXY_TLS_CERT_PATH": f"{files}/listener.pem", "PROXY_TLS_KEY_PATH": f"{files}/listener.key"}
    for side in ("ORIGIN", "TARGET"):
        proxy.settings |= {
            f"{side}_TLS_SERVER_CA_PATH": f"{files}/ca.pem",
            f"{side}_TLS_CLIENT_CERT_PATH": f"{files}/user.pem",
            f"{side}_TLS_CLIENT_KEY_PATH": f"{files}/user.key",
        }
    proxy.start()
    secured = OverTls(proxy, client_context(authority))
    return types.SimpleNamespace(lab=lab, authority=authority, files=files, clusters=clusters, proxy=proxy, secured=secured)


def install(pair, files, name):
    """As a careful operator does it: whole files, one after the other."""
    for source, end in ((pair.key, ".key"), (pair.cert, ".pem")):
        shutil.copy(source, files / f"{name}.new")
        (files / f"{name}.new").rename(files / f"{name}{end}")


def shown(place):
    """What a new client is shown."""
    with place.secured.connect() as client:
        return hashlib.sha256(client.socket.getpeercert(binary_form=True)).hexdigest()


def test_changed_files_are_used_and_nobody_is_cut_off(place):
    first = shown(place)
    with Load(place.secured, "ks", threads=4) as load:
        wait_until(lambda: load.total > 200, "the load runs")
        install(place.authority.issue("listener-2", place.proxy.address), place.files, "listener")
        install(place.authority.issue("user-2"), place.files, "user")
        for side in SIDES:
            wait_until(lambda side=side: place.proxy.metric(reloads(side)) >= 1, f"the files of {side} are read again")
        second = wait_until(lambda: (now := shown(place)) != first and now, "a new client sees the new certificate")
        before = load.total
        wait_until(lambda: load.total > before + 200, "the load still runs")
    load.check(at_least=50)
    assert shown(place) == second
    with place.secured.connect() as client:  # the new client certificates serve upstreams as well
        client.query("INSERT INTO ks.kv (k, v) VALUES (7, 'seven')")
    for one in place.clusters:
        assert one.rows("SELECT v FROM ks.kv WHERE k = 7") == [[b"seven"]]
    assert place.proxy.metric('zdm_client_disconnections_total{reason="tls_handshake"}') == 0


def test_hangup_reads_at_once_and_a_broken_file_changes_nothing(place):
    first = shown(place)
    with Load(place.secured, "ks", threads=2) as load:
        place.proxy.signal(signal.SIGHUP)
        for side in SIDES:
            wait_until(lambda side=side: place.proxy.metric(reloads(side)) >= 1, f"the files of {side} are read again")
        (place.files / "listener.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        (place.files / "ca.pem").unlink()
        place.proxy.signal(signal.SIGHUP)
        for side in SIDES:
            wait_until(lambda side=side: place.proxy.metric(reloads(side, "failed")) >= 1, f"{side} complains")
        assert shown(place) == first
        log = place.proxy.log()
        assert f"{place.files}/listener.pem: no usable PEM certificate" in log
        assert f"ORIGIN_TLS_SERVER_CA_PATH={place.files}/ca.pem cannot be read: No such file or directory" in log
        install(place.authority.issue("listener-2", place.proxy.address), place.files, "listener")
        shutil.copy(place.authority.ca, place.files / "ca.pem")
        wait_until(lambda: shown(place) != first, "good files are found by themselves")
        wait_until(lambda: load.total > 100, "the load runs")
    load.check(at_least=10)


def test_a_certificate_without_its_key_waits_for_it(place):
    """The two files change one after the other; in between the old pair serves."""
    first = shown(place)
    pair = place.authority.issue("listener-2", place.proxy.address)
    shutil.copy(pair.cert, place.files / "listener.pem")
    wait_until(lambda: place.proxy.metric(reloads("proxy", "failed")) >= 1, "the mismatch is told")
    assert "it is not the private key of the certificate" in place.proxy.log()
    assert shown(place) == first
    shutil.copy(pair.key, place.files / "listener.key")
    wait_until(lambda: shown(place) != first, "the pair is used")


def test_new_authority_turns_old_nodes_away_but_keeps_connections(place):
    strangers = Authority(place.files, "strangers")
    with place.secured.connect() as client:
        shutil.copy(strangers.ca, place.files / "ca.pem")
        for side in ("origin", "target"):
            wait_until(lambda side=side: place.proxy.metric(reloads(side)) >= 1, f"the files of {side} are read again")
        for turn in range(20):
            client.query(f"INSERT INTO ks.kv (k, v) VALUES (8, '{turn}')")
        # No session of before is resumed under the new rules: a new client finds no cluster.
        with place.secured.connect(is_ready=False) as late:
            late.send("STARTUP", b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0")
            assert late.receive(timeout=20).name == "ERROR"
        assert place.proxy.metric('zdm_tls_handshake_failures_total{reason="untrusted",side="origin"}') >= 1
        assert client.rows("SELECT v FROM ks.kv WHERE k = 8") == [[b"19"]]


def test_expiry_is_a_metric_and_a_warning(place):
    series = f'zdm_tls_certificate_expiry_seconds{{file="{place.files}/listener.pem",side="proxy"}}'
    days = (place.proxy.metric(series) - time.time()) / 86400
    assert 59 < days < 60.1
    assert f'zdm_tls_certificate_expiry_seconds{{file="{place.files}/ca.pem",side="origin"}}' in place.proxy.metrics()
    assert "tls_certificate_expires" not in place.proxy.log()
    install(place.authority.issue("listener-2", place.proxy.address, days=10), place.files, "listener")
    wait_until(lambda: place.proxy.metric(series) < time.time() + 11 * 86400, "the metric follows")
    assert f"event=tls_certificate_expires side=proxy file={place.files}/listener.pem days_left=9" in place.proxy.log()


def test_files_that_stay_are_left_alone(place):
    never_during(lambda: any(place.proxy.metric(reloads(side)) for side in SIDES), 5, "a reload without a change", poll=0.5)
