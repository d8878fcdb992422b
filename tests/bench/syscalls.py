"""System calls per answered request, by name, counted by strace.

Each figure is the difference of two runs of different length, which leaves out opening the connections. strace slows what it watches
tenfold, but how many calls a request costs is decided by what comes in one piece, not by time: but for epoll_wait, of which a slow
process needs fewer, the kernel's own tracepoints count the same."""

import pathlib
import subprocess
import time

from contenders import Failure

WORKLOADS = ("reads", "writes", "mixed", "plain")
REQUESTS = (10000, 40000)
RARE = 0.005  # per request; below that it is the odd timer, or connections that end


def parse(text):
    """{name: calls} of strace's table."""
    counts = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3])
    return counts


def is_traced(pid):
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def traced(programs, pid, run):
    """The calls of all threads of a process while run() runs."""
    output = programs.work / "strace.out"
    tracer = subprocess.Popen(["strace", "-c", "-f", "-o", output, "-p", str(pid)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 15
        while not is_traced(pid):
            if tracer.poll() is not None or time.monotonic() > deadline:
                tracer.kill()
                raise Failure(f"strace cannot attach to process {pid}: {tracer.communicate()[1].strip() or 'no reason given'}")
            time.sleep(0.02)
        run()
    finally:
        tracer.terminate()
        tracer.communicate()
    return parse(output.read_text())


def count(programs, load, address, port, pid, load_options):
    """{name: calls per request}."""
    def of(requests):
        return traced(programs, pid, lambda: load(programs.binaries, address, port, [*load_options, f"--requests={requests}"]))
    short, long = (of(requests) for requests in REQUESTS)
    more = {name: (calls - short.get(name, 0)) / (REQUESTS[1] - REQUESTS[0]) for name, calls in long.items()}
    return {name: round(calls, 4) for name, calls in sorted(more.items()) if calls >= RARE}
