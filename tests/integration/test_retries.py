"""What each class of error does: waits, retries, parks, or fails at once; and what a retry buys again."""

import os
import re
import signal

import pytest

from harness import place
from probing import failures, lane, ledger, outcome_rows, script, show, sql, start, turns_of, wait_asked, wait_end

pytest_plugins = ["probe_fixtures"]

TRIES = 4


def delays(daemon, run):
    """Back-off times in ms that the log tells, in order."""
    found = [re.search(rf"probe\.retry run={run} .*delay_ms=(\d+)", line) for line in daemon.log_lines()]
    return [int(match[1]) for match in found if match]


def hang_second_turns(simulator, count):
    """The second turns of that many conversations get no answer; returns what waits until they are all asked."""
    script(simulator, ("hang", {"turn": 2}, count))
    return lambda: wait_asked(simulator, 2 * count)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 529])
def test_a_server_error_is_tried_max_tries_times_in_all(proctor, simulator, status):
    model = {529: "claude-3-sonnet"}.get(status, "gpt-4")
    script(simulator, (f"status={status}", {}))
    run = start(proctor, 1, [model])
    assert wait_end(proctor, run)["status"] == "FAILED"
    error, = failures(proctor, run)
    assert (error["code"], error["statusCode"]) == ("SERVER_ERROR", status)
    assert len(ledger(simulator)) == TRIES


def test_a_server_error_that_passes_is_forgotten(proctor, simulator):
    script(simulator, ("status=500", {}, TRIES - 1))
    run = start(proctor, 1)
    assert wait_end(proctor, run)["progress"] == {"total": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert [entry["status"] for entry in ledger(simulator)] == [500] * 3 + [200]
    assert sql(proctor, "SELECT count(*) FROM tries t JOIN jobs j ON j.id = t.job_id WHERE run_id = %s", run) == [(0,)]


def test_back_off_grows_exponentially_with_jitter(make_proctor, simulator):
    with make_proctor({"retry": {"base_delay": "200ms", "max_delay": "600ms", "max_tries": 5}}) as daemon:
        script(simulator, ("status=500", {}))
        # Two of each provider: more failures in a row would open its breaker.
        run = start(daemon, 2, ["gpt-4", "claude-3-sonnet", "grok-2"])
        wait_end(daemon, run)
        by_fails = {}
        for line in daemon.log_lines():
            found = re.search(r"probe\.retry .* fails=(\d+) delay_ms=(\d+)", line)
            if found:
                by_fails.setdefault(int(found[1]), []).append(int(found[2]))
        assert sorted(by_fails) == [1, 2, 3, 4]
        for fails, ceiling in ((1, 200), (2, 400), (3, 600), (4, 600)):
            assert len(by_fails[fails]) == 6
            assert all(ceiling / 2 <= delay <= ceiling for delay in by_fails[fails]), by_fails
        assert len(set(by_fails[1])) > 1, "no jitter"
        gaps = {}
        for entry in sorted(ledger(simulator), key=lambda entry: entry["arrived"]):
            gaps.setdefault((entry["provider"], entry["digest"]), []).append(entry["arrived"])
        for times in gaps.values():
            assert len(times) == 5
            assert [later - earlier >= least for earlier, later, least in zip(times, times[1:], (.1, .2, .3, .3))] \
                == [True] * 4


@pytest.mark.parametrize("effect", ["hangup=start", "hangup=headers", "hangup=middle", "badjson", "html"])
def test_a_broken_answer_is_retried_and_bought_again_only_once(proctor, simulator, effect):
    script(simulator, (effect, {}, 1))
    run = start(proctor, 1)
    shown = wait_end(proctor, run)
    if effect in ("badjson", "html"):
        # The answer came whole and is nonsense: asking again would be paid again.
        assert shown["status"] == "FAILED"
        assert [error["code"] for error in failures(proctor, run)] == ["INVALID_RESPONSE"]
        assert len(ledger(simulator)) == 1
    else:
        assert shown["status"] == "COMPLETED"
        assert len(ledger(simulator)) == 2
        assert re.search(rf"probe\.retry run={run} .*code=NETWORK_ERROR", proctor.log(10_000))


def test_a_call_that_hangs_ends_with_timeout_after_job_timeout(make_proctor, simulator):
    with make_proctor({"pool:probe": {"job_timeout": "1s"}}) as daemon:
        script(simulator, ("hang", {"contains": "Case 1:"}))
        run = start(daemon, 3)
        shown = wait_end(daemon, run, deadline=15)
        assert shown["progress"] == {"total": 3, "completed": 2, "failed": 1, "cancelled": 0}
        error, = failures(daemon, run)
        assert error["code"] == "TIMEOUT"
        assert len(ledger(simulator)) == 2 + TRIES


def test_an_unreachable_provider_is_a_network_error_and_retried(make_proctor, simulator):
    with make_proctor({"provider:xai": {"base_url": "http://127.0.0.1:9/xai"}}) as daemon:
        run = start(daemon, 1, ["grok-2"])
        assert wait_end(daemon, run)["status"] == "FAILED"
        error, = failures(daemon, run)
        assert error["code"] == "NETWORK_ERROR"
        assert len(delays(daemon, run)) == TRIES - 1


@pytest.mark.parametrize("do, code", [
    ("status=400", "VALIDATION_ERROR"), ("status=413", "VALIDATION_ERROR"), ("status=422", "VALIDATION_ERROR"),
    ("status=401", "AUTH_ERROR"), ("status=403", "AUTH_ERROR"), ("status=404", "NOT_FOUND"),
    ("empty", "INVALID_RESPONSE"), ("refuse=content_filter", "CONTENT_BLOCKED")])
def test_permanent_errors_are_asked_once(proctor, simulator, do, code):
    script(simulator, (do, {}))
    run = start(proctor, 1)
    assert wait_end(proctor, run)["status"] == "FAILED"
    assert [error["code"] for error in failures(proctor, run)] == [code]
    assert len(ledger(simulator)) == 1
    assert delays(proctor, run) == []


def test_a_retry_resumes_at_the_turn_that_failed(proctor, simulator):
    script(simulator, ("status=500", {"turn": 3}, 2))
    run = start(proctor, 4, followups=3)
    assert wait_end(proctor, run)["progress"]["completed"] == 4
    bought = [(entry["conversation"], entry["turn"]) for entry in ledger(simulator) if entry["bought"]]
    assert len(bought) == len(set(bought)) == 16, "a turn was bought twice"
    rows = sql(proctor, "SELECT turn_count, jsonb_array_length(content->'turns'), content->'turns' "
                        "FROM transcripts WHERE run_id = %s", run)
    for count, length, turns in rows:
        assert count == length == 4
        assert [turn["turnNumber"] for turn in turns] == [1, 2, 3, 4]
    assert sql(proctor, "SELECT count(*) FROM checkpoints") == [(0,)]


def test_tokens_and_duration_of_a_resumed_conversation_are_those_of_all_its_turns(proctor, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    script(simulator, ("status=500", {"turn": 2}, 1))
    run = start(proctor, 1, followups=2)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    bought = [entry for entry in ledger(simulator) if entry["bought"]]
    (tokens, inputs, outputs, duration, turns), = sql(
        proctor, "SELECT token_count, input_tokens, output_tokens, duration_ms, content->'turns' "
                 "FROM transcripts WHERE run_id = %s", run)
    assert inputs == sum(entry["input_tokens"] for entry in bought)
    assert outputs == sum(entry["output_tokens"] for entry in bought)
    assert tokens == inputs + outputs
    assert duration == sum(turn["durationMs"] for turn in turns) >= 150


def test_a_429_does_not_use_up_tries(proctor, simulator):
    script(simulator, ("ratelimit=0.1", {}, 2 * TRIES))
    run = start(proctor, 1)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert [entry["status"] for entry in ledger(simulator)] == [429] * 2 * TRIES + [200]
    assert delays(proctor, run) == []


def test_a_429_in_the_middle_resumes_at_its_turn(proctor, simulator):
    script(simulator, ("ratelimit=0.1", {"turn": 2}, 3))
    run = start(proctor, 3, followups=2)
    assert wait_end(proctor, run)["progress"]["completed"] == 3
    bought = [(entry["conversation"], entry["turn"]) for entry in ledger(simulator) if entry["bought"]]
    assert len(bought) == len(set(bought)) == 9


def test_rate_limited_for_longer_than_the_patience_fails_as_rate_limit(make_proctor, simulator):
    with make_proctor({"retry": {"rate_limit_patience": "1s"}}) as daemon:
        script(simulator, ("ratelimit=0.4", {"contains": "Case 0:"}))
        run = start(daemon, 3)
        shown = wait_end(daemon, run)
        assert shown["progress"] == {"total": 3, "completed": 2, "failed": 1, "cancelled": 0}
        error, = failures(daemon, run)
        assert (error["code"], error["statusCode"]) == ("RATE_LIMIT", 429)
        refused = [entry for entry in ledger(simulator) if entry["status"] == 429]
        assert 3 <= len(refused) <= 5


def test_what_waits_is_listed_with_its_reason_and_time(make_proctor, simulator):
    with make_proctor({"retry": {"base_delay": "30s", "max_delay": "60s"}}) as daemon:
        script(simulator, ("status=503", {"contains": "Case 0:"}))
        run = start(daemon, 2)
        item, = place.wait_until(lambda: daemon.call("jobs", run=run, state="delayed")["items"], 10, "a delayed job")
        assert (item["reason"], item["fails"], item["attempt"]) == ("SERVER_ERROR", 1, 2)
        assert item["at"] and item["error"]["statusCode"] == 503
        counts, = daemon.call("jobs", run=run)["items"]
        assert counts["delayed"] == 1 and counts["nextAt"] == item["at"]


def test_a_worker_killed_in_mid_call_costs_no_try_and_no_paid_turn(proctor, simulator):
    wait_hung = hang_second_turns(simulator, 6)
    run = start(proctor, 6, followups=1)
    wait_hung()
    worker, = proctor.call("workers.list")["items"]
    os.kill(worker["pid"], signal.SIGKILL)
    place.wait_until(lambda: sum(not entry["delivered"] for entry in ledger(simulator)) == 6, 10, "six broken calls")
    assert wait_end(proctor, run)["progress"] == {"total": 6, "completed": 6, "failed": 0, "cancelled": 0}
    bought = [(entry["conversation"], entry["turn"]) for entry in ledger(simulator) if entry["bought"]]
    assert len(bought) == len(set(bought)) == 12, "a turn that had come was bought again"
    assert delays(proctor, run) == []
    assert [len(turns) for _, turns in turns_of(proctor, run)] == [2] * 6


def test_retry_queues_the_failed_again_and_only_those(proctor, simulator):
    script(simulator, ("status=400", {"contains": "Case 1:"}), ("status=404", {"contains": "Case 2:"}))
    run = start(proctor, 4)
    assert wait_end(proctor, run)["progress"] == {"total": 4, "completed": 2, "failed": 2, "cancelled": 0}
    script(simulator)
    asked = len(ledger(simulator))
    told = proctor.call("run.retry", run=run, codes=["NOT_FOUND"])
    assert told["retried"] == 1 and told["status"] == "RUNNING"
    assert told["progress"] == {"total": 4, "completed": 2, "failed": 1, "cancelled": 0}
    assert wait_end(proctor, run)["progress"] == {"total": 4, "completed": 3, "failed": 1, "cancelled": 0}
    assert proctor.call("run.retry", run=run)["retried"] == 1
    shown = wait_end(proctor, run)
    assert shown["progress"] == {"total": 4, "completed": 4, "failed": 0, "cancelled": 0}
    assert shown["status"] == "COMPLETED" and shown["errors"] == []
    assert len(ledger(simulator)) == asked + 2
    assert outcome_rows(proctor, run)["completed"] == 4


def test_retry_of_a_run_without_failures_changes_nothing(proctor, simulator):
    run = start(proctor, 2)
    before = wait_end(proctor, run)
    assert proctor.call("run.retry", run=run)["retried"] == 0
    after = show(proctor, run)
    assert (after["status"], after["finishedAt"]) == (before["status"], before["finishedAt"])


def test_retry_leaves_models_that_no_provider_claims(proctor, simulator):
    run = start(proctor, 2, ["gpt-4", "no-such-family"])
    assert wait_end(proctor, run)["progress"]["failed"] == 2
    assert proctor.call("run.retry", run=run)["retried"] == 0
    assert show(proctor, run)["status"] == "COMPLETED"
    assert lane(proctor)["queued"] == 0
