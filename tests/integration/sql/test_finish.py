"""finish_jobs(): one outcome per job, whatever is repeated, late, or nonsense."""

import decimal

import psycopg2
import pytest

from queue_calls import body, end


def content(queue):
    return queue.value("SELECT content FROM transcripts")


def test_completed_job_becomes_a_transcript(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    assert queue.finish(end(job, turns=[body(1, "yes\u2028 ünï"), body(2)], cost=12345678901)) == [(run, "COMPLETED")]
    row, = queue.rows("SELECT * FROM transcripts")
    assert [turn["targetResponse"] for turn in row["content"]["turns"]] == ["yes\u2028 ünï", "answer"]
    assert row["content"]["schemaVersion"] == 1
    assert (row["turn_count"], row["token_count"], row["input_tokens"], row["output_tokens"]) == (2, 60, 20, 40)
    assert row["cost_usd"] == decimal.Decimal("1.2345678901")
    assert row["definition_snapshot"]["preamble"] == "Be kind"
    assert queue.run(run)["progress"] == {"total": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert queue.run(run)["finished_at"] is not None
    assert queue.count("events", "kind = 'run.finished'") == 1
    assert queue.count("leases") == 0


def test_unknown_cost_stays_unknown(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job))
    assert queue.value("SELECT cost_usd FROM transcripts") is None


def test_repeated_batch_changes_nothing(queue):
    run = queue.start(scenarios=4)["run_id"]
    jobs = queue.claim(run)
    ends = [end(jobs[0]), end(jobs[1], "FAILED"), end(jobs[2], "LATER", [body(1)], delay=5000),
            end(jobs[3], "RETURNED")]
    queue.finish(*ends)
    before = queue.rows("SELECT *, (SELECT count(*) FROM ready) FROM runs, delayed, checkpoints")
    assert queue.finish(*ends) == []
    assert queue.rows("SELECT *, (SELECT count(*) FROM ready) FROM runs, delayed, checkpoints") == before
    assert queue.count("transcripts") == 1


def test_same_job_twice_in_a_batch_counts_once(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    assert queue.finish(end(job, turns=[body(1, "first")]), end(job, turns=[body(1, "second")])) == [(run, "COMPLETED")]
    assert content(queue)["turns"][0]["targetResponse"] == "first"


def test_late_answer_wins_and_takes_the_next_attempt_out_of_the_queue(queue):
    run = queue.start(scenarios=2)["run_id"]
    first, second = queue.claim(run)
    queue.finish(end(first, "RETURNED"), end(second, "LATER", delay=60000))
    assert queue.finish(end(first), end(second)) == [(run, "COMPLETED")]
    assert queue.count("ready") == queue.count("delayed") == queue.count("tries") == 0


def test_late_answer_supersedes_a_running_attempt(queue, connect):
    run = queue.start(scenarios=1)["run_id"]
    first, = queue.claim(run)
    queue.finish(end(first, "RETURNED"))
    second, = queue.claim(run)
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert queue.finish(end(first, turns=[body(1, "late")])) == [(run, "COMPLETED")]
    assert queue.finish(end(second, turns=[body(1, "superseded")])) == []
    assert content(queue)["turns"][0]["targetResponse"] == "late"
    assert queue.count("leases") == 0


@pytest.mark.parametrize("fate", ["FAILED", "CANCELLED", "LATER", "RETURNED", "REFUSED"])
def test_only_the_holder_of_the_lease_decides_anything_but_an_answer(queue, fate):
    run = queue.start(scenarios=1)["run_id"]
    first, = queue.claim(run)
    queue.finish(end(first, "RETURNED"))
    second, = queue.claim(run)
    assert queue.finish(end(first, fate, delay=1)) == []
    assert queue.rows("SELECT attempt FROM leases") == [{"attempt": second["attempt"]}]
    assert queue.count("outcomes") == queue.count("delayed") == queue.count("tries") == 0


def test_superseded_attempt_does_not_go_back_to_the_queue(queue):
    run = queue.start(scenarios=1)["run_id"]
    first, = queue.claim(run)
    queue.finish(end(first, "RETURNED"))
    second, = queue.claim(run)
    queue.finish(end(first), end(second, "LATER", delay=1))
    assert queue.count("ready") == queue.count("delayed") == queue.count("leases") == 0


def test_conversation_goes_on_over_attempts(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    queue.finish(end(job, "LATER", [body(1, "a")]))
    job, = queue.claim(run)
    queue.finish(end(job, "LATER", [body(2, "b"), body(3, "c")]))
    job, = queue.claim(run)
    assert (job["turn_count"], job["attempt"]) == (3, 3)
    queue.finish(end(job, turns=[body(4, "d")]))
    assert [turn["targetResponse"] for turn in content(queue)["turns"]] == ["a", "b", "c", "d"]
    assert queue.count("checkpoints") == queue.count("tries") == 0


def test_conversation_that_was_whole_already_completes_without_new_turns(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job, "LATER", [body(1), body(2)]))
    job, = queue.claim(job["run_id"])
    queue.finish(end(job, turns=[]))
    assert len(content(queue)["turns"]) == 2


def test_late_answer_ends_at_its_own_turns(queue):
    """Attempt 1 answers late from the start, while attempt 2 left a checkpoint of its own."""
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job, "RETURNED"))
    again, = queue.claim(job["run_id"])
    queue.finish(end(again, "LATER", [body(1, "of attempt 2")]))
    queue.finish(end(job, turns=[body(1, "of attempt 1"), body(2, "of attempt 1")]))
    assert [turn["targetResponse"] for turn in content(queue)["turns"]] == ["of attempt 1"] * 2


def test_late_answer_goes_on_from_where_it_began(queue):
    """Attempt 2 answers late from turn 2 on, while attempt 3 left a second turn of its own."""
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job, "LATER", [body(1, "a")]))
    job, = queue.claim(job["run_id"])
    queue.finish(end(job, "RETURNED"))
    again, = queue.claim(job["run_id"])
    queue.finish(end(again, "LATER", [body(2, "of attempt 3")]))
    queue.finish(end(job, turns=[body(2, "b"), body(3, "c")]))
    assert [turn["targetResponse"] for turn in content(queue)["turns"]] == ["a", "b", "c"]


def test_turns_that_do_not_go_on_from_the_stored_ones_are_not_kept(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job, "LATER", [body(1, "a"), body(2, "b")]))
    job, = queue.claim(job["run_id"])
    queue.finish(end(job, "LATER", [body(1, "x"), body(2, "y"), body(3, "z")]))
    assert [row["body"]["targetResponse"] for row in queue.rows("SELECT body FROM checkpoints ORDER BY turn_number")] \
        == ["a", "b"]


def test_answer_with_a_gap_is_refused(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    with pytest.raises(psycopg2.DataError, match="do not go on"):
        queue.finish(end(job, turns=[body(3)]))


@pytest.mark.parametrize("turn", ['{"turnNumber": 1, "targetResponse": "\\u0000"}', "{",
                                  '{"turnNumber": 1, "t": 1e999999}',
                                  '{"turnNumber": "one"}', '"text"'])
def test_row_that_jsonb_cannot_hold_is_told_by_its_class(queue, turn):
    """The class by which a store finds the one bad row of a batch; as REFUSED it is then recorded."""
    run = queue.start(scenarios=2)["run_id"]
    good, bad = queue.claim(run)
    with pytest.raises(psycopg2.DataError) as raised:
        queue.finish(end(good), end(bad, turns=[turn]))
    assert raised.value.pgcode[:2] == "22"
    assert queue.count("outcomes") == 0
    assert queue.finish(end(good), end(bad, "REFUSED", error="bad text (SQLSTATE 22P05)")) == [(run, "COMPLETED")]
    error = queue.value("SELECT error FROM outcomes WHERE status = 'FAILED'")
    assert error["code"] == "INVALID_RESPONSE"
    assert "bad text" in error["message"]


def test_failed_job_keeps_its_error(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    assert queue.finish(end(job, "FAILED", error='{"code": "AUTH_ERROR", "message": "no key"}')) == [(run, "FAILED")]
    assert queue.value("SELECT error->>'code' FROM outcomes") == "AUTH_ERROR"
    assert queue.count("transcripts") == 0


def test_counters_are_kept_and_the_last_error_too(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job, "LATER", fails=1, limited=5000))
    job, = queue.claim(job["run_id"])
    queue.finish(end(job, "LATER", fails=2, deaths=1, solo=1, limited=0, error=None))
    row, = queue.rows("SELECT * FROM tries")
    assert (row["fails"], row["deaths"], row["solo_deaths"], row["limited_since"]) == (2, 1, 1, None)
    assert row["last_error"]["code"] == "SERVER_ERROR"


def test_returned_job_blames_nobody(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    queue.finish(end(job, "RETURNED", fails=3, deaths=3))
    assert queue.count("tries") == 0
    assert queue.claim(job["run_id"])[0]["attempt"] == 2


def test_results_of_a_deleted_run_are_dropped(queue):
    gone, kept = queue.start(scenarios=1)["run_id"], queue.start(scenarios=1)["run_id"]
    lost, = queue.claim(gone)
    job, = queue.claim(kept)
    queue.rows("DELETE FROM runs WHERE id = %s", gone)
    assert queue.finish(end(lost), end(job)) == [(kept, "COMPLETED")]
    assert queue.count("transcripts") == 1


def test_work_of_a_cancelled_run_ends_instead_of_going_back(queue):
    run = queue.start(scenarios=3)["run_id"]
    later, returned, paid = queue.claim(run)
    queue.rows("UPDATE runs SET cancel_requested_at = now()")
    assert queue.finish(end(later, "LATER", delay=5), end(returned, "RETURNED"), end(paid)) == [(run, "CANCELLED")]
    assert queue.run(run)["progress"] == {"total": 3, "completed": 1, "failed": 0, "cancelled": 2}
    assert queue.value("SELECT DISTINCT error->>'code' FROM outcomes WHERE status = 'CANCELLED'") == "CANCELLED"


@pytest.mark.parametrize("fates, status", [(("COMPLETED", "FAILED"), "COMPLETED"), (("FAILED", "FAILED"), "FAILED"),
                                           (("COMPLETED", "CANCELLED"), "CANCELLED")])
def test_status_of_a_finished_run(queue, fates, status):
    run = queue.start(scenarios=2)["run_id"]
    first, second = queue.claim(run)
    assert queue.finish(end(first, fates[0])) == []
    assert queue.finish(end(second, fates[1])) == [(run, status)]
    assert queue.run(run)["status"] == status


def test_paused_run_ends_with_its_last_answer(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    queue.rows("UPDATE runs SET status = 'PAUSED', pause_reason = 'asked'")
    assert queue.finish(end(job)) == [(run, "COMPLETED")]
    assert queue.run(run)["pause_reason"] is None
