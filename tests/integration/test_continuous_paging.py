"""DSE's continuous paging: every page reaches the client, of any size, until the last; a revision reaches the cluster that pages."""

import struct

import pytest

from support import dse, wire
from support.waiting import wait_until

DSE = ["--versions", "3,4,dse1,dse2"]


@pytest.fixture(params=("false", "true"), ids=("reads-origin", "reads-target"))
def paging(lab, request):
    """proxy, and the pager of the cluster that answers reads."""
    sides = [dse.ContinuousPaging(cluster) for cluster in lab.pair(options=DSE)]
    proxy = lab.proxy(
        *sides, FORWARD_READS_TO_TARGET=request.param, ORIGIN_ENABLE_HOST_ASSIGNMENT="false", TARGET_ENABLE_HOST_ASSIGNMENT="false",
        REQUEST_TIMEOUT_MS="1500", PROXY_MAX_STREAM_IDS="8",
    )  # fmt: skip
    yield proxy.start(), sides[request.param == "true"]
    for side in sides:
        side.close()


@pytest.fixture(params=(0x41, 0x42), ids=("dse1", "dse2"))
def version(request):
    return request.param


def begin(client, count, size, stream):
    """The SELECT is one to the proxy; the pager knows it by its end."""
    text = f"SELECT * FROM ks.t -- pages {count} {size}"
    options = struct.pack(">iii", 0, 0, 4)  # pages at most, pages a second, pages ahead
    body = wire.long_string(text) + struct.pack(">HI", wire.ONE, dse.CONTINUOUS_PAGING) + options
    client.send("QUERY", body, stream)


def pages(client, pager, count, size, stream):
    for number in range(1, count + 1):
        pager.step.release()
        assert dse.page_of(client.receive_for(stream)) == (number, number == count, size)


@pytest.mark.parametrize("size", (10, 20_000, 100_000, 1_000_000))
def test_every_page_is_passed_on(paging, version, size):
    proxy, pager = paging
    with proxy.connect(version=version) as client:
        for stream in range(5, 30):  # more than there are slots: each is free again after the last page
            begin(client, 4, size, stream)
            pages(client, pager, 4, size, stream)
            if size > 10_000 and stream == 12:
                break
        assert client.ask("OPTIONS", stream=1).name == "SUPPORTED"


def test_pages_may_take_longer_than_one_request(paging):
    """Each page has the whole time limit; the first that is late ends the request with an error."""
    proxy, pager = paging
    with proxy.metric_delta() as delta, proxy.connect(version=0x41) as client:
        begin(client, 10, 10, 5)
        for number in range(1, 5):
            with pytest.raises(TimeoutError):
                client.receive(0.6)
            pager.step.release()
            assert dse.page_of(client.receive_for(5))[0] == number
        code, _, _ = wire.parse_error(client.receive_for(5, 5).body)
        assert code == wire.READ_TIMEOUT
        for _ in range(6):
            pager.step.release()
        begin(client, 1, 10, 6)
        pages(client, pager, 1, 10, 6)  # and what came late was not passed on
        assert not client.waiting
    assert delta["zdm_proxy_expired_requests_total"] == 1


def test_a_client_may_take_its_time_to_grant_pages(paging):
    """Version 2: only the first page is awaited by the clock."""
    proxy, pager = paging
    with proxy.connect(version=0x42) as client:
        begin(client, 2, 10, 5)
        pager.step.release()
        assert dse.page_of(client.receive_for(5)) == (1, False, 10)
        with pytest.raises(TimeoutError):
            client.receive(2.5)
        pager.step.release()
        assert dse.page_of(client.receive_for(5)) == (2, True, 10)
        begin(client, 2, 10, 6)
        assert wire.parse_error(client.receive_for(6, 5).body)[0] == wire.READ_TIMEOUT
        for _ in range(2):
            pager.step.release()


def test_a_simulated_cluster_pages(lab, version):
    """The same of a server that reads the options and has rows to show."""
    origin, target = lab.pair(options=DSE)
    for cluster in (origin, target):
        cluster.query(
            "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "CREATE TABLE ks.t (k int PRIMARY KEY)", *(f"INSERT INTO ks.t (k) VALUES ({n})" for n in range(9)),
        )  # fmt: skip
    proxy = lab.proxy(origin, target, PROXY_MAX_STREAM_IDS="4").start()
    options = struct.pack(">iii", 0, 0, 0)[: 8 if version == 0x41 else 12]
    body = wire.long_string("SELECT k FROM ks.t") + struct.pack(">HIi", wire.ONE, dse.CONTINUOUS_PAGING | 0x04, 2) + options
    with proxy.connect(version=version) as client:
        for stream in range(10, 20):
            client.send("QUERY", body, stream)
            frames, flags = [], 0
            while not flags & dse.LAST_PAGE:
                frames.append(client.receive_for(stream))
                flags = struct.unpack(">iI", frames[-1].body[:8])[1]
                assert frames[-1].name == "RESULT" and flags & dse.PAGE
            assert len(frames) == 5
        assert target.stats()["statements"]["select"] == 0


def test_revisions_name_the_request_by_the_clusters_stream_id(paging, version):
    proxy, pager = paging
    with proxy.connect(version=version) as client:
        client.send("OPTIONS", stream=0)
        begin(client, 0, 10, 77)
        pager.step.release()
        assert dse.page_of(client.receive_for(77))[0] == 1
        client.send_bytes(wire.header(dse.REVISE_REQUEST, 12, 78, version) + struct.pack(">iii", dse.MORE, 77, 4))
        assert client.receive_for(78).name == "RESULT"
        client.send_bytes(wire.header(dse.REVISE_REQUEST, 8, 79, version) + struct.pack(">ii", dse.CANCEL, 77))
        assert client.receive_for(79).name == "RESULT"
        pager.step.release()
        assert [what for what, _ in pager.revisions] == [dse.MORE, dse.CANCEL]
        assert all(named in pager.running for _, named in pager.revisions)
        client.send_bytes(wire.header(dse.REVISE_REQUEST, 8, 80, version) + struct.pack(">ii", dse.CANCEL, 77))
        code, message, _ = wire.parse_error(client.receive_for(80).body)
        assert code == wire.INVALID and "77" in message
        client.send_bytes(wire.header(dse.REVISE_REQUEST, 3, 81, version) + b"abc")
        assert wire.parse_error(client.receive_for(81).body)[0] == wire.PROTOCOL_ERROR
        # The cancelled one keeps its slot until nothing of it can come any more; then all are free.
        wait_until(lambda: all(client.ask("QUERY", wire.query_body("SELECT key FROM system_schema.keyspaces", version=version), n)
                               for n in range(3)), "the session goes on")


def test_another_version_knows_no_revisions(paging):
    proxy, _ = paging
    with proxy.connect(version=4) as client:
        client.send_bytes(wire.header(dse.REVISE_REQUEST, 8, 1, 4) + struct.pack(">ii", dse.CANCEL, 77))
        assert client.receive_for(1).name == "ERROR" and client.is_closed(5)
