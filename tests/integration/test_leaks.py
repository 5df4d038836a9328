"""Many restarts leave nothing behind in the daemon: no descriptor, no zombie, no memory.

PROCTOR_RESTARTS=10000 makes it a soak test.
"""

import os
import signal

from harness import place
from harness.storm import STANDBYS, worker_processes

RESTARTS = int(os.environ.get("PROCTOR_RESTARTS", "400"))
WARM_UP = 200
WORKERS = 10
# What the daemon has under way, and what the allocator counts as used, differs by some pages from one look to the
# next, up and down. A leak only grows: no later round comes back to where it began.
SLACK_BYTES = 16 * 1024
ROUNDS = 4
# What threads keep freed for their next use counts as used, and grows for some thousand restarts.
NOTHING_KEPT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def zombies(parent):
    found = []
    for pid in place.descendants(parent):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == "Z":
            found.append(pid)
    return found


def wait_proven(daemon, killed):
    """Waits until there are WORKERS of them, each alive beyond a pong and none of those killed; returns their pids."""
    def pids():
        workers = daemon.workers()
        found = {worker["pid"] for worker in workers if worker["lastPongMs"] is not None}
        return found if len(found) == WORKERS and not found & killed else None
    return place.wait_until(pids, 20, "pongs of all workers")


def kill_all(daemon, count):
    """Kills every worker, each time when all are proven, until so many were killed."""
    killed = set()
    for _ in range(count // WORKERS):
        killed = wait_proven(daemon, killed)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
    wait_proven(daemon, killed)


def settled(daemon):
    """(descriptors, allocated bytes) once nothing is under way but what stays."""
    place.wait_until(lambda: not zombies(daemon.process.pid), 10, "zombies to be reaped")
    place.wait_until(lambda: len(worker_processes(daemon.process.pid)) == WORKERS + 1 + STANDBYS, 10,
                     "workers, prepared parent and standbys, and no more")
    return descriptors(daemon.process.pid), daemon.call("status")["heapBytes"]


def test_restarts_leave_no_descriptor_no_zombie_and_no_byte_behind(make_daemon):
    daemon = make_daemon({"daemon": {"log_level": "info"},
                          "pool:probe": {"size": WORKERS, "ping_interval": "30ms", "restart_delay": "10ms",
                                         "health_interval": "1h"}},
                         keys={"OPENAI_API_KEY": "k"}, environment=NOTHING_KEPT).wait_ready()
    kill_all(daemon, WARM_UP)
    before, used_before = settled(daemon)
    growth = []
    while not growth or growth[-1] >= SLACK_BYTES and len(growth) < ROUNDS:
        kill_all(daemon, RESTARTS)
        after, used = settled(daemon)
        assert after == before
        growth.append(used - used_before)
    assert growth[-1] < SLACK_BYTES, f"bytes more than before, round by round of {RESTARTS} restarts: {growth}"
    assert sum(worker["restarts"] for worker in daemon.workers()) >= WARM_UP + RESTARTS
    assert daemon.call("status")["pools"][0]["degraded"] is None
