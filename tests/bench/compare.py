#!/usr/bin/env python3
"""Runs each workload directly, through HAProxy, through our proxy and through peers in turn, round after round, and prints
medians and ratios to HAProxy. scripts/bench.sh calls it and explains its options."""

import argparse
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile

import report
import scale
from contenders import HAPROXY, ORIGIN, OURS, PORT, PORT_METRICS, PORT_TLS, TARGET, Failure, Programs, listens

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# Name, what it is, options of cqlload, highest ratio to HAProxy of the CPU time per request (None: no goal against HAProxy).
WORKLOADS = [
    ("reads", "prepared reads, 8 x 32", ["--connections=8", "--in-flight=32"], 1.5),
    ("writes", "prepared writes to both clusters, 8 x 32", ["--connections=8", "--in-flight=32", "--read-share=0"], 2.0),
    ("writes-stamped", "the same, timestamps by the proxy", ["--connections=8", "--in-flight=32", "--read-share=0", "--no-timestamps"], None),
    ("mixed", "prepared, half reads, 64 x 4", ["--connections=64", "--in-flight=4", "--read-share=50"], 1.7),
    ("plain", "plain text, half reads, 64 x 4", ["--connections=64", "--in-flight=4", "--read-share=50", "--plain"], 1.8),
    ("single", "prepared, half reads, one at a time", ["--connections=1", "--in-flight=1", "--read-share=50"], None),
    ("v5", "prepared reads, 8 x 32, protocol v5", ["--connections=8", "--in-flight=32", "--protocol=5"], None),
    ("tls", "prepared reads, 8 x 32, TLS to the client", ["--connections=8", "--in-flight=32", "--tls"], 1.6),
    ("lz4", "prepared reads, 8 x 32, lz4 passed through", ["--connections=8", "--in-flight=32", "--lz4"], None),
]
CALLGRIND_WORKLOADS = ("reads", "writes", "mixed", "plain")
CALLGRIND_REQUESTS = (20000, 60000)  # the difference is what requests cost, without start and end


def parse_peer(text):
    match = re.fullmatch(r"([\w.-]+)=([\d.]+):(\d+)(?::(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ADDR:PORT[:PID]")
    return match[1], match[2], int(match[3]), int(match[4]) if match[4] else None


def load(binaries, address, port, options, processes=()):
    """One run of the load generator; its report."""
    command = [binaries / "cqlload", f"--connect={address}:{port}", *options, *(f"--process={name}={pid}" for name, pid in processes if pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"cqlload against {address}:{port} with {' '.join(options)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def figures_of(report_line, name):
    process = report_line["processes"].get(name, {})
    return {key: report_line[key] for key in ("answered", "per_second", "p50_us", "p99_us", "p999_us")} | {
        "cpu_us": process.get("cpu_us_per_request"), "peak_kib": process.get("peak_kib")}


def medians(rounds):
    return {key: None if any(one[key] is None for one in rounds) else statistics.median(one[key] for one in rounds) for key in rounds[0]}


def contestants(name, pids, peers):
    """Who takes part in a workload: (name, address, port, pid); direct has the stub's pid."""
    if name == "tls":  # the stub speaks no TLS, and nothing is known of the peers' ports
        return [("haproxy", HAPROXY, PORT_TLS, pids["haproxy"]), ("cloudgate", OURS, PORT_TLS, pids["cloudgate-tls"])]
    return [("direct", ORIGIN, PORT, pids["origin"]), ("haproxy", HAPROXY, PORT, pids["haproxy"]),
            ("cloudgate", OURS, PORT, pids["cloudgate"]), *peers]


def compare(options, workloads, pids):
    """All rounds of all workloads: {workload: {contestant: [figures of a round]}}."""
    results = {}
    length = [f"--seconds={options.seconds}", f"--warm-up={options.warm_up}"]
    for turn in range(options.rounds):
        for name, _, load_options, _ in workloads:
            for who, address, port, pid in contestants(name, pids, options.peer):
                line = load(options.binaries, address, port, load_options + length, [(who, pid)])
                results.setdefault(name, {}).setdefault(who, []).append(figures_of(line, who))
        print(f"round {turn + 1} of {options.rounds} done", file=sys.stderr)
    return results


def instructions(programs, load_options):
    """Instructions our proxy executes for one request. Two runs of different length, so that start and end cancel out."""
    counted = []
    for requests in CALLGRIND_REQUESTS:
        output = programs.work / "callgrind.out"
        output.unlink(missing_ok=True)
        programs.ours("counted", port=PORT + 1, metrics=PORT_METRICS + 2,
                      prefix=["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"])
        load(programs.binaries, OURS, PORT + 1, [*load_options, f"--requests={requests}"])
        programs.stop("counted")
        totals = re.findall(r"^(?:summary|totals): (\d+)", output.read_text(), re.M) if output.exists() else []
        if not totals:
            raise Failure("callgrind counted nothing")
        counted.append(int(totals[-1]))
    return (counted[1] - counted[0]) / (CALLGRIND_REQUESTS[1] - CALLGRIND_REQUESTS[0])


def commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def haproxy_version():
    done = subprocess.run(["/usr/sbin/haproxy", "-v"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\d+\.\d+\.\d+)", done.stdout)
    return match[1] if match else "unknown"


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh")
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", default="")
    parser.add_argument("--peer", type=parse_peer, action="append", default=[])
    parser.add_argument("--stubs", action="store_true")
    parser.add_argument("--no-callgrind", dest="callgrind", action="store_false")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 3.0)
    options.warm_up = 0.3 if options.quick else 0.5
    if options.write_docs and (options.quick or options.only or options.scale):
        parser.error("--write-docs wants a full run: without --quick, --only and --scale")
    return options


def start_stubs(programs):
    """Their pids; stubs that already run, started with --stubs for a peer, are used as they are."""
    if listens(ORIGIN, PORT) and listens(TARGET, PORT):
        return {"origin": None}
    return {"origin": programs.stub("origin", ORIGIN), "target": programs.stub("target", TARGET)}


def measure(options, programs):
    workloads = [row for row in WORKLOADS if re.search(options.only, row[0])]
    if not workloads:
        raise Failure(f"no workload matches {options.only!r}; there are {', '.join(row[0] for row in WORKLOADS)}")
    pids = start_stubs(programs)
    if options.stubs:
        print(f"stub clusters at {ORIGIN}:{PORT} and {TARGET}:{PORT}; Ctrl-C ends them")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        return None
    if options.scale:
        return {"scale": scale.measure(options, programs, load)}
    certificate, key, both = programs.certificate()
    pids["haproxy"] = programs.haproxy(both)
    pids["cloudgate"] = programs.ours()
    pids["cloudgate-tls"] = programs.ours("cloudgate-tls", PORT_TLS, PORT_METRICS + 1, certificate, key)
    rounds = compare(options, workloads, pids)
    result = {
        "commit": commit(), "haproxy": haproxy_version(), "kernel": platform.release(), "cores": os.cpu_count(),
        "rounds": options.rounds, "seconds": options.seconds, "workloads": {},
    }
    for name, title, load_options, goal in workloads:
        result["workloads"][name] = {
            "title": title, "load": load_options, "goal": goal, "rounds": rounds[name],
            "medians": {who: medians(figures) for who, figures in rounds[name].items()},
        }
    if options.callgrind:
        for name, _, load_options, _ in workloads:
            if name in CALLGRIND_WORKLOADS:
                result["workloads"][name]["instructions"] = instructions(programs, load_options)
    return result


def main():
    options = parse()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} | ({signal.SIGINT} if options.stubs else set()))
    try:
        with tempfile.TemporaryDirectory(prefix="cloudgate-bench.") as work, Programs(options.binaries, work) as programs:
            if not options.stubs:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
            result = measure(options, programs)
    except Failure as failure:
        sys.exit(f"bench.sh: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    if result is None:
        return
    print(scale.table(result["scale"]) if options.scale else report.tables(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.write_docs:
        report.write(ROOT / "docs" / "performance.md", result)


if __name__ == "__main__":
    main()
