"""Compares the three books. Every claim that does not hold is one sentence; none is the proof.

A call is one (job, turn). It is asked once, unless a death explains why its answer was not in the spool: whoever held
it was killed between the permission and the answer's writing. Every answer in a spool is in a transcript; with several
nodes, one may be superseded by another of the same turn, for which their outages must account.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from .books import signature

# Longest time from the provider's last byte to the record in the spool, on a busy machine.
SPOOL_S = 1.0
# A node that is back, or a server that was promoted, has told the others all it has after so long.
SETTLE_S = 5.0


@dataclass
class Verdict:
    """counts: as in the JSON line. faults: sentences. explained: why each repeat was bought, by kind."""

    counts: Counter = field(default_factory=Counter)
    faults: list = field(default_factory=list)
    explained: Counter = field(default_factory=Counter)
    slowest_spooling_s: float = 0.0

    def add(self, other):
        self.counts += other.counts
        self.faults += other.faults
        self.explained += other.explained
        self.slowest_spooling_s = max(self.slowest_spooling_s, other.slowest_spooling_s)


class Proof:
    """deaths, outages: a list for each node, as node.py keeps them. failed_over: [from, to] or None.
    whole: the spools still have every segment."""

    def __init__(self, jobs, asks, spooled, deaths, outages, failed_over=None, whole=True):
        self.jobs = jobs
        self.asks = asks
        self.deaths = deaths
        self.outages = outages
        self.failed_over = failed_over
        self.whole = whole
        self.verdict = Verdict()
        self._by_id = {ask.id: ask for ask in asks}
        self._in_spool = defaultdict(list)
        for turn in spooled:
            self._in_spool[turn.id].append(turn)
        self._calls = defaultdict(list)
        for ask in asks:
            self._calls[ask.model, ask.conversation, ask.turn].append(ask)
        self._said = {}  # (job, number) -> the id in its transcript
        self._placed = set()  # these ids

    def judge(self):
        self._check_outcomes()
        for job in self.jobs:
            self._check_job(job)
        self._check_spool()
        self._check_repeats()
        return self.verdict

    def _fault(self, text):
        self.verdict.faults.append(text)

    # ---- database

    def _check_outcomes(self):
        counts = self.verdict.counts
        counts["probes"] = len(self.jobs)
        counts["outcomes"] = sum(job.status != "none" for job in self.jobs)
        counts["succeeded"] = sum(job.status == "COMPLETED" for job in self.jobs)
        counts["duplicates"] = sum(max(0, len(job.transcripts) - 1) for job in self.jobs)
        ends = Counter(f"{job.status} {job.error and job.error['message']}" for job in self.jobs if not job.transcripts)
        for end, count in ends.most_common():
            self._fault(f"{count} probes have no transcript: {end}")

    def _check_job(self, job):
        for turns in job.transcripts:
            for number, turn in enumerate(turns, 1):
                self._check_turn(job, turns, number, turn)
        if len(job.transcripts) > 1:
            self._fault(f"job {job.id} has {len(job.transcripts)} transcripts")

    def _check_turn(self, job, turns, number, turn):
        """It is what the provider sold for just this conversation, and what the spool has."""
        id_ = signature(turn["targetResponse"])
        ask = self._by_id.get(id_)
        where = f"job {job.id}, turn {number}"
        if id_ in self._placed:
            self.verdict.counts["duplicates"] += 1
            self._fault(f"{where}: the answer {id_} stands in a transcript already")
        self._said[job.id, number] = id_
        self._placed.add(id_)
        if ask is None or not ask.bought:
            self._fault(f"{where}: the provider sold no answer {id_}")
        elif (ask.model, ask.conversation, ask.turn) != (job.model, job.conversation, number):
            self._fault(f"{where}: the answer {id_} was sold for turn {ask.turn} of another conversation")
        elif ask.digest != job.asked_digest(turns, number):
            self._fault(f"{where}: the question of {id_} followed other answers than the transcript has")
        copies = self._in_spool.get(id_)
        if not copies and self.whole:
            self._fault(f"{where}: the answer {id_} is in no spool")
        elif copies and any(copy.body != turn or (copy.job, copy.number) != (job.id, number) for copy in copies):
            self._fault(f"{where}: the spool has another text of {id_}")

    # ---- spool

    def _check_spool(self):
        for id_, copies in self._in_spool.items():
            first = copies[0]
            if len(copies) > 1:
                self._fault(f"job {first.job}, turn {first.number}: the answer {id_} was spooled {len(copies)} times")
            ask = self._by_id.get(id_)
            if ask is not None:
                self.verdict.slowest_spooling_s = max(self.verdict.slowest_spooling_s, first.at - ask.ended)
            said = self._said.get((first.job, first.number))
            if said is None:
                self.verdict.counts["lost"] += 1
                self._fault(f"job {first.job}, turn {first.number}: the answer {id_} of the spool is lost")
            elif said != id_:
                self.verdict.counts["superseded"] += 1

    # ---- provider

    def _check_repeats(self):
        job_of = {(job.model, job.conversation): job for job in self.jobs}
        if len(job_of) != len(self.jobs):
            self._fault("two jobs ask the same, so that nobody can tell their calls apart")
        for (model, conversation, turn), asks in sorted(self._calls.items()):
            job = job_of.get((model, conversation))
            if job is None:
                self._fault(f"{len(asks)} calls of {model} belong to no job, such as {asks[0].id}")
                continue
            bought = sum(ask.bought for ask in asks)
            self.verdict.counts["bought_again"] += max(0, bought - 1)
            self.verdict.counts["asked_again"] += len(asks) - 1
            kept = self._by_id.get(self._said.get((job.id, turn)))
            for ask in asks:
                if ask is not kept:
                    self._explain(job, ask, kept)

    def _explain(self, job, ask, kept):
        why = self._why_not_spooled(ask) if ask.id not in self._in_spool else self._why_superseded(ask, kept)
        if why:
            self.verdict.explained[why] += 1
            return
        spooled = "".join(f", spooled by node {turn.node} at {turn.at:.3f}" for turn in self._in_spool.get(ask.id, ()))
        self._fault(f"job {job.id}, turn {ask.turn}: nothing explains the repeated call {ask.id} "
                    f"({'bought' if ask.bought else 'not delivered'}, {ask.arrived:.3f} to {ask.ended:.3f}, "
                    f"port {ask.port}{spooled}); kept is {kept and kept.id} ({kept and f'{kept.arrived:.3f}'})")

    def _why_not_spooled(self, ask):
        """Its worker, or its daemon with all its workers, died before the answer was written."""
        for deaths in self.deaths:
            for death in deaths:
                if ask.port in death.ports and ask.arrived - SPOOL_S <= death.at <= ask.ended + SPOOL_S:
                    return "killed"
        return None

    def _why_superseded(self, ask, kept):
        """Who bought later could not know of the earlier answer, because its node was out, or a standby forgot it."""
        if kept is None or len(self.deaths) == 1:
            return None
        earlier, later = sorted((ask, kept), key=lambda one: one.arrived)
        if self.failed_over and is_within(later.arrived, self.failed_over):
            return "failed over"
        for turn in self._in_spool.get(earlier.id, ()):
            if any(is_within(later.arrived, outage) for outage in self.outages[turn.node]):
                return "its node was out"
        return None


def is_within(at, span):
    """Within [from, to], or a moment behind; `to` None is still."""
    return span[0] <= at and (span[1] is None or at <= span[1] + SETTLE_S)
