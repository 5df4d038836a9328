"""What the queue has to do with turns and ends of attempts, in plain Python: the reference of test_model.py.

An answer is known by its digest alone. Nothing here knows of tables, batches or locks.
"""


class Refused(Exception):
    """The batch holds turns that do not go on from the stored conversation."""


class Run:
    def __init__(self, run_id, job_ids):
        self.id = run_id
        self.cancelling = False
        self.jobs = [Job(job_id, self) for job_id in job_ids]

    def finished(self):
        return all(job.place == "over" for job in self.jobs)

    def status(self):
        ends = {job.outcome[0] for job in self.jobs}
        return next(status for status in ("CANCELLED", "COMPLETED", "FAILED") if status in ends)


class Job:
    def __init__(self, job_id, run):
        self.id = job_id
        self.run = run
        self.place = "ready"        # ready, delayed, leased, over; gone with a deleted run
        self.attempt = 1            # that of the lease, or of the next claim
        self.node = None            # who holds the lease
        self.stored = []            # digests of the turns kept
        self.void = 0               # turns of attempts up to this one are not kept
        self.outcome = None         # status, attempt
        self.transcript = None      # digests of its turns

    def state(self):
        leased, over = self.place == "leased", self.place == "over"
        return {"place": self.place, "attempt": self.outcome[1] if over else self.attempt,
                "node": self.node if leased else None, "stored": self.stored, "void": self.void,
                "status": self.outcome[0] if over else None, "transcript": self.transcript}

    def requeue(self, place="ready"):
        self.place, self.attempt = place, self.attempt + 1

    def end(self, status, attempt, transcript=None):
        self.place, self.outcome, self.transcript = "over", (status, attempt), transcript
        self.stored, self.void = [], 0

    def is_held_by(self, attempt):
        return self.place == "leased" and self.attempt == attempt.number

    def begins(self, base, base_digest):
        return base == 0 or (base <= len(self.stored) and self.stored[base - 1] == base_digest)


class Attempt:
    """One claim: who made it goes on from `base`, whatever becomes of the job."""

    def __init__(self, job, row):
        self.job = job
        self.row = row
        self.number = job.attempt
        self.turns = list(job.stored)

    def answer(self):
        self.turns.append(f"{self.job.id}.{self.number}.{len(self.turns) + 1}")


def keep(turns):
    """turns: (attempt, number, digest, before). The places of those that are not kept."""
    missed = []
    for place, (attempt, number, digest, before) in enumerate(turns, 1):
        stored = attempt.job.stored
        if attempt.job.place in ("over", "gone") or attempt.number <= attempt.job.void:
            continue
        if number == len(stored) + 1 and (number == 1 or stored[-1] == before):
            stored.append(digest)
        elif number > len(stored) or stored[number - 1] != digest:
            missed.append(place)
    return missed


def conversation(end):
    job, base = end["attempt"].job, end["base"]
    if not job.begins(base, end["base_digest"]) or base + len(end["digests"]) == 0:
        raise Refused
    return job.stored[:base] + end["digests"]


def keep_of_end(end):
    job, base = end["attempt"].job, end["base"]
    if not job.begins(base, end["base_digest"]):
        return
    for place, digest in enumerate(end["digests"], base):
        if place == len(job.stored):
            job.stored.append(digest)
        elif place > len(job.stored) or job.stored[place] != digest:
            return


def finish(ends):
    """ends: {attempt, fate, base, base_digest, digests, delay}. The runs that this ended, with their status."""
    won, again = {}, {}
    for end in ends:
        job, held = end["attempt"].job, end["attempt"].job.is_held_by(end["attempt"])
        goes_back = end["fate"] in ("LATER", "RETURNED") and not job.run.cancelling
        if job.place not in ("over", "gone") and not goes_back and (held or end["fate"] == "COMPLETED"):
            won.setdefault(job, end)
        elif held and goes_back:
            again.setdefault(job, end)
    transcripts = {job: conversation(end) for job, end in won.items() if end["fate"] == "COMPLETED"}
    for job, end in won.items():
        status = {"LATER": "CANCELLED", "RETURNED": "CANCELLED", "REFUSED": "FAILED"}.get(end["fate"], end["fate"])
        job.end(status, end["attempt"].number, transcripts.get(job))
    for job, end in again.items():
        if job not in won:
            keep_of_end(end)
            job.requeue("delayed" if end["fate"] == "LATER" and end["delay"] > 0 else "ready")
    runs = {job.run.id: job.run for job in won}
    return [(name, run.status()) for name, run in sorted(runs.items()) if run.finished()]


def retry(run):
    failed = [job for job in run.jobs if job.place == "over" and job.outcome[0] == "FAILED"]
    for job in failed:
        job.void = job.attempt = job.outcome[1]
        job.requeue()
    run.cancelling = run.cancelling and not failed
    return len(failed)


def cancel(run):
    """What cancel_chunk() does with room for all."""
    queued = [job for job in run.jobs if job.place in ("ready", "delayed")] if run.cancelling else []
    for job in queued:
        job.end("CANCELLED", 0)
    return len(queued)


def take_back(jobs, nodes):
    held = [job for job in jobs if job.place == "leased" and job.node in nodes]
    for job in held:
        job.requeue()
    return len(held)
