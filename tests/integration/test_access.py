"""Plays of access: every route asked by every role, tokens and their end, log-ins of browsers, and those who guess."""

import http.client
import json
import re
import socket
import time

import pytest
from support.programs import ADMIN_TOKEN, ROOT
from support.programs import http as call
from support.waiting import wait_until

ROLES = ["none", "viewer", "operator", "admin"]
ROUTES = re.findall(r'^ROUTE\("(\w+)", "([^"]+)", (\w+),', (ROOT / "controlplane/routes.def").read_text(), re.M)
NEEDED = {"ANYONE": "none", "METRICS": "viewer", "VIEWER": "viewer", "OPERATOR": "operator", "ADMIN": "admin"}
JSON = {"Content-Type": "application/json"}
ROUTING = "/api/v1/routing"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def control(lab):
    return lab.control().start()


def create(control, name, role="viewer", **more):
    status, _, body = control.call("POST", "/api/v1/tokens", {"name": name, "role": role, **more})
    assert status == 201, body
    return json.loads(body)["token"]


def log_in(control, token=ADMIN_TOKEN, headers=None):
    return call("POST", control.url("/api/v1/session"), {"token": token}, headers)


class Browser:
    """A log-in: the cookie, and the CSRF token for changes."""

    def __init__(self, control, token=ADMIN_TOKEN):
        self.control = control
        status, headers, body = log_in(control, token)
        assert status == 200, body
        self.set_cookie = headers["Set-Cookie"]
        self.cookie = self.set_cookie.split(";")[0]
        self.csrf = json.loads(body)["csrf_token"]
        self.session = json.loads(body)

    def call(self, method, path, body=None, site="same-origin", csrf=True, **headers):
        sent = {"Cookie": self.cookie, **{name.replace("_", "-"): text for name, text in headers.items()}}
        if site:
            sent["Sec-Fetch-Site"] = site
        if csrf:
            sent["X-CSRF-Token"] = self.csrf if csrf is True else csrf
        return call(method, self.control.url(path), body, sent)


# --- roles ----------------------------------------------------------------------------------------------------------------


def test_the_table_of_routes_is_read_right():
    assert len(ROUTES) >= 17 and {needed for _, _, needed in ROUTES} <= set(NEEDED)
    assert all(needed != "ANYONE" for method, path, needed in ROUTES if path.startswith("/api/") and path != "/api/v1/session")
    assert all(NEEDED[needed] in ("operator", "admin") for method, path, needed in ROUTES
               if method not in ("GET",) and path != "/api/v1/session")  # fmt: skip


def test_every_route_refuses_every_lesser_role(control):
    tokens = {role: create(control, f"a-{role}", role) for role in ROLES[1:]}
    for method, path, access in ROUTES:
        if path == "/api/v1/events":
            method = "HEAD"  # the same route, without a stream that stays
        path = re.sub(r"\{\w+\}", "nobody-of-this-name", path)
        for role in ROLES:
            headers = bearer(tokens[role]) if role != "none" else {}
            # An empty body is refused by each route that takes one, but only once the caller is let in.
            status, headers, body = call(method, control.url(path), b"" if method in ("POST", "PUT", "PATCH") else None, headers)
            what = f"{method} {path} as {role}: {status} {body[:200]}"
            if ROLES.index(role) >= ROLES.index(NEEDED[access]):
                assert status not in (401, 403), what
            elif role == "none":
                assert status == 401 and headers["WWW-Authenticate"].startswith("Bearer"), what
            else:
                assert status == 403, what
            if status in (401, 403) and method != "HEAD":
                assert headers["Content-Type"] == "application/problem+json" and json.loads(body)["status"] == status
                assert status == 401 or {NEEDED[access], f"token:a-{role}"} <= set(re.split(r"[ ,;]+", json.loads(body)["detail"])), what


def test_every_refusal_is_described():
    described = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    for method, path, access in ROUTES:
        if path in described and access != "ANYONE":
            answers = described[path][method.lower()]["responses"]
            assert {"401", "403", "421", "429"} <= set(answers), (method, path)


@pytest.mark.parametrize("method, path", [("GET", "/nothing"), ("PUT", ROUTING), ("DELETE", "/"), ("OPTIONS", "/metrics"), ("GET", "/api/v1/"),
                                          ("GET", "/api/v1/tokens/x/y"), ("DELETE", "/api/v1/tokens/")])  # fmt: skip
def test_what_is_not_there_needs_a_log_in_too(control, method, path):
    assert call(method, control.url(path))[0] == 401
    assert control.call(method, path)[0] in (404, 405)


def test_metrics_may_be_opened(lab, control):
    assert call("GET", control.url("/metrics"))[0] == 401
    opened = lab.control(name="opened", CONTROL_OPEN_METRICS="true").start()
    status, _, body = call("GET", opened.url("/metrics"))
    assert status == 200 and b"cloudgate_control_routing_revision 1" in body
    assert call("GET", opened.url(ROUTING))[0] == 401


# --- tokens ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Bearer " + "x" * 43, "Bearer cgt_" + "A" * 43, f"Bearer {ADMIN_TOKEN}x", f"Bearer {ADMIN_TOKEN[:-1]}",
                                    f"Bearer {ADMIN_TOKEN.upper()}", f"Basic {ADMIN_TOKEN}", f"Bearer {ADMIN_TOKEN} x", "Bearer", ADMIN_TOKEN,
                                    "Bearer " + "y" * 9000])  # fmt: skip
def test_wrong_tokens(control, header):
    status, headers, body = call("GET", control.url(ROUTING), headers={"Authorization": header})
    assert status == 401 and "Bearer" in headers["WWW-Authenticate"]
    assert header == "Bearer" or header.split()[-1].encode() not in body
    assert ADMIN_TOKEN not in control.log()


def test_a_token_is_shown_once_and_listed_without_its_text(control):
    status, headers, body = control.call("POST", "/api/v1/tokens", {"name": "ci", "role": "operator"})
    made = json.loads(body)
    assert status == 201 and re.fullmatch(r"cgt_[\w-]{43}", made["token"]) and headers["Cache-Control"] == "no-store"
    assert 89 < (made["expires_ms"] - made["created_ms"]) / 86400000 <= 90
    assert call("PATCH", control.url(ROUTING), {"shadow_read_percent": 3}, bearer(made["token"]))[0] == 200
    listed = json.loads(control.call("GET", "/api/v1/tokens")[2])["tokens"]
    assert [token["name"] for token in listed] == ["admin", "ci"] and all(token["last_used_ms"] for token in listed)
    everything = json.dumps(listed) + control.log() + json.dumps(json.loads(control.call("GET", "/api/v1/audit")[2]))
    database = (control.lab.directory / "control.sqlite").read_bytes() + (control.lab.directory / "control.sqlite-wal").read_bytes()
    for secret in (made["token"], ADMIN_TOKEN):
        assert secret not in everything and secret.encode() not in database
    entries = json.loads(control.call("GET", "/api/v1/audit?limit=2")[2])["entries"]
    assert entries[0]["actor"] == "token:ci@127.0.0.1"
    assert entries[1]["action"] == "token_create" and entries[1]["actor"] == "token:admin@127.0.0.1"
    assert entries[1]["after"] == {"token": "ci", "role": "operator", "expires_ms": made["expires_ms"]}


@pytest.mark.parametrize("body, status, pointer", [
    ({}, 422, "/name"), ({"name": "a b", "role": "viewer"}, 422, "/name"), ({"name": "", "role": "viewer"}, 422, "/name"),
    ({"name": "x" * 65, "role": "viewer"}, 422, "/name"), ({"name": 1, "role": "viewer"}, 422, "/name"),
    ({"name": "a"}, 422, "/role"), ({"name": "a", "role": "root"}, 422, "/role"), ({"name": "a", "role": "none"}, 422, "/role"),
    ({"name": "a", "role": "viewer", "expires_in_seconds": 0}, 422, "/expires_in_seconds"),
    ({"name": "a", "role": "viewer", "expires_in_seconds": "1"}, 422, "/expires_in_seconds"),
    ({"name": "a", "role": "viewer", "expires_in_seconds": 10**12}, 422, "/expires_in_seconds"),
    ({"name": "a", "role": "viewer", "admin": True}, 422, "/admin"), ({"name": "admin", "role": "viewer"}, 409, "/name"),
])  # fmt: skip
def test_a_token_that_cannot_be_made(control, body, status, pointer):
    got, _, answer = control.call("POST", "/api/v1/tokens", body)
    assert got == status and json.loads(answer)["errors"][0]["pointer"] == pointer
    assert len(json.loads(control.call("GET", "/api/v1/tokens")[2])["tokens"]) == 1


def test_a_token_expires_and_one_without_an_end_does_not(control):
    short = create(control, "short", expires_in_seconds=1)
    create(control, "endless", expires_in_seconds=None)
    wait_until(lambda: call("GET", control.url(ROUTING), headers=bearer(short))[0] == 401, "the token has expired", 5)
    assert b"expired" in call("GET", control.url(ROUTING), headers=bearer(short))[2]
    listed = {token["name"]: token for token in json.loads(control.call("GET", "/api/v1/tokens")[2])["tokens"]}
    assert listed["short"]["expired"] and not listed["endless"]["expired"] and listed["endless"]["expires_ms"] is None


def test_a_revoked_token_ends_at_once_with_its_log_ins_and_streams(control):
    token = create(control, "leaver", "operator")
    browser = Browser(control, token)
    assert browser.call("GET", ROUTING)[0] == 200
    stream = http.client.HTTPConnection(control.address, control.http_port, timeout=15)
    stream.request("GET", "/api/v1/events", headers=bearer(token))
    answer = stream.getresponse()
    assert answer.status == 200 and answer.readline()
    assert control.call("DELETE", "/api/v1/tokens/leaver")[0] == 204
    assert call("GET", control.url(ROUTING), headers=bearer(token))[0] == 401
    assert browser.call("GET", ROUTING)[0] == 401
    assert b"data" in answer.read()  # to its end, which comes
    stream.close()
    assert control.call("DELETE", "/api/v1/tokens/leaver")[0] == 404
    entry = json.loads(control.call("GET", "/api/v1/audit?limit=1")[2])["entries"][0]
    assert entry["action"] == "token_revoke" and entry["before"]["role"] == "operator" and entry["after"] is None


def test_tokens_survive_a_restart_and_a_kill(control):
    token, gone = create(control, "kept", "operator"), create(control, "gone")
    assert control.call("DELETE", "/api/v1/tokens/gone")[0] == 204
    control.kill()
    control.start()
    assert call("GET", control.url(ROUTING), headers=bearer(token))[0] == 200
    assert call("GET", control.url(ROUTING), headers=bearer(gone))[0] == 401


# --- the first token --------------------------------------------------------------------------------------------------------


def test_without_a_given_token_one_is_made_and_printed_once(lab):
    control = lab.control(CONTROL_ADMIN_TOKEN="").start()
    (token,) = re.findall(r"cgt_[\w-]{43}", control.log())
    assert call("GET", control.url("/api/v1/tokens"), headers=bearer(token))[0] == 200
    assert "event=admin_token_created name=admin source=generated" in control.log()
    assert not [line for line in control.log().splitlines() if token in line and "event=" in line], "not in the log"
    control.stop()
    control.start()
    assert control.log().count("cgt_") == 1
    assert call("GET", control.url("/api/v1/tokens"), headers=bearer(token))[0] == 200


def test_the_first_token_may_come_from_a_file(lab, tmp_path):
    path = tmp_path / "token"
    path.write_text("f" * 40 + "\n")
    control = lab.control(CONTROL_ADMIN_TOKEN="", CONTROL_ADMIN_TOKEN_FILE=str(path)).start()
    assert call("GET", control.url(ROUTING), headers=bearer("f" * 40))[0] == 200
    control.stop()
    path.unlink()
    control.start()
    assert call("GET", control.url(ROUTING), headers=bearer("f" * 40))[0] == 200


def test_another_token_in_the_settings_does_not_compete_with_the_store(control):
    control.stop()
    control.settings["CONTROL_ADMIN_TOKEN"] = "n" * 40
    control.start()
    assert "event=admin_token_not_used" in control.log()
    assert call("GET", control.url(ROUTING), headers=bearer("n" * 40))[0] == 401
    assert control.call("GET", ROUTING)[0] == 200


@pytest.mark.parametrize("settings, word", [
    ({"CONTROL_ADMIN_TOKEN": "short"}, "32 to 128"), ({"CONTROL_ADMIN_TOKEN": "x" * 20 + " " + "x" * 20}, "printable"),
    ({"CONTROL_ADMIN_TOKEN": "", "CONTROL_ADMIN_TOKEN_FILE": "/nonexistent/token"}, "/nonexistent/token"),
    ({"CONTROL_ADMIN_TOKEN_FILE": "/x"}, "both set"), ({"CONTROL_HTTP_ADDRESS": "0.0.0.0"}, "CONTROL_ALLOW_PLAIN_HTTP"),
])  # fmt: skip
def test_settings_that_would_not_be_safe_stop_the_start(lab, settings, word):
    control = lab.control(**settings)
    control.launch()
    assert control.wait_exit() == 1
    (line,) = [line for line in control.log().splitlines() if "level=" not in line]
    assert word in line and "x" * 20 not in line


# --- log-ins of browsers ------------------------------------------------------------------------------------------------------


def test_a_log_in_is_a_strict_cookie(control):
    browser = Browser(control)
    assert re.fullmatch(r"cloudgate-session=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", browser.set_cookie)
    assert browser.session["actor"] == "token:admin" and browser.session["role"] == "admin"
    assert ADMIN_TOKEN not in json.dumps(browser.session) and browser.csrf not in browser.set_cookie
    again = json.loads(browser.call("GET", "/api/v1/session", csrf=False)[2])
    assert again["csrf_token"] == browser.csrf and 0 < again["idle_seconds"] <= 3600 and again["remaining_seconds"] <= 43200
    assert "csrf_token" not in json.loads(control.call("GET", "/api/v1/session")[2])
    for cookie in ({}, {"Cookie": "cloudgate-session=" + "x" * 43}):  # a page that asks is told, not refused
        status, _, body = call("GET", control.url("/api/v1/session"), headers=cookie)
        assert status == 200 and json.loads(body) == {"actor": "nobody", "role": "none", "token_expires_ms": None}
    assert call("GET", control.url("/api/v1/session"), headers=bearer("cgt_" + "x" * 43))[0] == 401
    assert browser.cookie.split("=")[1] not in control.log()


def test_a_change_by_cookie_needs_its_own_page_and_its_token(control):
    browser, other = Browser(control), Browser(control)
    change = {"shadow_read_percent": 7}
    own = f"http://{control.address}:{control.http_port}"
    for how in ({"csrf": False}, {"csrf": "x" * 43}, {"csrf": other.csrf}, {"site": "cross-site"}, {"site": "same-site"}, {"site": "none"},
                {"site": None}, {"site": None, "Origin": "http://evil.example"}, {"site": None, "Origin": "null"},
                {"site": None, "Origin": own.replace("http:", "https:")}, {"site": "cross-site", "Origin": own}):  # fmt: skip
        status, _, body = browser.call("PATCH", ROUTING, change, **how)
        assert status == 403, how
    assert control.routing()["shadow_read_percent"] == 0
    assert browser.call("PATCH", ROUTING, change)[0] == 200
    assert browser.call("PATCH", ROUTING, {"shadow_read_percent": 8}, site=None, Origin=own)[0] == 200
    assert json.loads(control.call("GET", "/api/v1/audit?limit=1")[2])["entries"][0]["actor"] == "token:admin@127.0.0.1"


def test_a_planted_second_cookie_is_not_believed(control):
    browser = Browser(control)
    headers = {"Cookie": f"{browser.cookie}; cloudgate-session=planted"}
    assert call("GET", control.url(ROUTING), headers=headers)[0] == 401
    assert call("GET", control.url(ROUTING), headers={"Cookie": f"x=1; {browser.cookie}"})[0] == 200


def test_log_in_answers(control):
    assert log_in(control, headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert log_in(control, headers={"Content-Type": "text/plain"})[0] == 415
    url = control.url("/api/v1/session")
    assert call("POST", url, b"{", JSON)[0] == 400
    for body in (b"[]", b"{}", b'{"token":5}', b'{"token":"x","more":1}'):
        assert call("POST", url, body, JSON)[0] == 422, body
    assert call("POST", url, b" " * 16385, JSON)[0] == 413
    for header in ("Expect: 100-continue\r\nContent-Length: 9", "Transfer-Encoding: chunked"):
        with socket.create_connection((control.address, control.http_port), 10) as link:
            link.sendall(f"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{header}\r\n\r\n".encode())
            assert link.recv(4096).startswith(b"HTTP/1.1 411"), "who is nobody yet is not waited for"
    status, headers, body = log_in(control, "cgt_" + "w" * 43)
    assert status == 401 and "Set-Cookie" not in headers


def test_logging_out_ends_the_log_in(control):
    browser, other = Browser(control), Browser(control)
    assert browser.call("DELETE", "/api/v1/session", csrf=False)[0] == 403
    status, headers, body = browser.call("DELETE", "/api/v1/session")
    assert status == 204 and body == b"" and "Max-Age=0" in headers["Set-Cookie"]
    assert browser.call("GET", ROUTING)[0] == 401 and other.call("GET", ROUTING)[0] == 200
    assert control.call("DELETE", "/api/v1/session")[0] == 409


def test_a_log_in_ends_by_itself(lab):
    control = lab.control(CONTROL_SESSION_IDLE_SECONDS="2", CONTROL_SESSION_SECONDS="6").start()
    idle, busy = Browser(control), Browser(control)
    begin = time.monotonic()
    wait_until(lambda: busy.call("GET", ROUTING)[0] == 401, "even a busy log-in ends", 15)
    assert time.monotonic() - begin > 5
    assert idle.call("GET", ROUTING)[0] == 401
    assert b"ended" in idle.call("GET", ROUTING)[2]


def test_a_restart_ends_log_ins_but_not_tokens(control):
    browser = Browser(control)
    control.stop()
    control.start()
    assert browser.call("GET", ROUTING)[0] == 401 and control.call("GET", ROUTING)[0] == 200


def test_the_page_itself_needs_no_log_in(control):
    for path in ("/", "/assets/app.js", "/assets/style.css", "/health/liveness", "/health/readiness"):
        status, headers, _ = call("GET", control.url(path))
        assert status == 200 and headers["Connection"] == "close", "nobody keeps a thread"


# --- those who guess ---------------------------------------------------------------------------------------------------------


def guess(control, number):
    return call("GET", control.url(ROUTING), headers=bearer(f"cgt_{number:043d}"))


def test_guessing_is_slowed_down_and_hears_nothing(control):
    fresh = create(control, "fresh")
    assert control.call("GET", ROUTING)[0] == 200  # the admin has been seen from this address
    seen = [guess(control, number)[0] for number in range(20)]
    assert seen[:5] == [401] * 5 and set(seen[5:]) == {429}
    status, headers, body = guess(control, 99)
    assert status == 429 and 1 <= int(headers["Retry-After"]) <= 300 and json.loads(body)["status"] == 429
    # A good token that was never used from here is not told apart from a bad one ...
    assert call("GET", control.url(ROUTING), headers=bearer(fresh))[0] == 429
    assert log_in(control, fresh)[0] == 429
    # ... and one that was keeps working: nobody locks the operators out.
    assert control.call("GET", ROUTING)[0] == 200
    assert call("GET", control.url("/health/liveness"))[0] == 200
    wait_until(lambda: call("GET", control.url(ROUTING), headers=bearer(fresh))[0] == 200, "the wait is over", 10)
    _, _, metrics = control.call("GET", "/metrics")
    assert int(re.search(rb'access_refused_total\{reason="limited"\} (\d+)', metrics)[1]) >= 16
    assert control.log().count("event=login_failed") == 5


@pytest.mark.parametrize("host, status", [("evil.example", 421), ("localhost", 200), ("gate.example", 200), ("[::1]:5", 200), ("", 421)])
def test_a_name_pointed_at_us_is_refused(lab, host, status):
    control = lab.control(CONTROL_HTTP_HOSTS="gate.example,other.example").start()
    got, _, body = control.call("GET", ROUTING, headers={"Host": host})
    assert got == status, body
    assert call("GET", control.url("/"), headers={"Host": host})[0] == status
