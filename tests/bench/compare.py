#!/usr/bin/env python3
"""Runs each workload directly, through HAProxy, through our proxy and through peers in turn, round after round, and prints
medians and ratios to HAProxy. scripts/bench.sh calls it and explains its options."""

import argparse
import datetime
import json
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import heap
import instructions
import machine
import report
import scale
import syscalls
from contenders import HAPROXY, ORIGIN, OURS, PORT, PORT_METRICS, PORT_TLS, TARGET, Failure, Programs, listens

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"

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
    """All rounds of all workloads: {workload: {contestant: [figures of a round]}}, and the cores others used in each round."""
    results, others = {}, []
    length = [f"--seconds={options.seconds}", f"--warm-up={options.warm_up}"]
    for turn in range(options.rounds):
        watch = machine.Watch({*pids.values(), *(peer[3] for peer in options.peer)})
        for name, _, load_options, _ in workloads:
            for who, address, port, pid in contestants(name, pids, options.peer):
                line = load(options.binaries, address, port, load_options + length, [(who, pid)])
                results.setdefault(name, {}).setdefault(who, []).append(figures_of(line, who))
        others.append(round(watch.others(), 3) if pids["origin"] else None)  # stubs of another terminal look like others
        print(f"round {turn + 1} of {options.rounds} done{busy_remark(others[-1])}", file=sys.stderr)
    return results, others


def busy_remark(others):
    return f"; other programs kept {others:.2f} cores busy: compare with care" if others and others > machine.BUSY else ""


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def git(*arguments):
    return output_of("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, *arguments)


def identity(options):
    """What was measured, with what, where and when."""
    haproxy = re.search(r"version (\d+\.\d+\.\d+)", output_of("/usr/sbin/haproxy", "-v"))
    return {
        "commit": git("describe", "--always", "--dirty") or "unknown", "date": datetime.date.today().isoformat(),
        "compiler": instructions.compiler(options.binaries / "cloudgate-proxy"), "haproxy": haproxy[1] if haproxy else "unknown",
        **machine.description(), "rounds": options.rounds, "seconds": options.seconds,
    }


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh")
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", default="")
    parser.add_argument("--peer", type=parse_peer, action="append", default=[])
    parser.add_argument("--no-callgrind", dest="callgrind", action="store_false")
    parser.add_argument("--no-strace", dest="strace", action="store_false")
    parser.add_argument("--no-heap", dest="heap", action="store_false")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--write-docs", action="store_true")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--stubs", action="store_true")
    instead.add_argument("--scale", action="store_true")
    instead.add_argument("--smoke", action="store_true")
    instead.add_argument("--update-baseline", action="store_true")
    options = parser.parse_args()
    options.rounds = (1 if options.quick else 3) if options.rounds is None else options.rounds
    options.seconds = (1.0 if options.quick else 3.0) if options.seconds is None else options.seconds
    options.warm_up = 0.3 if options.quick else 0.5
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds want a positive number")
    try:
        re.compile(options.only)
    except re.error as error:
        parser.error(f"--only {options.only!r} is no regular expression: {error}")
    if options.only and not any(re.search(options.only, row[0]) for row in WORKLOADS + instructions.WORKLOADS):
        parser.error(f"no workload matches {options.only!r}; there are {', '.join(row[0] for row in WORKLOADS)}")
    if options.write_docs:
        refuse_partial(parser, options)
    return options


def refuse_partial(parser, options):
    """Only a full run of what is committed goes into the document."""
    partial = [name for name, given in (
        ("--quick", options.quick), ("--only", options.only), ("--no-callgrind", not options.callgrind), ("--no-strace", not options.strace),
        ("--no-heap", not options.heap),
        ("--rounds below 3", options.rounds < 3), ("--seconds below 3", options.seconds < 3), ("--stubs", options.stubs),
        ("--smoke", options.smoke), ("--update-baseline", options.update_baseline)) if given]
    if partial:
        parser.error(f"--write-docs wants a full run: without {', '.join(partial)}")
    if git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{DOCUMENT.relative_to(ROOT)}"):
        parser.error("--write-docs names a commit, but there are changes that are not committed")
    report.check(DOCUMENT, ["scale"] if options.scale else report.SECTIONS)


def start_stubs(programs):
    """Their pids; stubs that already run, started with --stubs for a peer, are used as they are."""
    if listens(ORIGIN, PORT) and listens(TARGET, PORT):
        return {"origin": None}
    return {"origin": programs.stub("origin", ORIGIN), "target": programs.stub("target", TARGET)}


def check_peers(peers):
    for name, address, port, pid in peers:
        if not listens(address, port):
            raise Failure(f"nothing listens at {address}:{port}, where peer {name} should be")
        if pid and not pathlib.Path(f"/proc/{pid}").exists():
            raise Failure(f"there is no process {pid}, which peer {name} should be")


def wait_for_the_end():
    """Stubs are started by now, with signals as they should be; only here are they taken one by one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    print(f"stub clusters at {ORIGIN}:{PORT} and {TARGET}:{PORT}; Ctrl-C ends them", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


def count_system_calls(options, programs, workloads, pids):
    counted = {}
    for name, _, load_options, _ in workloads:
        if name in syscalls.WORKLOADS:
            counted[name] = {who: syscalls.count(programs, load, address, port, pid, load_options)
                             for who, address, port, pid in contestants(name, pids, options.peer) if pid and who != "direct"}
    return counted


def measure(options, programs):
    workloads = [row for row in WORKLOADS if re.search(options.only, row[0])]
    others = machine.Watch([])
    time.sleep(1)
    if busy_remark(others.others()):
        print(f"before anything was started{busy_remark(others.others())}", file=sys.stderr)
    check_peers(options.peer)
    pids = start_stubs(programs)
    if options.stubs:
        wait_for_the_end()
        return None
    if options.smoke or options.update_baseline:
        return identity(options) | {"instructions": instructions.count(programs, load, options.only)}
    if options.scale:
        return identity(options) | {"scale": scale.measure(options, programs, load)}
    certificate, key, both = programs.certificate()
    pids["haproxy"] = programs.haproxy(both)
    pids["cloudgate"] = programs.ours()
    pids["cloudgate-tls"] = programs.ours("cloudgate-tls", PORT_TLS, PORT_METRICS + 1, certificate, key)
    result = identity(options)
    rounds, result["others_cores"] = compare(options, workloads, pids)
    result["workloads"] = {
        name: {"title": title, "load": load_options, "goal": goal, "rounds": rounds[name],
               "medians": {who: medians(figures) for who, figures in rounds[name].items()}}
        for name, title, load_options, goal in workloads}
    if options.strace:
        result["system_calls"] = count_system_calls(options, programs, workloads, pids)
    if options.heap:
        rows = [(name, load_options) for name, _, load_options, _ in workloads if name != "tls"]  # OpenSSL has its own ways
        result["heap_calls"] = heap.count(programs, load, rows) if rows else {}
    if options.callgrind:
        result["instructions"] = instructions.count(programs, load, options.only)
    return result


def judge(result, options):
    """The smoke's verdict as an exit code."""
    baseline = instructions.read_baseline()
    if options.only:
        baseline["instructions"] = {name: value for name, value in baseline["instructions"].items() if name in result["instructions"]}
    complaints, remarks = instructions.compare(result["instructions"], instructions.origin(options.binaries), baseline)
    print("\n".join(remarks))
    for complaint in complaints:
        print(f"bench.sh: {complaint}", file=sys.stderr)
    if complaints:
        print("bench.sh: if this is meant to be so: scripts/bench.sh --update-baseline, and commit tests/bench/instructions.json", file=sys.stderr)
    return 1 if complaints else 0


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        options = parse()
        with tempfile.TemporaryDirectory(prefix="cloudgate-bench.") as work, Programs(options.binaries, work) as programs:
            result = measure(options, programs)
        if result is None:
            return 0
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n")
        if options.smoke:
            return judge(result, options)
        if options.update_baseline:
            instructions.write_baseline(result["instructions"], instructions.origin(options.binaries))
            print(report.instruction_table(result["instructions"]))
            return 0
        sections = {"scale": report.scale_section(result)} if options.scale else report.sections(result)
        print("\n\n".join(sections.values()))
        if options.write_docs:
            report.write(DOCUMENT, sections)
    except Failure as failure:
        sys.exit(f"bench.sh: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    return 0


if __name__ == "__main__":
    sys.exit(main())
