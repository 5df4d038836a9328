"""keep_turns(): what was paid for is kept once, as one conversation, from whoever has it."""

import json

import psycopg2
import pytest

from queue_calls import body, end, turn


def stored(queue, job):
    return [(row["turn_number"], row["digest"]) for row in queue.rows(
        "SELECT turn_number, digest FROM checkpoints WHERE job_id = %s ORDER BY turn_number", job["job_id"])]


@pytest.fixture
def job(queue):
    return queue.claim(queue.start(scenarios=1)["run_id"])[0]


def give_back_and_claim(queue, job):
    queue.finish(end(job, "RETURNED"))
    return queue.claim(job["run_id"])[0]


def test_next_attempt_goes_on_behind_the_kept_turns(queue, job):
    assert queue.keep(turn(job, 1, "a", text="one")) == []
    assert queue.keep(turn(job, 2, "b", "a", "two")) == []
    again = give_back_and_claim(queue, job)
    assert (again["turn_count"], again["digest"], again["attempt"]) == (2, "b", 2)
    assert [answer["targetResponse"] for answer in json.loads(again["turns"])] == ["one", "two"]


def test_turns_of_one_job_may_follow_each_other_in_a_batch(queue):
    first, second = queue.claim(queue.start(scenarios=2)["run_id"])
    assert queue.keep(turn(first, 1, "a"), turn(second, 1, "x"), turn(first, 2, "b", "a"), turn(first, 3, "c", "b"),
                      turn(second, 2, "y", "x")) == []
    assert stored(queue, first) == [(1, "a"), (2, "b"), (3, "c")]
    assert stored(queue, second) == [(1, "x"), (2, "y")]


def test_repeated_turns_are_kept_once(queue, job):
    batch = [turn(job, 1, "a", text="as it came first"), turn(job, 2, "b", "a")]
    queue.keep(*batch)
    assert queue.keep(*batch, turn(job, 1, "a", text="again")) == []
    assert queue.value("SELECT body->>'targetResponse' FROM checkpoints WHERE turn_number = 1") == "as it came first"
    assert stored(queue, job) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("number, digest, before", [
    (1, "x", ""), (2, "x", "a"), (2, "x", "x"), (3, "c", "x"), (4, "d", "c")])
def test_turn_of_another_conversation_is_told_and_not_kept(queue, job, number, digest, before):
    queue.keep(turn(job, 1, "a"), turn(job, 2, "b", "a"))
    assert queue.keep(turn(job, number, digest, before)) == [1]
    assert stored(queue, job) == [(1, "a"), (2, "b")]


def test_what_follows_a_turn_that_was_not_kept_is_not_kept_either(queue, job):
    queue.keep(turn(job, 1, "a"))
    again = give_back_and_claim(queue, job)
    assert queue.keep(turn(job, 1, "x"), turn(again, 2, "b", "a"), turn(job, 2, "y", "x"), turn(job, 3, "z", "y")) \
        == [1, 3, 4]
    assert stored(queue, job) == [(1, "a"), (2, "b")]


def test_paid_answer_counts_without_a_lease(queue, job):
    again = give_back_and_claim(queue, job)
    assert queue.keep(turn(job, 1, "late")) == []
    assert queue.keep(turn(again, 1, "own")) == [1]
    assert queue.rows("SELECT attempt, digest FROM checkpoints") == [{"attempt": 1, "digest": "late"}]


@pytest.mark.parametrize("fate", ["COMPLETED", "FAILED", "CANCELLED"])
def test_turns_of_a_job_that_is_over_are_superseded(queue, job, fate):
    queue.finish(end(job, fate))
    assert queue.keep(turn(job, 1, "a"), turn(job, 7, "g", "f")) == []
    assert queue.count("checkpoints") == 0


def test_turns_of_a_deleted_run_are_superseded(queue, job):
    queue.rows("SELECT delete_run(%s)", job["run_id"])
    other, = queue.claim(queue.start(scenarios=1)["run_id"])
    assert queue.keep(turn(job, 1, "a"), turn(other, 1, "b"), turn(job, 2, "c", "a")) == []
    assert stored(queue, other) == [(1, "b")]


@pytest.mark.parametrize("bad", ['{"turnNumber": 2, "targetResponse": "\\u0000"}',
                                 '{"turnNumber": 2, "t": "\\ud800"}', "{", '{"turnNumber": 2, "t": 1e999999}'])
def test_body_that_jsonb_cannot_hold_is_told_by_its_class(queue, job, bad):
    """The class by which a store finds the one bad row of a batch; the others are then kept without it."""
    good = turn(job, 1, "a")
    with pytest.raises(psycopg2.DataError) as raised:
        queue.keep(good, turn(job, 2, "b", "a", body=bad))
    assert raised.value.pgcode[:2] == "22"
    assert queue.count("checkpoints") == 0
    assert queue.keep(good) == []


@pytest.mark.parametrize("value, counted", [
    ("1e400", 0), ("9e99", 0), ("9223372036854775808", 0), ("-1", 0), ("null", 0), ('"12"', 0), ("[12]", 0),
    ("true", 0), ("1000000000001", 0), ("1000000000000", 10**12), ("12.9", 12), ("12e2", 1200), ("0", 0)])
def test_strange_number_never_stops_a_claim(queue, job, value, counted):
    answer = json.loads(body(1))
    answer.update(dict.fromkeys(("inputTokens", "outputTokens", "reasoningTokens", "durationMs"), "HERE"))
    queue.keep(turn(job, 1, "a", body=json.dumps(answer).replace('"HERE"', value)), turn(job, 2, "b", "a"))
    again = give_back_and_claim(queue, job)
    assert (again["input_tokens"], again["output_tokens"], again["reasoning_tokens"], again["duration_ms"]) == \
        (counted + 10, counted + 20, counted + 5, counted + 100)


@pytest.mark.parametrize("answer", ['"text"', "[1, 2]", "null", "7", "{}"])
def test_body_that_is_no_turn_never_stops_a_claim(queue, job, answer):
    queue.keep(turn(job, 1, "a", body=answer))
    again = give_back_and_claim(queue, job)
    assert (again["turn_count"], again["input_tokens"], json.loads(again["turns"])) == (1, 0, [json.loads(answer)])


def test_big_turns_are_kept_whole(queue, job):
    text = "ä😀\u2028\"\\\n" * 150000
    assert queue.keep(turn(job, 1, "a", text=text)) == []
    assert queue.value("SELECT body->>'targetResponse' FROM checkpoints") == text


def test_retried_job_begins_anew_however_late_its_turns_come(queue, job):
    batch = [turn(job, 1, "a"), turn(job, 2, "b", "a")]
    queue.keep(*batch)
    queue.finish(end(job, "FAILED"))
    queue.rows("SELECT * FROM retry_failed(%s)", job["run_id"])
    assert queue.keep(*batch) == []
    again, = queue.claim(job["run_id"])
    assert (again["turn_count"], again["turns"], again["fails"]) == (0, "[]", 0)
    assert queue.keep(*batch) == []
    assert queue.keep(turn(again, 1, "x")) == []
    assert stored(queue, job) == [(1, "x")]


def test_retry_stays_anew_over_later_tries_and_another_failure(queue, job):
    queue.finish(end(job, "FAILED"))
    queue.rows("SELECT * FROM retry_failed(%s)", job["run_id"])
    second, = queue.claim(job["run_id"])
    queue.finish(end(second, "LATER", fails=1))
    assert queue.keep(turn(job, 1, "a")) == []
    assert queue.keep(turn(second, 1, "b")) == []
    third, = queue.claim(job["run_id"])
    assert (third["fails"], third["turn_count"], third["attempt"]) == (1, 1, 3)
    queue.finish(end(third, "FAILED"))
    queue.rows("SELECT * FROM retry_failed(%s)", job["run_id"])
    assert queue.keep(turn(second, 1, "b"), turn(third, 2, "c", "b")) == []
    assert queue.count("checkpoints") == 0
