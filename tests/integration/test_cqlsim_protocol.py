"""How the simulated cluster speaks: versions, segments, compression, TLS, and the fields each version has. What it says of a request
that reached it, which is what other plays assert with. By the Python driver and by raw bytes."""

import ssl
import socket
import struct
import uuid

import pytest

pytest.importorskip("cassandra", reason="the Python driver is not installed")
from cassandra.cluster import Cluster  # noqa: E402
from cassandra.concurrent import execute_concurrent_with_args  # noqa: E402
from cassandra.query import SimpleStatement  # noqa: E402

from support import wire, wire_framing  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.cqlsim import PORT, REPLICATION, running, session_of  # noqa: E402
from support.waiting import wait_until  # noqa: E402

ADDRESS, SECOND, OTHER = "127.0.37.11", "127.0.37.12", "127.0.37.13"
DIALECTS = [(3, None), (3, "lz4"), (3, "snappy"), (4, None), (4, "lz4"), (4, "snappy"), (5, None), (5, "lz4")]
BIG = 700_000  # more than five segments


@pytest.fixture(scope="module")
def modern(tmp_path_factory):
    with running(tmp_path_factory.mktemp("modern"), "--release-version", "5.0.3", listen=(ADDRESS,)) as sim:
        with connected(4) as client:
            client.query(f"CREATE KEYSPACE ks {REPLICATION}")
        yield sim


@pytest.fixture
def sim(modern):
    yield modern
    modern.tell("clear")
    modern.tell("segments")


def connected(version, compression=None, address=ADDRESS, **options):
    return wire.Connection(address, PORT, version=version, compression=compression, **options).startup()


@pytest.fixture(params=DIALECTS, ids=lambda dialect: "-".join(map(str, ("v", *dialect))))
def client(sim, request):
    with connected(*request.param) as client:
        yield client


@pytest.fixture
def table(sim):
    name = "ks.t_" + uuid.uuid4().hex[:12]
    with connected(4) as client:
        client.query(f"CREATE TABLE {name} (id int PRIMARY KEY, v text)")
    return name


# ---- versions


def test_a_driver_at_its_defaults_takes_v5(sim):
    cluster = Cluster([ADDRESS], port=PORT)
    try:
        assert cluster.connect().execute("SELECT native_protocol_version FROM system.local").one()[0] == "5"
        assert cluster.protocol_version == 5
    finally:
        cluster.shutdown()


@pytest.mark.parametrize(
    "options, spoken",
    [
        (["--release-version", "3.11.19"], ["3/v3", "4/v4", "5/v5-beta"]),
        (["--release-version", "4.0.11"], ["3/v3", "4/v4", "5/v5", "6/v6-beta"]),
        (["--versions", "4"], ["4/v4"]),
        (["--versions", "5,3"], ["3/v3", "5/v5"]),
        (["--versions", "3,4,dse1,dse2"], ["3/v3", "4/v4", "65/dse-v1", "66/dse-v2"]),
    ],
)
def test_versions_are_offered_and_others_refused(tmp_path, options, spoken):
    known = [int(name.split("/")[0]) for name in spoken]
    numbers = [number for number, name in zip(known, spoken) if not name.endswith("-beta")]
    with running(tmp_path, *options, listen=(SECOND,)):
        for version in (1, 2, 3, 4, 5, 6, 65, 66):
            with wire.Connection(SECOND, PORT, version=version) as client:
                client.send("OPTIONS", stream=9)
                frame = client.receive()
                if version in numbers:
                    assert (frame.name, frame.version, frame.stream) == ("SUPPORTED", version, 9)
                    supported = wire.Reader(frame.body).multimap()
                    assert supported["PROTOCOL_VERSIONS"] == spoken
                    assert supported["COMPRESSION"] == ["snappy", "lz4"]
                    continue
                code, message, _ = wire.parse_error(frame.body)
                assert (frame.stream, code) == (0, wire.PROTOCOL_ERROR)
                assert frame.version == (6 if version == max(known) == 6 else min(max(known), 5 if 5 in known else 66))
                if version in known:
                    assert message == f"Beta version of the protocol used ({version}/v{version}-beta), but USE_BETA flag is unset"
                else:
                    listed = ", ".join(spoken)
                    assert message == f"Invalid or unsupported protocol version ({version}); supported versions are ({listed})"
                assert client.is_closed(5)


# ---- the same statements in every dialect


def test_values_go_there_and_back(client, table):
    big = bytes(range(33, 127)) * (BIG // 94)
    insert = client.prepare(f"INSERT INTO {table} (id, v) VALUES (?, ?)")
    client.execute(insert, (wire.int_value(1), big))
    client.query(f"INSERT INTO {table} (id, v) VALUES (2, 'small')")
    select = client.prepare(f"SELECT v FROM {table} WHERE id = ?")
    assert client.execute(select, (wire.int_value(1),)).rows == [[big]]
    assert client.execute(select, (wire.int_value(2),), skip_metadata=True).rows == [[b"small"]]
    assert len(client.rows(f"SELECT * FROM {table}")) == 2
    if client.version == 5:
        assert any(not whole for _, whole in client.segments_seen) and any(whole for _, whole in client.segments_seen)


def test_the_driver_in_every_dialect(sim, table):
    for version, compression in DIALECTS:
        with session_of(version, ADDRESS, compression=compression or False) as session:
            insert = session.prepare(f"INSERT INTO {table} (id, v) VALUES (?, ?)")
            rows = [(number, "v" * (number * 977)) for number in range(200)]
            execute_concurrent_with_args(session, insert, rows, concurrency=20)
            select = session.prepare(f"SELECT v FROM {table} WHERE id = ?")
            for number in (0, 1, 150, 199):
                assert session.execute(select, (number,)).one().v == "v" * (number * 977)
            statement = SimpleStatement(f"SELECT id FROM {table}", fetch_size=7)
            assert len(list(session.execute(statement))) == 200


def test_what_was_agreed_on_is_what_is_sent(client, sim):
    frame = client.ask("QUERY", wire.query_body("SELECT * FROM system.local", version=client.version))
    assert frame.name == "RESULT"
    assert bool(frame.flags & wire.COMPRESSED) == (client.version < 5 and client.compression is not None)
    client.query("SELECT * FROM system_schema.tables")
    client.prepare("CREATE TABLE ks.never (id int PRIMARY KEY)")
    seen = sim.last_request("PREPARE")
    assert (seen["version"], seen["compression"]) == (client.version, client.compression or "none")
    assert (seen["segmented"], seen["compressed"]) == (client.version == 5, client.compression is not None)


def test_stats_tell_the_dialects_apart(sim):
    before = sim.stats()
    with connected(3, "snappy") as client:
        client.query("SELECT * FROM system.local")
    after = sim.stats()
    assert after["versions"]["3"] - before["versions"].get("3", 0) == 2
    assert after["compression"]["snappy"] - before["compression"]["snappy"] == 1


# ---- segments


@pytest.mark.parametrize("compression", [None, "lz4"])
@pytest.mark.parametrize("limit", [1, 9, 10, 1000])
def test_segments_cut_anywhere(sim, table, compression, limit):
    with connected(5, compression) as client:
        client.query(f"INSERT INTO {table} (id, v) VALUES (1, 'abc')")
        sim.tell(f"segments {limit}")
        client.segment_limit = limit
        client.segments_seen.clear()
        assert client.rows(f"SELECT v FROM {table} WHERE id = ?", (wire.int_value(1),)) == [[b"abc"]]
        assert max(length for length, _ in client.segments_seen) <= limit


def test_several_frames_in_one_segment(sim):
    with connected(5) as client:
        body = wire.query_body("SELECT key FROM system.local", version=5)
        together = [client.encoded("QUERY", body, stream) for stream in range(50)]
        client.send_frames(*together)
        for stream in range(50):
            assert client.receive_for(stream).name == "RESULT"
        assert len(client.segments_seen) < 50, "answers share segments as well"
        sim.tell("segments alone")
        client.segments_seen.clear()
        client.send_frames(*together)
        for stream in range(50):
            client.receive_for(stream)
        assert len(client.segments_seen) == 50


@pytest.mark.parametrize(
    "spoil, message",
    [
        ({"spoil_header": 1}, "the CRC24 of a segment's header does not fit"),
        ({"spoil_payload": 1}, "the CRC32 of a segment's payload does not fit"),
    ],
)
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_bad_checksums_cost_the_connection(sim, compression, spoil, message):
    with connected(5, compression) as client:
        client.send_bytes(wire_framing.segment(client.encoded("OPTIONS"), compression=compression, **spoil))
        code, text, _ = wire.parse_error(client.receive().body)
        assert (code, text) == (wire.PROTOCOL_ERROR, message)
        assert client.is_closed(5)


def test_lengths_that_lie_cost_the_connection(sim):
    with connected(5, "lz4") as client:
        frame = client.encoded("QUERY", wire.query_body("SELECT * FROM system.local" + " " * 500, version=5))
        client.send_bytes(wire_framing.segment(frame, compression="lz4", uncompressed=len(frame) + 1))
        assert "no LZ4 of the length it announces" in wire.parse_error(client.receive().body)[1]
        assert client.is_closed(5)
    for compression in ("lz4", "snappy"):
        with connected(4, compression) as client:
            body = wire_framing.deflate(compression, b"\0" * 100)
            body = b"\x7f\xff\xff\xff" + body[4:] if compression == "lz4" else b"\xff\xff\xff\x7f" + body[2:]
            client.send("QUERY", body, flags=wire.COMPRESSED)
            assert "announces more than it can hold" in wire.parse_error(client.receive().body)[1]
            assert client.is_closed(5)
    assert sim.resident_kib() < 400_000


def test_a_frame_must_end_with_its_segment(sim):
    with connected(5) as client:
        frame = client.encoded("OPTIONS")
        client.send_bytes(wire_framing.segment(frame + frame[:4]))
        assert client.receive().name == "SUPPORTED"
        assert "ends in the middle of an envelope" in wire.parse_error(client.receive().body)[1]
    with connected(5) as client:
        client.send_bytes(wire_framing.segment(frame[:5], is_self_contained=False) + wire_framing.segment(frame))
        assert "in the middle of an envelope" in wire.parse_error(client.receive().body)[1]


# ---- what version 5 added


def test_a_keyspace_with_each_request(sim, table):
    name = table.removeprefix("ks.")
    with connected(5) as client:
        client.query(f"INSERT INTO {name} (id, v) VALUES (1, 'q')", keyspace="ks")
        assert sim.last_request("QUERY", "writes")["keyspace"] == "ks"
        client.batch([(f"INSERT INTO {name} (id, v) VALUES (2, 'b')", ())], keyspace="ks")
        insert = client.prepared(f"INSERT INTO {name} (id, v) VALUES (3, ?)", keyspace="ks")
        assert sim.last_request("PREPARE")["keyspace"] == "ks"
        client.execute(insert.prepared_id, (b"p",))
        assert client.query_error(f"SELECT * FROM {name}")[0] == wire.INVALID
    assert sorted(row["v"] for row in sim.dump(table)) == ["b", "p", "q"]


def test_now_in_seconds_decides_what_has_expired(sim, table):
    with connected(5) as client:
        client.query(f"INSERT INTO {table} (id, v) VALUES (1, 'x') USING TTL 100", now_in_seconds=1_000_000)
        assert client.rows(f"SELECT ttl(v) FROM {table}", now_in_seconds=1_000_060) == [[wire.int_value(40)]]
        assert client.rows(f"SELECT v FROM {table}", now_in_seconds=1_000_100) == []
        assert sim.last_request("reads")["now_in_seconds"] == 1_000_100


def test_result_metadata_ids_change_with_the_table(sim, table):
    with connected(5) as client, connected(4) as old:
        first = client.prepared(f"SELECT * FROM {table}")
        old_id = old.prepare(f"SELECT * FROM {table}")
        assert len(first.metadata_id) == 16 and first.columns == ["id", "v"]
        assert client.prepared(f"SELECT * FROM {table}").metadata_id == first.metadata_id
        client.query(f"INSERT INTO {table} (id, v) VALUES (1, 'x')")
        known = client.execute(first.prepared_id, skip_metadata=True)
        assert (known.columns, known.metadata_id, known.rows) == ([], None, [[wire.int_value(1), b"x"]])
        client.query(f"ALTER TABLE {table} ADD u int")
        changed = client.execute(first.prepared_id, skip_metadata=True)
        assert (changed.columns, changed.rows) == (["id", "u", "v"], [[wire.int_value(1), None, b"x"]])
        assert changed.metadata_id not in (None, first.metadata_id)
        again = client.execute(first.prepared_id, skip_metadata=True, metadata_id=changed.metadata_id)
        assert (again.columns, again.metadata_id) == ([], None)
        assert client.prepared(f"SELECT * FROM {table}").metadata_id == changed.metadata_id
        # Before version 5 the columns come whether they were wanted or not, once they have changed since PREPARE.
        assert old.execute(old_id, skip_metadata=True).columns == []
    with connected(4) as old:
        old_id = old.prepare(f"SELECT * FROM {table} WHERE id = 1")
        old.query(f"ALTER TABLE {table} ADD w int")
        assert old.execute(old_id, skip_metadata=True).columns == ["id", "u", "v", "w"]


def test_conditional_writes_never_change_their_metadata(sim, table):
    with connected(5) as client:
        insert = client.prepared(f"INSERT INTO {table} (id, v) VALUES (1, 'x') IF NOT EXISTS")
        for columns in (["[applied]"], ["[applied]", "id", "v"]):
            result = client.execute(insert.prepared_id, skip_metadata=True)
            assert (result.columns, result.metadata_id) == (columns, None)


def test_the_bodies_of_errors(sim, table):
    for version in (3, 4, 5):
        with connected(version) as client:
            sim.tell(f'error {wire.READ_FAILURE:#x} "no luck" reads count 1')
            code, _, details = client.query_error(f"SELECT * FROM {table}")
            if version == 3:
                assert (code, details) == (wire.READ_TIMEOUT, struct.pack(">HiiB", 1, 0, 1, 0))
            elif version == 4:
                assert (code, details) == (wire.READ_FAILURE, struct.pack(">HiiiB", 1, 0, 1, 1, 0))
            else:
                where = b"\x04" + bytes(map(int, ADDRESS.split(".")))
                assert (code, details) == (wire.READ_FAILURE, struct.pack(">Hiii", 1, 0, 1, 1) + where + b"\0\0" + b"\0")


def test_the_driver_is_told_of_a_failure(sim, table):
    from cassandra import WriteFailure

    with session_of(5, ADDRESS) as session:
        sim.tell(f'error {wire.WRITE_FAILURE:#x} "no luck" writes count 1')
        with pytest.raises(WriteFailure) as failed:
            session.execute(f"INSERT INTO {table} (id) VALUES (1)")
        assert failed.value.failures == 1
        assert [str(address) for address in failed.value.error_code_map] == [ADDRESS]


# ---- around a request


def test_warnings_payloads_and_tracing(client, sim, table):
    select = f"SELECT v FROM {table}"
    frame = client.query(select, payload={"k": b"v", "none": None}, flags=wire.TRACING).frame
    assert len(frame.tracing_id) == 16 and (frame.warnings, frame.payload) == ((), None)
    assert sim.last_request("reads")["payload_keys"] == ["k", "none"]
    sim.tell('warn "mind the gap" reads count 1')
    sim.tell("echo reads count 1")
    frame = client.query(select, payload={"k": b"v", "none": None}).frame
    if client.version == 3:
        assert (frame.warnings, frame.payload) == ((), None)
    else:
        assert (frame.warnings, frame.payload) == (["mind the gap"], {"k": b"v", "none": None})
    assert client.query(select).frame.flags & ~wire.COMPRESSED == 0


def test_the_last_request_of_a_kind(client, sim, table):
    insert = client.prepare(f"INSERT INTO {table} (id, v) VALUES (:a, :b)")
    named = {"b": b"x", "a": wire.int_value(7)}
    client.execute(insert, named, timestamp=1234, serial_consistency=wire.LOCAL_SERIAL, consistency=6)
    seen = sim.last_request("EXECUTE")
    assert (seen["opcode"], seen["timestamp"], seen["values"]) == ("EXECUTE", 1234, 2)
    assert (seen["consistency"], seen["serial_consistency"]) == (6, wire.LOCAL_SERIAL)
    assert seen["value_list"] == [["b", "78"], ["a", "00000007"]]
    assert seen["query"] == f"INSERT INTO {table} (id, v) VALUES (:a, :b)"
    assert seen["prepared_id"] == insert.hex()
    client.batch([(insert, (wire.int_value(8), b"y")), (f"DELETE FROM {table} WHERE id = 9", ())], timestamp=77)
    seen = sim.last_request("writes")
    assert (seen["opcode"], seen["statements"], seen["timestamp"], seen["values"]) == ("BATCH", 2, 77, 2)
    pages = list(client.pages(f"SELECT id FROM {table}", page_size=1))
    assert sorted(len(page) for page in pages)[-2:] == [1, 1]
    seen = sim.last_request("reads")
    assert seen["page_size"] == 1 and len(bytes.fromhex(seen["paging_state"])) > 8
    client.query("SELECT * FROM system.local")
    assert sim.last_request("reads") == seen, "system tables are left out"
    assert {"id": 7, "v": "x", "writetime(v)": 1234, "writetime()": 1234} in sim.dump(table, "writetime")
    assert sim.last_request("STARTUP")["options"]["CQL_VERSION"] == "3.0.0"


@pytest.mark.parametrize("what", ["header", "payload", "body", "length"])
def test_answers_corrupted_on_command(client, sim, table, what):
    client.query(f"INSERT INTO {table} (id, v) VALUES (1, '{'x' * 1000}')")
    sim.tell(f"corrupt {what} reads count 1")
    affected = client.version == 5 if what in ("header", "payload") else client.compression is not None
    if affected:
        with pytest.raises(wire_framing.Corrupt):
            client.rows(f"SELECT v FROM {table}")
    else:
        assert client.rows(f"SELECT v FROM {table}") == [[b"x" * 1000]]


def test_a_held_answer_goes_into_segments_when_it_is_released(sim):
    with wire.Connection(ADDRESS, PORT, version=5) as client:
        sim.tell("hold STARTUP")
        client.send("STARTUP", wire.startup_body())
        wait_until(lambda: sim.stats()["opcodes"]["STARTUP"], "STARTUP has come")
        sim.tell("release")
        assert client.receive().name == "READY" and client.is_segmented
        assert client.rows("SELECT key FROM system.local") == [[b"local"]]


# ---- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory, authority):
    server = authority.issue("server", SECOND, "node.example.com")
    options = ["--tls-cert", str(server.cert), "--tls-key", str(server.key), "--tls-ca", str(authority.ca)]
    with running(tmp_path_factory.mktemp("tls"), "--release-version", "4.1.3", *options, listen=(SECOND,)) as sim:
        yield sim


@pytest.mark.parametrize("version, compression", [(3, None), (4, "snappy"), (5, None), (5, "lz4")])
def test_tls(secured, authority, version, compression):
    context = ssl.create_default_context(cafile=authority.ca)
    client = authority.issue(f"client-{version}-{compression}")
    context.load_cert_chain(client.cert, client.key)
    before = secured.stats()["tls"]["handshakes"]
    big = "x" * BIG
    with session_of(version, SECOND, ssl_context=context, compression=compression or False) as session:
        session.execute(f"CREATE KEYSPACE IF NOT EXISTS ks {REPLICATION}")
        session.execute("CREATE TABLE IF NOT EXISTS ks.t (id int PRIMARY KEY, v text)")
        session.execute(session.prepare("INSERT INTO ks.t (id, v) VALUES (?, ?)"), (1, big))
        assert session.execute("SELECT v FROM ks.t").one().v == big
    with connected(version, compression, SECOND, tls=context, server_name="node.example.com") as client_:
        assert client_.rows("SELECT v FROM ks.t") == [[big.encode()]]
    counts = secured.stats()["tls"]
    assert counts["handshakes"] > before + 1
    assert counts["server_name"] == "node.example.com" and counts["client_subject"] == f"/CN=client-{version}-{compression}"


def test_sessions_are_resumed(secured, authority):
    context = ssl.create_default_context(cafile=authority.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(4, address=SECOND, tls=context) as client:
        client.rows("SELECT key FROM system.local")
        session = client.socket.session
    before = secured.stats()["tls"]["resumed"]
    plain = socket.create_connection((SECOND, PORT), timeout=10)
    with context.wrap_socket(plain, server_hostname=SECOND, session=session) as again:
        again.sendall(wire.frame_bytes("OPTIONS"))
        assert again.recv(9)
        assert again.session_reused
    assert secured.stats()["tls"]["resumed"] == before + 1


def test_who_has_no_certificate_is_refused_when_it_is_required(tmp_path, authority):
    server = authority.issue("strict", SECOND)
    options = ["--tls-cert", str(server.cert), "--tls-key", str(server.key), "--tls-ca", str(authority.ca)]
    options += ["--tls-require-client-auth", "--tls-version", "1.2"]
    with running(tmp_path, *options, listen=(OTHER,)) as sim:
        context = ssl.create_default_context(cafile=authority.ca)
        context.check_hostname = False
        with pytest.raises((ssl.SSLError, ConnectionError, wire.Closed)):
            connected(4, address=OTHER, tls=context)
        with pytest.raises(wire.Closed), wire.Connection(OTHER, PORT) as plain:
            plain.startup()
        client = authority.issue("welcome")
        context.load_cert_chain(client.cert, client.key)
        with connected(4, address=OTHER, tls=context) as allowed:
            assert allowed.rows("SELECT key FROM system.local") == [[b"local"]]
        counts = sim.stats()["tls"]
        assert (counts["handshakes"], counts["failed"], counts["protocol"]) == (1, 2, "TLSv1.2")



# ---- DSE's versions


@pytest.fixture(scope="module", params=[wire.DSE1, wire.DSE2], ids=["dse-v1", "dse-v2"])
def dse(request, tmp_path_factory):
    with running(tmp_path_factory.mktemp("dse"), "--versions", "3,4,dse1,dse2", listen=(OTHER,)) as sim:
        sim.version = request.param
        with connected(sim.version, address=OTHER) as client:
            client.query(f"CREATE KEYSPACE ks {REPLICATION}")
            client.query("CREATE TABLE ks.t (id int PRIMARY KEY, v text)")
            insert = client.prepare("INSERT INTO ks.t (id, v) VALUES (?, 'x')")
            for number in range(95):
                client.execute(insert, (wire.int_value(number),))
        yield sim


def start_pages(client, options, page_size=10, stream=5):
    ahead = (0,) if client.version == wire.DSE2 and len(options) == 2 else ()
    parameters = {"page_size": page_size, "continuous": options + ahead, "version": client.version}
    client.send("QUERY", wire.query_body("SELECT id FROM ks.t", **parameters), stream)


def next_page(client, stream=5):
    return client.result(client.receive_for(stream))


def test_continuous_paging(dse):
    with connected(dse.version, address=OTHER) as client:
        start_pages(client, (0, 0))
        pages = [next_page(client) for _ in range(10)]
        assert [page.pages for page in pages] == [(number, number == 10) for number in range(1, 11)]
        assert [len(page.rows) for page in pages] == [10] * 9 + [5]
        assert len({row[0] for page in pages for row in page.rows}) == 95
        start_pages(client, (3, 0))
        assert [next_page(client).pages for _ in range(3)] == [(1, False), (2, False), (3, True)]
        assert client.rows("SELECT count(*) FROM ks.t") == [[bytes(7) + b"\x5f"]], "the connection goes on"
    with session_of(dse.version, OTHER) as session:
        assert len(list(session.execute(SimpleStatement("SELECT id FROM ks.t", fetch_size=10)))) == 95


def test_continuous_paging_is_cancelled(dse):
    with connected(dse.version, address=OTHER) as client:
        start_pages(client, (0, 20), page_size=1)
        assert next_page(client).pages == (1, False)
        cancelled = client.ask_result("REVISE_REQUEST", struct.pack(">ii", 1, 5), stream=6)
        assert (cancelled.columns, cancelled.rows) == (["[status]"], [[b"\1"]])
        late = len(client.waiting)
        again = client.ask_result("REVISE_REQUEST", struct.pack(">ii", 1, 5), stream=6)
        assert again.rows == [[b"\0"]] and len(client.waiting) == late


def test_pages_are_granted(dse):
    if dse.version == wire.DSE1:
        with connected(dse.version, address=OTHER) as client:
            assert client.error("REVISE_REQUEST", struct.pack(">iii", 2, 5, 3))[0] == wire.PROTOCOL_ERROR
        return
    with connected(dse.version, address=OTHER) as client:
        start_pages(client, (0, 0, 2))
        assert [next_page(client).pages[0] for _ in range(2)] == [1, 2]
        assert client.rows("SELECT key FROM system.local") and not client.waiting
        client.ask("REVISE_REQUEST", struct.pack(">iii", 2, 5, 8), stream=6)
        assert [next_page(client).pages for _ in range(8)][-1] == (10, True)


def test_fields_of_dse_versions(dse):
    with connected(dse.version, address=OTHER) as client:
        prepared = client.prepared("SELECT * FROM ks.t")
        assert (prepared.metadata_id is not None) == (dse.version == wire.DSE2)
        if dse.version == wire.DSE2:
            assert client.rows("SELECT count(*) FROM t", keyspace="ks") == [[bytes(7) + b"\x5f"]]
        assert dse.last_request("PREPARE")["version"] == dse.version
