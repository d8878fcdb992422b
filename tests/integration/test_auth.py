"""Authentication: every combination of clusters that ask and clusters that do not, right and wrong credentials on each side."""

import itertools

import pytest

from support import wire

ORIGIN = ("origin-user", "origin-secret")
TARGET = ("target-user", "target-secret")


@pytest.fixture(scope="module")
def clusters(tmp_path_factory):
    """Four clusters: either side with and without authentication."""
    from support.programs import Lab

    lab = Lab(tmp_path_factory.mktemp("auth"))
    found = {"lab": lab}
    try:
        for side, (user, password) in (("origin", ORIGIN), ("target", TARGET)):
            found[side, True] = lab.cluster(f"{side}-auth", user=user, password=password).start()
            found[side, False] = lab.cluster(f"{side}-open").start()
            for asks in (True, False):
                found[side, asks].query(
                    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
                )
        yield found
    finally:
        lab.close()


_numbers = itertools.count()


def proxy_between(clusters, origin_asks, target_asks, **settings):
    origin, target = clusters["origin", origin_asks], clusters["target", target_asks]
    return clusters["lab"].proxy(origin, target, f"proxy{next(_numbers)}", **settings)


def write_and_find(proxy, client, key):
    client.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'x')")
    for cluster in (proxy.origin, proxy.target):
        assert cluster.rows(f"SELECT v FROM ks.kv WHERE k = {key}") == [[b"x"]]


# origin asks, target asks, forward to origin: whose credentials the client must bring (None: any)
ROWS = [
    (True, True, False, TARGET),
    (True, True, True, ORIGIN),
    (False, True, False, TARGET),
    (False, True, True, TARGET),
    (True, False, False, ORIGIN),
    (True, False, True, ORIGIN),
    (False, False, False, None),
    (False, False, True, None),
]


@pytest.fixture(scope="module", params=ROWS, ids=lambda row: f"origin={row[0]}-target={row[1]}-forward={row[2]}")
def row(request, clusters):
    origin_asks, target_asks, forward, wanted = request.param
    proxy = proxy_between(
        clusters, origin_asks, target_asks, FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN=str(forward).lower()
    ).start()
    yield proxy, wanted
    proxy.stop()


def test_the_right_credentials_open_both_clusters(row):
    proxy, wanted = row
    user, password = wanted or (None, None)
    with proxy.connect(user, password) as client:
        write_and_find(proxy, client, next(_numbers))


def test_the_client_is_asked_only_when_a_cluster_asks(row):
    proxy, wanted = row
    with proxy.connect(is_ready=False) as client:
        frame = client.ask("STARTUP", wire.startup_body(), stream=3)
        assert frame.name == ("AUTHENTICATE" if wanted else "READY") and frame.stream == 3


@pytest.mark.parametrize("how", ["password", "user", "empty", "other side"])
def test_wrong_credentials_are_refused(row, how):
    proxy, wanted = row
    if wanted is None:
        pytest.skip("nobody asks")
    user, password = {
        "password": (wanted[0], "wrong"),
        "user": ("nobody", wanted[1]),
        "empty": ("", ""),
        "other side": ORIGIN if wanted is TARGET else TARGET,
    }[how]
    with proxy.connect(is_ready=False) as client:
        with pytest.raises(wire.ServerError) as refused:
            client.startup(user, password)
        assert refused.value.code == wire.BAD_CREDENTIALS
        # What follows on this connection is refused too; nothing gets through half-open.
        try:
            frame = client.ask("QUERY", wire.query_body("INSERT INTO ks.kv (k, v) VALUES (-1, 'no')"), 1)
            assert frame.name == "ERROR"
        except wire.Closed:
            pass
    for cluster in (proxy.origin, proxy.target):
        assert cluster.rows("SELECT v FROM ks.kv WHERE k = -1") == []


def test_nothing_is_served_before_the_handshake_is_over(row):
    proxy, wanted = row
    if wanted is None:
        pytest.skip("nobody asks")
    with proxy.connect(is_ready=False) as client:
        assert client.ask("STARTUP", wire.startup_body()).name == "AUTHENTICATE"
        client.send("QUERY", wire.query_body("SELECT * FROM ks.kv"), 1)
        client.send("QUERY", wire.query_body("SELECT * FROM system.local"), 2)
        try:
            for _ in range(2):
                assert client.receive().name == "ERROR"
        except wire.Closed:
            pass


@pytest.mark.parametrize(
    "token", [None, b"", b"\0", b"PLAIN", b"no separators", b"a\0b\0c\0d", b"\0" * 1000, b"\xff\xfe\0\xff\0\xff", b"x" * 100_000]
)
def test_odd_tokens_are_answered(row, token):
    proxy, wanted = row
    if wanted is None:
        pytest.skip("nobody asks")
    with proxy.connect(is_ready=False) as client:
        client.ask("STARTUP", wire.startup_body())
        try:
            frame = client.ask("AUTH_RESPONSE", wire.value(token), 9)
            assert frame.name in ("ERROR", "AUTH_CHALLENGE") and frame.stream == 9
        except wire.Closed:
            pass
    assert proxy.is_running()


@pytest.mark.parametrize("token", [b"\0target-user\0target-secret", b"someone\0target-user\0target-secret"])
def test_an_authorization_id_is_kept(clusters, token):
    proxy = proxy_between(clusters, True, True).start()
    with proxy.connect(is_ready=False) as client:
        assert client.ask("STARTUP", wire.startup_body()).name == "AUTHENTICATE"
        assert client.ask("AUTH_RESPONSE", wire.value(token)).name == "AUTH_SUCCESS"
    proxy.stop()


@pytest.mark.parametrize("side", ["origin", "target"])
def test_wrong_credentials_in_the_settings_keep_the_proxy_from_starting(clusters, side):
    """The control connection cannot log in: the proxy says so, stays unready and keeps trying."""
    from support.waiting import wait_until

    proxy = proxy_between(clusters, True, True, **{f"{side.upper()}_CASSANDRA_PASSWORD": "wrong-secret"})
    proxy.launch()
    wait_until(lambda: "level=warning" in proxy.log() or "level=error" in proxy.log(), "the log tells")
    assert proxy.readiness()[0] == 503
    assert "wrong-secret" not in proxy.log()
    assert proxy.is_running()
    proxy.stop()


def test_the_python_driver_logs_in(row):
    proxy, wanted = row
    user, password = wanted or (None, None)
    with proxy.driver(user, password) as session:
        session.execute("INSERT INTO ks.kv (k, v) VALUES (1000, 'driver')")
        assert session.execute("SELECT v FROM ks.kv WHERE k = 1000").one().v == "driver"


def test_the_python_driver_with_a_wrong_password(row):
    from cassandra import AuthenticationFailed
    from cassandra.cluster import NoHostAvailable

    proxy, wanted = row
    if wanted is None:
        pytest.skip("nobody asks")
    with pytest.raises(NoHostAvailable) as refused:
        with proxy.driver(wanted[0], "wrong"):
            pass
    assert all(isinstance(error, AuthenticationFailed) for error in refused.value.errors.values())
