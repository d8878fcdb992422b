"""A steady load through a proxy: each thread keeps one connection for its whole life and counts whatever is not a success."""

import threading
import time

from . import wire
from .waiting import wait_until


class Crew:
    """with Crew(threads) as crew: each thread does _work(number) until stop_wanted is set, at the block's end."""

    def __init__(self, threads):
        self.failures = []
        self.stop_wanted = threading.Event()
        self.threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop_wanted.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"


class Load(Crew):
    """with Load(proxy, keyspace) as load: … load.check() afterwards: no failure, no reconnection. The play goes on
    once each client has had answers, or one has failed."""

    def __init__(self, proxy, keyspace, threads=4, window=8, write_every=4, pause_s=0.0):
        """pause_s: between windows. Without one the load takes all the machine has, and figures of time say nothing."""
        super().__init__(threads)
        self.proxy, self.keyspace = proxy, keyspace
        self.window, self.write_every, self.pause_s = window, write_every, pause_s
        self.requests = [0] * threads

    def _work(self, number):
        turn = 0
        try:
            with self.proxy.connect() as client:
                while not self.stop_wanted.is_set():
                    for stream in range(self.window):
                        if (turn + stream) % self.write_every:
                            text = f"SELECT v FROM {self.keyspace}.kv WHERE k = 1"
                        else:
                            text = f"INSERT INTO {self.keyspace}.kv (k, v) VALUES ({1000 + number}, '{turn}')"
                        client.send("QUERY", wire.query_body(text), stream)
                    for stream in range(self.window):
                        frame = client.receive_for(stream)
                        if frame.name != "RESULT":
                            self.failures.append(wire.parse_error(frame.body)[:2])
                        self.requests[number] += 1
                    turn += 1
                    if self.pause_s:
                        self.stop_wanted.wait(self.pause_s)
        except Exception as error:  # whatever ends a connection is what this load looks for
            self.failures.append(repr(error))

    def __enter__(self):
        super().__enter__()
        try:
            wait_until(lambda: self.failures or min(self.requests) > 0, "every client has had answers")
        except BaseException:
            self.stop_wanted.set()
            raise
        return self

    @property
    def total(self):
        return sum(self.requests)

    def check(self, at_least=1):
        assert self.failures == [], f"{len(self.failures)} failures in {self.total} requests, such as {self.failures[:3]}"
        assert min(self.requests) >= at_least, self.requests


class RetryingLoad(Load):
    """The same by clients that do as drivers do: after a connection that ended, or the word that the proxy shuts down, they connect
    anew and repeat the request. A failure is a request that has no result after all that."""

    tries = 5

    def __init__(self, proxy, keyspace, threads=4):
        super().__init__(proxy, keyspace, threads)
        self.repeated = 0

    def _try(self, client, text):
        """The connection to go on with, None when a new one is needed; why there was no result, None when there was one."""
        try:
            client = client or self.proxy.connect()
            frame = client.ask("QUERY", wire.query_body(text))
            if frame.name == "RESULT":
                return client, None
            reason = wire.parse_error(frame.body)[:2]
            if reason[0] != wire.OVERLOADED:
                raise AssertionError(reason)
        except (OSError, wire.Closed, wire.ServerError) as error:
            reason = repr(error)
        if client:
            client.close()
        return None, reason

    def _work(self, number):
        client, turn = None, 0
        try:
            while not self.stop_wanted.is_set():
                turn += 1
                text = f"SELECT v FROM {self.keyspace}.kv WHERE k = 1"
                if turn % self.write_every == 0:
                    text = f"INSERT INTO {self.keyspace}.kv (k, v) VALUES ({1000 + number}, '{turn}')"
                reasons = []
                while len(reasons) < self.tries:
                    client, reason = self._try(client, text)
                    if reason is None:
                        break
                    reasons.append(reason)
                else:
                    self.failures.append(reasons)
                self.repeated += bool(reasons)
                self.requests[number] += 1
        except Exception as error:  # an error that drivers do not retry
            self.failures.append(repr(error))
        finally:
            if client:
                client.close()


def reads_from(client, keyspace):
    """Which cluster answers reads: the plays write its name into row 1 of each."""
    return client.rows(f"SELECT v FROM {keyspace}.kv WHERE k = 1")[0][0].decode()


def time_until_reads_move(client, keyspace, to, limit=5.0):
    """Seconds from now until a read is answered by that cluster, and the number of reads it took."""
    begin, count = time.monotonic(), 0
    while time.monotonic() - begin < limit:
        count += 1
        if reads_from(client, keyspace) == to:
            return time.monotonic() - begin, count
    raise AssertionError(f"reads have not moved to the {to} within {limit} s")
