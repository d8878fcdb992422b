"""Clusters that make different ids of one statement, as Cassandra before and after 3.11.12 do where a keyspace is in use. A client knows a
statement by one id for good, whichever clusters were in use when it prepared it: whoever prepares it again gets that id again."""

import pytest

from support import wire
from support.walk import KEYS, SCHEMA, Walk

INSERT = "INSERT INTO ks.kv (k, v) VALUES (?, 'x')"
WRITTEN = {
    "passthrough": {"origin"},
    "dual_write": {"origin", "target"},
    "target_primary": {"origin", "target"},
    "target_only": {"target"},
}
LINE = tuple(WRITTEN)


@pytest.fixture
def walk(lab):
    """Between clusters that agree on no id."""
    release = ["--release-version", "5.0.3"]  # speaks v5
    clusters = lab.cluster("origin", options=release), lab.cluster("target", options=[*release, "--id-salt", "another release"])
    for cluster in clusters:
        cluster.start().query(*SCHEMA, f"INSERT INTO ks.kv (k, v) VALUES (1, '{cluster.name}')")
    return Walk(lab, clusters)


def written_to(walk, key):
    return {name for name, cluster in walk.clusters.items() if walk.has(cluster, key)}


def execute(client, prepared, key):
    client.execute(prepared, [wire.int_value(key)])


def refusal(client, prepared, key):
    """What an EXECUTE that is refused is told."""
    options = {"metadata_id": client.metadata_ids[prepared], "version": client.version}
    code, _, details = client.error("EXECUTE", wire.execute_body(prepared, [wire.int_value(key)], **options))
    return code, details


def prepares_again(client, prepared, text=INSERT):
    """The client is told the id it knows, and gets it again."""
    assert refusal(client, prepared, 0) == (wire.UNPREPARED, wire.short_bytes(prepared))
    assert client.prepare(text) == prepared


@pytest.mark.parametrize("begin", LINE)
def test_a_driver_keeps_its_statement_through_all_phases(walk, begin):
    """Prepared in any phase, and used from there to the last, back to the first, and to the last again. The driver takes another id for
    an error."""
    for phase in LINE[2:] if begin == "target_only" else (begin,):
        walk.go(phase)
    with walk.proxy.driver() as session:
        insert, select = session.prepare(INSERT), session.prepare("SELECT v FROM ks.kv WHERE k = ?")
        for phase in (*LINE[LINE.index(begin) :], *LINE[-2::-1], *LINE[1:]):
            walk.go(phase)
            key = next(KEYS)
            session.execute(insert, [key])
            assert written_to(walk, key) == WRITTEN[phase], phase
            assert session.execute(select, [key]).one().v == "x"


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("version", [4, 5])
def test_an_id_of_the_target_outlives_target_only(walk, version, compression):
    walk.to("target_only")
    with walk.proxy.connect(version=version, compression=compression) as client:
        prepared = client.prepare(INSERT)
        walk.go("target_primary")
        prepares_again(client, prepared)
        one, two = next(KEYS), next(KEYS)
        execute(client, prepared, one)
        client.batch([(prepared, [wire.int_value(two)]), (f"INSERT INTO ks.kv (k, v) VALUES ({next(KEYS)}, 'y')", ())])
        assert written_to(walk, one) == written_to(walk, two) == {"origin", "target"}
        # Who prepares it for the first time now has the origin's id; both are good, also side by side.
        with walk.proxy.connect(version=version, compression=compression) as other:
            origins = other.prepare(INSERT)
            assert origins != prepared
            keys = next(KEYS), next(KEYS), next(KEYS), next(KEYS)
            other.batch([(origins, [wire.int_value(keys[0])]), (prepared, [wire.int_value(keys[1])])])
            execute(other, origins, keys[2])
        execute(client, prepared, keys[3])
        assert all(written_to(walk, key) == {"origin", "target"} for key in keys)


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("version", [4, 5])
def test_a_large_request_under_either_id(walk, version, compression):
    """One that flows through part by part."""
    text = "INSERT INTO ks.kv (k, v) VALUES (?, ?)"
    value = "".join(chr(97 + (i * i * 31 + i // 7) % 26) for i in range(700_000)).encode()
    walk.to("target_only")
    with walk.proxy.connect(version=version, compression=compression, timeout=30) as client:
        prepared = client.prepare(text)
        walk.go("target_primary")
        prepares_again(client, prepared, text)
        client.execute(prepared, [wire.int_value(8), value])
        client.batch([(prepared, [wire.int_value(9), value])])
    for cluster in walk.clusters.values():
        assert cluster.rows("SELECT v FROM ks.kv WHERE k IN (8, 9)") == [[value]] * 2


@pytest.mark.parametrize("name", ["origin", "target"])
def test_a_cluster_that_forgets_is_told_of_by_the_id_the_client_knows(walk, name):
    walk.to("target_only")
    with walk.proxy.connect() as client:
        prepared = client.prepare(INSERT)
        walk.go("target_primary")
        prepares_again(client, prepared)
        walk.clusters[name].tell("unprepare")
        prepares_again(client, prepared)
        walk.clusters[name].tell("unprepare")
        code, _, details = client.error("BATCH", wire.batch_body([(prepared, [wire.int_value(next(KEYS))])]))
        assert (code, details) == (wire.UNPREPARED, wire.short_bytes(prepared))
        assert client.prepare(INSERT) == prepared
        key = next(KEYS)
        execute(client, prepared, key)
        assert written_to(walk, key) == {"origin", "target"}


def test_an_id_of_the_origin_outlives_what_the_target_forgets(walk):
    with walk.proxy.connect() as client:
        prepared = client.prepare(INSERT)
        walk.to("target_only")
        walk.clusters["target"].tell("unprepare")
        prepares_again(client, prepared)
        key = next(KEYS)
        execute(client, prepared, key)
        assert written_to(walk, key) == {"target"}
        walk.go("target_primary")
        prepares_again(client, prepared)
        key = next(KEYS)
        execute(client, prepared, key)
        assert written_to(walk, key) == {"origin", "target"}


def test_a_proxy_that_was_restarted_gives_the_id_that_it_is_asked_about(walk):
    walk.to("target_only")
    with walk.proxy.connect() as client:
        prepared = client.prepare(INSERT)
    walk.go("target_primary")
    walk.proxy.stop()
    walk.proxy.start()
    with walk.proxy.connect() as client:
        client.metadata_ids[prepared] = None
        prepares_again(client, prepared)
        key = next(KEYS)
        execute(client, prepared, key)
        assert written_to(walk, key) == {"origin", "target"}


def test_functions_are_evaluated_under_either_id(walk):
    for cluster in walk.clusters.values():
        cluster.query("CREATE TABLE ks.t (k int PRIMARY KEY, c timeuuid)")
    text = "INSERT INTO ks.t (k, c) VALUES (?, now())"
    walk.to("target_only")
    with walk.proxy.connect() as client:
        prepared = client.prepare(text)
        walk.go("target_primary")
        prepares_again(client, prepared, text)
        assert client.prepared(text).bound == [("k", 0x09)]
        execute(client, prepared, 5)
    rows = [cluster.rows("SELECT c FROM ks.t WHERE k = 5") for cluster in walk.clusters.values()]
    assert rows[0] == rows[1] and len(rows[0]) == 1


def test_many_statements_at_once(walk):
    """All are refused before the first is prepared again, as a driver with many requests in flight meets it."""
    texts = [f"INSERT INTO ks.kv (k, v) VALUES (?, 'x') USING TTL {1000 + number}" for number in range(100)]
    walk.to("target_only")
    with walk.proxy.connect() as client:
        prepared = [client.prepare(text) for text in texts]
        walk.go("target_primary")
        for known in prepared:
            assert refusal(client, known, 0) == (wire.UNPREPARED, wire.short_bytes(known))
        assert [client.prepare(text) for text in texts] == prepared
        keys = [next(KEYS) for _ in prepared]
        for known, key in zip(prepared, keys, strict=True):
            execute(client, known, key)
    assert all(written_to(walk, key) == {"origin", "target"} for key in keys[::20])
