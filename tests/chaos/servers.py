"""The database under fire: a server of the harness, a pair with a standby, or the daemon's embedded one.

All of them are killed by kill(), which brings it back after a pause, and stopped by freeze(); both take their time.
"""

import contextlib
import os
import signal
import subprocess
import threading

from harness import place
from harness.postgres import Postgres, programs

# A commit that was acknowledged must outlive the server's processes, if not the machine.
KEPT = "synchronous_commit = on"


def pause(seconds):
    threading.Event().wait(seconds)


class Server:
    """A Postgres of the harness, whose postmaster is killed with SIGKILL."""

    def __init__(self):
        self.postgres = Postgres(settings=KEPT).start()
        self.url = self.postgres.database()

    def kill(self, down_s):
        self.postgres.stop(signal.SIGKILL)
        pause(down_s)
        self.postgres.start()

    def freeze(self, seconds):
        self.postgres.freeze()
        pause(seconds)
        self.postgres.thaw()

    def remove(self):
        self.postgres.remove()


class Standby(Postgres):
    """A copy of a running server that follows it. Starts with promote() the server's next timeline."""

    def __init__(self, primary):  # a copy has all but the folder from its primary
        self.folder = place.make_folder("pg")
        self.data = os.path.join(self.folder, "data")
        self.process = None
        self._databases = 0
        subprocess.run([os.path.join(programs(), "pg_basebackup"), "-h", primary.folder, "-U", "proctor",
                        "-D", self.data, "-X", "stream", "-R", "-c", "fast"],
                       check=True, cwd="/", **place.as_run_user())
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(f"unix_socket_directories = '{self.folder}'\n")

    def part(self):
        """Stops listening to its primary: what that commits from now on does not come here."""
        self.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.execute("SELECT pg_reload_conf()")
        place.wait_until(lambda: self.execute("SELECT count(*) FROM pg_stat_wal_receiver") == "0", 10,
                         "the standby to part")

    def promote(self):
        assert self.execute("SELECT pg_promote()") == "t"


class Pair(Server):
    """A primary and an asynchronous standby; fail_over() kills the first for good and promotes the second."""

    def __init__(self):
        super().__init__()
        self.primary = self.postgres
        self.standby = Standby(self.primary).start()
        self._name = name = self.url.partition("@/")[2].partition("?")[0]
        self.url = (f"postgresql://proctor@/{name}?host={self.primary.folder},{self.standby.folder}"
                    "&target_session_attrs=read-write")

    def fail_over(self, lag_s):
        """The primary commits for so long what the standby never gets: so many outcomes and turns, which it returns."""
        self.standby.part()
        pause(lag_s)
        count = "SELECT (SELECT count(*) FROM outcomes) + (SELECT count(*) FROM checkpoints)"
        had = int(self.primary.execute(count, self._name))
        self.primary.stop(signal.SIGKILL)
        has = int(self.standby.execute(count, self._name))
        self.standby.promote()
        self.postgres = self.standby
        return had - has

    def remove(self):
        self.primary.remove()
        self.standby.remove()


class Embedded:
    """The one that a daemon runs, and brings back itself."""

    url = "embedded"

    def __init__(self):
        self.folder = None  # the daemon's state folder; set when there is one

    def _pids(self):
        """The postmaster and all of its processes; nothing while it is away."""
        try:
            with open(os.path.join(self.folder, "postgres", "postmaster.pid"), encoding="ascii") as file:
                pid = int(file.readline())
        except (FileNotFoundError, ValueError):
            return []
        return [pid, *place.descendants(pid)] if place.process_is_alive(pid) else []

    @staticmethod
    def _send(pids, signo):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signo)

    def kill(self, _):
        self._send(place.wait_until(self._pids, 60, "an embedded server to kill")[:1], signal.SIGKILL)

    def freeze(self, seconds):
        pids = place.wait_until(self._pids, 60, "an embedded server to stop")
        self._send(pids, signal.SIGSTOP)
        pause(seconds)
        self._send(pids, signal.SIGCONT)

    def remove(self):
        """It goes with its daemon."""
