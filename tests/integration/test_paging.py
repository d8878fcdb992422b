"""Paging states name the cluster they come from: the next page is asked of that one, whatever the primary is by then."""

import pytest

from support import wire

TAG = {"origin": b"\xe7CG\xa5ps1O", "target": b"\xe7CG\xa5ps1T"}
ROWS = 40


@pytest.fixture
def paged(lab):
    """control, proxy, clusters by name: ks.pages has rows that name their cluster; the text is long enough for large answers."""
    origin, target = lab.pair(options=["--versions", "3,4,5"])
    control = lab.control().start()
    proxy = lab.proxy(origin, target, CONTROL_SOCKET=str(control.socket_path)).start()
    proxy.wait_metric("zdm_control_connected", 1)
    clusters = {"origin": origin, "target": target}
    for name, cluster in clusters.items():
        with cluster.connect() as client:
            client.query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
            client.query("CREATE TABLE ks.pages (p int, c int, who text, pad text, PRIMARY KEY (p, c))")
            insert = client.prepare("INSERT INTO ks.pages (p, c, who, pad) VALUES (0, ?, ?, ?)")
            for c in range(ROWS):
                client.execute(insert, [wire.int_value(c), name.encode(), bytes([97 + c % 26]) * 4000])
    return control, proxy, clusters


def reads_to(control, name):
    assert control.patch(forward_reads_to_target=name == "target")[0] == 200


@pytest.mark.parametrize("version, compression", [(3, None), (4, None), (3, "snappy"), (4, "lz4"), (5, None), (5, "lz4")])
@pytest.mark.parametrize("first", ["origin", "target"])
def test_a_scan_stays_where_it_began(paged, version, compression, first):
    """Small answers, answers over a chunk, and answers that flow through."""
    control, proxy, _ = paged
    other = "target" if first == "origin" else "origin"
    for columns, page_size in (("c, who", 7), ("c, who, pad", 7), ("c, who, pad", 30)):
        reads_to(control, first)
        seen, state = [], None
        with proxy.connect(version=version, compression=compression) as client:
            read = client.prepare(f"SELECT {columns} FROM ks.pages WHERE p = ?")
            while True:
                result = client.execute(read, [wire.int_value(0)], page_size=page_size, paging_state=state)
                seen += result.rows
                state = result.paging_state
                if state is None:
                    break
                assert state.startswith(TAG[first])
                reads_to(control, other)  # from the second page on the primary is another
            assert [row[0] for row in seen] == [wire.int_value(c) for c in range(ROWS)]
            assert {row[1] for row in seen} == {first.encode()}
            if columns.endswith("pad"):
                assert [row[2] for row in seen] == [bytes([97 + c % 26]) * 4000 for c in range(ROWS)]
            # A new scan begins at the new primary.
            assert client.query("SELECT who FROM ks.pages WHERE p = 0 LIMIT 1").rows == [[other.encode()]]


def test_a_state_works_on_another_connection_and_text(paged):
    control, proxy, _ = paged
    reads_to(control, "target")
    with proxy.connect() as client:
        state = client.query("SELECT c, who FROM ks.pages WHERE p = 0", page_size=30).paging_state
    reads_to(control, "origin")
    with proxy.connect() as client, proxy.metric_delta() as delta:
        rest = client.query("SELECT c, who FROM ks.pages WHERE p = 0", page_size=30, paging_state=state)
        assert rest.rows == [[wire.int_value(c), b"target"] for c in range(30, ROWS)] and rest.paging_state is None
    assert delta['zdm_proxy_request_duration_seconds_count{type="reads_target"}'] == 1


def test_a_state_from_before_the_proxy_goes_by_the_routing(paged):
    control, proxy, clusters = paged
    text = "SELECT c, who FROM ks.pages WHERE p = 0"
    with clusters["origin"].connect() as client:
        state = client.query(text, page_size=30).paging_state
    with proxy.connect() as client:
        assert {row[1] for row in client.query(text, page_size=30, paging_state=state).rows} == {b"origin"}
        reads_to(control, "target")
        frame = client.ask("QUERY", wire.query_body(text, page_size=30, paging_state=state))
        assert frame.name == "ERROR" or {row[1] for row in wire.parse_result(frame.body).rows} == {b"target"}


def test_a_broken_state_is_the_cluster_s_to_refuse(paged):
    _, proxy, _ = paged
    text = "SELECT c, who FROM ks.pages WHERE p = 0"
    with proxy.connect() as client:
        for state in (TAG["target"], TAG["origin"] + b"?", TAG["target"][:7] + b"X123", b"\xe7"):
            frame = client.ask("QUERY", wire.query_body(text, page_size=30, paging_state=state))
            assert frame.name in ("ERROR", "RESULT")
        truncated = wire.query_body(text, page_size=30, paging_state=TAG["origin"] + b"12345")[:-3]
        code, message, _ = client.error("QUERY", truncated)
        assert code == wire.PROTOCOL_ERROR and "parameters" in message
        assert len(client.rows(text)) == ROWS


def test_system_tables_too(paged):
    """Their cluster is another toggle's, and its answers are tagged all the same."""
    control, proxy, clusters = paged
    text = "SELECT keyspace_name, table_name FROM system_schema.tables"
    expected = sorted(map(tuple, clusters["target"].rows(text)))
    with proxy.connect() as client:
        result = client.query(text, page_size=2)
        assert result.paging_state.startswith(TAG["target"])
        assert control.patch(forward_system_queries_to_target=False)[0] == 200
        rows = list(result.rows)
        while result.paging_state is not None:
            result = client.query(text, page_size=2, paging_state=result.paging_state)
            rows += result.rows
    assert sorted(map(tuple, rows)) == expected
