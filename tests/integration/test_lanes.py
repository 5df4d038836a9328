"""Lanes: limits are kept and used, spent per call, and a wait of one provider is nobody else's."""

import re
import time

import pytest

from harness import place
from harness.proctor import merge_ini
from probing import (figures, hold, lane, ledger, outcome_rows, script, show, sql, start, wait_asked, wait_end,
                     wait_progress)

pytest_plugins = ["probe_fixtures"]
pytestmark = pytest.mark.timed


@pytest.fixture
def limited(make_proctor):
    """limited(ini, requests_per_minute=…) makes a daemon that keeps these limits with openai."""
    def make(ini=None, **keys):
        return make_proctor(merge_ini({"provider:openai": keys}, ini))
    return make


def limit_of_simulator(simulator, *limits):
    simulator.post("/_sim/config", {"limits": list(limits)})


def meters(simulator):
    return simulator.get("/_sim/stats")["limits"]


def arrivals(simulator, **wanted):
    return sorted(entry["arrived"] for entry in ledger(simulator, **wanted))


def asked_models(simulator):
    return [entry["model"] for entry in sorted(ledger(simulator), key=lambda entry: entry["arrived"])]


# requests a minute


@pytest.mark.parametrize("limit", ["openai:sliding=14/1", "openai:bucket=10/1+4"])
def test_requests_a_minute_are_never_exceeded_and_are_used(simulator, limited, limit):
    # 600 a minute are 10 a second, evenly; 4 more allow for a third of a second of delay on a busy machine.
    limit_of_simulator(simulator, limit)
    with limited(requests_per_minute=600, burst=1) as daemon:
        run = start(daemon, 30)
        assert wait_end(daemon, run)["progress"]["completed"] == 30
        meter, = meters(simulator)
        assert (meter["admitted"], meter["refused"], meter["over"]) == (30, 0, 0)
        took = meter["last_s"] - meter["first_s"]
        assert 2.6 <= took <= 6, f"29 calls at 10 a second take 2.9 s, not {took:.2f}"
        assert lane(daemon)["limited"] == 0


def test_sixty_a_minute_are_one_a_second_as_a_strict_provider_counts(simulator, limited):
    limit_of_simulator(simulator, "mistral:sliding=60/60", {"provider": "mistral", "kind": "sliding", "limit": 1,
                                                            "window_s": 0.8})
    with limited({"provider:mistral": {"requests_per_minute": 60}}) as daemon:
        run = start(daemon, 4, ["mistral-large"])
        assert wait_end(daemon, run)["progress"]["completed"] == 4
        assert [meter["refused"] for meter in meters(simulator)] == [0, 0]
        assert figures(simulator, "mistral")["asked"] == 4


def test_the_limit_is_spent_per_call_not_per_conversation(simulator, limited):
    limit_of_simulator(simulator, {"provider": "openai", "kind": "sliding", "limit": 28, "window_s": 1.0})
    with limited(requests_per_minute=1200, burst=1) as daemon:
        run = start(daemon, 10, followups=3)
        assert wait_end(daemon, run)["progress"]["completed"] == 10
        meter, = meters(simulator)
        assert (meter["admitted"], meter["refused"]) == (40, 0)
        took = meter["last_s"] - meter["first_s"]
        assert took >= 39 * 0.05 * 0.95, f"40 calls at 20 a second, not 10: {took:.2f} s"
        assert lane(daemon)["calls"] == 40


def test_a_bucket_starts_empty_after_a_start(simulator, limited):
    born = time.monotonic()
    with limited(requests_per_minute=180, burst=100) as daemon:
        run = start(daemon, 8)
        wait_end(daemon, run)
        for number, arrived in enumerate(arrivals(simulator), 1):
            assert number <= 3 * (arrived - born), f"call {number} came {arrived - born:.2f} s after the start"


def test_begun_conversations_go_before_new_ones(simulator, limited):
    with limited(requests_per_minute=1200, burst=1, concurrency=3) as daemon:
        run = start(daemon, 30, followups=2)
        assert wait_end(daemon, run)["progress"]["completed"] == 30
        begun, most_open, turns = set(), 0, {}
        for entry in sorted(ledger(simulator), key=lambda entry: entry["arrived"]):
            begun.add(entry["conversation"])
            turns[entry["conversation"]] = entry["turn"]
            most_open = max(most_open, sum(1 for name in begun if turns[name] < 3))
        # Open are at most those whose calls were under way together: none begins while a begun one waits.
        assert most_open <= 3, f"{most_open} conversations were open at once, under a limit of three calls at once"


# concurrency


def test_concurrency_is_never_exceeded_and_is_used(simulator, limited):
    simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
    limit_of_simulator(simulator, "openai:concurrency=7")
    with limited(concurrency=7) as daemon:
        run = start(daemon, 40, followups=1)
        shown = wait_end(daemon, run)
        assert shown["progress"]["completed"] == 40
        meter, = meters(simulator)
        assert (meter["admitted"], meter["refused"], meter["peak"]) == (80, 0, 7)


def test_concurrency_counts_calls_of_all_workers_together(simulator, limited):
    hold(simulator)
    with limited({"pool:probe": {"size": 3}}, concurrency=5) as daemon:
        run = start(daemon, 20)
        wait_asked(simulator, 5)
        told = lane(daemon)
        assert (told["inFlight"], told["why"]) == (5, "concurrency")
        hold(simulator, False)
        assert wait_end(daemon, run)["progress"]["completed"] == 20
        assert figures(simulator)["peak_in_flight"] == 5


def test_a_conversation_between_its_turns_holds_no_slot(simulator, limited):
    # Turn 2 is never permitted while the provider is paused; then its place is free for nobody, and no call runs.
    with limited(concurrency=1) as daemon:
        run = start(daemon, 3, followups=4)
        shown = wait_end(daemon, run)
        assert shown["progress"]["completed"] == 3
        assert figures(simulator)["peak_in_flight"] == 1


def test_limits_change_at_a_reload_without_a_restart(simulator, limited):
    hold(simulator)
    with limited(concurrency=2) as daemon:
        run = start(daemon, 12)
        wait_asked(simulator, 2)
        assert figures(simulator)["in_flight"] == 2
        daemon.write_ini({"provider:openai": {"concurrency": 6}})
        told = daemon.call("reload")
        assert any("concurrency" in key for key in told["applied"]) and told["needsRestart"] == []
        wait_asked(simulator, 6)
        assert lane(daemon)["inFlight"] == 6
        hold(simulator, False)
        assert wait_end(daemon, run)["progress"]["completed"] == 12
        assert figures(simulator)["peak_in_flight"] == 6


# waiting for the provider


@pytest.mark.parametrize("model", ["gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "mistral-large"])
def test_a_429_keeps_the_lane_quiet_for_the_providers_own_time(proctor, simulator, model):
    script(simulator, ("ratelimit=2", {"contains": "Case 0"}, 1))
    run = start(proctor, 3, [model])
    shown = wait_end(proctor, run)
    assert shown["progress"]["completed"] == 3
    entries = sorted(ledger(simulator), key=lambda entry: entry["arrived"])
    refused = next(entry for entry in entries if entry["status"] == 429)
    later = [entry["arrived"] - refused["ended"] for entry in entries if entry["arrived"] > refused["ended"] + 0.05]
    assert len(later) >= 1, "the refused probe was asked again"
    # Anthropic and others tell whole seconds, and round up.
    assert 1.9 <= min(later) <= 3.2, f"the lane was quiet for {min(later):.2f} s, not 2"
    assert sql(proctor, "SELECT max(coalesce(fails, 0)) FROM jobs j LEFT JOIN tries t ON t.job_id = j.id "
                        "WHERE run_id = %s", run) == [(0,)]


def test_a_429_that_tells_no_time_backs_off_longer_each_time(make_proctor, simulator):
    with make_proctor({"retry": {"base_delay": "50ms", "max_delay": "2s"}}) as daemon:
        script(simulator, ("ratelimit", {}, 5))
        run = start(daemon, 1, ["deepseek-chat"])
        assert wait_end(daemon, run)["status"] == "COMPLETED"
        waits = [int(re.search(r"wait_ms=(\d+)", line)[1]) for line in daemon.log_lines() if "lane.limited" in line]
        assert len(waits) == 5 and 25 <= waits[0] <= 50, waits
        # Each as long as all the time already lost, from base_delay to max_delay, less half of it at the most
        # for jitter.
        for number, wait in enumerate(waits):
            assert wait >= min(2000, max(50, sum(waits[:number]))) // 2 - 1, waits


def test_a_provider_stricter_than_configured_is_obeyed_and_all_gets_done(make_proctor, simulator):
    limit_of_simulator(simulator, "openai:sliding=20/1", "openai:concurrency=8")
    with make_proctor({"provider:openai": {"concurrency": 12}}) as daemon:
        run = start(daemon, 50)
        assert wait_end(daemon, run)["progress"] == {"total": 50, "completed": 50, "failed": 0, "cancelled": 0}
        by_rate, by_concurrency = meters(simulator)
        assert by_rate["over"] == by_concurrency["over"] == 0
        assert figures(simulator)["asked"] <= 150, "each pause lets a few through to be refused, no more"
        assert figures(simulator)["bought"] == 50


def test_the_pause_of_a_lane_is_told_with_its_end(proctor, simulator):
    script(simulator, ("ratelimit=3", {}, 1))
    before = time.time()
    run = start(proctor, 2)
    told = place.wait_until(lambda: next(iter(show(proctor, run)["waiting"]), None), 10, "a wait to be told")
    assert told["lane"] == "openai" and told["why"] == "the provider asked to wait"
    assert 2 <= told["untilMs"] / 1000 - before <= 6
    assert lane(proctor)["state"] == "paused"
    assert wait_end(proctor, run)["progress"]["completed"] == 2


def test_a_paused_lane_holds_no_other_back(proctor, simulator):
    script(simulator, ("ratelimit=4", {"provider": "openai"}))
    slow = start(proctor, 5, ["gpt-4"])
    place.wait_until(lambda: lane(proctor)["state"] == "paused", 5, "the pause of openai")
    quick = start(proctor, 20, ["claude-3-sonnet", "grok-2"], followups=1)
    assert wait_end(proctor, quick, deadline=5)["progress"]["completed"] == 40
    assert show(proctor, slow)["status"] == "RUNNING"
    script(simulator)
    proctor.call("providers.resume", provider="openai")
    assert wait_end(proctor, slow)["progress"]["completed"] == 5


def test_used_up_quota_parks_the_lane_with_its_reason_until_it_is_resumed(proctor, simulator):
    script(simulator, ("quota", {"provider": "openai"}))
    run = start(proctor, 4, ["gpt-4", "grok-2"])
    place.wait_until(lambda: lane(proctor)["state"] == "parked", 5, "openai to be parked")
    wait_progress(proctor, run, completed=4)
    told = lane(proctor)
    assert "quota" in told["why"].lower(), told
    shown = show(proctor, run)
    assert shown["status"] == "RUNNING" and shown["progress"] == {
        "total": 8, "completed": 4, "failed": 0, "cancelled": 0}
    assert [wait["lane"] for wait in shown["waiting"]] == ["openai"]
    event = proctor.wait_event("lane.parked", subject="openai")
    assert event["level"] == "error" and "parked: " + event["data"]["reason"] == told["why"]
    asked = figures(simulator)["asked"]
    script(simulator)
    proctor.call("providers.resume", provider="openai")
    assert wait_end(proctor, run)["progress"]["completed"] == 8
    assert figures(simulator)["asked"] == asked + 4, "nothing was asked while it was parked"


@pytest.mark.parametrize("model", ["gpt-4", "claude-3-sonnet", "gemini-1.5-pro", "grok-2", "deepseek-chat",
                                   "mistral-large"])
def test_every_providers_way_to_say_quota_parks_its_lane_alone(proctor, simulator, model):
    script(simulator, ("quota", {"model": model}))
    run = start(proctor, 1, [model])
    provider = show(proctor, run)["models"][0]["lane"]
    place.wait_until(lambda: lane(proctor, provider)["state"] == "parked", 5, f"{provider} to be parked")
    parked = [item["provider"] for item in proctor.call("providers.list")["items"] if item["state"] == "parked"]
    assert parked == [provider]
    script(simulator)
    proctor.call("providers.resume", provider=provider)
    assert wait_end(proctor, run)["progress"]["completed"] == 1


def test_an_operators_pause_stops_calls_and_resume_goes_on(proctor, simulator):
    told = proctor.call("providers.pause", provider="openai", reason="invoice unpaid")
    assert told["state"] == "parked" and told["why"] == "invoice unpaid"
    event = proctor.wait_event("lane.paused", subject="openai", data={"reason": "invoice unpaid"})
    assert event["level"] == "info"
    run = start(proctor, 3, ["gpt-4", "grok-2"])
    wait_progress(proctor, run, completed=3)
    assert figures(simulator)["asked"] == 0 and figures(simulator, "xai")["asked"] == 3
    proctor.call("providers.resume", provider="openai")
    assert wait_end(proctor, run)["progress"]["completed"] == 6


# fairness


def test_a_big_run_does_not_starve_a_small_one(simulator, limited):
    with limited(requests_per_minute=3000) as daemon:
        big = start(daemon, 400)
        wait_progress(daemon, big, completed=5)
        small = start(daemon, 10)
        done = wait_end(daemon, small, deadline=10)
        assert done["progress"]["completed"] == 10
        assert show(daemon, big)["progress"]["completed"] < 300
        daemon.call("run.delete", run=big, force=True)


def test_a_run_of_higher_priority_gets_most_turns(simulator, limited):
    with limited(requests_per_minute=1800) as daemon:
        low = start(daemon, 300)
        wait_progress(daemon, low, completed=3)
        high = start(daemon, 60, ["gpt-3.5-turbo"], priority=10)
        wait_end(daemon, high, deadline=15)
        asked = asked_models(simulator)
        begun, last = asked.index("gpt-3.5-turbo"), len(asked) - asked[::-1].index("gpt-3.5-turbo")
        # Only what had been claimed before keeps its place, and one in 64 is the lower's turn.
        assert asked[begun:last].count("gpt-4") <= 7, "".join(model[4] for model in asked)
        assert show(daemon, low)["status"] == "RUNNING"
        daemon.call("run.delete", run=low, force=True)


def test_a_run_of_lower_priority_moves_on(simulator, limited):
    with limited(requests_per_minute=6000) as daemon:
        daemon.call("providers.pause", provider="openai")
        high = start(daemon, 600, ["gpt-3.5-turbo"], priority=2)
        low = start(daemon, 15)
        daemon.call("providers.resume", provider="openai")
        wait_end(daemon, low, deadline=20)
        asked = asked_models(simulator)
        of_high = asked[:len(asked) - asked[::-1].index("gpt-4")].count("gpt-3.5-turbo")
        # Sixteen for one are 240; a claim of 128 more was made before there was another run.
        assert 120 <= of_high <= 240 + 128, "".join(model[4] for model in asked)
        assert show(daemon, high)["status"] == "RUNNING"
        daemon.call("run.delete", run=high, force=True)


def test_models_of_one_run_take_turns(simulator, limited):
    with limited(requests_per_minute=1800) as daemon:
        run = start(daemon, 40, ["gpt-4", "gpt-3.5-turbo"])
        assert wait_end(daemon, run)["progress"]["completed"] == 80
        asked = asked_models(simulator)
        for count in range(10, 80, 10):
            assert abs(asked[:count].count("gpt-4") - count / 2) <= 3, "".join(model[4] for model in asked)
        assert outcome_rows(daemon, run)["completed"] == 80


def test_runs_of_one_priority_take_turns(simulator, limited):
    with limited(requests_per_minute=1800) as daemon:
        daemon.call("providers.pause", provider="openai")
        big = start(daemon, 300)
        small = start(daemon, 30, ["gpt-3.5-turbo"])
        daemon.call("providers.resume", provider="openai")
        wait_end(daemon, small, deadline=15)
        asked = asked_models(simulator)
        begun = asked.index("gpt-3.5-turbo")
        assert 10 <= asked[begun:begun + 30].count("gpt-3.5-turbo") <= 20, "".join(model[4] for model in asked)
        daemon.call("run.delete", run=big, force=True)
