"""How the cost of a request grows with workers, connections and prepared statements, and what an idle client costs.

Each figure comes from a proxy started for it alone. The two sides of a pair are measured side by side in each round, and the order
changes from round to round; what counts is the median of the rounds' ratios, which a machine that slows down meanwhile does not bend."""

import pathlib
import re
import resource
import socket
import statistics
import time

import machine
from contenders import OURS, PORT, PORT_METRICS, Failure

SCALE_PORT, SCALE_METRICS = PORT + 2, PORT_METRICS + 3
IDLE_CLIENTS, IDLE_MIB, IDLE_WAKEUPS = 10000, 100, 0
IDLE_SECONDS = 5  # watched for wake-ups
DESCRIPTORS_PER_CLIENT, DESCRIPTORS_SPARE = 3, 200
STARTUP = bytes.fromhex("0400000001000000160001000b") + b"CQL_VERSION" + b"\x00\x05" + b"3.0.0"

ROTATING = ["--in-flight=8", "--rotating=500", "--read-share=50"]
MIXED = ["--connections=64", "--in-flight=4", "--read-share=50"]
# What grows, the two sides as (title, workers, options of cqlload), and the highest ratio of the CPU time per request.
PAIRS = [
    ("workers", ("1", 1, MIXED), ("2", 2, MIXED), 1.1),
    ("connections, 500 requests in flight", ("500", 1, ["--connections=500", *ROTATING]), ("5000", 1, ["--connections=5000", *ROTATING]), 1.15),
    ("prepared statements", ("10", 1, ["--statements=10"]), ("100000", 1, ["--statements=100000"]), 1.15),
]


def cost(options, programs, load, workers, load_options):
    pid = programs.ours("scaled", SCALE_PORT, SCALE_METRICS, workers=workers)
    try:
        length = [f"--seconds={options.seconds}", f"--warm-up={options.warm_up}"]
        line = load(options.binaries, OURS, SCALE_PORT, [*load_options, *length], [("scaled", pid)])
        return line["processes"]["scaled"]["cpu_us_per_request"]
    finally:
        programs.stop("scaled")


def compare(options, programs, load, what, sides, goal):
    costs = {title: [] for title, _, _ in sides}
    try:
        for turn in range(options.rounds):
            for title, workers, load_options in sides if turn % 2 == 0 else sides[::-1]:
                costs[title].append(cost(options, programs, load, workers, load_options))
    except Failure as failure:  # too much for the proxy: that too is a result
        return {"what": what, "goal": goal, "sides": list(costs), "failure": str(failure)}
    small, large = costs.values()
    return {"what": what, "goal": goal, "rounds": costs, "medians": {title: statistics.median(values) for title, values in costs.items()},
            "ratio": statistics.median(high / low for low, high in zip(small, large, strict=True))}


def status_number(path, field):
    return int(re.search(rf"^{field}:\s+(\d+)", (path / "status").read_text(), re.M)[1])


def switches(pid):
    """How often threads that had gone to sleep were woken, over all of them."""
    return sum(status_number(task, "voluntary_ctxt_switches") for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def wait_until_quiet(pid):
    """Until the process has used no measurable time for a while, so that nothing is left to do for what came before."""
    deadline, quiet_since, used = time.monotonic() + 30, time.monotonic(), machine.process_seconds(pid)
    while time.monotonic() - quiet_since < 1:
        if time.monotonic() > deadline:
            raise Failure("the proxy does not come to rest with idle clients")
        time.sleep(0.1)
        if machine.process_seconds(pid) != used:
            quiet_since, used = time.monotonic(), machine.process_seconds(pid)


def open_idle_client():
    client = socket.create_connection((OURS, SCALE_PORT), 15)
    client.sendall(STARTUP)
    answer = client.recv(64)
    if len(answer) < 9 or answer[4] != 2:
        raise Failure(f"STARTUP of an idle client was not answered with READY but with {answer!r}")
    return client


def idle(programs):
    """Memory and wake-ups of clients that have sent STARTUP and then nothing; as many as descriptors allow."""
    count = min(IDLE_CLIENTS, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - DESCRIPTORS_SPARE) // DESCRIPTORS_PER_CLIENT)
    pid = programs.ours("scaled", SCALE_PORT, SCALE_METRICS)
    process = pathlib.Path(f"/proc/{pid}")
    clients = []
    try:
        before = status_number(process, "VmRSS")
        for _ in range(count):
            clients.append(open_idle_client())
        wait_until_quiet(pid)
        kib = (status_number(process, "VmRSS") - before) / count
        woken, begun = switches(pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return {"clients": count, "kib_per_client": kib, "wakeups_per_second": (switches(pid) - woken) / (time.monotonic() - begun),
                "mib_of_10000": kib * IDLE_CLIENTS / 1024, "goal_mib": IDLE_MIB, "goal_wakeups": IDLE_WAKEUPS}
    finally:
        for client in clients:
            client.close()
        programs.stop("scaled")


def measure(options, programs, load):
    result = {"idle": idle(programs), "pairs": []}
    for what, small, large, goal in PAIRS:
        result["pairs"].append(compare(options, programs, load, what, [small, large], goal))
    return result
