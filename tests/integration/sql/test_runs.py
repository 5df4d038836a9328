"""start_run(), retry_failed(), cancel_chunk(), delete_run()."""

import psycopg2
import pytest

from queue_calls import end


def chosen(queue, run):
    return [row["key"] for row in queue.rows("""SELECT s.key FROM run_scenario_selections x JOIN scenarios s
        ON s.id = x.scenario_id WHERE x.run_id = %s ORDER BY s.position""", run)]


def test_sampling_is_the_same_for_a_seed_and_another_for_another(queue):
    definition = queue.define(100)
    first, again, other = (chosen(queue, queue.start(definition=definition, percentage=10, seed=seed)["run_id"])
                           for seed in (7, 7, 8))
    assert first == again
    assert len(first) == 10
    assert first != other


@pytest.mark.parametrize("scenarios, percentage, expected",
                         [(7, 10, 1), (7, 50, 4), (7, 100, 7), (200, 0.5, 1), (3, 34, 2)])
def test_sample_size_is_rounded_up(queue, scenarios, percentage, expected):
    assert queue.start(scenarios=scenarios, percentage=percentage)["total"] == expected


def test_larger_sample_holds_the_smaller(queue):
    definition = queue.define(40)
    small, large = (set(chosen(queue, queue.start(definition=definition, percentage=p)["run_id"])) for p in (10, 50))
    assert small < large


def test_jobs_are_models_times_scenarios_times_samples(queue):
    started = queue.start(["gpt-4", "gpt-5"], scenarios=3, samples=2)
    assert started["total"] == 12
    assert queue.rows("SELECT count(DISTINCT (scenario_id, model_id, sample_index)) AS n FROM jobs") == [{"n": 12}]
    assert queue.rows("SELECT model_id, total FROM run_models ORDER BY 1") == [
        {"model_id": "gpt-4", "total": 6}, {"model_id": "gpt-5", "total": 6}]


def test_models_progress_evenly(queue):
    queue.start(["a", "b", "c"], scenarios=5)
    order = [row["model_id"] for row in queue.rows("SELECT model_id FROM ready ORDER BY seq")]
    assert order == ["a", "b", "c"] * 5


def test_unsupported_model_fails_at_once(queue):
    started = queue.start(["gpt-4", "no-such"], scenarios=3, lanes=["openai", "unsupported"])
    assert (started["total"], started["failed"], started["status"]) == (6, 3, "PENDING")
    errors = queue.rows("SELECT DISTINCT error FROM outcomes")
    assert errors[0]["error"]["code"] == "UNSUPPORTED_PROVIDER"
    assert 'model id "no-such"' in errors[0]["error"]["message"]
    assert queue.count("ready") == 3


def test_run_of_unsupported_models_only_has_failed(queue):
    run = queue.start(["x", "y"], lanes=["unsupported"] * 2)
    assert run["status"] == "FAILED"
    assert queue.run(run["run_id"])["finished_at"] is not None
    assert queue.count("events", "kind = 'run.finished'") == 1


def test_snapshot_is_the_definition_without_its_scenarios(queue):
    definition = queue.define(2, [{"label": "a", "prompt": "b"}])
    run = queue.start(definition=definition)["run_id"]
    queue.rows("UPDATE definitions SET preamble = 'changed later'")
    snapshot = queue.run(run)["definition_snapshot"]
    assert sorted(snapshot) == ["followups", "id", "metadata", "name", "preamble", "version"]
    assert (snapshot["preamble"], snapshot["followups"]) == ("Be kind", [{"label": "a", "prompt": "b"}])


@pytest.mark.parametrize("change", [{"definition": "def_none"}, {"scenarios": 0}, {"models": []}, {"samples": 0},
                                    {"models": ["same", "same"]}])
def test_impossible_run_leaves_nothing_behind(queue, change):
    with pytest.raises(psycopg2.Error):
        queue.start(**change)
    assert queue.count("runs") == queue.count("jobs") == 0


def test_definition_that_is_still_imported_cannot_be_run(queue):
    definition = queue.define()
    queue.rows("UPDATE definitions SET complete = false")
    with pytest.raises(psycopg2.Error, match="no definition"):
        queue.start(definition=definition)


def test_retry_runs_failed_jobs_again_with_fresh_counters(queue):
    run = queue.start(["gpt-4", "bad"], scenarios=2, lanes=["openai", "unsupported"])["run_id"]
    good, bad = queue.claim(run)
    queue.finish(end(bad, "LATER", fails=3))
    bad, = queue.claim(run)
    queue.finish(end(good), end(bad, "FAILED"))
    assert queue.run(run)["status"] == "COMPLETED"
    assert queue.rows("SELECT * FROM retry_failed(%s)", run) == [{"retried": 1, "status": "RUNNING"}]
    again, = queue.claim(run)
    assert (again["job_id"], again["attempt"], again["fails"]) == (bad["job_id"], bad["attempt"] + 1, 0)
    assert queue.run(run)["finished_at"] is None
    assert queue.finish(end(again)) == [(run, "COMPLETED")]
    assert queue.run(run)["progress"] == {"total": 4, "completed": 2, "failed": 2, "cancelled": 0}


def test_retry_takes_only_the_codes_asked_for(queue):
    run = queue.start(scenarios=2)["run_id"]
    first, second = queue.claim(run)
    queue.finish(end(first, "FAILED", error='{"code": "TIMEOUT"}'),
                 end(second, "FAILED", error='{"code": "AUTH_ERROR"}'))
    assert queue.rows("SELECT * FROM retry_failed(%s, ARRAY['AUTH_ERROR'])", run)[0]["retried"] == 1
    assert queue.value("SELECT job_id FROM ready") == second["job_id"]


def test_retry_without_failed_jobs_changes_nothing(queue):
    run = queue.start(scenarios=1)["run_id"]
    queue.finish(end(queue.claim(run)[0]))
    assert queue.rows("SELECT * FROM retry_failed(%s)", run) == [{"retried": 0, "status": "COMPLETED"}]


def test_retry_is_refused_while_the_run_is_being_cancelled(queue):
    run = queue.start()["run_id"]
    queue.rows("UPDATE runs SET cancel_requested_at = now()")
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
        queue.rows("SELECT * FROM retry_failed(%s)", run)


def test_late_answer_of_a_failed_job_does_not_count_twice(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    queue.finish(end(job, "FAILED"))
    assert queue.finish(end(job)) == []
    queue.rows("SELECT * FROM retry_failed(%s)", run)
    assert queue.finish(end(job)) == [(run, "COMPLETED")]


def test_cancel_ends_queued_jobs_in_chunks(queue):
    run = queue.start(scenarios=7)["run_id"]
    leased, delayed = queue.claim(run, count=2)
    queue.finish(end(delayed, "LATER", delay=60000))
    queue.rows("UPDATE runs SET cancel_requested_at = now()")

    def cancel(most):
        return queue.rows("SELECT * FROM cancel_chunk(%s, %s, %s)", queue.node, run, most)[0]

    assert cancel(3) == {"cancelled": 3, "more": True, "final": None}
    assert cancel(3) == {"cancelled": 3, "more": True, "final": None}
    assert cancel(3) == {"cancelled": 0, "more": False, "final": None}
    assert queue.count("delayed") == queue.count("tries") == 0
    assert queue.finish(end(leased)) == [(run, "CANCELLED")]


def test_cancel_of_a_run_with_nothing_leased_ends_it(queue):
    run = queue.start()["run_id"]
    queue.rows("UPDATE runs SET cancel_requested_at = now()")
    assert queue.rows("SELECT * FROM cancel_chunk(1, %s, 100)", run) == [
        {"cancelled": 4, "more": False, "final": "CANCELLED"}]
    assert queue.run(run)["status"] == "CANCELLED"


def test_cancel_touches_no_run_that_was_not_told_to(queue):
    run = queue.start()["run_id"]
    assert queue.rows("SELECT * FROM cancel_chunk(1, %s, 100)", run)[0]["cancelled"] == 0
    assert queue.count("ready") == 4


def test_delete_takes_all_that_belongs_to_the_run(queue):
    run, other = queue.start(["a"], scenarios=6)["run_id"], queue.start(scenarios=2)["run_id"]
    jobs = queue.claim(run, "a", 5)
    queue.finish(end(jobs[0]), end(jobs[1], "FAILED"), end(jobs[2], "LATER", delay=9999),
                 end(jobs[3], "LATER", ['{"turnNumber": 1}']))
    assert queue.rows("SELECT delete_run(%s)", run) == [{"delete_run": True}]
    assert queue.rows("SELECT delete_run(%s)", run) == [{"delete_run": False}]
    tables = ("transcripts", "delayed", "leases", "tries", "checkpoints", "outcomes")
    assert {table: queue.count(table) for table in tables} == dict.fromkeys(tables, 0)
    assert queue.rows("SELECT run_id, count(*) FROM jobs GROUP BY 1") == [{"run_id": other, "count": 2}]
    assert queue.count("ready") == 2


def test_outcomes_of_a_deleted_run_are_pruned_in_portions_and_the_run_with_the_last(queue):
    run, young = (queue.start(scenarios=12)["run_id"] for _ in range(2))
    for each in (run, young):
        queue.finish(*[end(job) for job in queue.claim(each)])
        queue.rows("SELECT delete_run(%s)", each)
    queue.rows("UPDATE deleted_runs SET deleted_at = now() - interval '1 hour' WHERE id = %s", run)

    def prune(keep_ms):
        told = queue.rows("SELECT outcomes_removed AS removed, more FROM prune(0, 0, %s, 5)", keep_ms)[0]
        return told["removed"], told["more"], queue.count("deleted_runs", f"id = '{run}'")
    assert prune(0) == (0, False, 1)
    assert [prune(60000) for _ in range(4)] == [(5, True, 1), (5, True, 1), (2, False, 0), (0, False, 0)]
    assert queue.count("deleted_outcomes", f"run_id = '{young}'") == 12


def test_only_outcomes_are_kept_of_a_run_that_had_not_ended(queue):
    run = queue.start(scenarios=4)["run_id"]
    done, failed, _ = queue.claim(run, count=3)
    queue.finish(end(done, cost=5), end(failed, "FAILED", error='{"code": "said: a prompt", "message": "a prompt"}'))
    queue.rows("SELECT delete_run(%s)", run)
    assert queue.rows("SELECT job_id, status, error_code, turn_count FROM deleted_outcomes ORDER BY job_id") == [
        {"job_id": done["job_id"], "status": "COMPLETED", "error_code": None, "turn_count": 1},
        {"job_id": failed["job_id"], "status": "FAILED", "error_code": "UNKNOWN", "turn_count": None}]
    assert queue.rows("SELECT status, progress->>'total' AS total FROM deleted_runs") == [
        {"status": "RUNNING", "total": "4"}]


def test_who_may_delete_runs_needs_no_right_to_what_is_kept_of_them(queue):
    run = queue.start(scenarios=1)["run_id"]
    queue.finish(end(queue.claim(run)[0]))
    queue.rows("CREATE ROLE cleaner")
    try:
        queue.rows("GRANT SELECT, DELETE ON runs TO cleaner")
        queue.rows("SET ROLE cleaner")
        queue.rows("CREATE TEMP TABLE deleted_outcomes (run_id text)")
        queue.rows("DELETE FROM runs WHERE id = %s", run)
        queue.rows("RESET ROLE")
        assert queue.count("public.deleted_outcomes", f"run_id = '{run}'") == 1
    finally:
        queue.rows("RESET ROLE")
        queue.rows("DROP OWNED BY cleaner CASCADE")
        queue.rows("DROP ROLE cleaner")


def test_a_run_id_that_was_given_anew_by_hand_is_deleted_again(queue):
    for models in (["a"], ["b", "c"]):
        run = queue.start(models, scenarios=1)["run_id"]
        queue.rows("INSERT INTO runs (id, definition_id, config, progress, definition_snapshot) "
                   "SELECT 'run_again', definition_id, config, progress, definition_snapshot FROM runs "
                   "WHERE id = %s", run)
        queue.rows("UPDATE run_models SET run_id = 'run_again' WHERE run_id = %s", run)
        queue.rows("SELECT delete_run('run_again')")
        queue.rows("SELECT delete_run(%s)", run)
    assert queue.value("SELECT jsonb_path_query_array(models, '$[*].modelId') FROM deleted_runs "
                       "WHERE id = 'run_again'") == ["b", "c"]


@pytest.mark.parametrize("call", [
    "api_run_show('run_gone', 0, false)", "api_run_show('run_gone', 0, true)", "api_definition_show('gone', 10)",
    "api_lock_active_run('run_gone', 'pause')",
    "api_run_estimate('gone', ARRAY['gpt-4'], ARRAY['openai'], '100', NULL, 1, '{}')"])
def test_what_is_not_there_is_refused_though_a_table_is_known_to_be_empty(queue, call):
    for table in ("runs", "definitions", "deleted_runs"):
        queue.rows(f"ANALYZE {table}")
    with pytest.raises(psycopg2.Error) as refused:
        queue.rows(f"SELECT * FROM {call}")
    assert refused.value.pgcode == "PR404"


def test_every_foreign_key_has_an_index(queue):
    """Without one, each row that is deleted above reads the whole table below."""
    assert queue.rows("""SELECT c.conrelid::regclass::text, c.conname FROM pg_constraint c
        WHERE c.contype = 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid
            AND i.indkey[0] = c.conkey[1])""") == []
