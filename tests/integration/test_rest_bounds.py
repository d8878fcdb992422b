"""Plays of what every path refuses, route by route out of the table: methods it does not have, bodies of another type, too long, cut short,
and heads that do not end."""

import json
import re

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
        assert status in (400, 405, 501) and is_problem(status, headers, body), (method, path)


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
@pytest.mark.parametrize("body", [b"", b"{", b"{}{}", b"\xff", b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"[" * 9000, b'{"x":NaN}', b"nope"])
def test_bodies_that_are_no_json(shared, method, path, body):
    status, headers, answer = shared.call(method, named(path), body, JSON)
    assert status == 400 and is_problem(status, headers, answer)


@pytest.mark.parametrize("method, path", WITH_BODY)
def test_json_that_is_not_what_the_path_takes(shared, method, path):
    for body in (b"[]", b"null", b"7", b'"x"', b'{"no_member_of_this_name":1}', b'{"":{}}'):
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
