"""What the kernel tells about processes."""

import os

from harness import place

TICKS = os.sysconf("SC_CLK_TCK")


def pss_mb(pids):
    """Proportional set size of these processes, in 10^6 bytes: shared pages are divided among their users."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total * 1024 / 1e6


def own_cpu_seconds(pid):
    """CPU time of the process alone, all its threads, in the scheduler's own account."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def cpu_seconds(root):
    """CPU time that the process and everything below it, past children included, has used.

    By the scheduler's own account, in ns: the ticks of /proc/PID/stat miss who wakes for less than one. Only
    those of children that have ended and were waited for are ticks.
    """
    total = 0.0
    for pid in [root] + place.descendants(root):
        try:
            total += own_cpu_seconds(pid)
            fields, _ = stat_fields(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += (int(fields[13]) + int(fields[14])) / TICKS
    return total


def stat_fields(pid):
    """What /proc/PID/stat has from the state on, and the program's name."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        head, _, tail = stat.read().rpartition(")")
    return tail.split(), head.partition("(")[2]


def cpu_by_program(root):
    """{name of the program: CPU seconds} of what runs below and including root."""
    found = {}
    for pid in [root] + place.descendants(root):
        try:
            fields, name = stat_fields(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICKS
    return {name: round(seconds, 2) for name, seconds in found.items()}
