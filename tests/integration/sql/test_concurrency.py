"""Many clients at once: nothing is claimed twice, lost or counted twice, and nobody waits for ever."""

import contextlib
import random
import threading

import psycopg2

from harness.books import check_books
from queue_calls import body, end, turn


def run_all(workers):
    """Runs every callable in a thread of its own; raises what one of them raised."""
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as failure:  # told below, in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if failures:
        raise failures[0]


def test_concurrent_claims_are_never_double(connect):
    clients = [connect() for _ in range(6)]
    run = clients[0].start(scenarios=600)["run_id"]
    claimed = []

    def work(client):
        while jobs := client.claim(run, count=7):
            claimed.extend(job["job_id"] for job in jobs)

    run_all([lambda client=client: work(client) for client in clients])
    # A client whose rows were all locked saw none: the rest is there for the next claim.
    claimed.extend(job["job_id"] for job in clients[0].claim(run, count=600))
    assert len(claimed) == len(set(claimed)) == 600


def test_batches_over_many_runs_do_not_deadlock(connect):
    clients = [connect() for _ in range(4)]
    definition = clients[0].define(12)
    runs = [clients[0].start(definition=definition)["run_id"] for _ in range(20)]

    def work(client, seed):
        order = random.Random(seed)
        for _ in range(12):
            jobs = [job for run in order.sample(runs, len(runs)) for job in client.claim(run, count=1)]
            order.shuffle(jobs)
            if jobs:
                client.finish(*[end(job) for job in jobs])

    run_all([lambda client=client, seed=seed: work(client, seed) for seed, client in enumerate(clients)])
    for run in runs:
        if jobs := clients[0].claim(run):
            clients[0].finish(*[end(job) for job in jobs])
    assert clients[0].count("runs", "status = 'COMPLETED'") == 20
    assert clients[0].count("events", "kind = 'run.finished'") == 20
    clients[0].check()


def test_everything_at_once_ends_in_one_outcome_each(connect):
    """Claims, all fates, late and repeated answers, boots, rescues, promotions, cancels and deletes, in one go."""
    clients = [connect(f"folder{n}") for n in range(4)]
    first = clients[0]
    definition = first.define(60)
    runs = [first.start(["a", "b"], definition=definition)["run_id"] for _ in range(5)]
    cancelled, deleted, kept = runs[3], runs[4], runs[:4]

    def work(client, number):
        order = random.Random(number)
        late = []
        for step in range(60):
            run = order.choice(runs)
            jobs = client.claim(run, order.choice("ab"), 5)
            fates = order.choices(["COMPLETED", "FAILED", "LATER", "RETURNED", None], [6, 1, 3, 1, 1], k=len(jobs))
            ends = [end(job, fate, [body(job["turn_count"] + 1)] if fate == "LATER" else None,
                        delay=order.choice([0, 1, 30]))
                    for job, fate in zip(jobs, fates) if fate]
            late += [job for job, fate in zip(jobs, fates) if fate in (None, "RETURNED") and not job["turn_count"]]
            ends += [end(late.pop()) for _ in range(order.choice([0, 0, 1])) if late]
            client.finish(*ends)
            if order.random() < 0.3:
                client.finish(*ends)
            if step % 20 == 19:
                client.register(f"folder{number}")
            client.rows("SELECT * FROM promote_delayed(10)")
            client.rows("SELECT rescue_jobs(%s, 600000)", client.node)

    def disturb():
        with psycopg2.connect(first.url) as connection, connection.cursor() as cursor:
            cursor.execute("UPDATE runs SET cancel_requested_at = now() WHERE id = %s", (cancelled,))
            connection.commit()
            for _ in range(10):
                cursor.execute("SELECT * FROM cancel_chunk(0, %s, 10)", (cancelled,))
                connection.commit()
            cursor.execute("DELETE FROM runs WHERE id = %s", (deleted,))

    run_all([lambda client=client, n=n: work(client, n) for n, client in enumerate(clients)] + [disturb])
    for number, client in enumerate(clients):
        client.register(f"folder{number}")
    first.rows("UPDATE delayed SET run_at = now()")
    first.rows("SELECT * FROM promote_delayed(1000)")
    first.rows("SELECT * FROM cancel_chunk(0, %s, 1000)", cancelled)
    for run in kept:
        for model in "ab":
            if jobs := first.claim(run, model, 100):
                first.finish(*[end(job) for job in jobs])
    first.check()
    assert first.count("outcomes") == 4 * 120
    assert first.count("runs", "finished_at IS NOT NULL") == 4
    assert first.count("leases") == first.count("ready") == first.count("delayed") == first.count("checkpoints") == 0


class Spooler:
    """A daemon with its spool: turns are kept as they come, ends stand on them, and some of it is sent twice."""

    def __init__(self, client, number):
        self.client = client
        self.number = number
        self.chance = random.Random(number)
        self.records = []           # of a spool: functions that send a batch

    def send(self, batch):
        batch()
        self.records.append(batch)
        if self.chance.random() < 0.3:
            self.chance.choice(self.records)()

    def end(self, ends):
        """As one batch, or one by one when the database refuses it: a retry may have voided what an answer stood on."""
        try:
            self.client.finish(*ends)
        except psycopg2.DataError:
            for one in ends:
                try:
                    self.client.finish(one)
                except psycopg2.DataError:
                    self.client.finish({**one, "fate": "REFUSED", "error": "refused"})

    def hold(self, job):
        """One conversation of two more turns; how it ends."""
        first = job["turn_count"] + 1
        name = f"{job['job_id']}.{job['attempt']}.{first}"
        turns = [turn(job, first, f"{name}.a", job["digest"]), turn(job, first + 1, f"{name}.b", f"{name}.a")]
        kept = self.chance.randint(0, 2)
        self.send(lambda: self.client.keep(*turns[:kept]))
        fate = self.chance.choices(["COMPLETED", "LATER", "FAILED", "RETURNED", None], [6, 3, 1, 1, 1])[0]
        return fate and end(job, fate, [one["body"] for one in turns], digests=[one["digest"] for one in turns],
                            delay=self.chance.choice([0, 1]))

    def work(self, runs):
        for _ in range(40):
            jobs = self.client.claim(self.chance.choice(runs), count=6)
            if ends := [one for one in map(self.hold, jobs) if one]:
                self.send(lambda ends=ends: self.end(ends))
            self.client.rows("SELECT * FROM promote_delayed(10)")
            if self.chance.random() < 0.1:
                self.client.register(f"folder{self.number}")


def test_turns_and_ends_race_with_everything_else(connect):
    """The books are right at every instant, and not one transaction has to be repeated."""
    spoolers = [Spooler(connect(f"folder{number}"), number) for number in range(3)]
    meddler, reader = connect(), connect()
    definition = meddler.define(20)
    runs = [meddler.start(definition=definition)["run_id"] for _ in range(6)]
    ended = threading.Event()
    wrong = []

    def meddle():
        chance = random.Random(99)
        for number in range(60):
            run = chance.choice(runs)
            if number % 20 == 19:
                meddler.rows("SELECT delete_run(%s)", runs[number // 20])
            elif chance.random() < 0.7:
                with contextlib.suppress(psycopg2.errors.NoDataFound, psycopg2.errors.ObjectNotInPrerequisiteState):
                    meddler.rows("SELECT * FROM retry_failed(%s)", run)
            else:
                meddler.rows("UPDATE runs SET cancel_requested_at = now() WHERE id = %s AND finished_at IS NULL",
                             run)
                meddler.rows("SELECT * FROM cancel_chunk(0, %s, 5)", run)
            meddler.rows("SELECT rescue_jobs(%s, 600000)", meddler.node)

    def read():
        while not ended.is_set() and not wrong:
            wrong.extend(check_books(reader.connection))

    watch = threading.Thread(target=read)
    watch.start()
    try:
        run_all([lambda one=one: one.work(runs) for one in spoolers] + [meddle])
    finally:
        ended.set()
        watch.join(60)
    assert not wrong, "\n".join(wrong)
    reader.check()
    assert reader.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    assert reader.count("transcripts") > 0


def test_cancel_during_claims_leaves_no_job_behind(connect):
    holder, canceller = connect(), connect()
    run = holder.start(scenarios=300)["run_id"]
    held = []

    def claim():
        while jobs := holder.claim(run, count=10):
            held.extend(jobs)

    def cancel():
        canceller.rows("UPDATE runs SET cancel_requested_at = now() WHERE id = %s", run)
        while canceller.rows("SELECT * FROM cancel_chunk(0, %s, 20)", run)[0]["more"]:
            pass

    run_all([claim, cancel])
    # A claim that had begun may have locked rows against the last chunk: the next reading of the pairs cancels again.
    canceller.rows("SELECT * FROM cancel_chunk(0, %s, 300)", run)
    if held:
        holder.finish(*[end(job) for job in held])
    holder.check()
    assert holder.run(run)["status"] in ("CANCELLED", "COMPLETED")
