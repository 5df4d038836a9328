"""Many random interleavings of claims, turns and ends of attempts, on time, late and repeated, against a model.

PROCTOR_SEED repeats one: a failing test tells its own.
"""

import os
import random

import psycopg2
import pytest

import queue_model as model
from queue_calls import body, end, turn

STEPS = 700

STATE = """SELECT j.id, concat(
        CASE WHEN EXISTS (SELECT FROM ready x WHERE x.job_id = j.id) THEN 'ready' END,
        CASE WHEN d.job_id IS NOT NULL THEN 'delayed' END, CASE WHEN l.job_id IS NOT NULL THEN 'leased' END,
        CASE WHEN o.job_id IS NOT NULL THEN 'over' END) AS place,
    coalesce(o.attempt, l.attempt, d.attempt, (SELECT x.attempt FROM ready x WHERE x.job_id = j.id)) AS attempt,
    l.node_id AS node, ARRAY(SELECT c.digest FROM checkpoints c WHERE c.job_id = j.id ORDER BY c.turn_number) AS stored,
    coalesce((SELECT y.void_attempt FROM tries y WHERE y.job_id = j.id), 0) AS void, o.status,
    (SELECT array_agg(x.turn->>'targetResponse' ORDER BY x.place) FROM transcripts t,
            jsonb_array_elements(t.content->'turns') WITH ORDINALITY AS x (turn, place)
        WHERE (t.run_id, t.scenario_id, t.model_id, t.sample_index)
            = (j.run_id, j.scenario_id, j.model_id, j.sample_index)) AS transcript
    FROM jobs j LEFT JOIN delayed d ON d.job_id = j.id LEFT JOIN leases l ON l.job_id = j.id
        LEFT JOIN outcomes o ON o.job_id = j.id"""


class Play:
    """The queue and its model, moved together by one source of chance."""

    def __init__(self, seed, queues):
        self.chance = random.Random(seed)
        self.queues = queues
        self.boots = {queue: [queue.node] for queue in queues}
        self.definition = queues[0].define(4)
        self.runs = []
        self.attempts = []
        self.seen = set()           # of what can happen, what did
        self.told = [f"PROCTOR_SEED={seed}"]
        for _ in range(3):
            self.begin()

    # ---- moves ----

    def begin(self):
        run_id = self.queues[0].start(definition=self.definition)["run_id"]
        jobs = self.queues[0].rows("SELECT id FROM jobs WHERE run_id = %s ORDER BY id", run_id)
        self.runs.append(model.Run(run_id, [job["id"] for job in jobs]))

    def claim(self):
        queue, run, most = self.chance.choice(self.queues), self.chance.choice(self.runs), self.chance.randint(1, 4)
        ready = {job.id: job for job in run.jobs if job.place == "ready" and not run.cancelling}
        rows = queue.claim(run.id, count=most)
        assert len(rows) == min(most, len(ready))
        for row in rows:
            job = ready.pop(row["job_id"])
            assert (row["attempt"], row["turn_count"], row["digest"]) == \
                (job.attempt, len(job.stored), job.stored[-1] if job.stored else "")
            job.place, job.node = "leased", queue.node
            self.attempts.append(model.Attempt(job, row))

    def answer(self):
        for attempt in self.some(self.attempts):
            if len(attempt.turns) < 5:
                attempt.answer()

    def keep(self):
        turns = []
        for attempt in self.some(self.attempts):
            for number, digest in enumerate(attempt.turns, 1):
                before = attempt.turns[number - 2] if number > 1 else ""
                if self.chance.random() < 0.9:
                    turns.append((attempt, number, digest, before if self.chance.random() < 0.95 else "nobody's"))
        if self.chance.random() < 0.2:
            self.chance.shuffle(turns)
        self.tell("keep", [(one[0].job.id, *one[1:]) for one in turns])
        missed = model.keep(turns)
        self.seen.update(["missed"] * bool(missed))
        assert self.chance.choice(self.queues).keep(*[
            turn(attempt.row, number, digest, before, digest) for attempt, number, digest, before in turns]) == missed

    def finish(self):
        ends = []
        for attempt in self.some(self.attempts):
            base = self.chance.randint(0, len(attempt.turns))
            ends.append({
                "attempt": attempt, "base": base, "digests": attempt.turns[base:],
                "base_digest": attempt.turns[base - 1] if base > 0 and self.chance.random() < 0.95 else "",
                "delay": self.chance.choice([0, 60000, 60000]),
                "fate": self.chance.choices(["COMPLETED", "FAILED", "CANCELLED", "REFUSED", "LATER", "RETURNED"],
                                            [3, 1, 0.5, 0.5, 5, 2])[0]})
        ends += [one for one in ends if self.chance.random() < 0.1]
        self.tell("finish", [(one["attempt"].job.id, one["attempt"].number, one["fate"], one["base"], one["digests"])
                             for one in ends])
        asked = [end(one["attempt"].row, one["fate"], base=one["base"], base_digest=one["base_digest"],
                     digests=one["digests"], delay=one["delay"], error='{"code": "TIMEOUT"}',
                     turns=[body(number, digest) for number, digest in enumerate(one["digests"], one["base"] + 1)])
                 for one in ends]
        queue = self.chance.choice(self.queues)
        try:
            ended = model.finish(ends)
        except model.Refused:
            self.seen.add("refused")
            with pytest.raises(psycopg2.DataError, match="do not go on"):
                queue.finish(*asked)
        else:
            assert queue.finish(*asked) == ended

    def promote(self):
        self.queues[0].rows("UPDATE delayed SET run_at = now()")
        delayed = [job for job in self.jobs() if job.place == "delayed"]
        assert self.queues[0].rows("SELECT moved FROM promote_delayed(1000)") == [{"moved": len(delayed)}]
        for job in delayed:
            job.place = "ready"

    def retry(self):
        run = self.chance.choice(self.runs)
        self.tell("retry", run.id)
        if run.cancelling and not run.finished():
            with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
                self.queues[0].rows("SELECT * FROM retry_failed(%s)", run.id)
        else:
            assert self.queues[0].value("SELECT retried FROM retry_failed(%s)", run.id) == model.retry(run)

    def cancel(self):
        run = self.chance.choice(self.runs)
        self.tell("cancel", run.id)
        if not run.finished():
            self.queues[0].rows("UPDATE runs SET cancel_requested_at = now() WHERE id = %s", run.id)
            run.cancelling = True
            assert self.queues[0].rows("SELECT * FROM cancel_chunk(0, %s, 1000)", run.id) == [
                {"cancelled": model.cancel(run), "more": False, "final": run.status() if run.finished() else None}]

    def delete(self):
        run = self.runs.pop(self.chance.randrange(len(self.runs)))
        self.tell("delete", run.id)
        assert self.queues[0].value("SELECT delete_run(%s)", run.id) is True
        for job in run.jobs:
            job.place = "gone"

    def boot(self):
        number = self.chance.randrange(len(self.queues))
        queue = self.queues[number]
        assert queue.register(f"folder{number}") == model.take_back(self.jobs(), self.boots[queue])
        self.boots[queue].append(queue.node)

    def rescue(self):
        dead, rescuer = self.chance.sample(self.queues, 2)
        rescuer.rows("UPDATE nodes SET beat_at = now() - interval '1 minute' WHERE id = %s", dead.node)
        assert rescuer.value("SELECT rescue_jobs(%s, 15000)", rescuer.node) == model.take_back(self.jobs(), [dead.node])
        assert dead.value("SELECT beat(%s)", dead.node) is True

    def look(self):
        queue, asked = self.chance.choice(self.queues), self.some(self.attempts)
        assert [row["place"] for row in queue.rows(
            "SELECT place FROM held_leases(%s, %s::bigint[], %s::bigint[])", queue.node,
            [attempt.job.id for attempt in asked], [attempt.number for attempt in asked])] == \
            [place for place, attempt in enumerate(asked, 1)
             if attempt.job.is_held_by(attempt) and attempt.job.node == queue.node]

    # ---- the table ----

    def some(self, of):
        """The latest mostly: the older ones are late by now."""
        of = of[-12:] if self.chance.random() < 0.7 else of
        return [self.chance.choice(of) for _ in range(self.chance.randint(1, 6))] if of else []

    def jobs(self):
        return [job for run in self.runs for job in run.jobs]

    def tell(self, *what):
        self.told.append(repr(what))

    def move(self):
        moves = {self.claim: 9, self.answer: 8, self.keep: 7, self.finish: 7, self.promote: 1.5, self.retry: 1,
                 self.cancel: 0.3, self.delete: 0.5, self.boot: 0.7, self.rescue: 0.5, self.look: 1}
        move = self.chance.choices(list(moves), list(moves.values()))[0]
        self.tell(move.__name__)
        move()
        if sum(job.place != "over" for job in self.jobs()) < 6:
            self.begin()
        self.seen.update(job.place for job in self.jobs())
        rows = {row.pop("id"): row for row in self.queues[0].rows(STATE)}
        assert rows == {job.id: job.state() for job in self.jobs()}


def test_random_interleavings_do_what_the_model_does(connect):
    seed = int(os.environ.get("PROCTOR_SEED") or random.SystemRandom().randrange(10**9))
    play = Play(seed, [connect("folder0"), connect("folder1")])
    try:
        for step in range(STEPS):
            play.move()
            if step % 50 == 0:
                play.queues[0].check()
    except BaseException:
        print("\n".join(play.told[:1] + play.told[-15:]))
        raise
    play.queues[0].check()
    # Chance that never led anywhere would prove nothing.
    assert play.seen == {"ready", "delayed", "leased", "over", "missed", "refused"}
