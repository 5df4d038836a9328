"""User story 2 of the walk: transcripts are in the database with all that belongs to them; its SQL runs unchanged."""

import json

import pytest

from probing import PREAMBLE, psql, sql, start, wait_end

pytest_plugins = ["probe_fixtures"]

LIST = """
SELECT id, run_id, model_id, turn_count, token_count, duration_ms, created_at
FROM transcripts
WHERE run_id = '<run-id>'
ORDER BY created_at DESC
LIMIT 5;
"""
STRUCTURE = """
SELECT id, content->'turns' as turns
FROM transcripts
WHERE run_id = '<run-id>'
LIMIT 1;
"""
DELETE_ONE = """
DELETE FROM runs WHERE id = '<run-id>';
"""
DELETE_ALL = """
DELETE FROM runs WHERE created_at > NOW() - INTERVAL '1 hour';
"""
BELONGS = ("run_scenario_selections", "run_models", "transcripts", "jobs", "ready", "events")


@pytest.fixture
def run(proctor):
    made = start(proctor, prompts=7, followups=1)
    assert wait_end(proctor, made)["status"] == "COMPLETED"
    return made


def typed(statement, run):
    return statement.replace("<run-id>", run)


def test_story_2_query_of_transcripts_runs_unchanged(proctor, run):
    rows = [line.split("|") for line in psql(proctor, typed(LIST, run)).splitlines()]
    assert len(rows) == 5
    for ident, of_run, model, turns, tokens, duration, created in rows:
        assert ident.startswith("trn_")
        assert (of_run, model, turns) == (run, "gpt-4", "2")
        assert int(tokens) > 0 and int(duration) >= 0 and created.startswith("20")
    assert [row[6] for row in rows] == sorted((row[6] for row in rows), reverse=True)


def test_story_2_query_of_the_content_runs_unchanged(proctor, run):
    ident, _, turns = psql(proctor, typed(STRUCTURE, run)).partition("|")
    assert ident.startswith("trn_")
    assert len(json.loads(turns)) == 2


def test_story_2_content_has_the_structure_of_the_walk(proctor, run):
    (content,), = sql(proctor, "SELECT content FROM transcripts WHERE run_id = %s LIMIT 1", run)
    assert content["schemaVersion"] == 1
    first, second = content["turns"]
    assert (first["turnNumber"], first["promptLabel"]) == (1, "scenario_prompt")
    assert first["probePrompt"].startswith("Case ")
    assert (second["turnNumber"], second["promptLabel"]) == (2, "more_0")
    assert second["probePrompt"] == "And if it were 2 friends?"
    for turn in (first, second):
        assert turn["targetResponse"] and turn["inputTokens"] > 0 and turn["outputTokens"] > 0
    assert second["inputTokens"] > first["inputTokens"], "a follow-up carries the conversation so far"


def test_story_2_check_run_scenario_and_model_are_linked(proctor, run):
    linked = sql(proctor, """
        SELECT count(*), count(DISTINCT s.id), min(t.model_id), max(t.model_id)
        FROM transcripts t JOIN runs r ON r.id = t.run_id
        JOIN run_scenario_selections c ON c.run_id = r.id AND c.scenario_id = t.scenario_id
        JOIN scenarios s ON s.id = t.scenario_id AND s.definition_id = r.definition_id
        WHERE t.run_id = %s""", run)
    assert linked == [(7, 7, "gpt-4", "gpt-4")]


def test_story_2_check_the_definition_is_kept_as_it_was(proctor, run):
    rows = sql(proctor, "SELECT t.definition_snapshot, r.definition_id FROM transcripts t "
                        "JOIN runs r ON r.id = t.run_id WHERE t.run_id = %s", run)
    assert len(rows) == 7
    for snapshot, definition in rows:
        assert snapshot["id"] == definition
        assert snapshot["name"] == "cases" and snapshot["preamble"] == PREAMBLE
        assert [item["label"] for item in snapshot["followups"]] == ["more_0"]


def left_of(proctor, run):
    return {table: sql(proctor, f"SELECT count(*) FROM {table} WHERE run_id = %s", run)[0][0] for table in BELONGS}


def test_story_2_clean_up_of_one_run_takes_all_that_belongs_to_it(proctor, run):
    other = start(proctor, prompts=2)
    wait_end(proctor, other)
    before = left_of(proctor, run)
    assert before["transcripts"] == 7 and before["jobs"] == 7 and before["events"] > 0
    assert psql(proctor, typed(DELETE_ONE, run)) == "DELETE 1"
    assert left_of(proctor, run) == dict.fromkeys(BELONGS, 0)
    assert sql(proctor, "SELECT count(*) FROM outcomes o WHERE NOT EXISTS "
                        "(SELECT FROM jobs j WHERE j.id = o.job_id)") == [(0,)]
    assert left_of(proctor, other)["transcripts"] == 2


def test_story_2_clean_up_of_the_last_hour_leaves_no_run(proctor, run):
    assert psql(proctor, DELETE_ALL).startswith("DELETE ")
    assert sql(proctor, "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM transcripts), "
                        "(SELECT count(*) FROM jobs), (SELECT count(*) FROM outcomes)") == [(0, 0, 0, 0)]
    assert proctor.ctl("run", "list")["items"] == []
    again = start(proctor, prompts=1)
    assert wait_end(proctor, again)["status"] == "COMPLETED"
