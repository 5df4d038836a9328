"""All that runs in one part of the chaos: a simulator that signs its answers, a database, and daemons on it."""

import contextlib
import time

import psycopg2

from harness import place
from harness.proctor import KEY_VARIABLES, LIBPQ_OPTIONS, Daemon, merge_ini
from harness.simulator import Simulator

from .node import Node

FOLLOWUP = {"label": "more", "prompt": "And if nobody ever came to know of it?"}
PREAMBLE = "You are asked for advice. Answer in plain words."
MODELS = ("gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "deepseek-chat", "mistral-large")
MODELS_A_RUN = 2
TURNS = 2
PAGE = 500
WORKERS = 3
CALLS_AT_ONCE = 8  # of one daemon to one provider
LATENCY = "lognormal:0.12:0.7:2"
STALL_S = 120.0


class Stalled(AssertionError):
    """Work is left, and for STALL_S nobody has asked for anything."""


def ini(simulator, url, shared):
    return merge_ini(simulator.ini(requests_per_minute=0, concurrency=CALLS_AT_ONCE), {
        "daemon": {"log_level": "info"},
        "database": {"url": url, "shared": shared},
        "spool": {"keep": "7d"},
        "pool:probe": {"size": WORKERS, "capacity": 40, "restart_delay": "50ms", "restart_delay_max": "500ms"},
        "retry": {"base_delay": "100ms", "max_delay": "1s"}})


class Site:
    """server: as those of servers.py. failed_over: [from, to] in wall clock; None while it has not, `to` None until all
    daemons that run have sent the new server what they kept. Leaving the block ends everything."""

    def __init__(self, server, nodes=1):
        self.server = server
        self.simulator = Simulator("--latency", LATENCY, "--set", "sign=true")
        self.nodes = []
        self.failed_over = None
        self._count = nodes
        self._shared = nodes > 1

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.callback(self.remove)
            self.simulator.start()
            for _ in range(self._count):
                self._add_node()
            undo.pop_all()
        return self

    def __exit__(self, *_):
        self.remove()

    def _add_node(self):
        node = Node(Daemon(ini(self.simulator, self.server.url, self._shared), dict.fromkeys(KEY_VARIABLES, "chaos")))
        self.nodes.append(node)
        if self.server.url == "embedded":
            self.server.folder = node.daemon.sections["daemon"]["state_dir"]
        node.daemon.start().wait_ready(90)

    def remove(self):
        for node in self.nodes:
            node.daemon.remove()
        self.simulator.remove()
        self.server.remove()

    # ---- work

    def _import(self, number, scenarios):
        """A definition whose every prompt is asked in no other run, so that a conversation belongs to one job."""
        items = [{"key": f"case_{case}", "name": f"Case {case}",
                  "prompt": f"Run {number}, case {case}: you find a purse. Do you keep it?"}
                 for case in range(scenarios)]
        with self.nodes[0].daemon.connect(timeout=120) as control:
            pages = [items[start:start + PAGE] for start in range(0, scenarios, PAGE)]
            made = control.call("definition.import", name=f"chaos {number}", preamble=PREAMBLE, followups=[FOLLOWUP],
                                scenarios=pages[0], more=len(pages) > 1)
            for page, more in zip(pages[1:], [*[True] * (len(pages) - 2), False]):
                control.call("definition.append", id=made["id"], scenarios=page, more=more)
        return made["id"]

    def start_runs(self, probes, runs):
        """Exactly so many probes over so many runs, of MODELS_A_RUN models each; returns how many answers it takes."""
        wanted = [(probes // MODELS_A_RUN + number) // runs for number in range(runs)]
        definitions = [self._import(number, scenarios) for number, scenarios in enumerate(wanted) if scenarios]
        for number, definition in enumerate(definitions):
            models = [MODELS[(number + place_) % len(MODELS)] for place_ in range(MODELS_A_RUN)]
            self.nodes[number % len(self.nodes)].daemon.call("run.start", definition=definition, models=models)
        return sum(wanted) * MODELS_A_RUN * TURNS

    def asked(self, least, timeout):
        """How many asks have ended; returns as soon as there are so many, or after `timeout` s."""
        return self.simulator.get("/_sim/wait", ledger=least, timeout=round(timeout, 3))["ledger"]

    def watch(self):
        """Looks after the daemons. AssertionError when one has ended by itself."""
        for node in self.nodes:
            node.check_alive()
            node.watch()
        if self.failed_over and self.failed_over[1] is None:
            if all(node.is_ready() for node in self.nodes if node.expected):
                self.failed_over[1] = time.time()

    def wait_end(self, answers):
        """Until every run has ended and every spool is empty. Stalled when nothing moves any more."""
        last, since = -1, time.monotonic()
        while True:
            self.watch()
            asked = self.asked(max(last + 1, answers), 0.5)
            if asked != last:
                last, since = asked, time.monotonic()
            if self._is_over():
                return
            if time.monotonic() - since > STALL_S:
                raise Stalled(f"{asked} answers, then none for {STALL_S:.0f} s\n{self.describe()}")

    def _is_over(self):
        spools = [node.ask("spool") for node in self.nodes]
        if not all(spool and spool["depth"] == 0 for spool in spools):
            return False
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT bool_and(finished_at IS NOT NULL) FROM runs")
            return cursor.fetchone()[0]

    def describe(self):
        """What the daemons say of themselves, for people."""
        return "\n".join(f"{name}: {node.ask(name)}\n{node.daemon.log(40)}"
                         for node in self.nodes for name in ("status", "providers.list", "spool"))

    # ---- books

    def connect(self):
        """A connection to the database of the work."""
        if self.server.url != "embedded":
            return psycopg2.connect(self.server.url)
        told = place.wait_until(lambda: self.nodes[0].ask("config.database"), 30, "the embedded server's address")
        return psycopg2.connect(**{LIBPQ_OPTIONS.get(name, name[2:].lower()): value
                                   for name, value in told["environment"].items()})

    def ledger(self):
        """Every ask that has ended, oldest first."""
        assert self.simulator.get("/_sim/stats")["in_flight"] == 0, "asks are under way"
        found, last = [], 0
        while True:
            page = self.simulator.get("/_sim/ledger", since=last, limit=5000)
            found += page["entries"]
            if not page["entries"]:
                break
            last = page["entries"][-1]["n"]
        assert len(found) == page["last"], f"the ledger forgot {page['last'] - len(found)} of {page['last']} asks"
        return found
