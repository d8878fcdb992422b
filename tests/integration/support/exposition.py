"""Reading /metrics: series by their full text, so that label order is part of what is compared."""

import re

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})?) (\S+)$')


def parse(text):
    """{'name{labels}': value} of an exposition."""
    series = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, f"not a sample: {line!r}"
        assert match[1] not in series, f"twice: {match[1]}"
        series[match[1]] = float(match[2])
    return series


def changed(before, after, prefix="zdm_"):
    """What differs between two readings, without histogram buckets and sums (which depend on time)."""
    return {
        name: after[name] - before.get(name, 0)
        for name in after
        if name.startswith(prefix)
        and "_bucket{" not in name
        and "_sum" not in name
        and after[name] != before.get(name, 0)
    }
