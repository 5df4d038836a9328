"""A pgbouncer in front of a server, in transaction mode: each transaction may meet another session of the server."""

import os
import signal
import subprocess

from harness import place

PROGRAM = "/usr/sbin/pgbouncer"
SETTINGS = """
[databases]
* = host={server} user=proctor
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
unix_socket_mode = 0777
pool_mode = transaction
default_pool_size = 4
server_login_retry = 1
query_wait_timeout = 3
auth_type = any
logfile = {folder}/log
pidfile = {folder}/pid
"""


class Pooler:
    """folder: where its socket is."""

    def __init__(self, server):
        self.folder = place.make_folder("pool")
        self.process = None
        self._settings = os.path.join(self.folder, "pgbouncer.ini")
        with open(self._settings, "w", encoding="ascii") as file:
            file.write(SETTINGS.format(folder=self.folder, server=server.folder))
        place.give_to_run_user(self._settings)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
        place.remove_folder(self.folder)

    def start(self):
        self.process = subprocess.Popen([PROGRAM, "-q", self._settings], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                                        start_new_session=True, **place.as_run_user())
        place.wait_until(self._listens, 10, "pgbouncer's socket")
        return self

    def _listens(self):
        assert self.process.poll() is None, f"pgbouncer ended at its start\n{self.log()}"
        return os.path.exists(os.path.join(self.folder, ".s.PGSQL.6432"))

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8") as file:
            return file.read()

    def kill(self):
        """SIGKILL: its clients see it gone, its server's sessions too."""
        place.end_process(self.process, signal.SIGKILL)

    def url(self, of_server):
        """What reaches, through it, the database that a URL of the server's names."""
        name = of_server.partition("@/")[2].partition("?")[0]
        return f"postgresql://proctor@/{name}?host={self.folder}&port=6432"
