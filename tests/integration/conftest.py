"""Fixtures of all integration tests: a Postgres server, a simulator, and daemons that tell their log on failure."""

import contextlib
import os
import sys
from urllib.parse import urlsplit

import psycopg2
import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.place import wait_until  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.proctor import Daemon  # noqa: E402
from harness.simulator import Simulator  # noqa: E402

from fake_pool import FakePool  # noqa: E402
from services import NO_DATABASE, Services, Tree, sections  # noqa: E402
from stalled_machine import (pytest_configure, pytest_runtest_protocol, pytest_sessionfinish,  # noqa: E402, F401
                             pytest_sessionstart)

LOG_LINES = 150
# Every command opens and closes a connection, which says nothing about a failure.
NOISE = (" control.open ", " control.close ")

KEYS = {"OPENAI_API_KEY": "sk-test-openai", "ANTHROPIC_API_KEY": "sk-test-anthropic",
        "GOOGLE_API_KEY": "test-google", "XAI_API_KEY": "xai-test", "DEEPSEEK_API_KEY": "sk-test-deepseek",
        "MISTRAL_API_KEY": "test-mistral"}

DEFINITION = {"name": "everyday", "preamble": "You are asked for advice.",
              "followups": [{"label": "why", "prompt": "Why?"}, {"label": "sure", "prompt": "Are you sure?"}]}

_shown = pytest.StashKey()


def _find_daemons(item):
    """Every daemon that a test's fixtures gave it, or that it made by make_daemon."""
    found = list(item.stash.get(_shown, []))
    found += [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Daemon)]
    return list(dict.fromkeys(found))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for number, daemon in enumerate(_find_daemons(item), 1):
            lines = [line for line in daemon.log_lines() if not any(word in line for word in NOISE)]
            report.sections.append((f"log of proctord {number}", "\n".join(lines[-LOG_LINES:])))


@pytest.fixture(scope="session")
def postgres():
    """A server for all tests: each daemon has a database of its own in it."""
    with Postgres() as server:
        yield server


class Databases:
    """Migrated databases, used again after they were emptied: both spare most of the time that a new one takes."""

    def __init__(self, server):
        self._server = server
        self._free = []
        self._template = None

    def _migrate(self):
        url = self._server.database()
        with Daemon(ini={"database": {"url": url}}) as daemon:
            wait_until(lambda: daemon.call("status")["database"]["ready"], 30, "the migrations")
            daemon.stop()
        self._empty(url)
        return urlsplit(url).path.lstrip("/")

    @staticmethod
    def _empty(url):
        with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            # Of a daemon that was killed a moment ago.
            cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                           "WHERE datname = current_database() AND pid <> pg_backend_pid()")
            cursor.execute("SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables "
                           "WHERE schemaname = 'public' AND tablename NOT IN ('schema_migrations', 'installation')")
            cursor.execute(f"TRUNCATE {cursor.fetchone()[0]} RESTART IDENTITY")
            # Empty, it is another database to a daemon that knew the old one.
            cursor.execute("UPDATE installation SET id = gen_random_uuid()")

    def take(self):
        """URL of an empty one."""
        if self._template is None:
            self._template = self._migrate()
        return self._free.pop() if self._free else self._server.database(self._template)

    def give_back(self, url):
        self._empty(url)
        self._free.append(url)


@pytest.fixture(scope="session")
def databases(postgres):
    return Databases(postgres)


@pytest.fixture(scope="session")
def one_simulator():
    with Simulator() as simulator:
        yield simulator


def cleaned(simulator):
    simulator.post("/_sim/config", {"hold": False, "script": [], "latency": {}, "limits": []})
    simulator.post("/_sim/reset", {})
    return simulator


@pytest.fixture
def simulator(one_simulator):
    """The simulator, with nothing configured and nothing asked yet."""
    return cleaned(one_simulator)


@pytest.fixture(scope="module")
def module_simulator(one_simulator):
    """The same for what the tests of a module share: nothing of the module before is configured."""
    return cleaned(one_simulator)


@contextlib.contextmanager
def _daemons(node, databases):
    made = node.stash.setdefault(_shown, [])
    taken = []

    def make(ini=None, start=True, **options):
        ini = dict(ini or {})
        if "database" not in ini:
            taken.append(databases.take())
            ini["database"] = {"url": taken[-1]}
        daemon = Daemon(ini=ini, **options)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    for daemon in made:
        if daemon.process is not None:
            daemon.process.kill()  # how it stops is the matter of other tests
        daemon.remove()
    for url in taken:
        databases.give_back(url)


@pytest.fixture
def make_daemon(request, databases):
    """make_daemon(ini, start=True, **Daemon's) gives a daemon on a database of its own; it is ended behind the test.

    `ini` may name another [database] url, such as embedded.
    """
    with _daemons(request.node, databases) as make:
        yield make


@pytest.fixture(scope="module")
def make_module_daemon(request, databases):
    """The same, for daemons that all tests of a module share."""
    with _daemons(request.node, databases) as make:
        yield make


@pytest.fixture
def start_run():
    """start_run(daemon, prompts, models=["gpt-4"], followups=2, **run.start's): imports a definition, gives the id."""

    def start(daemon, prompts, models=("gpt-4",), followups=2, **options):
        definition = {**DEFINITION, "followups": DEFINITION["followups"][:followups]}
        scenarios = [{"key": f"s{number}", "name": f"Scenario {number}", "prompt": prompt}
                     for number, prompt in enumerate(prompts, 1)]
        daemon.call("definition.import", **definition, scenarios=scenarios)
        return daemon.call("run.start", definition=DEFINITION["name"], models=list(models), **options)["id"]

    return start


@contextlib.contextmanager
def _fakes():
    made = []

    def make(*lives):
        made.append(FakePool(*lives))
        return made[-1]

    yield make
    for fake in made:
        fake.remove()


@pytest.fixture
def make_fake():
    """make_fake(life, …) gives a FakePool; its folder goes behind the test."""
    with _fakes() as make:
        yield make


@pytest.fixture(scope="module")
def make_module_fake():
    with _fakes() as make:
        yield make


@pytest.fixture
def services():
    """Services of the test's own; see services.py."""
    made = Services()
    yield made
    made.remove()


@pytest.fixture
def make_tree(request, services):
    """make_tree(part, …, start=True) gives a daemon over these sections, without a database; it is ended later."""
    made = request.node.stash.setdefault(_shown, [])

    def make(*parts, start=True, **options):
        made.append(Tree(ini=sections(NO_DATABASE, services.pool(), *parts), **options))
        return made[-1].start() if start else made[-1]

    yield make
    for tree in made:
        tree.remove()
