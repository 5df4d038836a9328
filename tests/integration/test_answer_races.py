"""Cancels, deletes, retries and late answers that meet answers under way: each job ends once, and no paid answer is
recorded where it does not belong."""

import contextlib
import os
import signal

import pytest

from harness import place
from harness.books import check_books
from probing import (connect, figures, hold, outcome_rows, running, script, show, sql, start, turns_of, wait_asked,
                     wait_end, wait_progress)
from trouble import allow, bought, check_settled, ini_on, refuse, spool, wait_note, wait_sent, wait_spooled

pytest_plugins = ["probe_fixtures"]


@pytest.fixture
def daemon(simulator, postgres):
    with running(simulator, ini_on(postgres.database())) as own:
        yield own


def left_of(daemon, run):
    """How many rows a run has left, and any run in the queue."""
    return sql(daemon, "SELECT (SELECT count(*) FROM jobs WHERE run_id = %s) + (SELECT count(*) FROM transcripts "
                       "WHERE run_id = %s) + (SELECT count(*) FROM ready) + (SELECT count(*) FROM leases) "
                       "+ (SELECT count(*) FROM delayed) + (SELECT count(*) FROM checkpoints)", run, run)[0][0]


# cancel


@pytest.mark.parametrize("done", [1, 20, 60])
def test_a_cancel_while_answers_arrive_keeps_what_was_answered_and_ends_the_rest(daemon, simulator, done):
    simulator.post("/_sim/config", {"latency": {"*": "uniform:0.01:0.1"}})
    run = start(daemon, 150, followups=1)
    wait_progress(daemon, run, completed=done)
    daemon.call("run.cancel", run=run)
    shown = wait_end(daemon, run)
    assert shown["status"] == "CANCELLED"
    progress = shown["progress"]
    assert progress["completed"] >= done and progress["cancelled"] > 0 and progress["failed"] == 0
    assert progress["completed"] + progress["cancelled"] == progress["total"] == 150
    assert sql(daemon, "SELECT count(*) FROM transcripts WHERE run_id = %s", run) == [(progress["completed"],)]
    calls = bought(simulator)
    assert len(calls) == len(set(calls))
    check_settled(daemon)


def test_a_paid_answer_wins_over_the_cancel_of_its_run(daemon, simulator):
    """The answers are in the spool, not in the database, when the run is cancelled."""
    hold(simulator)
    run = start(daemon, 30)
    wait_asked(simulator, 20)
    for table in ("outcomes", "checkpoints"):
        refuse(daemon, table, "'55P03'", "not yet", "NEW.job_id > 0")
    daemon.call("providers.pause", provider="openai")
    hold(simulator, False)
    wait_spooled(daemon, depth=40)
    wait_note(daemon, "not yet")
    sql(daemon, "UPDATE runs SET cancel_requested_at = now() WHERE id = %s", run)
    allow(daemon)
    shown = wait_end(daemon, run)
    assert shown["progress"] == {"total": 30, "completed": 20, "failed": 0, "cancelled": 10}
    assert shown["status"] == "CANCELLED"
    daemon.call("providers.resume", provider="openai")
    assert len(bought(simulator)) == 20
    check_settled(daemon)


# delete


@pytest.mark.parametrize("by", ["command", "psql"])
def test_a_run_that_is_deleted_in_the_middle_leaves_nothing_and_blocks_nobody(daemon, simulator, by):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    run = start(daemon, 200, followups=1)
    wait_progress(daemon, run, completed=10)
    other = start(daemon, 20)
    if by == "command":
        daemon.call("run.delete", run=run, force=True)
    else:
        sql(daemon, "DELETE FROM runs WHERE id = %s", run)
    assert wait_end(daemon, other)["progress"]["completed"] == 20
    wait_let_go(daemon)
    check_settled(daemon)
    assert left_of(daemon, run) == 0


@pytest.mark.parametrize("by", ["command", "psql"])
def test_conversations_of_a_deleted_run_are_left_off(daemon, simulator, by):
    simulator.post("/_sim/config", {"latency": {"*": "0.4"}})
    run = start(daemon, 20, followups=9)
    wait_asked(simulator, 20)
    if by == "command":
        daemon.call("run.delete", run=run, force=True)
    else:
        sql(daemon, "DELETE FROM runs WHERE id = %s", run)
    wait_let_go(daemon)
    check_settled(daemon)
    # The daemon looks every two seconds which runs there are.
    assert figures(simulator)["bought"] <= 20 * 7


def test_answers_to_a_deleted_run_are_dropped_and_empty_the_spool(daemon, simulator):
    """They are in the spool when their run goes."""
    hold(simulator)
    run = start(daemon, 20, followups=1)
    wait_asked(simulator, 20)
    for table in ("outcomes", "checkpoints"):
        refuse(daemon, table, "'55P03'", "not yet", "NEW.job_id > 0")
    hold(simulator, False)
    wait_spooled(daemon, depth=60)
    sql(daemon, "DELETE FROM runs WHERE id = %s", run)
    allow(daemon)
    wait_sent(daemon)
    check_settled(daemon)
    assert left_of(daemon, run) == 0
    assert spool(daemon)["acked"] == spool(daemon)["written"]


def test_a_run_that_is_deleted_while_its_daemon_is_dead_is_no_trouble_to_the_next(daemon, simulator):
    hold(simulator)
    run = start(daemon, 20, followups=1)
    wait_asked(simulator, 20)
    for table in ("outcomes", "checkpoints"):
        refuse(daemon, table, "'55P03'", "not yet", "NEW.job_id > 0")
    hold(simulator, False)
    wait_spooled(daemon, depth=60)
    with contextlib.closing(connect(daemon)) as connection:
        daemon.kill()
        with connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM runs WHERE id = %s", (run,))
            cursor.execute("DROP FUNCTION refuse_outcomes, refuse_checkpoints CASCADE")
    daemon.start()
    daemon.wait_ready()
    check_settled(daemon)
    assert left_of(daemon, run) == 0


# late answers


def take_back(daemon, run):
    """Puts what is leased of the run back into the queue, as a node does that takes its holder for dead."""
    taken, = sql(daemon, "SELECT take_back(ARRAY(SELECT l.job_id FROM leases l JOIN jobs j ON j.id = l.job_id "
                         "WHERE j.run_id = %s), ARRAY(SELECT node_id FROM leases))", run)
    return taken[0]


@contextlib.contextmanager
def stopped(daemon):
    """While nothing of it runs, but for its workers' calls in the kernel."""
    pids = daemon.all_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def wait_let_go(daemon):
    """Waits until the daemon holds no probe, and its spool is empty."""
    place.wait_until(lambda: daemon.call("status")["probes"]["held"] == 0, 15, "its probes to be let go")
    wait_sent(daemon)


def check_books_of(daemon):
    with contextlib.closing(connect(daemon)) as connection:
        assert check_books(connection) == []


@pytest.fixture
def other(daemon, simulator):
    """A second daemon on the same database; its provider is paused."""
    with running(simulator, ini_on(daemon.sections["database"]["url"])) as second:
        second.call("providers.pause", provider="openai")
        yield second


def test_a_late_answer_wins_when_none_is_recorded_yet(daemon, other, simulator):
    hold(simulator)
    run = start(daemon, 5)
    wait_asked(simulator, 5)
    with stopped(daemon):
        assert take_back(other, run) == 5
        other.call("providers.resume", provider="openai")
        wait_asked(simulator, 10)
    with stopped(other):
        hold(simulator, False)
        shown = wait_end(daemon, run)
        first = turns_of(daemon, run)
    assert shown["progress"] == {"total": 5, "completed": 5, "failed": 0, "cancelled": 0}
    wait_let_go(other)
    assert sql(daemon, "SELECT DISTINCT attempt FROM outcomes") == [(1,)]
    assert turns_of(daemon, run) == first and len(first) == 5
    check_books_of(daemon)


def test_a_late_answer_loses_against_one_that_is_recorded(daemon, other, simulator):
    hold(simulator)
    run = start(daemon, 5)
    wait_asked(simulator, 5)
    with stopped(daemon):
        assert take_back(other, run) == 5
        other.call("providers.resume", provider="openai")
        wait_asked(simulator, 10)
        hold(simulator, False)
        shown = wait_end(other, run)
        first = turns_of(other, run)
    assert shown["progress"] == {"total": 5, "completed": 5, "failed": 0, "cancelled": 0}
    wait_let_go(daemon)
    assert turns_of(daemon, run) == first
    assert sql(daemon, "SELECT DISTINCT attempt FROM outcomes") == [(2,)]
    assert outcome_rows(daemon, run) == {"completed": 5, "failed": 0, "cancelled": 0}
    check_books_of(daemon)


def test_a_late_answer_to_an_attempt_before_a_retry_counts_and_ends_the_retry(daemon, other, simulator):
    hold(simulator)
    run = start(daemon, 3)
    wait_asked(simulator, 3)
    with stopped(daemon):
        assert take_back(other, run) == 3
        script(simulator, ("status=400", {}))
        hold(simulator)
        other.call("providers.resume", provider="openai")
        wait_asked(simulator, 6)
        # The held calls of the first attempt keep the answer that was planned for them.
        hold(simulator, False)
        assert wait_end(other, run)["progress"] == {"total": 3, "completed": 0, "failed": 3, "cancelled": 0}
        other.call("providers.pause", provider="openai")
        assert other.call("run.retry", run=run)["retried"] == 3
        assert show(other, run)["status"] == "RUNNING"
    shown = wait_end(daemon, run)
    assert shown["status"] == "COMPLETED"
    assert shown["progress"] == {"total": 3, "completed": 3, "failed": 0, "cancelled": 0}
    assert sql(daemon, "SELECT DISTINCT attempt FROM outcomes") == [(1,)]
    assert figures(simulator)["bought"] == 3
    check_books_of(daemon)
