"""How the cost of a request grows with workers, connections and prepared statements, and what an idle client costs.

Each figure comes from a proxy started for it alone. Pairs are measured in turn, round after round; the medians are compared."""

import pathlib
import re
import socket
import statistics
import time

from contenders import OURS, PORT, PORT_METRICS, Failure

SCALE_PORT, SCALE_METRICS = PORT + 2, PORT_METRICS + 3
IDLE_CLIENTS = 3000
IDLE_SECONDS = 3

ROTATING = ["--in-flight=8", "--rotating=500", "--read-share=50"]
# What grows, the two sides as (title, workers, options of cqlload), and the highest ratio of the CPU time per request.
PAIRS = [
    ("workers", ("1", 1, ["--connections=64", "--in-flight=4", "--read-share=50"]),
     ("2", 2, ["--connections=64", "--in-flight=4", "--read-share=50"]), 1.1),
    ("connections, 500 requests in flight", ("500", 1, ["--connections=500", *ROTATING]), ("5000", 1, ["--connections=5000", *ROTATING]), 1.15),
    ("prepared statements", ("10", 1, ["--statements=10"]), ("60000", 1, ["--statements=60000"]), 1.15),
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


def status_number(pid, field):
    return int(re.search(rf"^{field}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def switches(pid):
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M)[1])
               for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


def idle(programs):
    """Memory and wake-ups of clients that have sent STARTUP and then nothing."""
    startup = bytes.fromhex("0400000001000000160001000b") + b"CQL_VERSION" + b"\x00\x05" + b"3.0.0"
    pid = programs.ours("scaled", SCALE_PORT, SCALE_METRICS)
    clients = []
    try:
        before = status_number(pid, "VmRSS")
        for _ in range(IDLE_CLIENTS):
            client = socket.create_connection((OURS, SCALE_PORT), 15)
            client.sendall(startup)
            assert client.recv(64)[4] == 2, "STARTUP was not answered with READY"
            clients.append(client)
        kib = (status_number(pid, "VmRSS") - before) / IDLE_CLIENTS
        time.sleep(1)  # until what the last connections left behind is done
        woken = switches(pid)
        time.sleep(IDLE_SECONDS)
        return {"clients": IDLE_CLIENTS, "kib_per_client": kib, "wakeups_per_second": (switches(pid) - woken) / IDLE_SECONDS}
    finally:
        for client in clients:
            client.close()
        programs.stop("scaled")


def measure(options, programs, load):
    result = {"pairs": [], "idle": idle(programs)}
    for what, small, large, goal in PAIRS:
        costs = {side[0]: [] for side in (small, large)}
        try:
            for _ in range(options.rounds):
                for title, workers, load_options in (small, large):
                    costs[title].append(cost(options, programs, load, workers, load_options))
        except Failure as failure:  # too much for the proxy: that too is a result
            result["pairs"].append({"what": what, "sides": list(costs), "failure": str(failure)})
            continue
        result["pairs"].append({"what": what, "goal": goal, "rounds": costs,
                                "medians": {title: statistics.median(values) for title, values in costs.items()}})
    return result
