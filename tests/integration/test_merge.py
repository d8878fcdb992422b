"""One answer of two: for requests to both clusters the client gets the primary's when both succeed, the failing side's when one
fails, the origin's when both fail, and a timeout error when one is silent."""

import struct

import pytest

from support import wire
from support.waiting import wait_until

# Bodies after the message, as the protocol has them; what a client gets must be these bytes.
CODES = {
    "server": (wire.SERVER_ERROR, "other"),
    "unavailable": (wire.UNAVAILABLE, "unavailable"),
    "overloaded": (wire.OVERLOADED, "overloaded"),
    "bootstrapping": (wire.BOOTSTRAPPING, "other"),
    "truncate": (wire.TRUNCATE_ERROR, "other"),
    "write timeout": (wire.WRITE_TIMEOUT, "write_timeout"),
    "read timeout": (wire.READ_TIMEOUT, "read_timeout"),
    "write failure": (wire.WRITE_FAILURE, "write_failure"),
    "read failure": (wire.READ_FAILURE, "read_failure"),
    "invalid": (wire.INVALID, "other"),
    "unknown to the protocol": (0x1700, "other"),
}


@pytest.fixture(params=["origin", "target"])
def primary(request, world):
    """A proxy for each primary."""
    if request.param == "origin":
        return world.proxy, "origin"
    if not hasattr(world, "other"):
        world.other = world.lab.proxy(
            world.origin, world.target, "proxy-target", FORWARD_READS_TO_TARGET="true", REQUEST_TIMEOUT_MS="2000"
        ).start()
    return world.other, "target"


@pytest.fixture(autouse=True)
def no_faults_left(world):
    yield
    world.origin.clear_faults()
    world.target.clear_faults()


def insert(keyspace, key=1, value="x"):
    return f"INSERT INTO {keyspace}.kv (k, v) VALUES ({key}, '{value}')"


@pytest.mark.parametrize("failing", ["origin", "target"])
@pytest.mark.parametrize("what", CODES)
def test_one_side_fails(world, keyspace, primary, failing, what):
    proxy, _ = primary
    code, label = CODES[what]
    cluster = getattr(world, failing)
    cluster.fault("error", "writes", times=1, code=code, text=f"made by the {failing}")
    with proxy.connect() as client, proxy.metric_delta() as delta:
        got, message, _ = client.query_error(insert(keyspace))
    assert (got, message) == (code, f"made by the {failing}")
    assert delta[f'zdm_proxy_failed_writes_total{{failed_on="{failing}"}}'] == 1
    assert delta[f'zdm_{failing}_requests_failed_total{{error="{label}",node="{cluster.node}"}}'] == 1
    other = world.target if failing == "origin" else world.origin
    assert other.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 1") == [[b"x"]]


def test_both_fail_the_origin_s_error_counts(world, keyspace, primary):
    proxy, _ = primary
    world.origin.fault("error", "writes", times=1, code=wire.OVERLOADED, text="origin says")
    world.target.fault("error", "writes", times=1, code=wire.TRUNCATE_ERROR, text="target says")
    with proxy.connect() as client, proxy.metric_delta() as delta:
        assert client.query_error(insert(keyspace))[:2] == (wire.OVERLOADED, "origin says")
    assert delta['zdm_proxy_failed_writes_total{failed_on="both"}'] == 1


def test_both_succeed_the_primary_s_answer_counts(world, keyspace, primary):
    """A conditional write shows whose answer it was: its row exists on one side only."""
    proxy, name = primary
    world.origin.query(insert(keyspace, 7, "there already"))
    with proxy.connect() as client:
        result = client.query(f"INSERT INTO {keyspace}.kv (k, v) VALUES (7, 'new') IF NOT EXISTS")
    applied = result.rows[0][result.columns.index("[applied]")]
    assert applied == (b"\0" if name == "origin" else b"\1")


@pytest.mark.parametrize("order", ["origin first", "target first"])
@pytest.mark.parametrize("failing", [None, "origin", "target"])
def test_the_order_of_answers_does_not_matter(world, keyspace, primary, order, failing):
    proxy, _ = primary
    (world.target if order == "origin first" else world.origin).fault("delay", "writes", times=1, ms=150)
    if failing:
        getattr(world, failing).fault("error", "writes", times=1, code=wire.OVERLOADED, text=failing)
    with proxy.connect() as client:
        if failing:
            assert client.query_error(insert(keyspace))[:2] == (wire.OVERLOADED, failing)
        else:
            assert client.query(insert(keyspace)).kind == "VOID"
        client.query(insert(keyspace, 2))


@pytest.mark.parametrize("silent", [("origin",), ("target",), ("origin", "target")], ids=" and ".join)
def test_a_silent_side_is_a_write_timeout(world, keyspace, primary, silent):
    proxy, _ = primary
    for side in silent:
        getattr(world, side).fault("silence", "writes", times=1)
    with proxy.connect() as client, proxy.metric_delta() as delta:
        code, _, details = client.query_error(insert(keyspace), stream=77, consistency=4)
        assert code == wire.WRITE_TIMEOUT
        consistency, received, required = struct.unpack(">Hii", details[:10])
        assert consistency == 4 and 0 <= received < required
        assert wire.Reader(details[10:]).string() == "SIMPLE"
        # The stream id is free again, and its next answer is its own.
        assert client.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 1000", stream=77) == []
    for side in silent:
        node = getattr(world, side).node
        assert delta[f'zdm_{side}_requests_failed_total{{error="client_timeout",node="{node}"}}'] == 1


def test_a_silent_primary_is_a_read_timeout(world, keyspace, primary):
    proxy, name = primary
    getattr(world, name).fault("silence", "reads", times=1)
    with proxy.connect() as client:
        code, _, details = client.query_error(f"SELECT v FROM {keyspace}.kv", consistency=6)
        assert code == wire.READ_TIMEOUT
        consistency, received, required, data_present = struct.unpack(">HiiB", details)
        assert consistency == 6 and 0 <= received < required and data_present == 0
        client.rows(f"SELECT v FROM {keyspace}.kv")


def test_one_side_fails_and_the_other_is_silent(world, keyspace, primary):
    """There is an error to show: the client need not wait for the timeout's, but must get one of the two."""
    proxy, _ = primary
    world.origin.fault("error", "writes", times=1, code=wire.OVERLOADED, text="origin says")
    world.target.fault("silence", "writes", times=1)
    with proxy.connect() as client:
        assert client.query_error(insert(keyspace))[0] in (wire.OVERLOADED, wire.WRITE_TIMEOUT)
        client.query(insert(keyspace, 2))


@pytest.mark.parametrize("side", ["origin", "target"])
def test_a_late_answer_never_meets_a_reused_stream_id(world, keyspace, primary, side):
    """The read times out, its id is used again at once, then the late answer arrives: it must not be taken for the new one's."""
    proxy, name = primary
    if side != name:
        pytest.skip("reads do not go there")
    cluster = getattr(world, side)
    for other in (world.origin, world.target):
        other.query(insert(keyspace, 1, "late"), insert(keyspace, 2, "fresh"))
    cluster.fault("delay", "reads", times=1, ms=2600)
    with proxy.connect() as client, proxy.metric_delta() as delta:
        assert client.query_error(f"SELECT v FROM {keyspace}.kv WHERE k = 1", stream=5)[0] == wire.READ_TIMEOUT
        turns = 0

        def late_answer_came():
            nonlocal turns
            for stream in (5, 6, 7):
                assert client.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 2", stream=stream) == [[b"fresh"]]
            turns += 1
            return proxy.metric(f'zdm_proxy_late_answers_total{{cluster="{side}"}}') > before

        before = proxy.metric(f'zdm_proxy_late_answers_total{{cluster="{side}"}}')
        wait_until(late_answer_came, "the late answer was met and dropped", timeout=5)
    assert turns > 0 and delta[f'zdm_proxy_late_answers_total{{cluster="{side}"}}'] == 1


def test_many_requests_on_one_connection_with_mixed_fates(world, keyspace):
    """Errors and delays fall on some of many pipelined writes; each stream gets exactly one answer."""
    world.target.fault("delay", "writes", times=50, ms=30)
    world.origin.fault("error", "writes", times=20, code=wire.OVERLOADED, text="some")
    with world.proxy.connect() as client:
        for stream in range(200):
            client.send("QUERY", wire.query_body(insert(keyspace, stream)), stream)
        answers = [client.receive_for(stream, timeout=20).name for stream in range(200)]
        assert answers.count("ERROR") == 20 and answers.count("RESULT") == 180
        with pytest.raises(TimeoutError):
            client.receive(timeout=0.2)


def test_preparing_merges_like_a_write(world, keyspace):
    world.target.fault("error", "PREPARE", times=1, code=wire.OVERLOADED, text="target says")
    with world.proxy.connect() as client:
        code, message, _ = client.error("PREPARE", wire.long_string(insert(keyspace)))
        assert (code, message) == (wire.OVERLOADED, "target says")
        prepared = client.prepare(insert(keyspace))
        client.execute(prepared)
