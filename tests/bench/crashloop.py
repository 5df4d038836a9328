"""crashloop_cpu_percent: what the daemon uses while one worker of 100 crashes as soon as it is ready."""

import os
import signal
import time

from harness import place
from harness.proctor import Daemon
from integration.fake_pool import GREETING, WORKING, FakePool

from . import processes
from .restart import NO_DATABASE

WORKERS = 100
WINDOW_S = 20
CRASHING = [*GREETING, ["exit", 1]]


def used_in_window(daemon):
    """CPU seconds of the daemon itself, and of how many seconds."""
    before, begun = processes.own_cpu_seconds(daemon.process.pid), time.monotonic()
    time.sleep(WINDOW_S)
    return processes.own_cpu_seconds(daemon.process.pid) - before, time.monotonic() - begun


def measure(tell):
    fake = FakePool(*[WORKING] * WORKERS, CRASHING)
    try:
        ini = {"daemon": {"log_level": "info"}, "database": {"url": NO_DATABASE},
               **fake.ini(size=WORKERS, restart_delay="500ms", restart_delay_max="1m", stable_after="1m",
                          ping_interval="10s", ping_timeout="5s", boot_timeout="60s")}
        with Daemon(ini=ini) as daemon:
            place.wait_until(lambda: daemon.call("status")["workers"]["serving"] == WORKERS, 60, "all workers")
            idle, seconds = used_in_window(daemon)
            begun = daemon.log_position()
            os.kill(daemon.worker_pids()[0], signal.SIGKILL)
            used, seconds = used_in_window(daemon)
            crashes = sum(" worker.exit " in line for line in daemon.log_lines()[begun:])
            assert daemon.call("status")["workers"]["serving"] == WORKERS - 1
    finally:
        fake.remove()
    tell(f"{crashes} crashes, {used:.3f} CPU s in {seconds:.1f} s; {idle:.3f} before")
    return round(100 * used / seconds, 3), "percent of one core", {
        "window_s": round(seconds, 1), "workers": WORKERS, "crashes": crashes,
        "idle_percent": round(100 * idle / seconds, 3), "worker": "scripted: exits with 1 behind its ready",
        "back_off": "the default", "database": "none", "of": "the daemon alone",
        "by": "schedstat of each of its threads"}
