"""Plays of the front: HTTPS and the exchange of its certificate, the local socket, clients that are slow, many or at the wrong door."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from support.certificates import Authority
from support.programs import ADMIN, ADMIN_TOKEN, BIN, SYSTEM_PYTHON, is_sanitized
from support.waiting import never_during, wait_until

ROUTING = "/api/v1/routing"
NOBODY = 65534


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secured(lab, authority):
    """A control plane with HTTPS; its certificate is in files of its own, which a play may replace."""
    control = lab.control()
    control.cert, control.key = lab.directory / "served.pem", lab.directory / "served.key"
    put(control, authority.issue("first", control.address))
    control.settings |= {"CONTROL_TLS_CERT_PATH": str(control.cert), "CONTROL_TLS_KEY_PATH": str(control.key)}
    control.is_up = lambda: ask(control, authority.ca, "/health/liveness")[0] == 200
    return control.start()


def put(control, pair):
    """Replaces the files as a tool would: each at once."""
    for source, target in ((pair.cert, control.cert), (pair.key, control.key)):
        shutil.copy(source, f"{target}.new")
        os.replace(f"{target}.new", target)


def trusting(ca, client=None):
    context = ssl.create_default_context(cafile=ca)
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context


def connect(control, ca, **options):
    return http.client.HTTPSConnection(control.address, control.http_port, timeout=15, context=trusting(ca, **options))


def ask(control, ca, path=ROUTING, method="GET", body=None, headers=None, **options):
    connection = connect(control, ca, **options)
    with contextlib.closing(connection):
        connection.request(method, path, body, {**ADMIN, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def shown(control, ca):
    """The common name of the certificate that is served now."""
    with socket.create_connection((control.address, control.http_port), 10) as plain:
        with trusting(ca).wrap_socket(plain, server_hostname=control.address) as secure:
            return dict(item[0] for item in secure.getpeercert()["subject"])["commonName"]


# --- HTTPS -------------------------------------------------------------------------------------------------------------------


def test_https(secured, authority):
    assert ask(secured, authority.ca)[0] == 200
    assert ask(secured, authority.ca, headers={"Authorization": ""})[0] == 401
    body = json.dumps({"token": ADMIN_TOKEN})
    connection = connect(secured, authority.ca)
    connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert re.fullmatch(r"__Host-cloudgate=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure", answer.getheader("Set-Cookie"))
    csrf = json.loads(answer.read())["csrf_token"]
    cookie = answer.getheader("Set-Cookie").split(";")[0]
    own = f"https://{secured.address}:{secured.http_port}"
    # On the same connection: it is kept.
    connection.request("PATCH", ROUTING, '{"shadow_read_percent":5}',
                       {"Content-Type": "application/json", "Cookie": cookie, "X-CSRF-Token": csrf, "Origin": own})  # fmt: skip
    answer = connection.getresponse()
    assert answer.status == 200 and json.loads(answer.read())["shadow_read_percent"] == 5
    connection.close()


def test_the_plain_cookie_is_worth_nothing_under_tls(secured, authority):
    body = json.dumps({"token": ADMIN_TOKEN})
    _, headers, _ = ask(secured, authority.ca, "/api/v1/session", "POST", body, {"Content-Type": "application/json"})
    cookie = headers["Set-Cookie"].split(";")[0]
    for sent, status in ((cookie, 200), (cookie.removeprefix("__Host-"), 401), (cookie.replace("__Host-cloudgate", "cloudgate-session"), 401)):
        connection = connect(secured, authority.ca)
        connection.request("GET", ROUTING, headers={"Cookie": sent})
        assert connection.getresponse().status == status
        connection.close()


def test_old_versions_and_plain_clients_do_not_get_in(secured, authority):
    context = trusting(authority.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((secured.address, secured.http_port), 10) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(plain, server_hostname=secured.address)
    with socket.create_connection((secured.address, secured.http_port), 10) as plain:
        plain.sendall(b"GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"200" not in plain.recv(4096)
    wait_until(lambda: "event=tls_handshake_failed" in secured.log(), "the log has a word")
    metrics = ask(secured, authority.ca, "/metrics")[2]
    assert int(re.search(rb"tls_handshakes_failed_total (\d+)", metrics)[1]) >= 2
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(authority.ca)
        context.minimum_version = context.maximum_version = version
        with socket.create_connection((secured.address, secured.http_port), 10) as plain:
            assert context.wrap_socket(plain, server_hostname=secured.address).version().replace(".", "_").endswith(version.name[-3:])


def test_clients_may_need_a_certificate(lab, authority, tmp_path):
    clients = Authority(tmp_path, "clients")
    server = authority.issue("server-mutual", "127.0.0.1")
    control = lab.control(CONTROL_HTTP_ADDRESS="127.0.0.1", CONTROL_TLS_CERT_PATH=str(server.cert), CONTROL_TLS_KEY_PATH=str(server.key),
                          CONTROL_TLS_CLIENT_CA_PATH=str(clients.ca))  # fmt: skip
    control.address = "127.0.0.1"
    known, stranger = clients.issue("known"), authority.issue("stranger")
    control.is_up = lambda: ask(control, authority.ca, "/health/liveness", client=known)[0] == 200
    control.start()
    assert ask(control, authority.ca, client=known)[0] == 200
    for pair in (None, stranger, clients.expired("late")):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            ask(control, authority.ca, client=pair)


def test_the_certificate_is_exchanged_under_requests(secured, authority):
    failures, done = [], threading.Event()
    counts = [0, 0]

    def load(number):
        while not done.is_set():
            try:
                assert ask(secured, authority.ca)[0] == 200
                counts[number] += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed request
                failures.append(error)

    kept = connect(secured, authority.ca)
    kept.request("GET", "/api/v1/events", headers=ADMIN)
    stream = kept.getresponse()
    assert stream.status == 200
    threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
    [thread.start() for thread in threads]
    try:
        put(secured, authority.issue("second", secured.address))
        wait_until(lambda: shown(secured, authority.ca) == "second", "the new certificate is served", 10)
        assert "event=tls_reloaded" in secured.log()
        # Broken, then run out, then without its key: the second stays.
        (secured.cert).write_text("no certificate")
        wait_until(lambda: "event=tls_reload_failed" in secured.log(), "the broken file is noticed", 10)
        for pair, word in ((authority.expired("third", secured.address), "expired"), (authority.issue("fourth", secured.address), "key")):
            if word == "key":
                shutil.copy(pair.cert, secured.cert)
            else:
                put(secured, pair)
            wait_until(lambda word=word: re.search(rf"event=tls_reload_failed reason=[^\n]*{word}", secured.log()), f"{word} is noticed", 10)
            assert shown(secured, authority.ca) == "second"
        # At once, by a signal.
        put(secured, authority.issue("fifth", secured.address))
        secured.signal(signal.SIGHUP)
        wait_until(lambda: shown(secured, authority.ca) == "fifth", "the signal is obeyed", 10)
    finally:
        done.set()
        [thread.join() for thread in threads]
    assert not failures and min(counts) > 5
    # The stream from before all this still lives.
    assert ask(secured, authority.ca, method="PATCH", body='{"shadow_read_percent":9}', headers={"Content-Type": "application/json"})[0] == 200
    wait_until(lambda: b'"shadow_read_percent":9' in stream.readline(), "the event arrives")
    kept.close()
    metrics = ask(secured, authority.ca, "/metrics")[2].decode()
    assert int(re.search(r'tls_reloads_total\{result="failed"\} (\d+)', metrics)[1]) >= 3
    end = float(re.search(r"tls_certificate_expiry_timestamp_seconds (\d+)", metrics)[1])
    assert 59 < (end - time.time()) / 86400 < 61


@pytest.mark.parametrize("settings, word", [
    ({"CONTROL_TLS_CERT_PATH": "/nonexistent"}, "both or neither"), ({"CONTROL_TLS_CLIENT_CA_PATH": "/x"}, "CONTROL_TLS_CERT_PATH"),
    ({"CONTROL_TLS_CERT_PATH": "/nonexistent", "CONTROL_TLS_KEY_PATH": "/nonexistent"}, "/nonexistent"),
    ({"CONTROL_HTTP_ADDRESS": "::"}, "CONTROL_ALLOW_PLAIN_HTTP"), ({"CONTROL_HTTP_ADDRESS": "192.0.2.1"}, "CONTROL_ALLOW_PLAIN_HTTP"),
    ({"CONTROL_API_SOCKET": "/nonexistent/api.sock"}, "CONTROL_API_SOCKET"), ({"CONTROL_API_SOCKET": "/" + "x" * 107}, "107"),
])  # fmt: skip
def test_what_cannot_be_served_stops_the_start(lab, settings, word):
    control = lab.control(**settings)
    control.launch()
    assert control.wait_exit() == 1
    (line,) = [line for line in control.log().splitlines() if "level=" not in line]
    assert word in line


def test_beyond_loopback_it_serves_when_told_to(lab, authority):
    pair = authority.issue("everywhere", "127.0.0.1")
    for number, settings in enumerate(({"CONTROL_ALLOW_PLAIN_HTTP": "true"},
                                       {"CONTROL_TLS_CERT_PATH": str(pair.cert), "CONTROL_TLS_KEY_PATH": str(pair.key)})):  # fmt: skip
        control = lab.control(name=f"everywhere{number}", CONTROL_HTTP_ADDRESS="0.0.0.0", **settings)
        control.is_up = lambda control=control: "event=started" in control.log()
        control.start()
        with socket.create_connection(("127.0.0.1", control.http_port), 10):
            pass


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_ipv6(lab):
    control = lab.control(CONTROL_HTTP_ADDRESS="::1")
    control.address = "[::1]"
    control.start()
    assert control.call("PATCH", ROUTING, {"shadow_read_percent": 1})[0] == 200
    assert json.loads(control.call("GET", "/api/v1/audit?limit=1")[2])["entries"][0]["actor"] == "token:admin@::1"


# --- the wrong door ------------------------------------------------------------------------------------------------------------


def listening_ports(pid):
    inodes = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            inodes.add(os.readlink(entry))
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
            yield int(fields[1].split(":")[1], 16)


def test_nobody_talks_to_the_web_server_directly(lab):
    control = lab.control().start()
    (inner,) = set(listening_ports(control.pid)) - {control.http_port}
    for path in ("/", "/health/liveness", ROUTING):
        connection = http.client.HTTPConnection("127.0.0.1", inner, timeout=10)
        connection.request("GET", path, headers=ADMIN)
        answer = connection.getresponse()
        assert answer.status == 403 and b"CONTROL_HTTP_ADDRESS" in answer.read()
        connection.close()
    assert "event=direct_request_refused" in control.log()


# --- the local socket ------------------------------------------------------------------------------------------------------------


def ctl(*words, **environment):
    result = subprocess.run([BIN / "cloudgatectl", *words], capture_output=True, text=True, timeout=30, check=False,
                            env={"PATH": os.environ["PATH"], **environment})  # fmt: skip
    return result.returncode, result.stdout, result.stderr


def test_the_local_socket_needs_no_token(lab):
    control = lab.control().start()
    path = control.settings["CONTROL_API_SOCKET"]
    assert os.stat(path).st_mode & 0o777 == 0o660
    assert ctl("--socket", path, "status")[0] == 0
    assert ctl("routing", "set", "shadow_read_percent=4", CLOUDGATE_SOCKET=path)[0] == 0
    entry = json.loads(control.call("GET", "/api/v1/audit?limit=1")[2])["entries"][0]
    assert entry["actor"] == f"uid:{os.getuid()}" and entry["after"]["shadow_read_percent"] == 4
    code, token, _ = ctl("--socket", path, "tokens", "create", "by-socket", "viewer", "--days", "0")
    assert code == 0 and ctl("--url", control.url(""), "status", CLOUDGATE_TOKEN=token.strip())[0] == 0
    code, listed, _ = ctl("--socket", path, "tokens")
    assert code == 0 and re.search(r"^by-socket  viewer .*expires -", listed, re.M)
    assert ctl("--socket", path, "tokens", "revoke", "by-socket")[0] == 0
    code, _, error = ctl("--url", control.url(""), "status", CLOUDGATE_TOKEN=token.strip())
    assert code == 1 and "revoked" in error and "--token-file" in error
    assert "token=by-socket" in ctl("--socket", path, "audit", "--limit", "1")[1]
    for words in (["--socket", path, "--url", "http://x", "status"], ["tokens", "create", "x"], ["tokens", "create", "x", "viewer", "--days", "-1"],
                  ["tokens", "revoke", "a/b"], ["tokens", "nonsense"], ["--token-file", "/nonexistent", "status"]):  # fmt: skip
        code, out, error = ctl(*words, CLOUDGATE_SOCKET=path)
        assert code == 2 and error.startswith("cloudgatectl: ") and out == "", words
    control.stop()
    assert not os.path.exists(path)


@pytest.mark.skipif(os.getuid() != 0, reason="needs two users")
def test_other_users_are_refused_with_a_word(lab):
    with tempfile.TemporaryDirectory() as folder:  # one that belongs to this play alone: its mode is changed
        refuse_other_users(lab, pathlib.Path(folder))


def refuse_other_users(lab, folder):
    path = str(folder / "api.sock")
    lab.control(CONTROL_API_SOCKET=path).start()
    with subprocess.Popen([SYSTEM_PYTHON, "-c", ASK_LOCALLY, path], stdout=subprocess.PIPE, text=True, user=NOBODY, group=NOBODY,
                          extra_groups=[], cwd="/") as closed:  # fmt: skip
        assert "PermissionError" in closed.stdout.read(), "the mode of the socket is the first lock"
    for careless in (folder, pathlib.Path(path)):  # as if an administrator had been
        careless.chmod(0o777)
    with subprocess.Popen([SYSTEM_PYTHON, "-c", ASK_LOCALLY, path], stdout=subprocess.PIPE, text=True, user=NOBODY, group=NOBODY,
                          extra_groups=[], cwd="/") as stranger:  # fmt: skip
        answer = stranger.stdout.read()
    assert "403" in answer and f"not user id {NOBODY}" in answer


ASK_LOCALLY = """
import socket, sys
try:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(sys.argv[1])
        link.sendall(b"GET /api/v1/routing HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        print(b"".join(iter(lambda: link.recv(65536), b"")).decode())
except OSError as error:
    print(type(error).__name__)
"""


def test_ctl_over_https(secured, authority, tmp_path):
    url = f"https://{secured.address}:{secured.http_port}"
    token = tmp_path / "token"
    token.write_text(ADMIN_TOKEN + "\n")
    assert ctl("--url", url, "--ca", str(authority.ca), "--token-file", str(token), "status")[0] == 0
    code, _, error = ctl("--url", url, "--token-file", str(token), "status")
    assert code == 1 and "certificate" in error and ADMIN_TOKEN not in error


# --- slow, many, large -------------------------------------------------------------------------------------------------------------


def test_slow_clients_hold_no_thread_and_are_dropped(lab):
    control = lab.control().start()
    slow = [socket.create_connection((control.address, control.http_port), 10) for _ in range(100)]
    heads = [b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n", b""]
    for number, link in enumerate(slow):
        link.sendall(heads[number % 3])
    begin = time.monotonic()
    for _ in range(20):
        assert control.call("GET", ROUTING, timeout=3)[0] == 200
    assert time.monotonic() - begin < 3
    for link in slow:
        link.settimeout(30)

    def dribble():
        for link in slow[::3] + slow[1::3]:
            with contextlib.suppress(OSError):
                link.send(b"x")

    def gone():
        dribble()
        return int(re.search(rb"http_connections (\d+)", control.call("GET", "/metrics")[2])[1]) <= 2

    wait_until(gone, "the slow ones are dropped, however they dribble", 30)
    assert 13 < time.monotonic() - begin < 30
    assert "event=client_dropped" in control.log() and "reason=slow_request" in control.log()
    for link in slow:
        link.close()


def test_many_connections_make_room_for_each_other(lab):
    control = lab.control().start()
    files = control.open_files()
    links = []
    for _ in range(1100):
        links.append(socket.create_connection((control.address, control.http_port), 10))
    assert control.call("GET", ROUTING)[0] == 200, "the oldest that said nothing made room"
    assert control.open_files() < 1300
    for link in links:
        link.close()
    wait_until(lambda: control.open_files() <= files + 2, "all are closed")


@pytest.mark.parametrize("size, statuses", [(6000, {200}), (15000, {200}), (20000, {400, 413, 431}), (200000, {400, 413, 431})])
def test_long_heads(lab, size, statuses):
    control = lab.control().start()
    with socket.create_connection((control.address, control.http_port), 10) as link:
        head = f"GET {ROUTING} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\nX: {'y' * size}\r\n\r\n"
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            link.sendall(head.encode())
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    assert int(answer.split()[1]) in statuses, answer[:200]
    assert control.call("GET", ROUTING)[0] == 200


def test_an_answer_is_whole_even_when_the_request_was_too_long(lab):
    control = lab.control().start()
    for _ in range(10):
        with socket.create_connection((control.address, control.http_port), 10) as link:
            link.sendall(b"PATCH /api/v1/routing HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 300000\r\n\r\n")
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                for _ in range(30):
                    link.sendall(b"x" * 10000)
            answer = b"".join(iter(lambda: link.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 401") and json.loads(answer.split(b"\r\n\r\n", 1)[1])["status"] == 401


def test_a_long_answer_waits_for_a_slow_reader(lab):
    control = lab.control().start()
    for turn in range(400):
        control.patch(shadow_read_percent=turn % 100)
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(20)
        link.connect((control.address, control.http_port))
        link.sendall(f"GET /api/v1/audit?limit=1000 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n\r\n"
                     .encode())  # fmt: skip
        never_during(lambda: not control.is_running(), 1, "it ends")
        answer = b"".join(iter(lambda: link.recv(2000), b""))
    body = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert len(body["entries"]) >= 400


def test_memory_and_descriptors_stay_flat(secured, authority):
    for _ in range(20):
        ask(secured, authority.ca)
    files, before = secured.open_files(), secured.resident_bytes()
    for _ in range(300):
        assert ask(secured, authority.ca)[0] == 200
        with socket.create_connection((secured.address, secured.http_port), 10) as plain:
            plain.sendall(b"\x16\x03\x01nonsense")
    wait_until(lambda: secured.open_files() <= files + 2, "the descriptors are back")
    assert is_sanitized() or secured.resident_bytes() - before < 8 * 1024 * 1024


def test_sigterm_with_open_connections(secured, authority):
    connection = connect(secured, authority.ca)
    connection.request("GET", "/api/v1/events", headers=ADMIN)
    assert connection.getresponse().readline()
    idle = [socket.create_connection((secured.address, secured.http_port), 10) for _ in range(20)]
    begin = time.monotonic()
    assert secured.stop() == 0
    assert time.monotonic() - begin < 4
    for link in idle:
        link.close()
    connection.close()
