"""Bodies of v5 and the DSE versions: keyspaces of requests, result metadata ids of each cluster, wide flags; and the metadata that
older versions leave out."""

import pytest

from support import wire

ALL = ["--versions", "3,4,5,dse1,dse2"]


@pytest.fixture(scope="module")
def lab_of_all(tmp_path_factory):
    from support.programs import Lab

    lab = Lab(tmp_path_factory.mktemp("bodies"))
    try:
        lab.pair(options=ALL)
        yield lab
    finally:
        lab.close()


@pytest.fixture(scope="module")
def clusters(lab_of_all):
    """origin, target: same keyspaces, but the columns of ks.other stand in another order on the target, which has one of another type."""
    origin, target = lab_of_all.programs[:2]
    for cluster, other in ((origin, "a int, b text"), (target, "b text, a int, c int")):
        cluster.query(
            "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE KEYSPACE second WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
            "CREATE TABLE second.kv (k int PRIMARY KEY, v text)",
            f"CREATE TABLE ks.other (k int PRIMARY KEY, {other})",
            f"INSERT INTO ks.kv (k, v) VALUES (1, '{cluster.name}')",
            f"INSERT INTO second.kv (k, v) VALUES (1, 'second {cluster.name}')",
            "INSERT INTO ks.other (k, a, b) VALUES (1, 7, 'seven')",
        )
    return origin, target


@pytest.fixture(scope="module")
def proxies(lab_of_all, clusters):
    """By the name of their primary."""
    return {
        "origin": lab_of_all.proxy(*clusters, "proxy-o").start(),
        "target": lab_of_all.proxy(*clusters, "proxy-t", FORWARD_READS_TO_TARGET="true").start(),
    }


@pytest.mark.parametrize("version", [3, 4, 5, wire.DSE1, wire.DSE2])
@pytest.mark.parametrize("primary", ["origin", "target"])
def test_rows_without_metadata_are_decoded_rightly(proxies, primary, version):
    """The client leaves out the metadata it has from PREPARE, the origin's; it must not need the target's."""
    with proxies[primary].connect(version=version) as client:
        prepared = client.prepared("SELECT * FROM ks.other WHERE k = ?")
        known = prepared.columns, prepared.types, prepared.metadata_id
        for _ in range(3):
            result = client.execute(
                prepared.prepared_id, [wire.int_value(1)], skip_metadata=True, metadata_id=known[2], page_size=10
            )
            if result.columns:
                known = result.columns, result.types, result.metadata_id or known[2]
            row = dict(zip(known[0], result.rows[0]))
            assert len(known[0]) == len(result.rows[0])
            assert (row["a"], row["b"]) == (wire.int_value(7), b"seven")


@pytest.mark.parametrize("version", [3, 4, 5, wire.DSE1, wire.DSE2])
@pytest.mark.parametrize("primary", ["origin", "target"])
def test_metadata_that_are_the_same_stay_away(proxies, primary, version):
    with proxies[primary].connect(version=version) as client:
        prepared = client.prepared("SELECT k, v FROM ks.kv WHERE k = ?")
        result = client.execute(prepared.prepared_id, [wire.int_value(1)], skip_metadata=True, metadata_id=prepared.metadata_id)
        assert not result.columns and result.metadata_id is None
        assert result.rows == [[wire.int_value(1), primary.encode()]]


@pytest.mark.parametrize("version", [5, wire.DSE2])
def test_changed_metadata_reach_the_client(proxies, clusters, version):
    """NEW_METADATA passes, and the id it brings is the client's from then on."""
    table = f"changing{version}"
    for cluster in clusters:
        cluster.query(f"CREATE TABLE ks.{table} (k int PRIMARY KEY, a int)", f"INSERT INTO ks.{table} (k, a) VALUES (1, 2)")
    with proxies["target"].connect(version=version) as client:
        prepared = client.prepared(f"SELECT * FROM ks.{table} WHERE k = ?")
        for cluster in clusters:
            cluster.query(f"ALTER TABLE ks.{table} ADD b int")
        values = [wire.int_value(1)]
        changed = client.execute(prepared.prepared_id, values, skip_metadata=True, metadata_id=prepared.metadata_id)
        assert changed.columns == ["k", "a", "b"] and changed.metadata_id not in (None, prepared.metadata_id)
        again = client.execute(prepared.prepared_id, values, skip_metadata=True, metadata_id=changed.metadata_id)
        assert not again.columns and again.metadata_id is None and again.rows == changed.rows


@pytest.mark.parametrize("version", [5, wire.DSE2])
@pytest.mark.parametrize("primary", ["origin", "target"])
def test_the_keyspace_of_a_request(proxies, clusters, primary, version):
    with proxies[primary].connect(version=version) as client:
        client.query("USE ks")
        assert client.query("SELECT v FROM kv WHERE k = 1", keyspace="second").rows == [[b"second " + primary.encode()]]
        assert client.query("SELECT v FROM kv WHERE k = 1").rows == [[primary.encode()]]
        ids = {client.prepare("SELECT v FROM kv WHERE k = ?", keyspace=name) for name in ("ks", "second")}
        assert len(ids) == 2, "one text, two keyspaces, two statements"
        answers = {client.execute(prepared, [wire.int_value(1)]).rows[0][0] for prepared in ids}
        assert answers == {primary.encode(), b"second " + primary.encode()}
        key = wire.int_value(50 + version)
        client.batch([("INSERT INTO kv (k, v) VALUES (?, 'batch')", [key])], keyspace="second")
        client.query("INSERT INTO kv (k, v) VALUES (?, 'query')", [key], keyspace="ks")
    for cluster in clusters:
        rows = [cluster.rows(f"SELECT v, writetime(v) FROM {name}.kv WHERE k = {50 + version}") for name in ("ks", "second")]
        assert [row[0][0] for row in rows] == [b"query", b"batch"]


@pytest.mark.parametrize("version", [5, wire.DSE2])
def test_the_keyspace_of_a_request_decides_what_is_a_system_table(proxies, version):
    with proxies["origin"].connect(version=version) as client:
        mine = client.query("SELECT rpc_address FROM local", keyspace="system").rows
        assert mine == [[bytes(int(part) for part in proxies["origin"].address.split("."))]]
        prepared = client.prepare("SELECT rpc_address FROM local", keyspace="system")
        assert client.execute(prepared).rows == mine
        with proxies["origin"].metric_delta() as delta:
            client.query("SELECT table_name FROM tables", keyspace="system_schema")
        # System tables are the target's by default, the primary is the origin.
        assert delta['zdm_proxy_request_duration_seconds_count{type="reads_target"}'] == 1


@pytest.mark.parametrize("version", [3, 4, 5, wire.DSE1, wire.DSE2])
def test_writes_are_stamped_in_every_version(proxies, clusters, version):
    options = {"keyspace": "ks"} if wire.has_metadata_ids(version) else {}
    table = "kv" if options else "ks.kv"
    key = wire.int_value(100 + version)
    with proxies["origin"].connect(version=version) as client:
        with proxies["origin"].metric_delta() as delta:
            client.query(f"INSERT INTO {table} (k, v) VALUES (?, 'a')", [key], serial_consistency=8, page_size=10, **options)
            prepared = client.prepare(f"INSERT INTO {table} (k, v) VALUES (?, ?)", **options)
            client.execute(prepared, [key, b"b"], **options)
            client.batch([(prepared, [key, b"c"])], serial_consistency=8, **options)
            if version == 5:
                client.query(f"INSERT INTO {table} (k, v) VALUES (?, 'd')", [key], now_in_seconds=1_700_000_000, **options)
    assert delta["zdm_proxy_stamped_writes_total"] == (4 if version == 5 else 3)
    rows = [cluster.rows(f"SELECT v, writetime(v) FROM ks.kv WHERE k = {100 + version}") for cluster in clusters]
    assert rows[0] == rows[1] and rows[0][0][0] == (b"d" if version == 5 else b"c")


@pytest.mark.parametrize("version", [5, wire.DSE2])
def test_bodies_that_end_too_early(proxies, version):
    """What the proxy must read of a body and cannot is refused with a reason, and the connection goes on."""
    with proxies["origin"].connect(version=version) as client:
        whole = wire.query_body("SELECT v FROM kv WHERE k = ?", [wire.int_value(1)], keyspace="ks", version=version)
        for cut in (1, 3, 4, 9):
            code, message, _ = client.error("QUERY", whole[:-cut])
            assert code == wire.PROTOCOL_ERROR and "parameters" in message
        code, message, _ = client.error("PREPARE", wire.prepare_body("SELECT v FROM kv", "ks", version=version)[:-1])
        assert code == wire.PROTOCOL_ERROR and "PREPARE" in message
        code, message, _ = client.error("EXECUTE", wire.short_bytes(b"x" * 16) + b"\0")
        assert code == wire.PROTOCOL_ERROR and "EXECUTE" in message
        assert client.query("SELECT v FROM kv WHERE k = 1", keyspace="ks").rows == [[b"origin"]]
