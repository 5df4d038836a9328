"""One proctord of a test's own, in a folder of its own.

    with Daemon(ini={"pool:probe": {"size": 2}}) as daemon:
        daemon.wait_ready()
        daemon.call("run.start", definition="everyday", models=["gpt-4"])
        daemon.ctl("run", "list")
        daemon.wait_log("run.finished")

A test that fails should print daemon.log().
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

import psycopg2

from . import place
from .control import Control, ControlError

KEY_VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "XAI_API_KEY", "DEEPSEEK_API_KEY",
                 "MISTRAL_API_KEY")
NOT_INHERITED = KEY_VARIABLES + ("DATABASE_URL", "FAIL_MODEL_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET",
                                 "WATCHDOG_USEC", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY",
                                 "HTTPS_PROXY", "ALL_PROXY", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE",
                                 "PGPASSWORD", "PGOPTIONS", "PGSERVICE", "PROCTOR_SOCKET")
# Variables whose option of the connection has another name than the variable's own, in small letters.
LIBPQ_OPTIONS = {"PGDATABASE": "dbname", "PGTARGETSESSIONATTRS": "target_session_attrs",
                 "PGCONNECT_TIMEOUT": "connect_timeout", "PGAPPNAME": "application_name"}

# The defaults are those of a new account, at which a test would wait for minutes; and no test may look at a real
# provider.
QUIET = {"ramp_up": "0s", "health_interval": "0"}
NO_TOKEN_LIMITS = {
    "provider:openai": {"tokens_per_minute": 0, **QUIET},
    "provider:anthropic": {"input_tokens_per_minute": 0, "output_tokens_per_minute": 0, **QUIET},
    **{f"provider:{name}": QUIET for name in ("google", "xai", "deepseek", "mistral", "simulated")}}


def merge_ini(base, overrides):
    """A copy of base with the overrides' keys in; a key or section whose value is None is left out."""
    merged = {section: dict(keys) for section, keys in base.items()}
    for section, keys in (overrides or {}).items():
        if keys is None:
            merged.pop(section, None)
            continue
        target = merged.setdefault(section, {})
        for key, value in keys.items():
            if value is None:
                target.pop(key, None)
            else:
                target[key] = value
    return merged


def ini_text(sections):
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            lines.append(f"{key} = {text}")
        lines.append("")
    return "\n".join(lines)


class Log:
    """Collects a stream's lines, in memory and in a file, and lets tests wait for one."""

    def __init__(self, stream, path):
        self._changed = threading.Condition()
        self._lines = []
        self._ended = False
        self._thread = threading.Thread(target=self._collect, args=(stream, path), daemon=True)
        self._thread.start()

    def _collect(self, stream, path):
        with stream, open(path, "ab", buffering=0) as copy:
            for raw in stream:
                copy.write(raw)
                with self._changed:
                    self._lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def join(self, deadline):
        self._thread.join(deadline)

    def lines(self):
        with self._changed:
            return list(self._lines)

    def wait(self, pattern, deadline, since=0):
        """The first line from number `since` on in which the regular expression is found, or None."""
        wanted = re.compile(pattern)
        end = time.monotonic() + deadline
        with self._changed:
            while True:
                for line in self._lines[since:]:
                    if wanted.search(line):
                        return line
                since = max(since, len(self._lines))
                left = end - time.monotonic()
                if left <= 0 or self._ended:
                    return None
                self._changed.wait(left)


class Daemon:
    """folder: where state, run, ini and log live; made and removed here when not given.
    ini: {section: {key: value}} over the defaults below. keys: {variable: key}, kept in a key_file. wrapper: words
    before its own command line, of a program that becomes it.
    environment: {variable: value} over the test's own, from which keys and proxies are taken away."""

    def __init__(self, ini=None, keys=None, environment=None, folder=None, wrapper=()):
        self.root = place.installation()
        self._own_folder = folder is None
        self.folder = folder or place.make_folder("test")
        self.ini_path = os.path.join(self.folder, "proctor.ini")
        self.key_path = os.path.join(self.folder, "keys.env")
        self.socket_path = os.path.join(self.folder, "run", "proctor.sock")
        self.environment = environment or {}
        self.wrapper = wrapper
        self.process = None
        self._connections = threading.local()
        self._log = None
        self._old_lines = []
        if keys is not None:
            self.write_keys(keys)
        self.sections = merge_ini(self._default_sections(keys is not None), ini)
        self.write_ini()

    def _default_sections(self, has_keys):
        daemon = {"state_dir": os.path.join(self.folder, "state"),
                  "run_dir": os.path.join(self.folder, "run"), "log_level": "debug", "drain_timeout": "5s"}
        if place.is_root():
            daemon["user"] = place.UNPRIVILEGED
        if has_keys:
            daemon["key_file"] = self.key_path
        return {"daemon": daemon, "pool:probe": {"size": 1}, **NO_TOKEN_LIMITS}

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()

    # files

    def write_ini(self, overrides=None):
        """Writes the ini anew with the overrides in; a running daemon sees it at its next reload."""
        self.sections = merge_ini(self.sections, overrides)
        with open(self.ini_path, "w", encoding="utf-8") as file:
            file.write(ini_text(self.sections))
        os.chmod(self.ini_path, 0o644)

    def write_keys(self, keys):
        descriptor = os.open(self.key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in keys.items())
        place.give_to_run_user(self.key_path)

    # life

    def _environment(self):
        kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        return {**kept, **self.environment}

    def spawn(self):
        """Starts the process and returns at once."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        if self._log:
            self._old_lines += self._log.lines()
        self.process = subprocess.Popen(
            [*self.wrapper, os.path.join(self.root, "sbin", "proctord"), "--config", self.ini_path],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=self._environment(), cwd="/", start_new_session=True)
        self._log = Log(self.process.stderr, os.path.join(self.folder, "proctord.log"))
        return self

    def start(self, deadline=30.0):
        """Starts it and waits until the control socket answers."""
        self.spawn()
        place.wait_until(self._answers, deadline, "the control socket")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            self._log.join(5)
            raise AssertionError(f"proctord exited with {self.process.returncode}\n{self.log()}")
        try:
            self.connect(timeout=5).close()
        except OSError:
            return False
        return True

    def wait_ready(self, deadline=60.0):
        """Waits until the store is up and every worker of the pool is ready."""
        def ready():
            workers = self.call("workers.list")["items"]
            return (self.call("status")["database"]["ready"] and workers
                    and all(worker["state"] == "ready" for worker in workers))
        place.wait_until(ready, deadline, "store and workers")
        return self

    def wait_exit(self, deadline=30.0):
        """Its exit status (negative: the signal)."""
        status = self.process.wait(deadline)
        self._log.join(5)
        return status

    def stop(self, deadline=30.0):
        """SIGTERM and a clean exit, which is asserted."""
        self.process.send_signal(signal.SIGTERM)
        status = self.wait_exit(deadline)
        assert status == 0, f"exit status {status} after SIGTERM\n{self.log()}"

    def kill(self, signo=signal.SIGKILL):
        self.process.send_signal(signo)
        return self.wait_exit()

    def remove(self):
        """Ends it in any way and removes what it left."""
        if self.process is not None:
            below = place.descendants(self.process.pid)
            place.end_process(self.process)
            for pid in below:
                if place.process_is_alive(pid):
                    os.kill(pid, signal.SIGKILL)
            self._log.join(5)
        if self._own_folder and not os.environ.get("PROCTOR_TEST_KEEP"):
            place.remove_folder(self.folder)

    # talk

    def connect(self, timeout=30.0):
        return Control(self.socket_path, timeout)

    def call(self, command, **args):
        """A command by the socket, on the thread's own connection. ControlError when it is refused."""
        kept = getattr(self._connections, "control", None)
        if kept is None or not kept.is_open():
            kept = self._connections.control = self.connect()
        try:
            return kept.call(command, **args)
        except OSError:
            kept.close()
            raise

    def proctorctl(self, *words, stdin=None, deadline=60.0):
        """Runs proctorctl and returns its CompletedProcess (text), whatever its exit status."""
        return subprocess.run(
            [os.path.join(self.root, "bin", "proctorctl"), "--socket", self.socket_path, *map(str, words)],
            input=stdin, capture_output=True, text=True, timeout=deadline, env=self._environment(),
            check=False)

    def ctl(self, *words, stdin=None, deadline=60.0):
        """What `proctorctl --json words…` prints, parsed. AssertionError when it fails."""
        done = self.proctorctl("--json", *words, stdin=stdin, deadline=deadline)
        assert done.returncode == 0, f"proctorctl {words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def rows(self, sql, *values):
        """What a statement gives on the daemon's database, as tuples; [] for one that gives no rows."""
        variables = self.call("config.database")["environment"]
        options = {LIBPQ_OPTIONS.get(name, name[2:].lower()): value for name, value in variables.items()}
        with contextlib.closing(psycopg2.connect(**options)) as connection:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else []

    # what it says

    def log_lines(self):
        return self._old_lines + (self._log.lines() if self._log else [])

    def log(self, last=200):
        return "\n".join(self.log_lines()[-last:])

    def log_position(self):
        """A place in the present life's log, for wait_log(since=…)."""
        return len(self._log.lines())

    def wait_log(self, pattern, deadline=10.0, since=0):
        """Waits for a log line of the present life in which the regular expression is found; returns it."""
        line = self._log.wait(pattern, deadline, since)
        assert line is not None, f"no log line matches {pattern!r} within {deadline} s\n{self.log()}"
        return line

    def wait_event(self, kind, deadline=10.0, **fields):
        """Waits for a recorded event of that kind whose fields have these values; returns it."""
        def find():
            try:
                events = self.call("events", limit=1000)["items"]
            except ControlError as error:
                if error.code != "UNAVAILABLE":
                    raise
                return None
            for event in events:
                if event["kind"] == kind and all(event.get(name) == value for name, value in fields.items()):
                    return event
            return None
        return place.wait_until(find, deadline, f"event {kind} {fields}")

    def wait_run(self, run_id, status="COMPLETED", deadline=60.0):
        """Waits until the run has that status; returns what run.show tells. Another end fails at once."""
        def ended():
            run = self.call("run.show", run=run_id)
            assert run["status"] == status or run["status"] not in ("COMPLETED", "FAILED", "CANCELLED"), \
                f"run ended {run['status']}, not {status}: {run}"
            return run if run["status"] == status else None
        return place.wait_until(ended, deadline, f"run {run_id} to be {status}")

    # processes

    def workers(self):
        """What workers.list tells of each."""
        return self.call("workers.list")["items"]

    def worker_pids(self):
        return [worker["pid"] for worker in self.call("workers.list")["items"] if worker.get("pid")]

    def all_pids(self):
        """The daemon's and those of everything below it."""
        return [self.process.pid] + place.descendants(self.process.pid)


__all__ = ["Control", "ControlError", "Daemon", "KEY_VARIABLES", "ini_text", "merge_ini"]
