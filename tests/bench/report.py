"""Tables of a measurement, for the terminal and for docs/performance.md."""

BEGIN, END = "<!-- scripts/bench.sh --write-docs: begin -->", "<!-- end -->"

INTRODUCTION = f"""# Performance

What the proxy costs, beside HAProxy forwarding bytes it never looks at: one thread each, instant stub clusters behind them, both clusters
in use. [tests/bench](../tests/bench/README.md) says how it is measured.

{BEGIN}
{END}
"""


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
        by = ratio(added["cloudgate"], added["haproxy"])
        found.append(f"- One request at a time, added to the direct p50: HAProxy {added['haproxy']:.1f} us, cloudgate {added['cloudgate']:.1f} us, "
                     f"ratio {by:.2f} ({verdict(by, 1.4)}).")
    for name, goal in (("v5", 1.5), ("lz4", None), ("writes-stamped", None)):
        base = "writes" if name == "writes-stamped" else "reads"
        if name in workloads and base in workloads:
            by = ratio(workloads[name]["medians"]["cloudgate"]["cpu_us"], workloads[base]["medians"]["cloudgate"]["cpu_us"])
            said = verdict(by, goal)
            found.append(f"- {workloads[name]['title']}: {by:.2f} of our own \"{workloads[base]['title']}\"{f' ({said})' if said else ''}.")
    counted = {work["title"]: work["instructions"] for work in workloads.values() if "instructions" in work}
    if counted:
        found.append("- Instructions per request, counted by callgrind: " +
                     "; ".join(f"{title} {count:,.0f}" for title, count in counted.items()) + ".")
    return "\n".join(found)


def tables(result):
    work = result["workloads"]
    origin = (f"Commit {result['commit']}, HAProxy {result['haproxy']}, Linux {result['kernel']}, {result['cores']} cores; medians of "
              f"{result['rounds']} rounds of {result['seconds']:g} s.")
    return "\n\n".join(part for part in (origin, cpu_table(work), latency_table(work), sentences(work)) if part)


def write(path, result):
    """Replaces what stands between the marks; what people wrote around them stays."""
    text = path.read_text() if path.exists() else INTRODUCTION
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{tables(result)}\n\n{END}{after}")
