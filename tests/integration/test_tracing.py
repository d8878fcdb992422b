"""Custom payload, warnings and the tracing flag pass both ways; request ids (TRACING_ENABLED) are added, logged, and never in the way."""

import re

import pytest

from support import wire

KEY = "request-id"
SELECT = "SELECT v FROM ks.kv WHERE k = 1"
ALL = ["--versions", "3,4,5,dse1,dse2"]


@pytest.fixture
def clusters(lab):
    pair = lab.pair(options=ALL)
    for cluster in pair:
        cluster.query(
            "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
            "INSERT INTO ks.kv (k, v) VALUES (1, 'one')",
        )
    return pair


@pytest.fixture
def traced(lab, clusters):
    return lab.proxy(*clusters, TRACING_ENABLED="true").start()


def everything(client):
    """One request of each kind that can have an id: their names."""
    prepared = client.prepare("INSERT INTO ks.kv (k, v) VALUES (?, ?)")
    client.query(SELECT)
    client.execute(prepared, [wire.int_value(2), b"two"])
    client.batch([(prepared, [wire.int_value(3), b"three"])])
    return "PREPARE", "QUERY", "EXECUTE", "BATCH"


@pytest.mark.parametrize("version", [4, 5, wire.DSE1, wire.DSE2])
def test_each_request_has_an_id_on_both_clusters(clusters, traced, version):
    with traced.connect(version=version) as client:
        names = everything(client)
    for name in names:
        for cluster in clusters if name != "QUERY" else clusters[:1]:
            assert cluster.last_request(name)["payload_keys"] == [KEY]
    log = traced.log()
    ids = dict(re.findall(r"event=request_traced request_id=([0-9a-f]{32}) stream=0 opcode=(\w+)", log))
    assert sorted(ids.values()) == sorted(names)
    for request_id, name in ids.items():
        assert request_id[12] == "4" and request_id[16] in "89ab", "a random UUID"
        answers = re.findall(rf"event=response_traced request_id={request_id} stream=0 from=(\w+)-CONNECTOR", log)
        assert sorted(answers) == (["ORIGIN"] if name == "QUERY" else ["ORIGIN", "TARGET"])


def test_the_client_s_own_id_is_used(clusters, traced):
    for cluster in clusters:
        cluster.tell("echo all")
    mine = {"other": b"kept", KEY: b"mine", "none": None}
    with traced.connect() as client:
        assert client.query(SELECT, payload=mine).frame.payload == mine
        added = client.query(SELECT, payload={"other": b"kept"}).frame.payload
        assert added.pop(KEY) != b"mine" and added == {"other": b"kept"}
    assert f"request_id={b'mine'.hex()} " in traced.log()


def test_off_means_untouched(lab, clusters):
    proxy = lab.proxy(*clusters).start()
    for cluster in clusters:
        cluster.tell("echo all")
    with proxy.connect() as client:
        assert client.query(SELECT, payload={KEY: b"mine"}).frame.payload == {KEY: b"mine"}
        assert client.query(SELECT).frame.payload is None
    assert "request_traced" not in proxy.log()


def test_v3_has_no_payload(clusters, traced):
    with traced.connect(version=3) as client:
        everything(client)
    assert clusters[1].last_request("BATCH")["payload_keys"] == []
    assert "request_traced" not in traced.log()


def test_a_key_of_one_s_own_and_a_limit(lab, clusters):
    proxy = lab.proxy(*clusters, TRACING_ENABLED="true", TRACING_REQUEST_ID_KEY="trace", TRACING_RATE_LIMIT="1").start()
    for cluster in clusters:
        cluster.tell("echo all")
    with proxy.connect() as client:
        payloads = [client.query(SELECT, payload={"mine": b"x"}).frame.payload for _ in range(50)]
        assert set(payloads[0]) == {"trace", "mine"}
        assert payloads.count({"mine": b"x"}) >= 45, "over the limit nothing is added, and nothing taken away"
        assert client.query(SELECT, payload={"trace": b"own"}).frame.payload == {"trace": b"own"}


def test_edits_behind_a_payload(clusters, traced):
    """Ids, timestamps and tags stand further back when a payload comes first."""
    with traced.connect() as client:
        prepared = client.prepare("INSERT INTO ks.kv (k, v) VALUES (?, ?)")
        client.execute(prepared, [wire.int_value(7), b"seven"], payload={"a": b"1", "b": None})
        client.batch([(prepared, [wire.int_value(8), b"eight"])], payload={"a": b"1"})
        client.query("INSERT INTO ks.kv (k, v) VALUES (9, 'nine')", payload={"a": b"x" * 20000})
        page = client.query("SELECT k FROM ks.kv", page_size=2, payload={"a": b"1"})
        rest = client.query("SELECT k FROM ks.kv", page_size=10, paging_state=page.paging_state, payload={"a": b"1"})
        assert len(page.rows) + len(rest.rows) == 4
    for k, v in ((7, b"seven"), (8, b"eight"), (9, b"nine")):
        rows = [cluster.rows(f"SELECT v, writetime(v) FROM ks.kv WHERE k = {k}") for cluster in clusters]
        assert rows[0] == rows[1] and rows[0][0][0] == v


@pytest.mark.parametrize("version", [3, 4, 5])
def test_warnings_and_tracing_pass(lab, clusters, version):
    """Also before a paging state that is tagged, in small answers and in those that flow through."""
    proxy = lab.proxy(*clusters).start()
    clusters[0].query(*(f"INSERT INTO ks.kv (k, v) VALUES ({k}, '{'v' * 5000}')" for k in range(40)))
    with proxy.connect(version=version) as client:
        clusters[0].tell('warn "mind the gap" reads')
        for page_size in (2, 30):
            result = client.query("SELECT k, v FROM ks.kv", page_size=page_size, flags=0x02)
            assert len(result.rows) == page_size and result.paging_state.startswith(b"\xe7CG")
            assert (result.frame.warnings == ["mind the gap"]) == (version > 3)
            assert len(result.frame.tracing_id) == 16
            more = client.query("SELECT k, v FROM ks.kv", page_size=100, paging_state=result.paging_state)
            assert len(more.rows) == 40 - page_size
