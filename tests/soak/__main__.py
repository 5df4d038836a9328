"""`make soak`: a day's work in minutes, with restarts and reloads, behind which the daemon must hold what it held.

    python3 tests/soak [--jobs N] [--restarts N] [--reloads N] [--rounds N]

Each round is a run of one-turn probes, answered by nginx; meanwhile workers are killed one after another, each when its
predecessor's replacement is ready, and the configuration is reloaded, now and then with a new key, which rolls the
workers. At the end of a round, when nothing is under way, memory and descriptors are read. One JSON line on stdout; how
it goes, and everything that is wrong, on stderr. Exit status 1 when anything is.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import processes, servers, work  # noqa: E402  (needs the path above)
from harness import place  # noqa: E402
from harness.proctor import Daemon  # noqa: E402
from soak import flat  # noqa: E402

WORKERS = 4
SCENARIOS = 100
NEW_KEY_EVERY = 10  # reloads
ROUND_DEADLINE_S = 600
# What threads keep freed for their next use would count as used.
NOTHING_KEPT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}


def tell(text):
    print(f"soak: {text}", file=sys.stderr, flush=True)


def options(argv):
    parser = argparse.ArgumentParser(prog="tests/soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=86_400, help="in all rounds together (%(default)s)")
    parser.add_argument("--restarts", type=int, default=500, help="of workers, by SIGKILL (%(default)s)")
    parser.add_argument("--reloads", type=int, default=300, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=48, help="(%(default)s)")
    given = parser.parse_args(argv)
    if given.rounds < 8:
        parser.error("--rounds: 8 at least, for there must be some behind the warm-up")
    if given.jobs % (given.rounds * SCENARIOS):
        parser.error(f"--jobs: a multiple of {SCENARIOS} times the rounds")
    return given


def share(total, rounds, number):
    """Of `total` what falls to round `number` from 0 on, so that all together are the total."""
    return total * (number + 1) // rounds - total * number // rounds


def ready_workers(daemon):
    return {worker["pid"] for worker in daemon.workers() if worker["state"] == "ready"}


def kill_workers(daemon, count):
    for _ in range(count):
        before = place.wait_until(lambda: all_ready(daemon), 60, "all workers to be ready")
        os.kill(min(before), signal.SIGKILL)
        place.wait_until(lambda: not before <= ready_workers(daemon), 60, "the killed worker to be noticed")


def all_ready(daemon):
    found = ready_workers(daemon)
    return found if len(found) == WORKERS else None


def reload_often(daemon, first, count):
    for number in range(first, first + count):
        daemon.write_ini({"retry": {"max_tries": 5 + number % 2}})
        if number % NEW_KEY_EVERY == 0:
            daemon.write_keys({"OPENAI_API_KEY": f"soak-{number}"})
        answer = daemon.call("reload")
        assert "[retry] max_tries" in answer["applied"], answer


class Tasks:
    """Functions that run side by side; join() raises what any of them raised."""

    def __init__(self, *functions):
        self._errors = []
        self._threads = [threading.Thread(target=self._run, args=(function,)) for function in functions]
        for thread in self._threads:
            thread.start()

    def _run(self, function):
        try:
            function()
        except Exception as error:  # noqa: B902  (whatever it is, join() raises it)
            self._errors.append(error)

    def join(self):
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]


def held(daemon):
    """What the daemon holds, and the memory of its workers, once nothing is under way."""
    pids = place.wait_until(lambda: all_ready(daemon), 60, "all workers to be ready")
    place.wait_until(lambda: daemon.call("spool")["depth"] == 0, 60, "the spool to be empty")
    pid = daemon.process.pid
    return {"heap_bytes": daemon.call("status")["heapBytes"],
            "daemon_pss_bytes": round(processes.pss_mb([pid]) * 1e6),
            "workers_pss_bytes": round(processes.pss_mb(pids) * 1e6),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd"))}


def soak(given):
    samples = []
    reloads = 0
    with servers.Nginx() as nginx:
        ini = {"daemon": {"log_level": "info"}, "database": {"url": "embedded"},
               "pool:probe": {"size": WORKERS, "restart_delay": "10ms"}, **nginx.ini()}
        with Daemon(ini=ini, keys={"OPENAI_API_KEY": "soak"}, environment=NOTHING_KEPT) as daemon:
            daemon.wait_ready()
            definition = work.import_definition(daemon, "soak", SCENARIOS)
            for number in range(given.rounds):
                jobs = given.jobs // given.rounds
                run = work.start_run(daemon, definition, jobs // SCENARIOS)
                count = share(given.reloads, given.rounds, number)
                tasks = Tasks(lambda: kill_workers(daemon, share(given.restarts, given.rounds, number)),
                              lambda: reload_often(daemon, reloads, count))
                work.await_run(daemon, run, ROUND_DEADLINE_S)
                tasks.join()
                reloads += count
                work.check_recorded(daemon, run, jobs)
                samples.append(held(daemon))
                tell(f"round {number + 1} of {given.rounds}: {samples[-1]}")
            restarts = sum(worker["restarts"] for worker in daemon.workers())
            degraded = daemon.call("status")["pools"][0]["degraded"]
    return samples, restarts, degraded


def main(argv=None):
    given = options(argv)
    begun = time.monotonic()
    samples, restarts, degraded = soak(given)
    figures, faults = flat.judge(samples)
    if restarts < given.restarts:
        faults.append(f"{restarts} restarts, not {given.restarts}")
    if degraded:
        faults.append(f"the pool is degraded: {degraded}")
    print(json.dumps({"jobs": given.jobs, "restarts": restarts, "reloads": given.reloads, "rounds": given.rounds,
                      "seconds": round(time.monotonic() - begun), **figures, "faults": faults}), flush=True)
    for fault in faults:
        tell(f"WRONG: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
