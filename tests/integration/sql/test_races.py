"""Two transactions about one job, one begun and not committed yet: the job ends in one place, whoever was first."""

import threading

import pytest

from harness.place import wait_until
from queue_calls import body, end, turn


class Open:
    """A transaction of `queue` that stays open while another waits for it."""

    def __init__(self, queue):
        self.queue = queue

    def __enter__(self):
        self.queue.connection.autocommit = False
        return self.queue

    def __exit__(self, *_):
        self.queue.connection.commit()
        self.queue.connection.autocommit = True


def start_waiting(watcher, queue, work):
    """Runs work() in a thread until it waits for a lock; returns a function that waits for its end and result."""
    results = []
    pid = queue.connection.info.backend_pid
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    wait_until(lambda: watcher.value("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", pid), 20,
               "the second transaction to wait for the first")

    def join():
        thread.join(20)
        assert results, "the second transaction failed or did not end"
        return results[0]
    return join


@pytest.fixture
def two(connect):
    return connect(), connect()


def test_late_answer_waits_for_a_promotion_and_takes_the_job_from_where_it_went(queue, two):
    promoter, holder = two
    job, = holder.claim(holder.start(scenarios=1)["run_id"])
    holder.finish(end(job, "LATER", delay=5))
    queue.rows("UPDATE delayed SET run_at = now()")
    with Open(promoter):
        assert promoter.rows("SELECT moved FROM promote_delayed(10)") == [{"moved": 1}]
        join = start_waiting(queue, holder, lambda: holder.finish(end(job)))
    assert join() == [(job["run_id"], "COMPLETED")]
    assert (queue.count("delayed"), queue.count("ready")) == (0, 0)


def test_late_answer_waits_for_a_claim_and_ends_its_lease(queue, two):
    claimer, holder = two
    job, = holder.claim(holder.start(scenarios=1)["run_id"])
    holder.finish(end(job, "RETURNED"))
    with Open(claimer):
        again, = claimer.claim(job["run_id"])
        join = start_waiting(queue, holder, lambda: holder.finish(end(job)))
    assert join() == [(job["run_id"], "COMPLETED")]
    assert queue.count("leases") == 0
    assert claimer.finish(end(again, "LATER", [body(1)])) == []
    assert queue.count("checkpoints") == queue.count("ready") == 0


def test_turn_that_comes_while_its_job_ends_leaves_nothing_behind(queue, two):
    ender, keeper = two
    job, = ender.claim(ender.start(scenarios=1)["run_id"])
    with Open(ender):
        ender.finish(end(job))
        join = start_waiting(queue, keeper, lambda: keeper.keep(turn(job, 1, "a")))
    assert join() == []
    assert queue.count("checkpoints") == 0


def test_end_that_comes_while_a_turn_is_kept_stands_on_it(queue, two):
    keeper, ender = two
    job, = ender.claim(ender.start(scenarios=1)["run_id"])
    with Open(keeper):
        keeper.keep(turn(job, 1, "a"))
        join = start_waiting(queue, ender, lambda: ender.finish(end(job, turns=[], base=1, base_digest="a")))
    assert join() == [(job["run_id"], "COMPLETED")]
    assert queue.count("checkpoints") == 0


def test_turn_that_comes_while_its_run_is_deleted_is_superseded(queue, two):
    deleter, keeper = two
    job, = keeper.claim(keeper.start(scenarios=1)["run_id"])
    with Open(deleter):
        deleter.rows("SELECT delete_run(%s)", job["run_id"])
        join = start_waiting(queue, keeper, lambda: keeper.keep(turn(job, 1, "a")))
    assert join() == []


def test_turn_that_comes_while_its_job_is_cancelled_leaves_nothing_behind(queue, two):
    canceller, keeper = two
    job, = keeper.claim(keeper.start(scenarios=1)["run_id"])
    keeper.finish(end(job, "RETURNED"))
    queue.rows("UPDATE runs SET cancel_requested_at = now()")
    with Open(canceller):
        canceller.rows("SELECT * FROM cancel_chunk(0, %s, 10)", job["run_id"])
        join = start_waiting(queue, keeper, lambda: keeper.keep(turn(job, 1, "a")))
    assert join() == []
    assert queue.count("checkpoints") == 0


def test_turn_that_comes_while_its_job_is_retried_stays_void(queue, two):
    retrier, keeper = two
    job, = keeper.claim(keeper.start(scenarios=1)["run_id"])
    keeper.finish(end(job, "FAILED"))
    with Open(retrier):
        retrier.rows("SELECT * FROM retry_failed(%s)", job["run_id"])
        join = start_waiting(queue, keeper, lambda: keeper.keep(turn(job, 1, "a")))
    assert join() == []
    assert keeper.claim(job["run_id"])[0]["turn_count"] == 0


def test_answer_that_comes_while_its_lease_is_taken_back_still_wins(queue, two):
    rescuer, holder = two
    job, = holder.claim(holder.start(scenarios=1)["run_id"])
    queue.rows("UPDATE nodes SET beat_at = now() - interval '1 minute' WHERE id = %s", holder.node)
    with Open(rescuer):
        assert rescuer.value("SELECT rescue_jobs(%s, 15000)", rescuer.node) == 1
        join = start_waiting(queue, holder, lambda: holder.finish(end(job)))
    assert join() == [(job["run_id"], "COMPLETED")]
    assert queue.count("ready") == 0


@pytest.mark.parametrize("fate", ["FAILED", "LATER", "RETURNED"])
def test_failure_that_comes_while_its_lease_is_taken_back_changes_nothing(queue, two, fate):
    rescuer, holder = two
    job, = holder.claim(holder.start(scenarios=1)["run_id"])
    queue.rows("UPDATE nodes SET beat_at = now() - interval '1 minute' WHERE id = %s", holder.node)
    with Open(rescuer):
        assert rescuer.value("SELECT rescue_jobs(%s, 15000)", rescuer.node) == 1
        join = start_waiting(queue, holder, lambda: holder.finish(end(job, fate, delay=5)))
    assert join() == []
    assert queue.rows("SELECT job_id, attempt FROM ready") == [{"job_id": job["job_id"], "attempt": 2}]
