"""A stranger who kills a daemon's workers, all at once, again and again, while somebody asks for its status."""

import os
import signal
import threading
import time

STANDBYS = 2  # that a prepared parent keeps


def is_worker(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"probe.py" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def worker_processes(daemon_pid):
    """The daemon's children that are probe workers, by the kernel's account: prepared parents and standbys too."""
    with open(f"/proc/{daemon_pid}/task/{daemon_pid}/children", encoding="ascii") as file:
        return {int(pid) for pid in file.read().split() if is_worker(int(pid))}


def percentile(values, percent):
    """The value that so many percent of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(percent / 100 * len(values)))]


class Storm:
    """kills: how many processes it killed. status_ms: how long each `status` took. statuses: the answers."""

    def __init__(self, daemon, interval=0.1, ask_every=0.01):
        self._daemon = daemon
        self._interval = interval
        self._ask_every = ask_every
        self._over = threading.Event()
        self.kills = 0
        self.status_ms = []
        self.statuses = []

    def rage(self, seconds):
        """Kills for so long; returns itself."""
        asker = threading.Thread(target=self._ask, daemon=True)
        asker.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._kill_all()
            self._over.wait(self._interval)
        self._over.set()
        asker.join(30)
        assert not asker.is_alive(), "`status` was not answered"
        return self

    def _kill_all(self):
        prepared = {pool["forkserverPid"] for pool in self._daemon.call("status")["pools"]}
        for pid in worker_processes(self._daemon.process.pid) - prepared:
            try:
                os.kill(pid, signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                pass  # it was faster

    def _ask(self):
        with self._daemon.connect() as control:
            while not self._over.is_set():
                begun = time.monotonic()
                answer = control.call("status")
                self.status_ms.append((time.monotonic() - begun) * 1000)
                self.statuses.append(answer)
                self._over.wait(self._ask_every)

    def degradations(self):
        """Why any pool was degraded at any time."""
        return {pool["degraded"] for status in self.statuses for pool in status["pools"]} - {None}
