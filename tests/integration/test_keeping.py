"""Keeping data: backups, put back with nothing lost and nothing asked twice, and what is kept for a time only."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess

import pytest

from harness import place
from harness.control import ControlError
from probing import connect, hold, ledger, running, script, show, start, wait_asked, wait_end

pytest_plugins = ["probe_fixtures"]

BEHIND_THE_LOST = 1_000_000_000  # ids of a history that a backup began


def backup(daemon, name="backup.dump"):
    path = os.path.join(daemon.folder, name)
    told = daemon.ctl("backup", path)
    assert told["bytes"] == os.path.getsize(path) and told["elapsedMs"] > 0
    return path


def restore(daemon, path, *options):
    told = daemon.ctl("restore", path, *options)
    place.wait_until(lambda: daemon.call("status")["database"]["ready"], 30, "the database")
    return told


def transcripts(daemon):
    """All that researchers paid for, as they would see it."""
    return daemon.rows("SELECT run_id, scenario_id, model_id, sample_index, model_version, turn_count, token_count, "
                       "cost_usd, content::text FROM transcripts ORDER BY 1, 2, 3, 4")


def databases(daemon):
    return sorted(name for name, in daemon.rows("SELECT datname FROM pg_database"))


@contextlib.contextmanager
def no_results(daemon):
    """The database takes no answer, and can be read."""
    connection = connect(daemon)
    try:
        connection.cursor().execute("LOCK TABLE outcomes, checkpoints IN EXCLUSIVE MODE")
        yield
    finally:
        connection.close()


def is_refused(daemon, *words):
    done = daemon.proctorctl(*words)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    return done.stderr


@pytest.fixture
def emptied(proctor):
    """Without runs, so that what a test counts is its own."""
    for run in proctor.call("run.list")["items"]:
        proctor.call("run.delete", run=run["id"], force=True)
    return proctor


def test_a_backup_is_for_its_owner_only_and_overwrites_nothing(emptied):
    wait_end(emptied, start(emptied, 1))
    path = backup(emptied, "once.dump")
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid()
    assert "is there already" in is_refused(emptied, "backup", path)
    assert os.stat(path).st_mtime_ns == status.st_mtime_ns
    assert [name for name in os.listdir(emptied.folder) if name.startswith("once")] == ["once.dump"]


def test_a_backup_that_fails_leaves_no_file(emptied):
    path = os.path.join(emptied.folder, "missing", "x.dump")
    assert f"cannot write {path}" in is_refused(emptied, "backup", path)


def test_what_came_after_the_backup_is_neither_lost_nor_asked_again(emptied, simulator):
    wait_end(emptied, start(emptied, 3, followups=2))
    hold(simulator)
    simulator.post("/_sim/reset", {})
    run = start(emptied, 4, followups=1)
    wait_asked(simulator, 4)
    path = backup(emptied)
    hold(simulator, False)
    assert wait_end(emptied, run)["progress"]["completed"] == 4
    before, asked = transcripts(emptied), len(ledger(simulator))

    told = restore(emptied, path, "--replace", "--yes")
    assert (told["runs"], told["transcripts"]) == (2, 3)
    wait_end(emptied, run)
    assert transcripts(emptied) == before
    assert len(ledger(simulator)) == asked
    assert emptied.rows("SELECT count(*) FROM leases") == [(0,)]
    assert not [name for name in databases(emptied) if name.startswith("proctor_")]

    again = wait_end(emptied, start(emptied, 2))
    assert again["progress"]["completed"] == 2
    assert emptied.rows("SELECT min(id) > %s FROM jobs WHERE run_id = %s", BEHIND_THE_LOST, again["id"]) == [(True,)]


@contextlib.contextmanager
def restoring(daemon, path):
    """A restore that waits for two calls under way."""
    position = daemon.log_position()
    with subprocess.Popen([os.path.join(place.installation(), "bin", "proctorctl"), "--socket", daemon.socket_path,
                           "restore", path, "--replace", "--yes"], stderr=subprocess.PIPE, text=True) as asked:
        try:
            daemon.wait_log("database.hold under_way=2", since=position)
            yield asked
        finally:
            asked.kill()


def test_an_interrupted_restore_changes_nothing_and_work_goes_on(emptied, simulator):
    path = backup(emptied, "unused.dump")
    hold(simulator)
    run = start(emptied, 2, followups=1)
    wait_asked(simulator, 2)
    with restoring(emptied, path) as asked:
        asked.send_signal(signal.SIGINT)
        assert (asked.wait(30), asked.stderr.read()) == (1, "proctorctl: interrupted: nothing has changed\n")
    hold(simulator, False)
    assert wait_end(emptied, run)["progress"]["completed"] == 2
    assert not [name for name in databases(emptied) if name.startswith("proctor_")]
    assert len(ledger(simulator)) == 4


def test_conversations_under_way_go_back_with_what_they_have(emptied, simulator):
    path = backup(emptied, "before.dump")
    hold(simulator)
    start(emptied, 2, followups=3)
    wait_asked(simulator, 2)
    with restoring(emptied, path) as asked:
        hold(simulator, False)
        assert asked.wait(30) == 0
    # One call of each was paid for and under way; no other was begun.
    assert len(ledger(simulator)) == 2
    assert emptied.call("run.list")["items"] == []
    assert wait_end(emptied, start(emptied, 1))["status"] == "COMPLETED"


def test_a_database_that_is_not_empty_is_only_replaced_when_that_is_meant(emptied):
    run = start(emptied, 1)
    wait_end(emptied, run)
    path = backup(emptied, "kept.dump")
    assert "--replace drops them" in is_refused(emptied, "restore", path)
    assert "--yes says so" in is_refused(emptied, "restore", path, "--replace")
    assert show(emptied, run)["status"] == "COMPLETED"


def test_a_file_that_is_no_whole_backup_changes_nothing(emptied):
    run = start(emptied, 1)
    wait_end(emptied, run)
    path = backup(emptied, "whole.dump")
    position = emptied.log_position()
    torn = os.path.join(emptied.folder, "torn.dump")
    with open(path, "rb") as whole, open(torn, "wb") as part:
        part.write(whole.read()[:os.path.getsize(path) * 2 // 3])
    assert "is no backup" in is_refused(emptied, "restore", emptied.ini_path, "--replace", "--yes")
    assert "pg_restore failed" in is_refused(emptied, "restore", torn, "--replace", "--yes")
    assert show(emptied, run)["status"] == "COMPLETED"
    assert not [name for name in databases(emptied) if name.startswith("proctor_")]
    assert not [line for line in emptied.log_lines()[position:] if "database.hold" in line]


def test_a_destroyed_daemon_goes_on_from_its_backup(simulator):
    """The folder of the database is gone, and answers are in the spool that no database has seen."""
    with running(simulator) as daemon:
        wait_end(daemon, start(daemon, 3, followups=1))
        hold(simulator)
        simulator.post("/_sim/reset", {})
        run = start(daemon, 3)
        wait_asked(simulator, 3)
        path = backup(daemon)
        before = transcripts(daemon)
        with no_results(daemon):
            hold(simulator, False)
            place.wait_until(lambda: daemon.call("spool")["depth"] >= 6, 15, "answers in the spool")
            below = daemon.all_pids()
            daemon.kill()
        place.wait_until(lambda: not any(map(place.process_is_alive, below)), 15, "the end of its Postgres")
        shutil.rmtree(os.path.join(daemon.folder, "state", "postgres"))

        daemon.start()
        daemon.wait_log("records for another database", 30)
        assert restore(daemon, path)["transcripts"] == 3
        wait_end(daemon, run)
        assert [row for row in transcripts(daemon) if row[0] != run] == before
        assert len([row for row in transcripts(daemon) if row[0] == run]) == 3
        assert len(ledger(simulator)) == 3
        assert wait_end(daemon, start(daemon, 1))["status"] == "COMPLETED"


def test_answers_that_only_the_present_database_can_take_keep_another_out(emptied, simulator, make_daemon):
    other = make_daemon()
    place.wait_until(lambda: other.call("status")["database"]["ready"], 30, "the other database")
    path = backup(other)
    hold(simulator)
    run = start(emptied, 1)
    wait_asked(simulator, 1)
    with no_results(emptied):
        hold(simulator, False)
        place.wait_until(lambda: emptied.call("spool")["depth"] > 0, 15, "answers in the spool")
        assert "answers that only the database" in is_refused(emptied, "restore", path, "--replace", "--yes")
    assert wait_end(emptied, run)["progress"]["completed"] == 1


def test_a_server_of_the_users_own_is_left_alone(make_daemon):
    daemon = make_daemon()
    place.wait_until(lambda: daemon.call("status")["database"]["ready"], 30, "the database")
    assert "a server of your own" in is_refused(daemon, "restore", backup(daemon), "--replace", "--yes")


def test_turns_that_are_too_old_are_removed_and_their_counts_stay(emptied):
    run = start(emptied, 3, followups=1)
    wait_end(emptied, run)
    before = emptied.call("transcripts.list", run=run)["items"]
    old = [item["id"] for item in before[:2]]
    emptied.rows("UPDATE transcripts SET created_at = now() - interval '2 days' WHERE id = ANY (%s)", old)
    emptied.write_ini({"retention": {"content": "1d"}})
    try:
        position = emptied.log_position()
        emptied.call("reload")
        emptied.wait_log(r"store\.pruned events=0 contents=2 outcomes=0$", since=position)
    finally:
        emptied.write_ini({"retention": None})
        emptied.call("reload")
    for item in before:
        shown = emptied.call("transcripts.show", transcript=item["id"])
        assert (len(shown["content"]["turns"]), "removedAt" in shown["content"]) == (
            (0, True) if item["id"] in old else (2, False))
        assert [shown[key] for key in ("turnCount", "tokenCount")] == [item[key] for key in ("turnCount", "tokenCount")]
    assert "Content removed" in emptied.proctorctl("transcripts", "show", old[0]).stdout
    assert emptied.wait_event("database.pruned")["data"] == {"events": 0, "contents": 2, "outcomes": 0}


# What becomes of deleted runs.

FORBIDDEN = ("Case 1", "friends", "plain words", "simulated", "planted")


@pytest.fixture
def forgotten(emptied):
    """Nothing is kept of deleted runs yet."""
    emptied.rows("DELETE FROM deleted_outcomes")
    emptied.rows("DELETE FROM deleted_runs")
    return emptied


def mixed(daemon, simulator, prompts=3):
    """An ended run of two models with an answer to all prompts but one, which failed, and none by the other model."""
    script(simulator, ("status=400", {"contains": "Case 1:"}))
    run = start(daemon, prompts, models=("gpt-4", "no-such-model"), followups=1)
    assert wait_end(daemon, run)["progress"] == {"total": 2 * prompts, "completed": prompts - 1,
                                                 "failed": prompts + 1, "cancelled": 0}
    script(simulator)
    return run


def by_command(daemon, run):
    assert daemon.ctl("run", "delete", run)["deleted"]


def by_sql(daemon, run):
    daemon.rows("DELETE FROM runs WHERE id = %s", run)


def by_sql_of_several(daemon, run):
    """With its definition, as the quickstart cleans up."""
    definition, = daemon.rows("SELECT definition_id FROM runs WHERE id = %s", run)[0]
    daemon.rows("WITH gone AS (DELETE FROM runs WHERE created_at > now() - interval '1 hour' RETURNING 1) "
                "SELECT count(*) FROM gone")
    daemon.rows("DELETE FROM definitions WHERE id = %s", definition)


@pytest.mark.parametrize("delete", [by_command, by_sql, by_sql_of_several], ids=["command", "sql", "several"])
def test_what_became_of_the_probes_of_a_deleted_run_is_kept_without_content(forgotten, simulator, delete):
    run = mixed(forgotten, simulator)
    before = show(forgotten, run)
    cost = {row[:4]: row[4:] for row in forgotten.rows(
        "SELECT run_id, scenario_id, model_id, sample_index, turn_count, token_count, cost_usd FROM transcripts")}
    outcomes = forgotten.rows("SELECT j.run_id, j.scenario_id, j.model_id, j.sample_index, s.key, j.id, o.status, "
                              "o.error->>'code', o.attempt, o.finished_at FROM jobs j "
                              "JOIN outcomes o ON o.job_id = j.id "
                              "JOIN scenarios s ON s.id = j.scenario_id ORDER BY j.id")
    assert len(outcomes) == 6 and len(cost) == 2
    delete(forgotten, run)

    assert forgotten.rows("SELECT run_id, scenario_id, model_id, sample_index, scenario_key, job_id, status, "
                          "error_code, attempt, finished_at FROM deleted_outcomes ORDER BY job_id") == outcomes
    assert {row[:4]: row[4:] for row in forgotten.rows(
        "SELECT run_id, scenario_id, model_id, sample_index, turn_count, token_count, cost_usd FROM deleted_outcomes "
        "WHERE status = 'COMPLETED'")} == cost
    kept = str(forgotten.rows("SELECT to_jsonb(d)::text FROM deleted_runs d UNION ALL "
                              "SELECT to_jsonb(o)::text FROM deleted_outcomes o"))
    assert run in kept and not [word for word in FORBIDDEN if word in kept]

    listed, = forgotten.ctl("run", "list", "--deleted")["items"]
    assert (listed["id"], listed["progress"], listed["models"]) == (run, before["progress"], ["gpt-4", "no-such-model"])
    after = forgotten.ctl("run", "show", run[:-1])
    assert after["deletedAt"] == listed["deletedAt"]
    for key in ("id", "status", "definitionName", "progress", "createdAt", "finishedAt"):
        assert after[key] == before[key]
    for model, was in zip(after["models"], before["models"], strict=True):
        assert model == {key: was[key] for key in model}
    assert [(error["code"], error["count"]) for error in after["errors"]] == [("UNSUPPORTED_PROVIDER", 3),
                                                                             ("VALIDATION_ERROR", 1)]
    assert "Deleted" in forgotten.proctorctl("run", "show", run).stdout
    with pytest.raises(ControlError, match="no run"):
        forgotten.call("run.show", run=run, brief=True)


def test_deleted_runs_are_filtered_and_shown_by_columns(forgotten, simulator):
    run = mixed(forgotten, simulator, 2)
    by_command(forgotten, run)

    def found(*words):
        return [item["id"] for item in forgotten.ctl("run", "list", "--deleted", *words)["items"]]
    for words in (("--status", "COMPLETED"), ("--model", "gpt-4"), ("--definition", "cases"), ("--since", "1h")):
        assert found(*words) == [run]
    for words in (("--status", "FAILED"), ("--model", "gpt"), ("--definition", "other"), ("--since", "0")):
        assert found(*words) == []
    lines = forgotten.proctorctl("run", "list", "--deleted", "--columns", "id,failed,total").stdout.splitlines()
    assert [line.split() for line in lines] == [["ID", "FAILED", "TOTAL"], [run, "3", "4"]]
    assert "no deleted run is active" in forgotten.proctorctl("run", "list", "--deleted", "--active").stderr


def test_a_backup_has_what_is_kept_of_deleted_runs(forgotten, simulator):
    run = mixed(forgotten, simulator, 2)
    by_command(forgotten, run)
    path = backup(forgotten, "deleted.dump")
    before = forgotten.rows("SELECT * FROM deleted_outcomes ORDER BY job_id")
    forgotten.rows("DELETE FROM deleted_outcomes")
    restore(forgotten, path, "--replace", "--yes")
    assert forgotten.rows("SELECT * FROM deleted_outcomes ORDER BY job_id") == before != []
    other = start(forgotten, 1)
    wait_end(forgotten, other)
    by_sql(forgotten, other)
    assert [item["id"] for item in forgotten.ctl("run", "list", "--deleted")["items"]] == [other, run]


def test_outcomes_of_deleted_runs_go_when_they_are_too_old(forgotten, simulator):
    old, young = mixed(forgotten, simulator, 3), mixed(forgotten, simulator, 2)
    for run in (old, young):
        by_command(forgotten, run)
    forgotten.rows("UPDATE deleted_runs SET deleted_at = now() - interval '2 days' WHERE id = %s", old)
    forgotten.write_ini({"retention": {"outcomes": "1d"}})
    try:
        position = forgotten.log_position()
        forgotten.call("reload")
        forgotten.wait_log(r"store\.pruned events=0 contents=0 outcomes=6$", since=position)
    finally:
        forgotten.write_ini({"retention": None})
        forgotten.call("reload")
    assert [item["id"] for item in forgotten.ctl("run", "list", "--deleted")["items"]] == [young]
    assert forgotten.rows("SELECT run_id, count(*) FROM deleted_outcomes GROUP BY 1") == [(young, 4)]
    forgotten.wait_event("database.pruned", data={"events": 0, "contents": 0, "outcomes": 6})
    assert forgotten.proctorctl("run", "show", old).returncode == 5
