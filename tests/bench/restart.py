"""restart_ready_ms: from kill -9 of a worker to `ready` of its replacement."""

import datetime
import os
import re
import signal
import statistics
import time

from harness import place
from harness.proctor import Daemon

KILLS = 50
WORKERS = 2
STABLE_MS = 1200


def seconds_of(line):
    """When the daemon wrote the log line, in seconds since the epoch."""
    stamp = datetime.datetime.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%S.%fZ")
    return stamp.replace(tzinfo=datetime.timezone.utc).timestamp()


def proven(daemon, name, pid):
    """The slot's worker, once it is one that has shown life and is stable: its death costs no back-off."""
    worker = daemon.call("workers.show", worker=name)
    return (worker["state"] == "ready" and worker["pid"] != pid and worker["upMs"] > STABLE_MS
            and worker["lastPongMs"] is not None and worker)


def measure(tell):
    took = []
    # Each kill shall be the single crash of a healthy worker, which is restarted without delay: so a worker
    # counts as stable after a second, and is asked for a sign of life that often.
    ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"},
           "pool:probe": {"size": WORKERS, "stable_after": "1s", "ping_interval": "1s"}}
    with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
        daemon.wait_ready()
        names = [worker["worker"] for worker in daemon.call("workers.list")["items"]]
        last = dict.fromkeys(names)
        for number in range(KILLS):
            name = names[number % len(names)]
            worker = place.wait_until(lambda: proven(daemon, name, last[name]), 30, f"{name} to be proven")
            last[name] = worker["pid"]
            position = daemon.log_position()
            begun = time.time()
            os.kill(worker["pid"], signal.SIGKILL)
            line = daemon.wait_log(rf"worker\.ready .*worker={re.escape(name)}\b", 30, since=position)
            took.append((seconds_of(line) - begun) * 1000)
    took.sort()
    tell(f"{KILLS} kills, {took[0]:.0f} to {took[-1]:.0f} ms")
    return round(statistics.median(took), 1), "ms", {
        "kills": KILLS, "p95_ms": round(took[int(0.95 * KILLS)], 1), "least_ms": round(took[0], 1),
        "most_ms": round(took[-1], 1), "workers": WORKERS, "stable_after": "1s",
        "clock": "kill(2) to the time stamp of the daemon's log line worker.ready, 1 ms fine"}
