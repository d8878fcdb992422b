"""Tables of a measurement, for the terminal and for docs/performance.md."""

import heap
import instructions
import machine
from contenders import Failure

SECTIONS = ("comparison", "system-calls", "heap-calls", "instructions")


def marks(name):
    return f"<!-- {name}: made by scripts/bench.sh --write-docs -->", f"<!-- end of {name} -->"


def number(value, digits=2):
    return "" if value is None else f"{value:,.{digits}f}"


def ratio(value, other):
    return None if value is None or not other else value / other


def verdict(value, goal):
    if goal is None or value is None:
        return ""
    return f"at most {goal}: {'met' if value <= goal else 'missed'}"


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cpu_table(workloads):
    rows = []
    for work in workloads.values():
        floor = work["medians"]["haproxy"]["cpu_us"]
        for who, figures in work["medians"].items():
            by = ratio(figures["cpu_us"], floor) if who != "direct" else None
            name = {"direct": "direct (the stub's own)"}.get(who, who)
            goal = verdict(by, work["goal"]) if who == "cloudgate" else ""
            rows.append([work["title"], name, number(figures["cpu_us"], 3), number(by), goal])
    return table(["work", "through", "CPU us per request", "ratio to HAProxy", "goal"], rows)


def latency_table(workloads):
    rows = []
    for work in workloads.values():
        for who, figures in work["medians"].items():
            rows.append([work["title"], who, number(figures["per_second"], 0), number(figures["p50_us"], 0), number(figures["p99_us"], 0),
                         number(figures["p999_us"], 0), number(figures["peak_kib"] and figures["peak_kib"] / 1024, 1)])
    return table(["work", "through", "requests/s", "p50 us", "p99 us", "p99.9 us", "peak MiB"], rows)


def sentences(workloads):
    """What is not a ratio of CPU time to HAProxy's."""
    found = []
    if "single" in workloads:
        single = workloads["single"]["medians"]
        added = {who: figures["p50_us"] - single["direct"]["p50_us"] for who, figures in single.items()}
        # Where the detour is lost in noise there is nothing to divide by.
        by = ratio(added["cloudgate"], added["haproxy"]) if added["haproxy"] > 1 else None
        found.append(f"- One request at a time, added to the direct p50: HAProxy {added['haproxy']:.1f} us, cloudgate {added['cloudgate']:.1f} us, "
                     + (f"ratio {by:.2f} ({verdict(by, 1.4)})." if by is not None else "no ratio: the machine was not quiet enough."))
    for name, goal in (("v5", 1.5), ("lz4", None), ("writes-stamped", None)):
        base = "writes" if name == "writes-stamped" else "reads"
        if name in workloads and base in workloads:
            by = ratio(workloads[name]["medians"]["cloudgate"]["cpu_us"], workloads[base]["medians"]["cloudgate"]["cpu_us"])
            said = verdict(by, goal)
            found.append(f"- {workloads[name]['title']}: {by:.2f} of our own \"{workloads[base]['title']}\"{f' ({said})' if said else ''}.")
    return "\n".join(found)


def origin(result):
    length = f"; medians of {result['rounds']} rounds" + (f" of {result['seconds']:g} s" if result["seconds"] else "")
    others = max((cores for cores in result.get("others_cores", []) if cores), default=0)
    busy = f"; other programs kept up to {others:.2f} cores busy meanwhile" if others >= 0.01 else ""
    if others > machine.BUSY:
        busy += ": **times and latencies are nothing to rely on**"
    return (f"{result['date']}, commit {result['commit']}, {result['compiler']}, HAProxy {result['haproxy']}, Linux {result['kernel']}, "
            f"{result['cores']} cores of {result['processor']}{length}{busy}.")


def call_table(counted):
    """System calls per answered request: a row a program, a column a call; receiving and sending first, for they are what matters."""
    names = sorted({name for programs in counted.values() for calls in programs.values() for name in calls},
                   key=lambda name: -max(calls.get(name, 0) for programs in counted.values() for calls in programs.values()))
    rows = [[work, who, number(sum(calls.values()), 3), *(number(calls.get(name, 0), 3) for name in names)]
            for work, programs in counted.items() for who, calls in programs.items()]
    return table(["work", "program", "in all", *names], rows)


def heap_table(workloads, counted):
    return table(["work", "heap calls per million requests", "goal"],
                 [[workloads[name]["title"], number(max(calls, 0), 0), verdict(calls, heap.FEW)] for name, calls in counted.items()])


def instruction_table(counted):
    return table(["work", "instructions per request"], [[instructions.TITLES[name], number(count, 0)] for name, count in counted.items()])


def sections(result):
    """{name of the section in the document: its text}."""
    work = result["workloads"]
    found = {"comparison": "\n\n".join(part for part in (origin(result), cpu_table(work), latency_table(work), sentences(work)) if part)}
    if result.get("system_calls"):
        found["system-calls"] = call_table({work[name]["title"]: programs for name, programs in result["system_calls"].items()})
    if result.get("heap_calls"):
        found["heap-calls"] = heap_table(work, result["heap_calls"])
    if result.get("instructions"):
        found["instructions"] = instruction_table(result["instructions"])
    return found


def scale_section(result):
    return f"{origin(result)}\n\n{scale_table(result['scale'])}"


def scale_table(result):
    rows = []
    for pair in result["pairs"]:
        if "failure" in pair:
            rows.append([f"{pair['what']}: {' and '.join(pair['sides'])}", "", "", "", f"failed: {pair['failure']}"])
            continue
        (small, low), (large, high) = pair["medians"].items()
        rows.append([f"{pair['what']}: {small} and {large}", number(low, 3), number(high, 3), number(pair["ratio"]),
                     verdict(pair["ratio"], pair["goal"])])
    quiet = result["idle"]
    reach = "" if quiet["clients"] == 10000 else f", extrapolated from {quiet['clients']:,}, as many as the limit of open files allows"
    idle = [[f"memory of 10,000 of them{reach}", f"{quiet['mib_of_10000']:,.0f} MiB ({quiet['kib_per_client']:.1f} KiB each)",
             verdict(quiet["mib_of_10000"], quiet["goal_mib"])],
            [f"wake-ups a second, all threads, {quiet['clients']:,} clients", number(quiet["wakeups_per_second"], 1),
             verdict(round(quiet["wakeups_per_second"], 1), quiet["goal_wakeups"])]]
    return (table(["what grows", "CPU us per request", "then", "ratio", "goal"], rows) + "\n\n" +
            table(["idle clients", "", "goal"], idle))


def split(text, name):
    """What stands before and after a section."""
    begin, end = marks(name)
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in after or begin in rest.partition(end)[0]:
        raise Failure(f"the document needs the lines {begin!r} and {end!r} in this order, once")
    return before, after


def check(path, names):
    """Before hours of measuring: is there a place for each section?"""
    if not path.exists():
        raise Failure(f"there is no {path}")
    for name in names:
        split(path.read_text(), name)


def write(path, texts):
    """Replaces what stands between the marks of each section; what people wrote around them stays."""
    document = path.read_text()
    for name, text in texts.items():
        before, after = split(document, name)
        begin, end = marks(name)
        document = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    path.write_text(document)
