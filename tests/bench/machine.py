"""The machine a measurement runs on, and what others do on it meanwhile."""

import os
import pathlib
import platform
import re

TICKS = os.sysconf("SC_CLK_TCK")
BUSY = 0.15  # of a core: what others may use before a word is said


def description():
    model = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return {"processor": model[1] if model else platform.machine(), "cores": os.cpu_count(), "kernel": platform.release()}


def busy_seconds():
    """CPU time all cores have spent on anything: user, nice, system, irq, softirq, and what a hypervisor took."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / TICKS


def process_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Watch:
    """How many cores programs that are none of ours have kept busy since it was made; ours are this process, those
    that it waited for, and the pids given."""

    def __init__(self, pids):
        self.pids = [pid for pid in pids if pid]
        self.begin = self.now()

    def now(self):
        times = os.times()
        ours = times.user + times.system + times.children_user + times.children_system + sum(map(process_seconds, self.pids))
        return times.elapsed, busy_seconds() - ours

    def others(self):
        (begun, before), (ended, after) = self.begin, self.now()
        return max(0.0, (after - before) / (ended - begun)) if ended > begun else 0.0
