"""check_books() tells each kind of damage: a checker that misses one would let every other test pass."""

import pytest

from harness.books import check_books
from queue_calls import body, end, turn


@pytest.fixture
def books(connect):
    """A run with a job in every place: ready, delayed, leased with a turn kept, completed and failed."""
    queue = connect()
    run = queue.start(["m"], scenarios=5)["run_id"]
    delayed, leased, completed, failed = queue.claim(run, "m", 4)
    queue.keep(turn(leased, 1, "a"), turn(leased, 2, "b", "a"))
    queue.finish(end(delayed, "LATER", delay=60000), end(completed, turns=[body(1), body(2)]), end(failed, "FAILED"))
    assert check_books(queue.connection) == []
    return queue


@pytest.mark.parametrize("damage, sentence", [
    ("DELETE FROM leases", "job 2 is in more or less than one place: 0 ready, 0 delayed, 0 leases, 0 outcomes"),
    ("INSERT INTO leases (job_id, attempt, node_id) VALUES (1, 1, 1)", "0 ready, 1 delayed, 1 leases, 0 outcomes"),
    ("INSERT INTO ready (run_id, model_id, job_id, attempt) SELECT run_id, model_id, job_id, 1 FROM ready",
     "2 ready, 0 delayed, 0 leases, 0 outcomes"),
    ("UPDATE ready SET model_id = 'other'", "and model other, but it is of run_"),
    ("UPDATE runs SET progress = progress || '{\"failed\": 2}'", "its rows say {'total': 5, 'failed': 1"),
    ("UPDATE runs SET status = 'COMPLETED'", "is COMPLETED, its rows make it one that is not over"),
    ("DELETE FROM transcripts", "job 3, whose outcome is COMPLETED, has 0 transcripts"),
    ("UPDATE outcomes SET status = 'COMPLETED' WHERE job_id = 4",
     "job 4, whose outcome is COMPLETED, has 0 transcripts"),
    ("DELETE FROM outcomes WHERE job_id = 3", "job 3, whose outcome is none yet, has 1 transcripts"),
    ("UPDATE transcripts SET sample_index = 9", "belongs to no job"),
    ("UPDATE transcripts SET turn_count = 3", "of 3 turns has those numbered 1,2"),
    ("UPDATE transcripts SET content = '{\"turns\": [{\"turnNumber\": 2}, {}]}'",
     "of 2 turns has those numbered 2,none"),
    ("INSERT INTO checkpoints VALUES (3, 1, 1, 'a', '{}')",
     "job 3 is over, and still has 1 checkpoints and 0 rows of tries"),
    ("INSERT INTO tries (job_id) VALUES (4)", "job 4 is over, and still has 0 checkpoints and 1 rows of tries"),
    ("DELETE FROM checkpoints WHERE turn_number = 1", "the stored turns of job 2 are numbered 2"),
    ("UPDATE checkpoints SET turn_number = 3 WHERE turn_number = 2", "the stored turns of job 2 are numbered 1,3"),
    ("INSERT INTO tries (job_id, void_attempt) VALUES (2, 1)", "job 2 keeps turns of attempt 1, void up to 1"),
])
def test_damage_is_told(books, damage, sentence):
    books.rows(damage)
    wrong = check_books(books.connection)
    assert any(sentence in line for line in wrong), wrong


def test_status_of_a_run_that_is_over_is_checked(connect):
    queue = connect()
    run = queue.start(scenarios=2)["run_id"]
    first, second = queue.claim(run)
    queue.finish(end(first), end(second, "FAILED"))
    queue.rows("UPDATE runs SET status = 'RUNNING'")
    assert check_books(queue.connection) == [f"run {run} is RUNNING, its rows make it COMPLETED"]


def test_much_damage_is_told_in_few_lines(connect):
    queue = connect()
    queue.start(scenarios=40)
    queue.rows("DELETE FROM ready")
    wrong = check_books(queue.connection)
    assert (len(wrong), wrong[-1]) == (6, "… and 35 more such")
