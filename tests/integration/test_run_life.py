"""Runs: how they start, sample, pause, resume, cancel, are retried and deleted, and that progress is always exact."""

import os
import signal
import threading

import pytest

from harness import place
from harness.control import ControlError
from probing import (connect, define, figures, hold, ledger, outcome_rows, script, show, sql, start, turns_of,
                     wait_asked, wait_end, wait_progress)

pytest_plugins = ["probe_fixtures"]


def selected(daemon, run):
    return [key for key, in sql(daemon, "SELECT s.key FROM run_scenario_selections c JOIN scenarios s "
                                        "ON s.id = c.scenario_id WHERE c.run_id = %s ORDER BY s.position", run)]


def refusal(daemon, **args):
    with pytest.raises(ControlError) as refused:
        daemon.call("run.start", **args)
    return refused.value


@pytest.fixture
def held(proctor, simulator):
    """The daemon while its provider is paused: what is started stays queued."""
    proctor.call("providers.pause", provider="openai")
    return proctor


# start


@pytest.mark.parametrize("percentage, count", [(100, 20), (10, 2), (5, 1), (0.1, 1), (50, 10), (51, 11), (99.9, 20)])
def test_a_sample_has_its_share_rounded_up(held, percentage, count):
    run = start(held, 20, samplePercentage=percentage)
    assert show(held, run)["progress"]["total"] == count
    assert len(selected(held, run)) == count
    held.call("run.delete", run=run, force=True)


def test_the_same_seed_chooses_the_same_scenarios_also_of_a_new_version(held):
    first = define(held, 40, name="seeded")
    again = define(held, 40, name="seeded")
    chosen = {}
    for definition, seed in ((first, 7), (first, 7), (again, 7), (first, 8)):
        run = held.call("run.start", definition=definition, models=["gpt-4"], samplePercentage=25, sampleSeed=seed)
        chosen.setdefault(seed, []).append(selected(held, run["id"]))
        held.call("run.delete", run=run["id"], force=True)
    assert chosen[7][0] == chosen[7][1] == chosen[7][2]
    assert len(chosen[7][0]) == 10 and chosen[8][0] != chosen[7][0]


@pytest.mark.parametrize("percentage", [0, 101, -1, 100.001, 1e300])
def test_a_sample_percentage_out_of_range_is_refused_by_name(proctor, percentage):
    define(proctor, 2)
    told = refusal(proctor, definition="cases", models=["gpt-4"], samplePercentage=percentage)
    assert told.code == "BAD_ARGUMENT" and "samplePercentage" in told.message


@pytest.mark.parametrize("args, words", [
    ({"models": ["gpt-4", "grok-2", "gpt-4"]}, '"gpt-4" is given twice'),
    ({"models": []}, "models"), ({"models": "gpt-4"}, "models"), ({"models": [7]}, "models"),
    ({"models": [""]}, "models"), ({}, "models"), ({"models": ["gpt-4"], "samples": 0}, "samples"),
    ({"models": ["gpt-4"], "samples": 1.5}, "samples"), ({"models": ["gpt-4"], "temperature": 2.1}, "temperature"),
    ({"models": ["gpt-4"], "temperature": "hot"}, "temperature"), ({"models": ["gpt-4"], "maxTokens": 0}, "maxTokens"),
    ({"models": ["gpt-4"], "maxTurns": 0}, "maxTurns"), ({"models": ["gpt-4"], "maxTurns": 1001}, "maxTurns"),
    ({"models": ["gpt-4"], "priority": 1001}, "priority"), ({"models": ["gpt-4"], "colour": "red"}, "colour"),
    ({"models": ["gpt-4"], "definition": "absent"}, "absent"),
])
def test_a_bad_argument_of_run_start_is_refused_by_name_and_starts_nothing(proctor, args, words):
    define(proctor, 2)
    before = proctor.call("run.list", limit=1000)["items"]
    told = refusal(proctor, **{"definition": "cases", **args})
    assert told.code in ("BAD_ARGUMENT", "NOT_FOUND") and words in told.message, told
    assert proctor.call("run.list", limit=1000)["items"] == before


def test_a_run_of_more_probes_than_anybody_means_is_refused_with_the_number(proctor):
    definition = define(proctor, 500, name="many")
    models = [f"gpt-4-{number}" for number in range(11)]
    told = refusal(proctor, definition=definition, models=models, samples=1000)
    assert told.code == "BAD_ARGUMENT" and "5500000" in told.message


def test_proctorctl_refuses_a_sample_of_nothing_with_its_own_status(proctor):
    define(proctor, 2)
    done = proctor.proctorctl("run", "start", "cases", "--models", "gpt-4", "--sample-percentage", 0)
    assert done.returncode in (2, 5) and "sample" in done.stderr
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1


def test_parameters_of_the_run_reach_the_provider(proctor, simulator):
    script(simulator, ("words=200", {}))
    run = start(proctor, 1, temperature=0.3, maxTokens=5, seed=11)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert show(proctor, run)["config"] == {"models": ["gpt-4"], "temperature": 0.3, "maxTokens": 5, "seed": 11}
    (_, turns), = turns_of(proctor, run)
    assert turns[0]["outputTokens"] == 5 and turns[0]["finishReason"] == "length"


def test_max_turns_ends_a_conversation_early(proctor):
    run = start(proctor, 2, followups=5, maxTurns=3)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert [len(turns) for _, turns in turns_of(proctor, run)] == [3, 3]


def test_ten_turns_are_the_most_unless_told_otherwise(proctor):
    run = start(proctor, 1, followups=12)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert [len(turns) for _, turns in turns_of(proctor, run)] == [10]


def test_samples_ask_each_scenario_so_often(proctor, simulator):
    run = start(proctor, 3, ["gpt-4", "grok-2"], samples=4)
    assert wait_end(proctor, run)["progress"] == {"total": 24, "completed": 24, "failed": 0, "cancelled": 0}
    rows = sql(proctor, "SELECT model_id, scenario_id, array_agg(sample_index ORDER BY sample_index) FROM transcripts "
                        "WHERE run_id = %s GROUP BY 1, 2", run)
    assert [indexes for _, _, indexes in rows] == [[0, 1, 2, 3]] * 6
    assert figures(simulator)["bought"] == 12


def test_samples_of_a_seeded_run_have_seeds_of_their_own(proctor, simulator):
    run = start(proctor, 1, samples=3, seed=5)
    wait_end(proctor, run)
    texts = [turns[0]["targetResponse"] for _, turns in turns_of(proctor, run)]
    assert len(set(texts)) == 3, "the simulator answers the same seed with the same words"


def test_a_provider_can_be_named_before_the_model(proctor, simulator):
    run = start(proctor, 1, ["mistral:gpt-4"])
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    entry, = ledger(simulator)
    assert (entry["provider"], entry["model"]) == ("mistral", "gpt-4")
    assert sql(proctor, "SELECT model_id FROM transcripts WHERE run_id = %s", run) == [("mistral:gpt-4",)]


def test_unknown_models_fail_in_the_start_and_the_rest_runs(proctor):
    run = start(proctor, 2, ["gpt-4", "unheard-of"])
    first = show(proctor, run)
    assert first["progress"]["failed"] == 2 and first["errors"][0]["code"] == "UNSUPPORTED_PROVIDER"
    assert "unheard-of" in first["errors"][0]["example"] and "provider:model" in first["errors"][0]["example"]
    shown = wait_end(proctor, run)
    assert shown["status"] == "COMPLETED"
    assert shown["progress"] == {"total": 4, "completed": 2, "failed": 2, "cancelled": 0}


def test_simulated_answers_are_said_to_be_so(proctor):
    define(proctor, 1)
    told = proctor.call("run.start", definition="cases", models=["gpt-4", "grok-2"])
    assert [model["simulated"] for model in told["models"]] == [True, True]
    assert len(told["warnings"]) == 2 and all("simulate" in warning for warning in told["warnings"])
    shown = wait_end(proctor, told["id"])
    assert all(model["simulated"] for model in shown["models"])
    assert all(version.startswith("simulator") for model in shown["models"] for version in model["modelVersions"])


# pause, resume, cancel


def test_pause_lets_what_is_under_way_finish_and_starts_no_more(make_proctor, simulator):
    with make_proctor({"provider:openai": {"concurrency": 3}}) as daemon:
        hold(simulator)
        run = start(daemon, 12, followups=1)
        wait_asked(simulator, 3)
        told = daemon.call("run.pause", run=run, reason="lunch")
        assert (told["status"], told["pauseReason"]) == ("PAUSED", "lunch")
        place.wait_until(lambda: daemon.call("jobs", run=run)["items"][0]["leased"] == 3, 10,
                         "what was queued here to go back")
        hold(simulator, False)
        wait_progress(daemon, run, completed=3)
        counts, = daemon.call("jobs", run=run)["items"]
        assert (counts["ready"], counts["leased"], counts["delayed"]) == (9, 0, 0)
        assert figures(simulator)["asked"] == 6, "three conversations of two turns"
        assert show(daemon, run)["status"] == "PAUSED"
        assert daemon.call("run.resume", run=run)["status"] == "RUNNING"
        assert wait_end(daemon, run)["progress"]["completed"] == 12


def test_a_run_paused_before_its_first_claim_stays_whole(held):
    run = start(held, 5)
    held.call("run.pause", run=run)
    held.call("providers.resume", provider="openai")
    other = start(held, 2)
    wait_end(held, other)
    shown = show(held, run)
    assert shown["status"] == "PAUSED" and shown["progress"]["completed"] == 0
    held.call("run.resume", run=run)
    assert wait_end(held, run)["progress"]["completed"] == 5


def test_one_model_of_a_run_can_be_paused(held):
    run = start(held, 4, ["gpt-4", "gpt-3.5-turbo"])
    held.call("run.pause", run=run, model="gpt-4")
    held.call("providers.resume", provider="openai")
    wait_progress(held, run, completed=4)
    models = {model["modelId"]: model for model in show(held, run)["models"]}
    assert models["gpt-4"]["paused"] and models["gpt-4"]["completed"] == 0
    assert models["gpt-3.5-turbo"]["completed"] == 4
    held.call("run.resume", run=run, model="gpt-4")
    assert wait_end(held, run)["progress"]["completed"] == 8


def test_cancel_keeps_what_is_paid_and_records_the_rest(make_proctor, simulator):
    with make_proctor({"provider:openai": {"concurrency": 2}}) as daemon:
        script(simulator, ("latency=30", {"contains": "Case 3:"}), ("latency=30", {"contains": "Case 4:"}))
        run = start(daemon, 10)
        wait_progress(daemon, run, completed=3)
        wait_asked(simulator, 5)
        told = daemon.call("run.cancel", run=run)
        assert told["cancelling"]
        shown = wait_end(daemon, run, deadline=10)
        assert shown["status"] == "CANCELLED"
        assert shown["progress"] == {"total": 10, "completed": 3, "failed": 0, "cancelled": 7}
        assert outcome_rows(daemon, run) == {"completed": 3, "failed": 0, "cancelled": 7}
        assert figures(simulator)["asked"] == 5
        assert daemon.call("jobs", run=run)["items"][0]["leased"] == 0


def test_cancel_of_a_paused_run_ends_it(held):
    run = start(held, 3)
    held.call("run.pause", run=run)
    held.call("run.cancel", run=run)
    assert wait_end(held, run)["progress"] == {"total": 3, "completed": 0, "failed": 0, "cancelled": 3}


def test_cancel_reaches_what_waits_for_a_retry(make_proctor, simulator):
    with make_proctor({"retry": {"base_delay": "60s", "max_delay": "60s"}}) as daemon:
        script(simulator, ("status=500", {}))
        run = start(daemon, 3)
        place.wait_until(lambda: daemon.call("jobs", run=run)["items"][0]["delayed"] == 3, 10, "three delayed jobs")
        daemon.call("run.cancel", run=run)
        assert wait_end(daemon, run)["progress"]["cancelled"] == 3


def test_a_cancelled_run_of_thousands_ends_within_seconds(held):
    run = start(held, 400, samples=20)
    held.call("run.cancel", run=run)
    assert wait_end(held, run, deadline=10)["progress"]["cancelled"] == 8000


@pytest.mark.parametrize("command", ["run.pause", "run.resume", "run.cancel"])
def test_an_ended_run_cannot_be_changed(proctor, command):
    run = start(proctor, 1)
    wait_end(proctor, run)
    with pytest.raises(ControlError) as refused:
        proctor.call(command, run=run)
    assert refused.value.code == "CONFLICT" and "has ended" in refused.value.message


def test_commands_on_a_run_that_is_not_there_say_so(proctor):
    for command in ("run.show", "run.pause", "run.cancel", "run.retry", "run.delete", "transcripts.list"):
        with pytest.raises(ControlError) as refused:
            proctor.call(command, run="run_nowhere")
        assert refused.value.code == "NOT_FOUND" and "run_nowhere" in refused.value.message


# delete


def test_a_run_under_way_is_deleted_only_by_force_and_its_results_are_dropped(proctor, simulator):
    hold(simulator)
    run = start(proctor, 5)
    wait_asked(simulator, 5)
    with pytest.raises(ControlError) as refused:
        proctor.call("run.delete", run=run)
    assert refused.value.code == "CONFLICT" and "--force" in refused.value.message
    assert proctor.call("run.delete", run=run, force=True)["deleted"]
    hold(simulator, False)
    place.wait_until(lambda: proctor.call("status")["probes"]["held"] == 0, 10, "the probes to be let go")
    assert sql(proctor, "SELECT count(*) FROM transcripts WHERE run_id = %s", run) == [(0,)]
    other = start(proctor, 2)
    assert wait_end(proctor, other)["status"] == "COMPLETED"


def test_results_of_a_run_deleted_by_sql_are_superseded(proctor, simulator):
    hold(simulator)
    run = start(proctor, 5, followups=1)
    wait_asked(simulator, 5)
    sql(proctor, "DELETE FROM runs WHERE id = %s", run)
    hold(simulator, False)
    place.wait_until(lambda: proctor.call("status")["probes"]["held"] == 0, 10, "the probes to be let go")
    place.wait_until(lambda: proctor.call("status")["database"]["backlogRecords"] == 0, 10, "the results to be sent")
    assert sql(proctor, "SELECT (SELECT count(*) FROM transcripts WHERE run_id = %s), (SELECT count(*) FROM leases), "
                        "(SELECT count(*) FROM checkpoints)", run) == [(0, 0, 0)]
    assert not any(" error " in line for line in proctor.log_lines()), "a run deleted by hand is no error"


# progress


def test_progress_equals_the_rows_at_every_instant(make_proctor, simulator):
    """Another connection compares the two in one statement, over and over, while things go wrong in every way."""
    with make_proctor({"pool:probe": {"size": 2}, "retry": {"max_tries": 2}}) as daemon:
        simulator.post("/_sim/config", {"latency": {"*": "uniform:0.001:0.03"}})
        script(simulator, ("status=500,chance=0.2", {}), ("ratelimit=0.01", {"contains": "Case 7:"}, 20),
               ("status=400", {"contains": "Case 9:"}))
        run = start(daemon, 60, ["gpt-4", "grok-2"], samples=3)
        ended = threading.Event()
        wrong, looks, seen = [], [], set()

        def compare():
            connection = connect(daemon)
            connection.autocommit = True
            with connection.cursor() as cursor:
                while True:
                    last = ended.is_set()
                    cursor.execute("""
                        SELECT r.progress, count(o.job_id) FILTER (WHERE o.status = 'COMPLETED'),
                            count(o.job_id) FILTER (WHERE o.status = 'FAILED'),
                            count(o.job_id) FILTER (WHERE o.status = 'CANCELLED'),
                            (SELECT count(*) FROM transcripts t WHERE t.run_id = r.id), count(j.id)
                        FROM runs r JOIN jobs j ON j.run_id = r.id LEFT JOIN outcomes o ON o.job_id = j.id
                        WHERE r.id = %s GROUP BY r.id""", (run,))
                    progress, completed, failed, cancelled, transcripts, jobs = cursor.fetchone()
                    looks.append(completed + failed)
                    seen.add(completed + failed)
                    if progress != {"total": jobs, "completed": completed, "failed": failed, "cancelled": cancelled} \
                            or transcripts != completed:
                        wrong.append((progress, completed, failed, cancelled, transcripts))
                    if last:
                        break
            connection.close()
        thread = threading.Thread(target=compare)
        thread.start()
        try:
            wait_progress(daemon, run, completed=60)
            os.kill(daemon.worker_pids()[0], signal.SIGKILL)
            shown = wait_end(daemon, run)
        finally:
            ended.set()
            thread.join(10)
        assert wrong == [] and len(seen) > 5, (wrong[:3], len(looks), len(seen))
        assert shown["progress"]["completed"] + shown["progress"]["failed"] == 360
        assert shown["progress"]["failed"] >= 6


def test_run_list_and_watch_tell_the_end(proctor):
    run = start(proctor, 3)
    watched = proctor.proctorctl("run", "watch", run, "--interval", "100ms")
    assert watched.returncode == 0, watched.stderr
    assert "COMPLETED" in watched.stdout and "gpt-4" in watched.stdout
    newest = proctor.ctl("run", "list", "--limit", 1)["items"][0]
    assert (newest["id"], newest["status"]) == (run, "COMPLETED")
    assert proctor.ctl("run", "show", "latest")["id"] == run


def test_watch_ends_with_the_status_of_the_run(proctor, simulator):
    script(simulator, ("status=400", {}))
    run = start(proctor, 1)
    assert proctor.proctorctl("run", "watch", run, "--interval", "100ms").returncode == 1
    proctor.call("providers.pause", provider="openai")
    run = start(proctor, 1)
    proctor.call("run.cancel", run=run)
    assert proctor.proctorctl("run", "watch", run, "--interval", "100ms").returncode == 4


def cpu_seconds(pids):
    """What these processes have used so far: on a busy machine it tells more than a clock on the wall."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_a_run_of_fifty_thousand_probes_starts_and_goes_within_seconds(held):
    definition = define(held, 500, name="many")
    everything = held.all_pids()
    before = cpu_seconds(everything)
    run = held.call("run.start", definition=definition, models=["gpt-4"], samples=100)
    started = cpu_seconds(everything)
    assert run["progress"]["total"] == 50_000
    assert held.call("run.delete", run=run["id"], force=True)["deleted"]
    deleted = cpu_seconds(everything)
    assert sql(held, "SELECT count(*) FROM jobs WHERE run_id = %s", run["id"]) == [(0,)]
    assert started - before < 8 and deleted - started < 6, (started - before, deleted - started)
