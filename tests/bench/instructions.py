"""Instructions our proxy executes for one request, counted by callgrind, and their comparison with the committed figures.

One connection in lockstep, thirty-two requests at a time: what comes with one wake-up is then the same in every run, and two counts
differ by less than 2 %. (With many connections it depends on the machine, and the figure with it, by 8 %.) What a wake-up costs by itself shows in
reads one at a time; writes one at a time are left out, for whether both clusters' answers come with one wake-up is chance. Each figure is
the difference of two runs of different length, which leaves out start and end."""

import json
import pathlib
import platform
import re

from contenders import OURS, PORT, PORT_METRICS, Failure

BASELINE = pathlib.Path(__file__).parent / "instructions.json"
GROWTH = 0.10
REQUESTS = (3200, 12800)
COUNTED_PORT, COUNTED_METRICS = PORT + 1, PORT_METRICS + 2

# Name, what it is, options of cqlload beside those of all.
WORKLOADS = [
    ("reads", "prepared reads", []),
    ("writes", "prepared writes to both clusters", ["--read-share=0"]),
    ("writes-stamped", "the same, timestamps by the proxy", ["--read-share=0", "--no-timestamps"]),
    ("mixed", "prepared, half reads", ["--read-share=50"]),
    ("plain", "plain text, half reads", ["--read-share=50", "--plain"]),
    ("single", "prepared reads, one at a time", ["--in-flight=1"]),
    ("v5", "prepared reads, protocol v5", ["--protocol=5"]),
    ("lz4", "prepared reads, lz4 passed through", ["--lz4"]),
]
TITLES = {name: title for name, title, _ in WORKLOADS}


def total(programs, load, load_options, requests):
    output = programs.work / "callgrind.out"
    output.unlink(missing_ok=True)
    programs.ours("counted", port=COUNTED_PORT, metrics=COUNTED_METRICS,
                  prefix=["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"])
    load(programs.binaries, OURS, COUNTED_PORT, ["--connections=1", "--in-flight=32", "--lockstep", *load_options, f"--requests={requests}"])
    programs.stop("counted")
    found = re.findall(r"^(?:summary|totals): (\d+)", output.read_text(), re.M) if output.exists() else []
    if not found:
        raise Failure("callgrind counted nothing")
    return int(found[-1])


def count(programs, load, wanted=""):
    """{workload: instructions per request} of those whose name matches."""
    counted = {}
    for name, _, load_options in WORKLOADS:
        if re.search(wanted, name):
            short, long = (total(programs, load, load_options, requests) for requests in REQUESTS)
            counted[name] = round((long - short) / (REQUESTS[1] - REQUESTS[0]), 1)
    return counted


def compiler(program):
    """Who compiled it, by the program's own word."""
    content = pathlib.Path(program).read_bytes()
    clang = re.search(rb"clang version ([\d.]+)", content)
    gcc = re.search(rb"GCC: \([^)]*\) ([\d.]+)", content)  # in what clang makes too, by the C library's start files
    return f"clang {clang[1].decode()}" if clang else f"gcc {gcc[1].decode()}" if gcc else "unknown"


def origin(binaries):
    """What the figures depend on beside our code."""
    return {"machine": platform.machine(), "compiler": compiler(pathlib.Path(binaries) / "cloudgate-proxy")}


def compare(counted, here, baseline):
    """(complaints, remarks) of a count made `here`, an `origin`, against a baseline file's content."""
    if baseline["machine"] != here["machine"]:
        return [f"the committed figures are of {baseline['machine']}, this is {here['machine']}"], []
    other = "" if baseline["compiler"] == here["compiler"] else (
        f"; mind that the baseline was compiled by {baseline['compiler']} and this by {here['compiler']}, which alone changes counts")
    complaints, remarks = [], []
    for name in sorted(counted.keys() | baseline["instructions"].keys()):
        now, then = counted.get(name), baseline["instructions"].get(name)
        if now is None or then is None:
            complaints.append(f"{name}: {'not counted' if now is None else 'has no committed figure'}")
            continue
        grown = now / then - 1
        line = f"{name} ({TITLES.get(name, name)}): {now:,.0f} instructions per request, baseline {then:,.0f}, {grown:+.1%}"
        if grown > GROWTH:
            complaints.append(f"{line}, more than {GROWTH:.0%} allowed{other}")
        else:
            remarks.append(line)
    return complaints, remarks


def read_baseline():
    return json.loads(BASELINE.read_text())


def write_baseline(counted, here):
    BASELINE.write_text(json.dumps({**here, "instructions": counted}, indent=1) + "\n")
