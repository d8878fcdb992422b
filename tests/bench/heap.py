"""Heap calls of our proxy per million answered requests, counted by the preloaded heapcount.so.

Each figure is the difference of two runs of different length, which leaves out opening and closing the connections; it is read when the
proxy has come to rest. What remains is what requests cause themselves: 0, but for a timer of the main thread now and then."""

import struct
import time

from contenders import OURS, PORT, PORT_METRICS, Failure

HEAP_PORT, HEAP_METRICS = PORT + 3, PORT_METRICS + 4
REQUESTS = (20_000, 120_000)
FEW = 500  # a million, the chance of opening connections; a call for each read from a socket would already be tens of thousands


class Counter:
    """The counts of a program started with Counter.prefix."""

    def __init__(self, binaries, work):
        self.file = work / "heapcount"
        self.prefix = ["env", f"HEAPCOUNT_FILE={self.file}", f"LD_PRELOAD={binaries / 'heapcount.so'}"]

    def calls(self):
        return sum(struct.unpack("6Q", self.file.read_bytes())[:5])

    def at_rest(self):
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            before = self.calls()
            time.sleep(0.2)
            if self.calls() == before:
                return before
        raise Failure("the proxy goes on calling the heap though nobody asks it for anything")


def count(programs, load, workloads):
    """{name: heap calls per million requests} of workloads, pairs of a name and options of cqlload."""
    counter = Counter(programs.binaries, programs.work)
    programs.ours("heap", HEAP_PORT, HEAP_METRICS, prefix=counter.prefix)

    def of(load_options, requests):
        before = counter.at_rest()
        load(programs.binaries, OURS, HEAP_PORT, [*load_options, f"--requests={requests}"])
        return counter.at_rest() - before

    try:
        counted = {}
        for name, load_options in workloads:
            of(load_options, REQUESTS[0])  # fills the pools
            short, long = (of(load_options, requests) for requests in REQUESTS)
            counted[name] = round((long - short) * 1e6 / (REQUESTS[1] - REQUESTS[0]))
        return counted
    finally:
        programs.stop("heap")
