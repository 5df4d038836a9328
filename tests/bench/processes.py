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


def cpu_seconds(root):
    """CPU time that the process and everything below it, past children included, has used."""
    total = 0
    for pid in [root] + place.descendants(root):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # utime, stime, and those of children that were waited for
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def cpu_by_program(root):
    """{name of the program: CPU seconds} of what runs below and including root."""
    found = {}
    for pid in [root] + place.descendants(root):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                head, _, tail = stat.read().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, fields = head.partition("(")[2], tail.split()
        found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICKS
    return {name: round(seconds, 2) for name, seconds in found.items()}
