"""A small run through a daemon that ends itself at a crash point, its restart, and what the books say then.

A course is how the daemon comes to pass a point: in the middle of ordinary work, at a start with a backlog in its
spool, or with answers so large that the spool needs more than one segment.
"""

import contextlib
import os
import re
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field

import psycopg2

from chaos import books
from chaos.node import Death
from chaos.proof import Proof
from harness import place
from harness.books import check_books
from harness.proctor import Daemon, merge_ini
from harness.simulator import Simulator

PROBES = 12
TURNS = 2
CAPACITY = 4
LARGE = 1_900_000  # bytes of an answer: the whole run is more than a segment of the least spool
DEADLINE_S = 40
LATENCY = "uniform:0.03:0.2"  # so that some turns wait longer for the end of their attempt than the store lets them
MACRO = re.compile(r'CRASH_POINT\("([^"]+)"\)')
SUPERVISOR = os.path.join(place.REPOSITORY, "supervisor")


def points():
    """Names of all crash points in the sources."""
    found = set()
    for folder, _, names in os.walk(SUPERVISOR):
        for name in names:
            if name.endswith(".c"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    found.update(MACRO.findall(file.read()))
    return sorted(found)


def crash_installation():
    """An installation whose proctord has the crash points; the caller removes the folder."""
    root = place.make_folder("crash")
    usual = place.installation()
    for part in ("bin", "lib"):
        os.symlink(os.path.join(usual, part), os.path.join(root, part))
    os.mkdir(os.path.join(root, "sbin"))
    shutil.copy(os.path.join(place.REPOSITORY, "build", "crash", "proctord"), os.path.join(root, "sbin"))
    return root


@dataclass
class Result:
    """died: at the point, by itself. faults: sentences; log: of the daemon, all lives."""

    died: bool = False
    faults: list = field(default_factory=list)
    log: str = ""


class Ground:
    """What all cases share: a Postgres with a template in which the run is started, a simulator, an installation."""

    def __init__(self, postgres):
        self._postgres = postgres
        self._lock = threading.Lock()
        self.simulator = Simulator("--latency", LATENCY, "--set", "sign=true")
        self.root = crash_installation()
        self._template = None

    def start(self):
        self.simulator.start()
        url = self._postgres.database()
        with Daemon(ini=self.ini(url), keys={"OPENAI_API_KEY": "k"}) as daemon:
            place.wait_until(lambda: daemon.call("status")["database"]["ready"], 30, "the migrations")
            daemon.call("providers.pause", provider="openai")
            scenarios = [{"key": f"s{number}", "name": f"Scenario {number}", "prompt": f"Question {number}"}
                         for number in range(PROBES)]
            daemon.call("definition.import", name="crash", preamble="Answer.", scenarios=scenarios,
                        followups=[{"label": "why", "prompt": "Why?"}])
            daemon.call("run.start", definition="crash", models=["gpt-4"])
            daemon.stop()
        self._template = url.partition("@/")[2].partition("?")[0]

    def remove(self):
        self.simulator.remove()
        place.remove_folder(self.root)

    def ini(self, url, more=None):
        return merge_ini(self.simulator.ini("openai", requests_per_minute=0), merge_ini({
            "daemon": {"log_level": "info"}, "database": {"url": url}, "spool": {"keep": "1h"},
            "pool:probe": {"size": 1, "capacity": CAPACITY}}, more))

    def database(self, case, preamble):
        """URL of a database in which the run waits, with questions that no other case asks."""
        with self._lock:  # a template can be copied by one at a time
            url = self._postgres.database(self._template)
        run(url, "UPDATE scenarios SET prompt = prompt || %s", f" ({case})")
        run(url, "UPDATE runs SET definition_snapshot = definition_snapshot "
                 "|| jsonb_build_object('preamble', %s::text)", preamble)
        return url


def run(url, sql, *values):
    """Rows of one statement."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


class Case:
    """One point, one pass of it, one course. play() gives the Result; the folder and the daemon end with it."""

    def __init__(self, ground, point, number, course):
        self._ground = ground
        self._point = point
        self._number = number
        self._course = COURSES[course]
        self._name = f"{point} {number} {course}"
        self._deaths = []
        self._result = Result()

    def play(self):
        more, preamble, prepare, _ = self._course
        url = self._ground.database(self._name, preamble)
        self._database = psycopg2.connect(url)
        self._database.autocommit = True
        daemon = Daemon(ini=self._ground.ini(url, more), keys={"OPENAI_API_KEY": "k"})
        daemon.root = self._ground.root
        try:
            prepare(self, daemon, url)
            self._die(daemon)
            self._judge(daemon)
        except Exception as error:  # whatever it is belongs to this case, and not to the thread that plays it
            self._result.faults.append(f"{type(error).__name__}: {error}")
        finally:
            self._result.log = daemon.log(80)
            daemon.remove()
            self._database.close()
        return self._result

    def bury(self, daemon):
        """Notes the death of the daemon with all its calls."""
        self._deaths.append(time.time())
        daemon.wait_exit()

    def _over(self, daemon):
        if daemon.process.poll() is not None:
            return True
        with self._database.cursor() as cursor:
            cursor.execute("SELECT bool_and(finished_at IS NOT NULL) FROM runs")
            return cursor.fetchone()[0] and spool_depth(daemon) == 0

    def _wait_over(self, daemon, what):
        place.wait_until(lambda: self._over(daemon), DEADLINE_S, what)

    def _die(self, daemon):
        """The armed life, and the one after it if it did die."""
        daemon.environment = {"PROCTOR_CRASH_AT": f"{self._point}:{self._number}"}
        daemon.spawn()
        self._wait_over(daemon, "the end of the armed daemon or of its run")
        if daemon.process.poll() is None:
            daemon.process.terminate()  # a point may lie behind all work
        self.bury(daemon)
        status = daemon.process.returncode
        self._result.died = status == -signal.SIGKILL
        if status not in (0, -signal.SIGKILL):
            self._result.faults.append(f"the armed daemon ended with status {status}")
        daemon.environment = {}
        if self._result.died:
            self._at_death = self._spooled(daemon)
            daemon.spawn()
            self._wait_over(daemon, "the end of the run after the restart")
            assert daemon.process.poll() is None, f"the restarted daemon ended with status {daemon.process.poll()}"
            daemon.stop()

    def _spooled(self, daemon):
        """{id: turn} of what its spool holds; a last record may be cut short by a death."""
        folder = os.path.join(daemon.sections["daemon"]["state_dir"], "spool")
        return {turn.id: turn for turn in books.spool_of(0, folder, [])} if os.path.isdir(folder) else {}

    def _judge(self, daemon):
        self._result.faults += check_books(self._database)
        jobs = books.jobs_of(self._database)
        conversations = {job.conversation for job in jobs}
        asks = [ask for ask in books.asks_of(self._ground.simulator.get("/_sim/ledger", limit=100_000)["entries"])
                if ask.conversation in conversations]
        spooled = {**(self._at_death if self._result.died else {}), **self._spooled(daemon)}
        # Nobody looked at the sockets of one that ends itself; all calls of that moment were its own.
        deaths = [Death(at, frozenset(ask.port for ask in asks)) for at in self._deaths]
        verdict = Proof(jobs, asks, list(spooled.values()), [deaths], [[]], whole=self._course[3]).judge()
        self._result.faults += verdict.faults
        if len(jobs) != PROBES:
            self._result.faults.append(f"{len(jobs)} jobs, not {PROBES}")


def spool_depth(daemon):
    """Records that the database has not got; None while nobody tells."""
    try:
        with daemon.connect(timeout=2) as control:
            return control.call("spool")["depth"]
    except OSError:
        return None


def _at_once(case, daemon, url):
    """Nothing before the armed life."""


def _with_backlog(case, daemon, url):
    """A life that spools turns which the database does not take, and is killed."""
    with contextlib.closing(psycopg2.connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE checkpoints, outcomes IN EXCLUSIVE MODE")
        daemon.spawn()
        place.wait_until(lambda: (spool_depth(daemon) or 0) >= CAPACITY, DEADLINE_S, "a backlog")
        daemon.process.kill()
        case.bury(daemon)


# Further ini, the preamble of the questions, what comes before the armed life, and whether every segment is kept.
COURSES = {
    "plain": ({}, "Answer.", _at_once, True),
    "backlog": ({}, "Answer.", _with_backlog, True),
    "large": ({"spool": {"keep": "0s", "max_size": "256M"}}, f"Answer. [[sim:huge={LARGE}]]", _at_once, False),
}
