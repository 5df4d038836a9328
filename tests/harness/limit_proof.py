"""Proof that lanes keep the limits of their providers, and use them.

The simulator enforces limits; daemons, one or several on one database, are told the same (or a wrong one) and have more
work than they can do. After a ramp a span of time is measured. All figures are the simulator's own, none is Proctor's:

- refusals: how many calls it answered with 429 since the reading before, by `refused` of the provider in its stats;
- use of a limit over time: what its meter admitted between two readings of the stats, in the meter's own unit
  (`admitted_cost`), as a share of limit * time / window. The time is CLOCK_MONOTONIC, the simulator's clock too, at the
  middle of each reading. For a sliding window and a bucket this can be above 100 % by what one window or the burst
  holds beyond an even pace, and a lane that keeps an even pace never is by more than a call;
- use of a concurrency: the sum of the times from arrival to end of all calls in its ledger, cut to the span, as a share
  of limit * time. The ledger is read when the last call begun in the span has ended.

    with LimitProof([Lane("openai", "gpt-4", [{"kind": "bucket", "limit": 50, "window_s": 1.0}],
                          {"requests_per_minute": 3000})]) as proof:
        proof.begin()
        ramp, (span,) = proof.measure(ramp_s=3, span_s=10)
"""

import contextlib
import dataclasses
import itertools
import time

from . import place
from .postgres import Postgres
from .proctor import KEY_VARIABLES, Daemon, merge_ini
from .simulator import Simulator

KEYS = {variable: "proof" for variable in KEY_VARIABLES}
RESERVE = 50  # probes that must be left at the end of a span: else a lane may have wanted for work
SCENARIOS = 100
SHORT = "uniform:0.05:0.15"
HEAVY_TAILED = "lognormal:0.12:0.9:5"


@dataclasses.dataclass(frozen=True)
class Lane:
    """A provider and what is asked of it. limits: as the simulator's settings have them, but for the provider.
    keys: of its section of the ini. probes: a multiple of SCENARIOS. options: further ones of run.start."""
    provider: str
    model: str
    limits: list
    keys: dict
    latency: str = SHORT
    turns: int = 1
    probes: int = 4000
    options: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of one limit in one span. use: percent. refused: 429s of its provider, in the span. calls: admitted in it."""
    provider: str
    kind: str
    unit: str
    use: float
    calls: int
    refused: int

    def __str__(self):
        return (f"{self.provider} {self.kind} {self.unit}: {self.use:.2f} % in {self.calls} calls, "
                f"{self.refused} refused")


@dataclasses.dataclass(frozen=True)
class Reading:
    at: float
    limits: list
    providers: dict


class LimitProof:
    """settings: further ones of the simulator. durable: the database keeps its promises, as a real one."""

    def __init__(self, lanes, nodes=1, settings=None, ini=None, durable=False):
        self.lanes = {lane.provider: lane for lane in lanes}
        self.simulator = Simulator()
        self.nodes = []
        self.runs = {}
        self._count = nodes
        self._settings = settings or {}
        self._ini = ini
        self._durable = durable
        self._undo = contextlib.ExitStack()

    def __enter__(self):
        with self._undo as undo:
            undo.enter_context(self.simulator)
            limits = [{"provider": lane.provider, **limit} for lane in self.lanes.values() for limit in lane.limits]
            self.simulator.post("/_sim/config", {
                "limits": limits, "latency": {name: lane.latency for name, lane in self.lanes.items()},
                **self._settings})
            url = undo.enter_context(Postgres(durable=self._durable)).database()
            for _ in range(self._count):
                self.nodes.append(undo.enter_context(Daemon(self._sections(url), KEYS)))
            for node in self.nodes:
                node.wait_ready()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for node in self.nodes:
                print(f"--- log of proctord\n{node.log(100)}")
        self._undo.close()

    def _sections(self, url):
        base = {"daemon": {"log_level": "info"}, "database": {"url": url, "shared": self._count > 1},
                "pool:probe": {"size": 2 if self._count == 1 else 1}}
        for lane in self.lanes.values():
            base = merge_ini(base, self.simulator.ini(lane.provider, **lane.keys))
        return merge_ini(base, self._ini)

    # work

    def begin(self):
        """Starts a run for each lane and waits until every provider was asked."""
        for lane in self.lanes.values():
            definition = self._define(lane)
            self.runs[lane.provider] = self.nodes[0].call(
                "run.start", definition=definition, models=[lane.model], samples=lane.probes // SCENARIOS,
                **lane.options)["id"]
        place.wait_until(lambda: all(self.read().providers[name]["asked"] for name in self.lanes), 30,
                         "every provider to be asked")

    def _define(self, lane):
        scenarios = [{"key": f"case_{number}", "name": f"Case {number}", "prompt": f"Case {number}: what do you do?"}
                     for number in range(SCENARIOS)]
        followups = [{"label": f"more_{number}", "prompt": f"And if it were {number + 2} friends?"}
                     for number in range(lane.turns - 1)]
        return self.nodes[0].call("definition.import", name=f"of {lane.provider}", scenarios=scenarios,
                                  followups=followups)["id"]

    def left(self, provider):
        """Probes of the lane's run that have no outcome yet."""
        progress = self.nodes[0].call("run.show", run=self.runs[provider], brief=True)["progress"]
        return progress["total"] - sum(progress[key] for key in ("completed", "failed", "cancelled"))

    def end(self):
        """Begins no more calls, and waits until those under way have ended, so that the ledger has them all."""
        for node in self.nodes:
            for name in self.lanes:
                node.call("providers.pause", provider=name, reason="the span is over")
        place.wait_until(lambda: self.simulator.get("/_sim/stats")["in_flight"] == 0, 60, "the last calls to end")

    # figures

    def read(self):
        before = time.monotonic()
        stats = self.simulator.get("/_sim/stats")
        return Reading((before + time.monotonic()) / 2, stats["limits"], stats["providers"])

    def wait_span(self, span_s):
        """Lets the lanes work for a while; returns what was read at its beginning and end."""
        first = self.read()
        place.wait_until(lambda: time.monotonic() >= first.at + span_s, span_s + 5, "the span to be over")
        return first, self.read()

    def measure(self, ramp_s, span_s, spans=1, enough=None):
        """[Figures] of the ramp, which begins here, and a list of those of each span behind it; of each limit, in their
        order. Ends after `spans` spans, or with the first after which enough(lists so far) is true; of a concurrency
        the figures that it sees lack the calls under way."""
        readings = [*self.wait_span(ramp_s)]
        while len(readings) < 2 + spans:
            readings.append(self.wait_span(span_s)[1])
            if enough and enough(self._each(readings[1:])):
                break
        for name in self.lanes:
            left = self.left(name)
            assert left >= RESERVE, f"{name} had {left} probes left: too few to be sure that it never wanted for work"
        self.end()
        ramp, *measured = self._each(readings)
        return ramp, measured

    def _each(self, readings):
        return [self.figures(first, last) for first, last in itertools.pairwise(readings)]

    def figures(self, first, last):
        return [self._figures(before, after, first, last) for before, after in zip(first.limits, last.limits)]

    def _figures(self, before, after, first, last):
        provider = after["scope"].partition("/")[0]
        return Figures(provider, after["kind"], after["unit"], self._use(before, after, first.at, last.at),
                       after["admitted"] - before["admitted"],
                       last.providers[provider]["refused"] - first.providers[provider]["refused"])

    def _use(self, before, after, begin, end):
        if after["kind"] == "concurrency":
            calls = self.ledger(after["scope"].partition("/")[0])
            used = sum(max(0.0, min(call["ended"], end) - max(call["arrived"], begin)) for call in calls
                       if call.get("refused_by") is None)
            return 100 * used / (after["limit"] * (end - begin))
        could = after["limit"] * (end - begin) / after["window_s"]
        return 100 * (after["admitted_cost"] - before["admitted_cost"]) / could

    def ledger(self, provider):
        """What was asked of it and has ended, oldest first."""
        return self.simulator.get("/_sim/ledger", limit=200_000, provider=provider)["entries"]
