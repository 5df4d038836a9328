"""claim_jobs(), promote_delayed(), active_pairs(): what may be taken out of the queue, and what comes with it."""

import json

from queue_calls import body, end


def test_claimed_input_is_the_workers_input(queue):
    definition = queue.define(1, [{"label": "why", "prompt": "Why?"}])
    run = queue.start(definition=definition, config={"temperature": 0.7, "maxTokens": None, "maxTurns": 3})["run_id"]
    job, = queue.claim(run)
    scenario = queue.value("SELECT id FROM scenarios WHERE definition_id = %s", definition)
    assert json.loads(job["input"]) == {
        "runId": run, "scenarioId": scenario, "modelId": "gpt-4", "provider": "openai", "sampleIndex": 0,
        "scenario": {"preamble": "Be kind", "prompt": "prompt 0", "followups": [{"label": "why", "prompt": "Why?"}]},
        "config": {"temperature": 0.7, "maxTurns": 3}}
    assert "\n" not in job["input"]
    assert (job["turns"], job["digest"], job["turn_count"], job["fails"], job["limited_for_ms"]) == ("[]", "", 0, 0, 0)


def test_first_claim_starts_the_run_once(queue):
    run = queue.start()["run_id"]
    assert queue.run(run)["status"] == "PENDING"
    queue.claim(run, count=1)
    started = queue.run(run)["started_at"]
    assert started is not None
    queue.claim(run, count=1)
    assert (queue.run(run)["status"], queue.run(run)["started_at"]) == ("RUNNING", started)
    assert queue.count("events", "kind = 'run.started'") == 1


def test_claim_that_finds_nothing_does_not_start_the_run(queue):
    run = queue.start()["run_id"]
    assert queue.claim(run, model="other") == []
    assert queue.run(run)["status"] == "PENDING"


def test_claim_keeps_to_each_wants_number_and_pair(queue):
    definition = queue.define(5)
    first, second = (queue.start(["gpt-4", "gpt-5"], definition=definition)["run_id"] for _ in range(2))
    rows = queue.rows("SELECT * FROM claim_jobs(%s, %s, %s, %s::bigint[], %s::bigint[])", queue.node,
                      [first, second, first], ["gpt-4", "gpt-5", "gpt-5"], [2, 9, 0], [0, 0, 0])
    assert [(row["want"], row["run_id"], row["model_id"]) for row in rows] == \
        [(0, first, "gpt-4")] * 2 + [(1, second, "gpt-5")] * 5


def test_claim_starts_behind_the_given_seq(queue):
    run = queue.start()["run_id"]
    seqs = [row["seq"] for row in queue.rows("SELECT seq FROM ready ORDER BY seq")]
    assert [job["seq"] for job in queue.claim(run, after=seqs[1])] == seqs[2:]


def test_paused_and_cancelled_runs_give_nothing(queue):
    run = queue.start()["run_id"]
    for change, undo in (("status = 'PAUSED'", "status = 'RUNNING'"),
                         ("cancel_requested_at = now()", "cancel_requested_at = NULL")):
        queue.rows(f"UPDATE runs SET {change} WHERE id = %s", run)
        assert queue.claim(run) == []
        queue.rows(f"UPDATE runs SET {undo} WHERE id = %s", run)
    queue.rows("UPDATE run_models SET paused = true")
    assert queue.claim(run) == []
    queue.rows("UPDATE run_models SET paused = false")
    assert len(queue.claim(run)) == 4


def test_claim_skips_a_job_that_has_an_outcome(queue):
    run = queue.start(scenarios=2)["run_id"]
    queue.rows("""WITH one AS (INSERT INTO outcomes (job_id, attempt, status)
        SELECT job_id, 1, 'FAILED' FROM ready ORDER BY seq LIMIT 1 RETURNING job_id)
        UPDATE runs SET progress = progress || '{"failed": 1}' WHERE EXISTS (SELECT FROM one)""")
    over = queue.value("SELECT job_id FROM outcomes")
    assert [job["job_id"] for job in queue.claim(run)] == [over + 1]
    assert queue.count("ready") == 0


def test_turns_of_earlier_attempts_come_with_the_claim(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    queue.finish(end(job, "LATER", [body(1, "one"), body(2, "two")], digests=["aa", "bb"], fails=2, deaths=1,
                     limited=60000))
    job, = queue.claim(run)
    turns = json.loads(job["turns"])
    assert [(turn["turnNumber"], turn["targetResponse"]) for turn in turns] == [(1, "one"), (2, "two")]
    assert (job["turn_count"], job["digest"], job["attempt"]) == (2, "bb", 2)
    assert (job["input_tokens"], job["output_tokens"], job["reasoning_tokens"], job["duration_ms"]) == (20, 40, 10, 200)
    assert (job["fails"], job["deaths"], job["solo_deaths"]) == (2, 1, 0)
    assert 60000 <= job["limited_for_ms"] < 120000


def test_delayed_jobs_come_back_when_due(queue):
    run = queue.start(scenarios=3)["run_id"]
    first, second, third = queue.claim(run)
    queue.finish(end(first, "LATER", delay=1), end(second, "LATER", delay=3600000), end(third, "LATER", delay=0))
    queue.rows("UPDATE delayed SET run_at = now() WHERE job_id = %s", first["job_id"])
    promoted, = queue.rows("SELECT * FROM promote_delayed(10)")
    assert promoted["moved"] == 1
    assert 3500000 < promoted["next_ms"] <= 3600000
    assert sorted(job["job_id"] for job in queue.claim(run)) == [first["job_id"], third["job_id"]]


def test_promotion_tells_that_more_are_due(queue):
    run = queue.start(scenarios=3)["run_id"]
    queue.finish(*[end(job, "LATER", delay=1) for job in queue.claim(run)])
    queue.rows("UPDATE delayed SET run_at = now() - interval '1 second'")
    assert queue.rows("SELECT * FROM promote_delayed(2)") == [{"moved": 2, "next_ms": 0}]
    assert queue.rows("SELECT * FROM promote_delayed(2)") == [{"moved": 1, "next_ms": None}]


def test_active_pairs_tell_what_holds_them_up(queue):
    run = queue.start(["gpt-4", "nobodys", "gpt-5"], lanes=["openai", "unsupported", "openai"])["run_id"]
    queue.rows("UPDATE run_models SET paused = true WHERE model_id = 'gpt-5'")
    assert [(row["model_id"], row["paused"], row["cancelling"]) for row in queue.rows("SELECT * FROM active_pairs()")] \
        == [("gpt-4", False, False), ("gpt-5", True, False)]
    queue.rows("UPDATE runs SET status = 'PAUSED', cancel_requested_at = now() WHERE id = %s", run)
    assert [(row["paused"], row["cancelling"]) for row in queue.rows("SELECT * FROM active_pairs()")] \
        == [(True, True)] * 2
    queue.rows("UPDATE runs SET status = 'FAILED' WHERE id = %s", run)
    assert queue.rows("SELECT * FROM active_pairs()") == []
    queue.rows("UPDATE runs SET status = 'PAUSED' WHERE id = %s", run)
