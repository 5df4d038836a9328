"""The troubleshooting section of the walk: each complaint, its cause, and that the way out works."""

import json
import os
import shutil

import pytest

from harness import place
from probing import (failures, lane, ledger, run_program, script, show, sql, start, turns_of, wait_end,
                     wait_progress, worker_program)

pytest_plugins = ["probe_fixtures"]

ONE_PROBE = {"runId": "test", "scenarioId": "s1", "modelId": "gpt-4",
             "scenario": {"preamble": "Be brief.", "prompt": "Well?",
                          "followups": [{"label": "why", "prompt": "Why?"}]},
             "config": {"temperature": 0.7, "maxTokens": 1000, "maxTurns": 10}}


@pytest.fixture
def changed_workers(tmp_path_factory):
    """A copy of the workers with a line of somebody's own in a file, and the command that serves with it."""
    made = []

    def change(part, old, new):
        folder = place.make_folder("workers")
        made.append(folder)
        shutil.copytree(worker_program(), os.path.join(folder, "workers"))
        shutil.copytree(os.path.join(worker_program(), "..", "conf"), os.path.join(folder, "conf"))
        path = os.path.join(folder, "workers", part)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert old in text, f"{part} has no {old!r}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(old, new, 1))
        return f"/usr/bin/python3 {os.path.join(folder, 'workers', 'probe.py')} --serve"
    yield change
    for folder in made:
        place.remove_folder(folder)


def providers(simulator):
    return json.dumps({"openai": {"base_url": f"{simulator.url}/openai"}})


# "Python process exited with code 1"


def test_issue_python_process_exited_fix_1_its_stderr_is_in_the_log(make_proctor, changed_workers):
    command = changed_workers("probe.py", "def serve():", "raise RuntimeError('broken by hand')\ndef serve():")
    with make_proctor({"pool:probe": {"command": command}}, ready=False) as daemon:
        daemon.wait_log(r"worker\.exit .*exit=1", 10)
        daemon.wait_log(r"RuntimeError: broken by hand", 10)
        worker, = daemon.call("workers.list")["items"]
        assert "exit" in worker["lastDeath"] and worker["state"] != "ready"


def test_issue_python_process_exited_fix_2_the_worker_runs_by_hand(simulator):
    done = run_program(worker_program("probe.py"), json.dumps(ONE_PROBE),
                       {"OPENAI_API_KEY": "k", "PROCTOR_PROVIDERS": providers(simulator)})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["success"] is True
    turns = told["transcript"]["turns"]
    assert [turn["promptLabel"] for turn in turns] == ["scenario_prompt", "why"]
    assert told["transcript"]["totalInputTokens"] == sum(turn["inputTokens"] for turn in turns)
    assert len(ledger(simulator)) == 2


def test_issue_python_process_exited_fix_3_a_missing_variable_is_named(simulator):
    done = run_program(worker_program("probe.py"), json.dumps(ONE_PROBE))
    told = json.loads(done.stdout)
    assert told["success"] is False
    assert told["error"]["code"] == "MISSING_API_KEY" and "OPENAI_API_KEY is not set" in told["error"]["message"]


# "Failed to parse output"


def test_issue_failed_to_parse_output_a_stray_print_harms_neither_worker_nor_answer(make_proctor, changed_workers,
                                                                                    simulator):
    command = changed_workers("proctor/conversation.py", "    def take(self,",
                              "    def take(self, *args):\n        print('debug: taken')\n"
                              "        return self._take(*args)\n\n    def _take(self,")
    with make_proctor({"pool:probe": {"command": command}}) as daemon:
        run = start(daemon, 3, followups=1)
        assert wait_end(daemon, run)["progress"]["completed"] == 3
        daemon.wait_log("debug: taken", 5)
        worker, = daemon.call("workers.list")["items"]
        assert (worker["restarts"], worker["jobsDone"]) == (0, 3)


def test_issue_failed_to_parse_output_by_hand_stdout_is_json_alone(simulator):
    environment = {"OPENAI_API_KEY": "k", "PROCTOR_PROVIDERS": providers(simulator), "PROCTOR_LOG_LEVEL": "debug"}
    done = run_program(worker_program("probe.py"), json.dumps(ONE_PROBE), environment)
    assert json.loads(done.stdout)["success"] is True and len(done.stdout.strip().splitlines()) == 1


# "OPENAI_API_KEY is not set"


def test_issue_key_is_not_set_fix_write_the_key_file_reload_and_retry(make_proctor, simulator):
    with make_proctor(keys={"MISTRAL_API_KEY": "k"}) as daemon:
        run = start(daemon, 2)
        assert wait_end(daemon, run)["status"] == "FAILED"
        assert all("OPENAI_API_KEY is not set" in error["message"] for error in failures(daemon, run))
        assert not lane(daemon)["keySet"] and lane(daemon)["keyEnv"] == "OPENAI_API_KEY"
        daemon.write_keys({"MISTRAL_API_KEY": "k", "OPENAI_API_KEY": "now-there"})
        assert daemon.ctl("reload")["workersRestarted"]
        place.wait_until(lambda: lane(daemon)["keySet"], 5, "the key to be seen")
        assert daemon.ctl("run", "retry", run)["retried"] == 2
        assert wait_end(daemon, run)["progress"] == {"total": 2, "completed": 2, "failed": 0, "cancelled": 0}


def test_issue_key_is_not_set_a_retry_waits_for_the_workers_that_have_the_key(make_proctor, changed_workers):
    # A start that takes its time once there is a key: the old worker could be asked meanwhile.
    command = changed_workers("probe.py", "def serve():", "if 'OPENAI_API_KEY' in os.environ:\n"
                              "    __import__('time').sleep(1)\n\n\ndef serve():")
    with make_proctor({"pool:probe": {"command": command}}, keys={}) as daemon:
        run = start(daemon, 2)
        assert wait_end(daemon, run)["status"] == "FAILED"
        daemon.write_keys({"OPENAI_API_KEY": "now-there"})
        daemon.call("reload")
        daemon.call("run.retry", run=run)
        place.wait_until(lambda: lane(daemon)["why"] == "workers with the new settings are starting", 5, "the wait")
        assert wait_end(daemon, run)["progress"]["completed"] == 2


def test_issue_key_is_not_set_run_start_warns_before_any_probe_fails(make_proctor):
    with make_proctor({"provider:openai": {"base_url": "http://127.0.0.1:9"}}, keys={}) as daemon:
        definition = daemon.call("definition.import", name="one", scenarios=[{"prompt": "Well?"}])["id"]
        warning, = daemon.ctl("run", "start", definition, "--models", "gpt-4")["warnings"]
        assert "OPENAI_API_KEY is not set" in warning


# "Slow Job Execution"


def test_issue_slow_execution_fix_1_the_limit_that_is_waited_for_is_told(make_proctor):
    with make_proctor({"provider:openai": {"requests_per_minute": 30}}) as daemon:
        run = start(daemon, 20)
        wait_progress(daemon, run, completed=1)
        wait, = place.wait_until(lambda: show(daemon, run)["waiting"], 10, "a wait to be told")
        assert (wait["lane"], wait["why"]) == ("openai", "requests/min")
        shown = lane(daemon)
        assert shown["requestsPerMinute"] == 30 and shown["why"] == "requests/min"
        assert shown["untilMs"] > 0
        assert "requests/min" in daemon.proctorctl("providers", "list").stdout
        assert "requests/min" in daemon.proctorctl("run", "show", run).stdout


def test_issue_slow_execution_fix_2_a_smaller_sample_is_less_work(proctor):
    run = start(proctor, 50, samplePercentage=4)
    assert wait_end(proctor, run)["progress"]["total"] == 2


def test_issue_slow_execution_fix_3_the_faster_model_of_the_walk_is_known(proctor, simulator):
    run = start(proctor, 1, ["gpt-3.5-turbo"])
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert ledger(simulator)[0]["provider"] == "openai"


# "Transcripts Missing Model Version"


def test_issue_missing_model_version_is_null_and_no_failure(proctor, simulator):
    script(simulator, ("version=none", {}))
    run = start(proctor, 2, followups=1)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert sql(proctor, "SELECT model_version FROM transcripts WHERE run_id = %s", run) == [(None,), (None,)]
    assert [item["modelVersion"] for item in proctor.ctl("transcripts", "list", run)["items"]] == [None, None]
    assert all(turn["modelVersion"] is None for _, turns in turns_of(proctor, run) for turn in turns)


def test_issue_missing_model_version_is_the_exception(proctor, simulator):
    script(simulator, ("version=gpt-4-0613", {}))
    run = start(proctor, 1)
    wait_end(proctor, run)
    assert sql(proctor, "SELECT model_version FROM transcripts WHERE run_id = %s", run) == [("gpt-4-0613",)]
