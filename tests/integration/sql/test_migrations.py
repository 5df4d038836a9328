"""The files of sql/ as they are applied by hand, and what they promise to those who query."""

import contextlib
import itertools
import json
import os

import psycopg2
import pytest

from queue_calls import apply_by_hand, body, end, migration_files, turn

SEED_LIST = """SELECT id, run_id, model_id, turn_count, token_count, duration_ms, created_at
    FROM transcripts
    WHERE run_id = '{run}'
    ORDER BY created_at DESC
    LIMIT 5;"""

SEED_CONTENT = """SELECT id, content->'turns' as turns
    FROM transcripts
    WHERE run_id = '{run}'
    LIMIT 1;"""


def test_each_file_is_recorded(queue):
    names = [os.path.basename(path)[:-4] for path in migration_files()]
    assert queue.rows("SELECT version, name FROM schema_migrations ORDER BY version") == [
        {"version": int(name[:4]), "name": name[5:]} for name in names]


def test_versions_have_no_gap_and_no_double():
    assert [int(os.path.basename(path)[:4]) for path in migration_files()] == \
        list(range(1, len(migration_files()) + 1))


def test_failing_file_leaves_nothing_behind(postgres, tmp_path):
    url = postgres.database()
    broken = tmp_path / "0001_schema.sql"
    with open(migration_files()[0], encoding="utf-8") as file:
        broken.write_text(file.read() + "\nSELECT no_such_function();\n", encoding="utf-8")
    with pytest.raises(Exception):
        apply_by_hand(url, [str(broken)])
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone() == (0,)


def test_queries_of_the_quickstart_run_unchanged(queue):
    run = queue.start(scenarios=1)["run_id"]
    job, = queue.claim(run)
    queue.finish(end(job, turns=[body(1, "I would consider..."), body(2, "In that case...", promptLabel="followup_1")]))
    row, = queue.rows(SEED_LIST.format(run=run))
    assert (row["run_id"], row["model_id"], row["turn_count"], row["token_count"]) == (run, "gpt-4", 2, 60)
    row, = queue.rows(SEED_CONTENT.format(run=run))
    assert [turn["promptLabel"] for turn in row["turns"]] == ["scenario_prompt", "followup_1"]


@pytest.mark.parametrize("delete", ["DELETE FROM runs WHERE id = '{run}';",
                                    "DELETE FROM runs WHERE created_at > NOW() - INTERVAL '1 hour';"])
def test_clean_up_of_the_quickstart_cascades(queue, delete):
    run = queue.start(scenarios=3)["run_id"]
    queue.finish(*[end(job) for job in queue.claim(run, count=2)])
    queue.rows(delete.format(run=run))
    tables = ("transcripts", "jobs", "ready", "outcomes", "run_scenario_selections", "run_models")
    assert {table: queue.count(table) for table in tables} == dict.fromkeys(tables, 0)


def scans(queue):
    """How often a table was read as a whole; `delayed`, which is short, may be."""
    queue.rows("SELECT pg_stat_force_next_flush()")
    return queue.rows("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname <> 'delayed' ORDER BY relname")


@pytest.mark.parametrize("function, values", [
    ("claim_jobs", "1, ARRAY[{run}], ARRAY['gpt-4'], ARRAY[50]::bigint[], ARRAY[0]::bigint[]"),
    ("take_back_unknown", "1, ARRAY[]::bigint[]"), ("cancel_chunk", "1, {run}, 100"), ("promote_delayed", "100"),
    ("held_leases", "1, ARRAY[1, 2, 3]::bigint[], ARRAY[1, 1, 1]::bigint[]"), ("join_node", "'test', {run}"),
    ("delete_run", "{run}"),
    ("take_back_earlier", "1000, {run}")])
def test_plans_do_not_rest_on_statistics_of_an_empty_queue(queue, function, values):
    """Analyzed while empty, filled since: nothing may read a whole table of the queue."""
    queue.rows("VACUUM ANALYZE")
    for _ in range(6):      # long enough for the plans to be kept
        queue.rows(f"SELECT * FROM {function}({values.format(run=repr('none'))})")
    run = queue.start(scenarios=20)["run_id"]
    queue.rows("UPDATE runs SET cancel_requested_at = now()" if function == "cancel_chunk" else "SELECT 1")
    before = scans(queue)
    queue.rows(f"SELECT * FROM {function}({values.format(run=repr(run))})")
    assert scans(queue) == before


def keep_chained(queue, jobs):
    queue.keep(*[turn(job, number, f"d{number}", f"d{number - 1}") for job in jobs for number in (1, 2)])


def finish_on_bases(queue, jobs):
    keep_chained(queue, jobs)
    third = {"base": 2, "base_digest": "d2", "turns": [body(3)], "digests": ["d3"]}
    ends = [end(job, fate, **third) for job, fate in zip(jobs, itertools.cycle(["COMPLETED", "LATER"]))]
    queue.finish(*ends)
    queue.finish(*[{**one, "fate": "COMPLETED"} for one in ends])   # late for every other one


def retry(queue, jobs):
    queue.finish(*[end(job, "FAILED") for job in jobs])
    with contextlib.suppress(psycopg2.errors.NoDataFound):
        queue.rows("SELECT * FROM retry_failed(%s)", jobs[0]["run_id"])


@pytest.mark.parametrize("work", [keep_chained, finish_on_bases, retry])
def test_batches_read_each_table_by_its_keys(queue, work):
    """Analyzed while empty, and its plans kept from jobs that are not there."""
    absent = [{"job_id": 10**9 + n, "attempt": 1, "turn_count": 0, "digest": "", "run_id": "none"} for n in range(20)]
    queue.rows("VACUUM ANALYZE")
    for _ in range(6):
        work(queue, absent)
    jobs = queue.claim(queue.start(scenarios=20)["run_id"])
    before = scans(queue)
    work(queue, jobs)
    assert scans(queue) == before


def test_starting_a_run_reads_each_table_by_its_keys(queue):
    definition = queue.define(20)
    queue.start(definition=definition)
    before = scans(queue)
    queue.start(definition=definition)
    assert scans(queue) == before


def test_big_and_unicode_answers_pass_unharmed(queue):
    job, = queue.claim(queue.start(scenarios=1)["run_id"])
    text = "ä😀\u2028\"\\\n" * 150000
    queue.finish(end(job, turns=[json.dumps({"turnNumber": 1, "targetResponse": text})]))
    assert queue.value("SELECT content->'turns'->0->>'targetResponse' FROM transcripts") == text
