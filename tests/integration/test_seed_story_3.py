"""User story 3 of the walk: rate limits, failed logins, missing keys and unknown models."""

import re

import pytest

from harness.simulator import PROVIDERS
from probing import KEYS, MODEL_OF, failures, ledger, script, show, sql, start, wait_end

pytest_plugins = ["probe_fixtures"]


def test_story_3_rate_limit_simulated_by_fail_model_id_is_retried_with_backoff(make_proctor, simulator):
    with make_proctor(environment={"FAIL_MODEL_ID": "rate-limit-test"}) as proctor:
        definition = proctor.call("definition.import", name="one", scenarios=[{"prompt": "Well?"}])["id"]
        started = proctor.ctl("run", "start", definition, "--models", "rate-limit-test")
        assert started["models"][0]["lane"] == "simulated" and started["models"][0]["simulated"]
        position, waits = 0, []
        while len(waits) < 4:
            line = proctor.wait_log(r"lane\.limited lane=simulated ", 10, since=position)
            position = proctor.log_lines().index(line) + 1
            waits.append(int(re.search(r"wait_ms=(\d+)", line)[1]))
        assert max(waits) > 0
        shown = show(proctor, started["id"])
        assert shown["status"] == "RUNNING" and shown["progress"]["failed"] == 0
        assert ledger(simulator) == [], "no provider was asked"


def test_story_3_rate_limit_simulated_ends_as_rate_limit_when_patience_ends(make_proctor):
    with make_proctor({"retry": {"rate_limit_patience": "500ms"}},
                      environment={"FAIL_MODEL_ID": "rate-limit-test"}) as proctor:
        run = start(proctor, 2, ["rate-limit-test"])
        assert wait_end(proctor, run)["progress"] == {"total": 2, "completed": 0, "failed": 2, "cancelled": 0}
        assert show(proctor, run)["status"] == "FAILED"
        assert {error["code"] for error in failures(proctor, run)} == {"RATE_LIMIT"}


def test_story_3_missing_key_fails_at_once_and_names_the_variable(make_proctor, simulator):
    keys = {name: key for name, key in KEYS.items() if name != "OPENAI_API_KEY"}
    with make_proctor(keys=keys) as proctor:
        run = start(proctor, 1, ["gpt-4"])
        assert wait_end(proctor, run)["status"] == "FAILED"
        error, = failures(proctor, run)
        assert error["code"] == "MISSING_API_KEY"
        assert "OPENAI_API_KEY is not set" in error["message"]
        proctor.wait_log(r"probe\.failed .*OPENAI_API_KEY is not set")
        assert not any("probe.retry" in line for line in proctor.log_lines())
        assert ledger(simulator) == []


def test_story_3_invalid_model_fails_without_any_attempt(proctor, simulator):
    run = start(proctor, 3, ["invalid-model-xyz"])
    shown = show(proctor, run)
    assert shown["status"] == "FAILED", "it has ended with the answer of run start"
    assert shown["progress"] == {"total": 3, "completed": 0, "failed": 3, "cancelled": 0}
    assert {error["code"] for error in failures(proctor, run)} == {"UNSUPPORTED_PROVIDER"}
    assert sql(proctor, "SELECT max(attempt) FROM outcomes o JOIN jobs j ON j.id = o.job_id "
                        "WHERE run_id = %s", run) == [(0,)]
    assert ledger(simulator) == []


def test_story_3_invalid_model_of_a_known_provider_fails_without_retry(proctor, simulator):
    run = start(proctor, 1, ["openai:nonexistent-1"])
    assert wait_end(proctor, run)["status"] == "FAILED"
    assert [error["code"] for error in failures(proctor, run)] == ["NOT_FOUND"]
    assert len(ledger(simulator)) == 1


def test_story_3_check_a_429_triggers_a_retry(proctor, simulator):
    script(simulator, ("ratelimit=0.3", {}, 1))
    run = start(proctor, 1)
    shown = wait_end(proctor, run)
    assert shown["status"] == "COMPLETED"
    assert [entry["status"] for entry in ledger(simulator)] == [429, 200]


@pytest.mark.parametrize("status, code", [(401, "AUTH_ERROR"), (403, "AUTH_ERROR")])
def test_story_3_check_auth_errors_fail_immediately_without_retry(proctor, simulator, status, code):
    script(simulator, (f"status={status}", {}))
    run = start(proctor, 1)
    assert wait_end(proctor, run)["status"] == "FAILED"
    error, = failures(proctor, run)
    assert (error["code"], error["statusCode"]) == (code, status)
    assert len(ledger(simulator)) == 1


def test_story_3_check_auth_errors_of_every_provider_name_its_key_variable(make_proctor, simulator):
    bad = {name: f"bad-{name.lower()}" for name in KEYS}
    with make_proctor(keys=bad) as proctor:
        run = start(proctor, 1, MODEL_OF.values())
        assert wait_end(proctor, run)["progress"]["failed"] == 6
        for job in proctor.call("jobs", run=run, state="failed")["items"]:
            assert job["error"]["code"] == "AUTH_ERROR"
            assert f"{job['lane'].upper()}_API_KEY" in job["error"]["message"], job["error"]
            assert "bad-" not in job["error"]["message"]
        assert len(ledger(simulator)) == len(PROVIDERS)


def test_story_3_check_failed_jobs_increment_failed_and_only_that(proctor, simulator):
    script(simulator, ("status=400", {"contains": "Case 1:"}))
    run = start(proctor, 4)
    assert wait_end(proctor, run)["progress"] == {"total": 4, "completed": 3, "failed": 1, "cancelled": 0}
    assert show(proctor, run)["status"] == "COMPLETED"
    error, = show(proctor, run)["errors"]
    assert (error["code"], error["count"], error["modelId"]) == ("VALIDATION_ERROR", 1, "gpt-4")
