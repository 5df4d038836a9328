"""One daemon under fire, and what was done to it."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass

from harness import place
from harness.control import ControlError

from .sockets import local_ports

ASK_S = 2.0  # a daemon that does not answer for so long is asked again


@dataclass(frozen=True)
class Death:
    """at: wall clock, when it was stopped, right before the kill. ports: those that the dead were calling from."""

    at: float
    ports: frozenset


class Node:
    """deaths: of its workers, and of itself with all its workers. outages: [from, to] in wall clock, from the daemon's
    death to the time that it was seen with its database again; to is None until then."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.deaths = []
        self.outages = []
        self.expected = True  # to be running

    # ---- what it says

    def ask(self, command, **args):
        """The answer, or None while there is none."""
        try:
            with self.daemon.connect(timeout=ASK_S) as control:
                return control.call(command, **args)
        except (OSError, ControlError):
            return None

    def is_ready(self):
        status = self.ask("status")
        return status is not None and status["database"]["ready"]

    def check_alive(self):
        """AssertionError when it has ended by itself."""
        status = self.daemon.process.poll() if self.expected else None
        assert status is None, f"proctord ended by itself, exit status {status}\n{self.daemon.log(60)}"

    def watch(self):
        """Ends the present outage once the daemon has its database again."""
        if self.outages and self.outages[-1][1] is None and self.expected and self.is_ready():
            self.outages[-1][1] = time.time()

    # ---- blows

    def _worker_pids(self):
        told = self.ask("workers.list")
        return [worker["pid"] for worker in told["items"] if worker.get("pid")] if told else []

    def kill_worker(self, pick):
        """Waits for one to be there. Its sockets are read while it stands still, so that none is missed."""
        pids = place.wait_until(self._worker_pids, 60, "a worker to kill")
        pid = pids[int(pick * len(pids))]
        with contextlib.suppress(ProcessLookupError):
            at = time.time()
            os.kill(pid, signal.SIGSTOP)
            self.deaths.append(Death(at, frozenset(local_ports([pid]))))
            os.kill(pid, signal.SIGKILL)

    def kill(self):
        """The daemon, and with it all that it runs."""
        self.expected = False
        daemon = self.daemon.process.pid
        at = time.time()
        os.kill(daemon, signal.SIGSTOP)
        below = place.descendants(daemon)
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self.deaths.append(Death(at, frozenset(local_ports(below))))
        self.outages.append([at, None])
        self.daemon.process.kill()
        self.daemon.process.wait()
        for pid in below:  # those that do not die with it go on by themselves, as they would have
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def spawn(self):
        self.daemon.spawn()
        self.expected = True

    def upgrade(self):
        """The running binary by itself, through proctorctl; waits for a daemon to be there."""
        def done():
            return self.daemon.proctorctl("upgrade").returncode == 0
        place.wait_until(done, 60, "an upgrade to be accepted")
