"""Everything at once: clients that pipeline, hang up and ask nonsense, while both clusters stop, delay past the timeout, close, talk
garbage and forget their prepared statements. Whatever happens, an answer is the answer to its own question, nothing is left
behind, and the proxy serves as before when the storm is over."""

import random
import threading
import time

import pytest

from support import wire
from support.waiting import wait_until

SECONDS = 8
KEYS = 40
SCHEMA = (
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE ks.kv (k int PRIMARY KEY, v text)",
)
SETTINGS = {
    "REQUEST_TIMEOUT_MS": "400",
    "CLUSTER_CONNECTION_TIMEOUT_MS": "2000",
    "HEARTBEAT_INTERVAL_MS": "300",
    "HEARTBEAT_RETRY_INTERVAL_MIN_MS": "50",
    "HEARTBEAT_RETRY_INTERVAL_MAX_MS": "200",
}
# Fault, scope, options: delays longer than the timeout make late answers.
FAULTS = [
    ("delay", "all", dict(ms=50, times=50)),
    ("delay", "all", dict(ms=700, times=30)),
    ("silence", "all", dict(times=20)),
    ("close", "all", dict(times=2)),
    ("garbage", "all", dict(times=1)),
    ("error", "all", dict(code=0x1001, text="busy", times=20)),
]


def content(key):
    """What the row of a key holds, so that an answer shows which question it belongs to; some are large."""
    return (f"value {key} " * (20_000 if key % 10 == 0 else 1)).encode()


class Client(threading.Thread):
    """Pipelines requests and checks each answer against its question, until told to stop."""

    def __init__(self, proxy, seed, stop):
        super().__init__(name=f"client {seed}")
        self.proxy, self.random, self.stop = proxy, random.Random(seed), stop
        self.answers, self.error = 0, None

    def run(self):
        try:
            while not self.stop.is_set():
                try:
                    with self.proxy.connect(timeout=5) as connection:
                        self.converse(connection)
                except (wire.Closed, wire.ServerError, OSError):
                    time.sleep(0.02)  # the proxy or a cluster ended it, as it may
        except Exception as error:  # noqa: BLE001 the play reports it
            self.error = error

    def converse(self, connection):
        open_questions, prepared = {}, {}
        for _ in range(self.random.randint(1, 200)):
            if self.stop.is_set() or self.random.random() < 0.01:
                return  # hangs up on whatever is still open
            for _ in range(self.random.randint(1, 20)):
                stream = next((number for number in range(64) if number not in open_questions), None)
                if stream is not None:
                    open_questions[stream] = self.ask(connection, stream, prepared)
            for _ in range(self.random.randint(1, len(open_questions))):
                frame = connection.receive()
                if frame.stream == -1:
                    continue
                assert frame.stream in open_questions, f"an answer on stream {frame.stream}, where nothing was asked"
                self.check(open_questions.pop(frame.stream), frame, prepared)
                if not open_questions:
                    break

    def ask(self, connection, stream, prepared):
        key = self.random.randrange(KEYS)
        kind = self.random.choices(
            ("read", "write", "prepare", "execute", "batch", "system", "options", "nonsense"), (30, 20, 10, 20, 5, 8, 5, 2)
        )[0]
        if kind in ("execute", "batch") and key not in prepared:
            kind = "prepare"
        if kind == "read":
            connection.send("QUERY", wire.query_body(f"SELECT v FROM ks.kv WHERE k = {key}"), stream)
        elif kind == "write":
            connection.send("QUERY", wire.query_body(f"INSERT INTO ks.kv (k, v) VALUES ({key}, '{content(key).decode()}')"), stream)
        elif kind == "prepare":
            connection.send("PREPARE", wire.long_string(f"SELECT v FROM ks.kv WHERE k = {key}"), stream)
        elif kind == "execute":
            connection.send("EXECUTE", wire.execute_body(prepared[key]), stream)
        elif kind == "batch":  # a SELECT has no place in a batch: the clusters say so, one by one
            connection.send("BATCH", wire.batch_body([(prepared[key], ())]), stream)
        elif kind == "system":
            connection.send("QUERY", wire.query_body("SELECT key FROM system.local"), stream)
        elif kind == "options":
            connection.send("OPTIONS", b"", stream)
        else:
            connection.send("QUERY", self.random.randbytes(self.random.randint(0, 5)), stream)
        return kind, key

    def check(self, question, frame, prepared):
        kind, key = question
        self.answers += 1
        if frame.name == "ERROR":
            return
        if kind == "options":
            assert frame.name == "SUPPORTED", (question, frame.name)
            return
        result = wire.parse_result(frame.body)
        if kind in ("read", "execute"):
            assert result.kind == "ROWS" and result.rows in ([], [[content(key)]]), f"{kind} of {key}: {str(result)[:200]}"
        elif kind == "system":
            assert result.rows == [[b"local"]], result
        elif kind == "prepare":
            prepared[key] = result.prepared_id
        else:
            assert result.kind == "VOID", (question, result.kind)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_leaves_nothing_behind(lab, seed):
    clusters = lab.pair()
    for cluster in clusters:
        cluster.query(*SCHEMA)
    proxy = lab.proxy(*clusters, **SETTINGS).start()
    chance, stop = random.Random(seed), threading.Event()
    clients = [Client(proxy, 100 * seed + number, stop) for number in range(6)]
    for client in clients:
        client.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not any(client.error for client in clients):
        cluster = chance.choice(clusters)
        event = chance.randrange(len(FAULTS) + 3)
        if event < len(FAULTS):
            kind, scope, options = FAULTS[event]
            cluster.fault(kind, scope, **options)
        elif event == len(FAULTS):
            cluster.tell("unprepare")
        elif event == len(FAULTS) + 1:
            cluster.tell("disconnect")
        else:
            cluster.pause()
            time.sleep(chance.random())
            cluster.resume()
        time.sleep(chance.random() * 0.3)
        assert proxy.is_running()
    for cluster in clusters:
        cluster.clear_faults()
    stop.set()
    for client in clients:
        client.join(30)
        assert not client.is_alive(), f"{client.name} waits for an answer that never comes"
        if client.error:
            raise client.error
    assert sum(client.answers for client in clients) > 500
    assert proxy.metric("zdm_proxy_expired_requests_total") > 0, "no request expired: the storm was none"

    def serves():
        with proxy.connect(timeout=5) as client:
            return [client.query(f"INSERT INTO ks.kv (k, v) VALUES ({key}, 'after')").kind for key in range(20)] == ["VOID"] * 20

    wait_until(lambda: attempt(serves), "clients are served again", timeout=20)
    for series, now in proxy.metrics().items():
        if series.startswith(("zdm_proxy_inflight", "zdm_client_connections_total")) or "used_stream_ids" in series:
            wait_until(lambda series=series: proxy.metric(series) == 0, f"{series} is back to 0, not {now}")
    assert [cluster.rows("SELECT v FROM ks.kv WHERE k = 7") for cluster in clusters] == [[[b"after"]]] * 2


def attempt(serves):
    try:
        return serves()
    except (wire.Closed, wire.ServerError) as error:
        raise OSError(str(error)) from error
