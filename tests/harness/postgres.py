"""A private Postgres on a Unix socket, with nothing durable about it, for as many daemons as a test needs."""

import contextlib
import glob
import os
import signal
import subprocess

from . import place

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
unix_socket_permissions = 0777
max_connections = 200
fsync = off
full_page_writes = off
synchronous_commit = off
shared_buffers = 64MB
autovacuum_naptime = 5s
"""


def programs():
    """Folder of the newest installed Postgres server's programs."""
    def version(path):
        return tuple(int(part) for part in path.split("/")[4].split(".") if part.isdigit())
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=version)
    folders = [folder for folder in folders if os.path.exists(os.path.join(folder, "initdb"))]
    assert folders, "no Postgres server is installed: apt-get install postgresql"
    return folders[-1]


class Postgres:
    """settings: extra lines of postgresql.conf; durable: keep the server's own defaults of fsync."""

    def __init__(self, settings="", durable=False):
        self.folder = place.make_folder("pg")
        self.data = os.path.join(self.folder, "data")
        self.process = None
        self._databases = 0
        subprocess.run([os.path.join(programs(), "initdb"), "-D", self.data, "-U", "proctor", "-A", "trust",
                        "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"],
                       check=True, stdout=subprocess.DEVNULL, cwd="/", **place.as_run_user())
        text = SETTINGS.format(folder=self.folder)
        if durable:
            dropped = ("fsync", "full_page_writes", "synchronous_commit")
            text = "\n".join(line for line in text.splitlines() if not line.startswith(dropped))
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(text + settings + "\n")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    def start(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen([os.path.join(programs(), "postgres"), "-D", self.data],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                            start_new_session=True, **place.as_run_user())
        place.wait_until(self._answers, 30, f"Postgres in {self.folder}")
        return self

    def _answers(self):
        assert self.process.poll() is None, f"Postgres ended at its start\n{self.log()}"
        return self._run("psql", "-d", "postgres", "-c", "SELECT 1").returncode == 0

    def _run(self, program, *words):
        return subprocess.run([os.path.join(programs(), program), "-h", self.folder, "-U", "proctor", *words],
                              capture_output=True, text=True, check=False)

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def execute(self, statement, database="postgres"):
        """Runs a statement as the superuser and returns what psql prints, unaligned."""
        done = self._run("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def database(self, template="template1"):
        """Creates a database of its own and returns its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        done = self._run("createdb", "-T", template, name)
        assert done.returncode == 0, done.stderr
        return self.url(name)

    def url(self, name):
        return f"postgresql://proctor@/{name}?host={self.folder}"

    def stop(self, signo=signal.SIGINT, deadline=30.0):
        """Fast shutdown (SIGINT), or SIGQUIT or SIGKILL: with the last, its children are ended too."""
        below = place.descendants(self.process.pid)
        status = place.end_process(self.process, signo, deadline)
        for pid in below:
            if signo == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
        place.wait_until(lambda: not any(map(place.process_is_alive, below)), deadline, "Postgres's children")
        return status

    def freeze(self):
        """SIGSTOP for the server and all of its backends; thaw() lets them go on."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self):
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, signo):
        for pid in [self.process.pid] + place.descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signo)

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.stop(signal.SIGQUIT)
        place.remove_folder(self.folder)
