"""restart_ready_ms and restart_ready_p95_ms: from kill -9 of a worker to `ready` of its replacement."""

import datetime
import functools
import os
import re
import signal
import statistics
import time

from harness import place
from harness.proctor import Daemon

KILLS = 200
WORKERS = 2
PING_INTERVAL = "200ms"
NO_DATABASE = "postgresql://127.0.0.1:9/none"


def seconds_of(line):
    """When the daemon wrote the log line, in seconds since the epoch."""
    stamp = datetime.datetime.strptime(line.split()[0], "%Y-%m-%dT%H:%M:%S.%fZ")
    return stamp.replace(tzinfo=datetime.timezone.utc).timestamp()


def proven(daemon, name, pid):
    """The slot's worker, once it is one that has shown life: its death costs no back-off."""
    worker = daemon.call("workers.show", worker=name)
    return worker["state"] == "ready" and worker["pid"] != pid and worker["lastPongMs"] is not None and worker


@functools.lru_cache(maxsize=1)
def kill_many(tell):
    """How long each of the kills cost, in ms, in ascending order; measured once for both figures."""
    took = []
    # A worker is proven by its first pong, which is asked for sooner than by default.
    ini = {"daemon": {"log_level": "info"}, "database": {"url": NO_DATABASE},
           "pool:probe": {"size": WORKERS, "ping_interval": PING_INTERVAL, "health_interval": "1h"}}
    with Daemon(ini=ini, keys={"OPENAI_API_KEY": "bench"}) as daemon:
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
    tell(f"{KILLS} kills, {took[0]:.1f} to {took[-1]:.1f} ms")
    return took


def describe(took):
    return {"kills": KILLS, "least_ms": round(took[0], 1), "most_ms": round(took[-1], 1), "workers": WORKERS,
            "worker": "the real one, all imports done", "ping_interval": PING_INTERVAL, "database": "none",
            "clock": "kill(2) to the time stamp of the daemon's log line worker.ready, 1 ms fine"}


def measure(tell):
    took = kill_many(tell)
    return round(statistics.median(took), 1), "ms", describe(took)


def measure_p95(tell):
    took = kill_many(tell)
    return round(took[int(0.95 * KILLS)], 1), "ms", describe(took)
