"""Plays of what every path refuses, route by route out of the table: methods it does not have, bodies of another type, too long, cut short,
and heads that do not end."""

import json
import re
import socket
import time

import pytest

from support.control_plane import ADMIN_TOKEN, JSON, ROOT

ROUTES = re.findall(r'^ROUTE\("(\w+)", "([^"]+)", \w+,', (ROOT / "controlplane/routes.def").read_text(), re.M)
PATHS = sorted({path for _, path in ROUTES})
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
DESCRIBED = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
WITH_BODY = [(method, path) for method, path in ROUTES
             if "content" in DESCRIBED.get(path, {}).get(method.lower(), {}).get("requestBody", {})]  # fmt: skip
BODY_MAX = 16384


def named(path):
    return re.sub(r"\{\w+\}", "nobody-of-this-name", path)


def is_problem(status, headers, body):
    assert headers["Content-Type"] == "application/problem+json"
    problem = json.loads(body)
    return problem["status"] == status and problem["title"] and len(problem["detail"]) > 10


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {ADMIN_TOKEN}", *lines, "", ""]).encode()


def parts(answer):
    top, _, body = answer.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def test_the_tables_are_read_right():
    assert len(PATHS) >= 18 and len(WITH_BODY) >= 5
    assert {method for method, _ in ROUTES} <= set(METHODS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from support.control_plane import Control

    control = Control(tmp_path_factory.mktemp("bounds")).start()
    yield control
    assert control.stop() == 0


@pytest.mark.parametrize("path", PATHS)
def test_a_method_a_path_does_not_have(shared, path):
    own = [method for method, of in ROUTES if of == path]
    own += ["HEAD"] if "GET" in own else []
    for method in METHODS:
        if method in own:
            continue
        status, headers, body = shared.call(method, named(path), b"{}" if method in ("POST", "PUT", "PATCH") else None, JSON)
        assert status == 405 and set(headers["Allow"].split(", ")) == set(own), (method, path)
        assert method == "HEAD" or is_problem(status, headers, body)
    for method in ("TRACE", "BREW", "get", "PROPFIND", "CONNECT"):
        status, headers, body = parts(shared.raw(head(method, named(path))))
        assert status == 405 and headers["Allow"] and is_problem(status, headers, body), (method, path)


@pytest.mark.parametrize("method, path", WITH_BODY)
def test_bodies_of_another_type(shared, method, path):
    types = list(DESCRIBED[path][method.lower()]["requestBody"]["content"])
    for kind in (None, "text/plain", "application/jsonp", "application/json-patch+json", "application/x-www-form-urlencoded", "*/*",
                 "text/json", "application/merge-patch+jsonx", "multipart/form-data; boundary=x"):  # fmt: skip
        status, headers, body = shared.call(method, named(path), b"{}", {"Content-Type": kind} if kind else {})
        assert status == 415 and is_problem(status, headers, body), (method, path, kind)
        assert all(wanted in json.loads(body)["detail"] for wanted in types)
        assert method != "PATCH" or set(headers["Accept-Patch"].split(", ")) == set(types)
    if "application/merge-patch+json" not in types:
        assert shared.call(method, named(path), b"{}", {"Content-Type": "application/merge-patch+json"})[0] == 415
    for kind in types:
        for text in (kind, kind.upper(), f"{kind};charset=utf-8", f"{kind} ; charset=utf-8"):
            assert shared.call(method, named(path), b"{", {"Content-Type": text})[0] == 400, text


@pytest.mark.parametrize("method, path", WITH_BODY)
def test_bodies_too_long_or_cut_short(shared, method, path):
    assert shared.call(method, named(path), b"{" + b" " * (BODY_MAX - 1), JSON)[0] == 400, "the longest there may be is read"
    status, headers, body = shared.call(method, named(path), b"{" + b" " * BODY_MAX, JSON)
    assert status == 413 and is_problem(status, headers, body) and headers["Connection"] == "close"
    lines = ("Content-Type: application/json",)
    for length in ("16385", "99999999999", "9223372036854775807"):
        status, headers, body = parts(shared.raw(head(method, named(path), *lines, f"Content-Length: {length}") + b"{}"))
        assert status == 413 and is_problem(status, headers, body), length
    for length in ("-1", "18446744073709551616", "0x10", "12a", ""):
        status, headers, body = parts(shared.raw(head(method, named(path), *lines, f"Content-Length: {length}") + b"{}"))
        assert 400 <= status < 500 and is_problem(status, headers, body), length
    assert parts(shared.raw(head(method, named(path), *lines, "Content-Length: 50") + b"{}"))[0] == 400
    for bad in ("Content-Length: 2\r\nContent-Length: 3", "Content-Length: 2\r\nTransfer-Encoding: chunked"):
        assert parts(shared.raw(head(method, named(path), *lines, bad) + b"{}"))[0] == 400, bad
    if path != "/api/v1/session":  # who has not logged in sends a Content-Length
        chunks = b"".join(b"1000\r\n" + b" " * 4096 + b"\r\n" for _ in range(5))
        assert parts(shared.raw(head(method, named(path), *lines, "Transfer-Encoding: chunked") + chunks))[0] == 413


@pytest.mark.parametrize("method, path", WITH_BODY)
@pytest.mark.parametrize("body", [b"", b"{", b"{}{}", b"\xff", b"\xef\xbb\xbf{}", b"[" * 9000, b'{"x":NaN}', b"nope"])
def test_bodies_that_are_no_json(shared, method, path, body):
    status, headers, answer = shared.call(method, named(path), body, JSON)
    assert status == 400 and is_problem(status, headers, answer)


@pytest.mark.parametrize("method, path", WITH_BODY)
def test_json_that_is_not_what_the_path_takes(shared, method, path):
    for body in (b"[]", b"null", b"7", b'"x"', b'{"no_member_of_this_name":1}', b'{"":{}}', b'{"a":1,"a":2}'):
        status, headers, answer = shared.call(method, named(path), body, JSON)
        assert status == 422 and is_problem(status, headers, answer), body
        assert "pointer" in json.loads(answer)["errors"][0]


def test_heads_are_bounded(shared):
    """A head of 16 KiB is too long, wherever its length comes from; what is too long ends the connection."""
    for lines in ((f"X-Filler: {'x' * 20000}",), tuple(f"X-{number}: {'y' * 100}" for number in range(300))):
        status, headers, body = parts(shared.raw(head("GET", "/api/v1/routing", *lines)))
        assert 400 <= status < 500 and is_problem(status, headers, body) and headers["Connection"] == "close"
    status, headers, body = parts(shared.raw(head("GET", "/api/v1/routing?" + "x" * 20000)))
    assert 400 <= status < 500 and is_problem(status, headers, body)
    assert shared.routing()["revision"] == 1


# --- heads that say one thing to us and another to a proxy before us ---------------------------------------------------

CHANGE = b'{"shadow_read_percent":9}'
SENT = ["Content-Type: application/json", f"Content-Length: {len(CHANGE)}"]
HIDDEN = head("DELETE", "/api/v1/tokens/admin")


def answers(data):
    return data.count(b"HTTP/1.1 ")


def test_a_connection_carries_one_request(shared):
    answer = shared.raw(head("GET", "/api/v1/routing") + HIDDEN)
    assert answers(answer) == 1 and parts(answer)[0] == 200 and parts(answer)[1]["Connection"] == "close"
    assert shared.call("GET", "/api/v1/tokens")[0] == 200


@pytest.mark.parametrize("lines, word", [
    (["X-Folded: a", " b"], "folded"),
    (["\tX: a"], "folded"),
    (["Content-Length : 3"], "blank"),
    (["Transfer-Encoding\t: chunked"], "blank"),
    ([": nameless"], "no name"),
    (["nothing at all"], "no colon"),
    ([f"X-{number}: y" for number in range(70)], "64 lines"),
])  # fmt: skip
def test_heads_that_hide_what_follows(shared, lines, word):
    """The web server behind the front would stop reading the head at such a line, and take the body for another request."""
    revision = shared.routing()["revision"]
    answer = shared.raw(head("PATCH", "/api/v1/routing", *lines, *SENT) + CHANGE + HIDDEN)
    status, headers, body = parts(answer)
    assert answers(answer) == 1 and status == 400 and is_problem(status, headers, body) and word in json.loads(body)["detail"]
    assert headers["Connection"] == "close" and headers["Cache-Control"] == "no-store"
    assert shared.routing()["revision"] == revision and shared.call("GET", "/api/v1/tokens")[0] == 200


@pytest.mark.parametrize("name, value", [
    ("Host", "other.example"), ("Authorization", f"Bearer {ADMIN_TOKEN}"), ("Content-Type", "application/json"),
    ("Content-Length", str(len(CHANGE))), ("If-Match", "*"), ("Idempotency-Key", "two"), ("Cookie", "a=b"), ("Origin", "http://x"),
])  # fmt: skip
def test_headers_that_may_be_there_once(shared, name, value):
    revision = shared.routing()["revision"]
    once = [] if name in ("Host", "Authorization", "Content-Type", "Content-Length") else [f"{name}: one"]
    status, headers, body = parts(shared.raw(head("PATCH", "/api/v1/routing", *once, *SENT, f"{name.lower()}: {value}") + CHANGE))
    assert status == 400 and is_problem(status, headers, body) and name in json.loads(body)["detail"]
    assert shared.routing()["revision"] == revision


@pytest.mark.parametrize("target", ["*", "http://127.0.0.1/api/v1/routing", "https://elsewhere/", "127.0.0.1:80", "api/v1/routing", "?"])
def test_targets_that_are_no_path_are_answered(shared, target):
    for method in ("GET", "OPTIONS", "CONNECT"):
        status, headers, body = parts(shared.raw(head(method, target)))
        assert status == 400 and is_problem(status, headers, body) and "path" in json.loads(body)["detail"]


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "chunked, identity", "xchunked", "x"])
def test_codings_nobody_reads(shared, coding):
    body = b"19\r\n" + CHANGE + b"\r\n0\r\n\r\n"
    answer = shared.raw(head("PATCH", "/api/v1/routing", SENT[0], f"Transfer-Encoding: {coding}") + body)
    assert answers(answer) == 1 and parts(answer)[0] == 400


@pytest.mark.parametrize("body", [
    b"-1\r\n{}\r\n0\r\n\r\n", b"ffffffffffffffff\r\n{}", b"0x2\r\n{}\r\n0\r\n\r\n", b" 2\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}XX0\r\n\r\n", b"2\r\n{}", b"2\n{}\n0\n\n", b"0;a=b\r\n\r\n", b"zz\r\n",
])  # fmt: skip
def test_chunks_that_are_none(shared, body):
    answer = shared.raw(head("PATCH", "/api/v1/routing", SENT[0], "Transfer-Encoding: chunked") + body + HIDDEN)
    assert answers(answer) == 1 and parts(answer)[0] == 400 and shared.call("GET", "/api/v1/tokens")[0] == 200


def test_an_empty_line_first_holds_no_thread(shared):
    """A head that seems to be over at once must not reach the threads before the rest of it."""
    links = [socket.create_connection(("127.0.0.1", shared.port), 10) for _ in range(60)]
    for number, link in enumerate(links):
        link.sendall([b"\r\n\r\n", b"\n\n", b"\n\r\n"][number % 3])
    begin = time.monotonic()
    for _ in range(5):
        assert shared.call("GET", "/api/v1/routing", timeout=3)[0] == 200
    assert time.monotonic() - begin < 3
    for link in links:
        status, headers, body = parts(b"".join(iter(lambda: link.recv(65536), b"")))
        assert status == 400 and is_problem(status, headers, body)
        link.close()


# --- what looks like something that is known -------------------------------------------------------------------------------


@pytest.mark.parametrize("method, path", [(method, path) for method, path in ROUTES if method in ("POST", "DELETE")])
def test_a_query_where_none_is_taken(shared, method, path):
    """Who says ?dry_run=true there means that nothing is to happen."""
    body = json.dumps({"name": "made", "role": "viewer"}) if path == "/api/v1/tokens" else b"{}"
    for query in ("dry_run=true", "x=1", "x"):
        status, headers, answer = shared.call(method, f"{named(path)}?{query}", body if method == "POST" else None, JSON)
        assert status == 400 and is_problem(status, headers, answer) and "query" in json.loads(answer)["detail"], (method, path)
    assert [token["name"] for token in shared.get("/api/v1/tokens")["tokens"]] == ["admin"]


@pytest.mark.parametrize("path, body, pointer", [
    ("/api/v1/tokens", {"name": "a", "role": "viewer", "name\0": 1}, "/name?"),
    ("/api/v1/tokens", {"name": "a", "role": "admin\0viewer"}, "/role"),
    ("/api/v1/tokens", {"name": "a\0b", "role": "viewer"}, "/name"),
    ("/api/v1/tokens", {"name": "a", "role": "viewer", "a/b~c": 1}, "/a~1b~0c"),
    ("/api/v1/session", {"token": ADMIN_TOKEN, "token\0": 1}, "/token?"),
])  # fmt: skip
def test_a_text_that_only_begins_right(shared, path, body, pointer):
    status, headers, answer = shared.call("POST", path, json.dumps(body), JSON)
    assert status == 422 and json.loads(answer)["errors"][0]["pointer"] == pointer
