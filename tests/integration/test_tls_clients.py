"""Clients over TLS: one-way and mutual, through drivers and raw sockets; and everybody who gets the handshake wrong."""

import contextlib
import os
import signal
import socket
import ssl
import time
import types

import pytest

from support import wire
from support.certificates import Authority
from support.load import Load
from support.programs import Lab, driver_session, is_sanitized
from support.tls import OverTls, Resuming, client_context
from support.waiting import wait_until

CLOSED = 'zdm_client_disconnections_total{reason="tls_handshake"}'
FULL = 'zdm_tls_handshakes_total{kind="full",side="proxy"}'
RESUMED = 'zdm_tls_handshakes_total{kind="resumed",side="proxy"}'


def failures(reason):
    return f'zdm_tls_handshake_failures_total{{reason="{reason}",side="proxy"}}'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """lab, authority, origin, target, proxy (one-way), mutual (a second proxy that asks for certificates)."""
    lab = Lab(tmp_path_factory.mktemp("tls"))
    try:
        authority = Authority(lab.directory)
        origin, target = lab.pair(options=["--release-version", "5.0.3"])
        for cluster in (origin, target):
            cluster.query(
                "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
                "CREATE TABLE ks.big (k int PRIMARY KEY, v blob)",
                "INSERT INTO ks.kv (k, v) VALUES (1, 'one')",
            )
        proxy = lab.proxy(origin, target, CLUSTER_CONNECTION_TIMEOUT_MS="2000")
        mutual = lab.proxy(origin, target, name="mutual", PROXY_TLS_CA_PATH=str(authority.ca), PROXY_TLS_REQUIRE_CLIENT_AUTH="true")
        listener = authority.issue("listener", proxy.address, mutual.address, "proxy.example")
        for one in (proxy, mutual):
            one.settings |= {"PROXY_TLS_CERT_PATH": str(listener.cert), "PROXY_TLS_KEY_PATH": str(listener.key)}
            one.start()
        yield types.SimpleNamespace(
            lab=lab, authority=authority, origin=origin, target=target, proxy=proxy, mutual=mutual,
            trust=client_context(authority), user=client_context(authority, authority.issue("user")),
        )  # fmt: skip
    finally:
        lab.close()


def handshake_and_read(proxy, context):
    """What a client of TLS 1.3 may only learn with its first read: whether it was let in."""
    with proxy.connect(tls=context) as client:
        return client.rows("SELECT v FROM ks.kv WHERE k = 1")


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_one_way(place, version):
    context = client_context(place.authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with place.proxy.metric_delta() as delta, place.proxy.connect(tls=context) as client:
        assert client.socket.version() == version.replace("_", ".")
        client.query(f"INSERT INTO ks.kv (k, v) VALUES (2, '{version}')")
        assert client.rows("SELECT v FROM ks.kv WHERE k = 2") == [[version.encode()]]
    assert delta[FULL] == 1
    for cluster in (place.origin, place.target):
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = 2") == [[version.encode()]]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_old_tls_is_refused(place):
    context = client_context(place.authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with place.proxy.metric_delta() as delta, pytest.raises(ssl.SSLError):
        place.proxy.connect(tls=context)
    assert delta[CLOSED] == 1 and delta[failures("protocol")] == 1


@pytest.mark.parametrize("which", ["proxy", "mutual"])
def test_the_python_driver(place, which):
    proxy = getattr(place, which)
    context = place.user if which == "mutual" else place.trust
    options = {"ssl_context": context, "ssl_options": {"server_hostname": proxy.address}}
    with driver_session(proxy.address, proxy.port, **options) as session:
        insert = session.prepare("INSERT INTO ks.kv (k, v) VALUES (?, ?)")
        for future in [session.execute_async(insert, (100 + i, f"row {i}")) for i in range(200)]:
            future.result()
        assert session.execute("SELECT v FROM ks.kv WHERE k = 150").one().v == "row 50"
    for cluster in (place.origin, place.target):
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = 299") == [[b"row 199"]]


@pytest.mark.parametrize("version", [4, 5])
def test_large_values_both_ways(place, version):
    value = os.urandom(2 << 20 if is_sanitized() else 6 << 20)  # the simulator under ThreadSanitizer reads a megabyte a second
    with place.proxy.connect(tls=place.trust, version=version) as client:
        client.query("INSERT INTO ks.big (k, v) VALUES (1, 0x" + value.hex() + ")")
        for _ in range(5):
            assert client.rows("SELECT v FROM ks.big WHERE k = 1") == [[value]]
    assert place.origin.rows("SELECT v FROM ks.big WHERE k = 1") == [[value]]


def test_many_requests_in_flight(place):
    with Load(OverTls(place.proxy, place.trust), "ks", threads=8, window=64) as load:
        wait_until(lambda: load.total > 8000, "8000 answers", timeout=60)
    load.check(at_least=500)


def test_sessions_are_resumed(place):
    """By tickets, whichever worker gives them and whichever takes them."""
    with place.proxy.metric_delta() as delta:
        with place.proxy.connect(tls=place.trust) as client:
            client.rows("SELECT v FROM ks.kv WHERE k = 1")
            session = client.socket.session
        for _ in range(10):
            with place.proxy.connect(tls=Resuming(place.trust, session)) as client:
                assert client.socket.session_reused
    assert delta[FULL] == 1 and delta[RESUMED] == 10


def test_mutual(place):
    assert handshake_and_read(place.mutual, place.user) == [[b"one"]]


def test_mutual_without_the_right_certificate(place):
    strangers = Authority(place.lab.directory, "strangers")
    cases = {
        "no_certificate": (client_context(place.authority), "client didn't provide a certificate"),
        "untrusted": (client_context(place.authority, strangers.issue("stranger")), "certificate signed by unknown authority"),
        "expired": (client_context(place.authority, place.authority.expired("late")), "certificate has expired"),
    }
    for reason, (context, words) in cases.items():
        with place.mutual.metric_delta() as delta:
            with pytest.raises((ssl.SSLError, wire.Closed, ConnectionError)):
                handshake_and_read(place.mutual, context)
            place.mutual.wait_metric("zdm_client_connections_total", 0)
        assert delta[CLOSED] == 1 and delta[failures(reason)] == 1
        assert words in place.mutual.log()


@pytest.mark.parametrize("first", [wire.frame_bytes("OPTIONS"), wire.frame_bytes("STARTUP", wire.startup_body()), b"GET / HTTP/1.1\r\n\r\n"])
def test_plain_client_on_the_tls_port(place, first):
    with place.proxy.metric_delta() as delta:
        with socket.create_connection((place.proxy.address, place.proxy.port), timeout=10) as client:
            client.sendall(first)
            with contextlib.suppress(ConnectionError):
                while client.recv(4096):
                    pass
        place.proxy.wait_metric("zdm_client_connections_total", 0)
    assert delta[CLOSED] == 1 and delta[failures("not_tls")] == 1
    assert "first record does not look like a TLS handshake" in place.proxy.log()


def test_tls_client_on_a_plain_port(world):
    context = client_context()
    with world.proxy.metric_delta() as delta:
        with pytest.raises(ssl.SSLError):
            world.proxy.connect(tls=context)
        world.proxy.wait_metric("zdm_client_connections_total", 0)
    assert delta[CLOSED] == 1
    assert "a TLS client on a listener without TLS" in world.proxy.log()


def test_a_handshake_that_never_ends_is_ended(place):
    """Silent, and a byte at a time: both are given the time that a STARTUP is given."""
    hello = ssl_hello()
    began = time.monotonic()
    with place.proxy.metric_delta() as delta:
        with contextlib.ExitStack() as stack:
            silent, slow = (
                stack.enter_context(socket.create_connection((place.proxy.address, place.proxy.port), timeout=10)) for _ in range(2)
            )
            sent = 0

            def are_closed():
                nonlocal sent
                with contextlib.suppress(ConnectionError):
                    slow.send(hello[sent : sent + 1])
                    sent = min(sent + 1, len(hello) - 2)
                return place.proxy.metric("zdm_client_connections_total") == 0

            wait_until(are_closed, "both are closed", timeout=15)
            with contextlib.suppress(ConnectionError):
                while silent.recv(100):  # an alert may come first
                    pass
    assert time.monotonic() - began > 1.5
    assert delta[CLOSED] == 2 and delta[failures("unfinished")] == 2


def ssl_hello():
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        client_context().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def test_random_bytes_hang_and_grow_nothing(place):
    """Noise, records of every type, broken hellos; while a client in the middle of it is served."""
    hello = ssl_hello()
    count = 400
    with place.proxy.connect(tls=place.trust) as client, place.proxy.metric_delta() as delta:
        before = place.proxy.resident_bytes()
        for number in range(count):
            noise = os.urandom(1 + number * 7 % 3000)
            if number % 4 == 1:
                noise = bytes([20 + number % 5, 3, number % 5]) + len(noise).to_bytes(2, "big") + noise
            elif number % 4 == 2:
                broken = bytearray(hello)
                for at in noise[:8]:
                    broken[at % len(broken)] ^= 1 + at % 255
                noise = bytes(broken)
            elif number % 4 == 3:
                noise = hello + noise
            with contextlib.suppress(ConnectionError):
                with socket.create_connection((place.proxy.address, place.proxy.port), timeout=10) as stray:
                    stray.sendall(noise)
                    stray.shutdown(socket.SHUT_WR)
                    while stray.recv(65536):
                        pass
            if number % 50 == 0:
                assert client.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"one"]]
        place.proxy.wait_metric("zdm_client_connections_total", 1)
        assert client.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"one"]]
        if not is_sanitized():  # AddressSanitizer keeps what was freed for a while
            assert place.proxy.resident_bytes() - before < 32 << 20
    ended = sum(value for name, value in delta.items() if name.startswith("zdm_client_disconnections_total"))
    assert ended == count
    assert delta[CLOSED] >= count * 0.9


def test_a_client_too_many_is_told_over_tls(place, lab):
    proxy = lab.proxy(place.origin, place.target, MAX_CLIENTS_THRESHOLD="1", **{
        name: text for name, text in place.proxy.settings.items() if name.startswith("PROXY_TLS")
    })  # fmt: skip
    proxy.start()
    context = client_context(place.authority, checks_name=False)
    with proxy.connect(tls=context) as client:
        with proxy.connect(tls=context, is_ready=False) as refused:
            frame = refused.ask("STARTUP", wire.startup_body())
            assert frame.name == "ERROR" and b"MAX_CLIENTS_THRESHOLD" in frame.body
        assert client.rows("SELECT v FROM ks.kv WHERE k = 1") == [[b"one"]]


def test_draining_ends_with_a_goodbye(place, lab):
    """close_notify after the last answer: the client can tell the end from a cut."""
    proxy = lab.proxy(place.origin, place.target, **{
        name: text for name, text in place.proxy.settings.items() if name.startswith("PROXY_TLS")
    })  # fmt: skip
    proxy.start()
    context = client_context(place.authority, checks_name=False)
    with socket.create_connection((proxy.address, proxy.port), timeout=10) as plain:
        client = context.wrap_socket(plain, suppress_ragged_eofs=False)
        client.sendall(wire.frame_bytes("STARTUP", wire.startup_body()))
        assert client.recv(100)[4] == 0x02  # READY
        proxy.signal(signal.SIGTERM)
        assert client.recv(4096) == b""  # an SSLError if the connection were just cut
        client.close()
    assert proxy.wait_exit() == 0
    proxy.process = None


def test_incomplete_settings_are_named(lab, place):
    listener = place.proxy.settings["PROXY_TLS_CERT_PATH"]
    for settings, words in (
        ({"PROXY_TLS_CERT_PATH": listener}, "incomplete Proxy TLS configuration: when enabling proxy TLS, please specify"),
        ({"PROXY_TLS_REQUIRE_CLIENT_AUTH": "true"}, "incomplete Proxy TLS configuration"),
        (
            {"PROXY_TLS_CERT_PATH": listener, "PROXY_TLS_KEY_PATH": "/nowhere/key.pem"},
            "PROXY_TLS_KEY_PATH=/nowhere/key.pem cannot be read: No such file or directory",
        ),
        ({"PROXY_TLS_CERT_PATH": listener, "PROXY_TLS_KEY_PATH": listener}, "no usable PEM private key"),
        ({"ORIGIN_TLS_CLIENT_CERT_PATH": listener}, "incomplete TLS configuration for Origin: when using mutual TLS, please specify"),
        ({"TARGET_TLS_SERVER_CA_PATH": listener, "TARGET_TLS_CLIENT_KEY_PATH": listener}, "incomplete TLS configuration for Target"),
        ({"TARGET_TLS_SERVER_CA_PATH": "/dev/null"}, "TARGET_TLS_SERVER_CA_PATH=/dev/null cannot be read: it is no regular file"),
    ):
        proxy = lab.proxy(place.origin, place.target, name=f"wrong{len(lab.programs)}", **settings)
        proxy.launch()
        assert proxy.wait_exit() == 1
        proxy.process = None
        assert words in proxy.log()
