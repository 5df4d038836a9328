"""Parking and the breaker: a provider without credit, with a bad key or out of order costs calls, not probes."""

import os
import signal

import pytest

from harness import place
from harness.proctor import merge_ini
from probing import figures, hold, lane, ledger, script, show, start, wait_asked, wait_end

pytest_plugins = ["probe_fixtures"]


@pytest.fixture
def make_lane(make_proctor):
    """make_lane(ini, **keys) makes a daemon with these keys of openai, which nobody looks at from outside."""
    def make(ini=None, **keys):
        return make_proctor(merge_ini({"provider:openai": {"health_interval": "0", **keys}}, ini))
    return make


def wait_state(daemon, state, deadline=10):
    place.wait_until(lambda: lane(daemon)["state"] == state, deadline, f"openai to be {state}")


def limits(daemon):
    return [(row["unit"], row["configured"], row["learned"], row["limit"]) for row in lane(daemon)["limits"]]


# quota


def test_one_call_tries_a_parked_lane_and_opens_it(make_lane, simulator):
    with make_lane(recheck_interval="1s") as daemon:
        script(simulator, ("quota", {"provider": "openai"}))
        run = start(daemon, 8)
        wait_state(daemon, "parked")
        place.wait_until(lambda: figures(simulator)["in_flight"] == 0, 5, "the last refusals")
        refused = figures(simulator)["asked"]
        wait_asked(simulator, refused + 2)
        assert show(daemon, run)["progress"]["failed"] == 0 and lane(daemon)["state"] == "parked"
        assert figures(simulator)["asked"] == refused + 2, "one at a time"
        place.wait_until(lambda: figures(simulator)["in_flight"] == 0, 5, "the second trial's refusal")
        first, second = sorted(entry["arrived"] for entry in ledger(simulator))[-2:]
        assert second - first >= 1.95, "after the first, in twice the time"
        script(simulator)
        assert wait_end(daemon, run)["progress"]["completed"] == 8
        assert lane(daemon)["state"] != "parked"


# keys


def test_a_refused_key_costs_a_run_a_few_probes_and_the_rest_wait_for_a_good_one(make_lane, simulator):
    with make_lane() as daemon:
        script(simulator, ("status=401", {"provider": "openai"}))
        run = start(daemon, 40)
        wait_state(daemon, "parked")
        place.wait_until(lambda: figures(simulator)["in_flight"] == 0, 5, "the last refusals")
        progress = show(daemon, run)["progress"]
        assert progress["failed"] <= 2 and progress["completed"] == 0
        script(simulator)
        daemon.call("providers.resume", provider="openai")
        ended = wait_end(daemon, run)["progress"]
        assert ended["completed"] == 40 - ended["failed"] and ended["failed"] <= 2


# the breaker


def test_a_storm_of_server_errors_opens_the_breaker_and_shrinks_no_limit(make_lane, simulator):
    quick = {"retry": {"base_delay": "20ms", "max_delay": "50ms", "max_tries": 50}}
    with make_lane(quick, requests_per_minute=6000, tokens_per_minute=10**7) as daemon:
        # What has never answered may be a wrong address, and is waited for by no breaker.
        wait_end(daemon, start(daemon, 1))
        before = limits(daemon)
        script(simulator, ("status=500", {}))
        run = start(daemon, 30)
        wait_state(daemon, "failing")
        assert limits(daemon) == before
        script(simulator)
        assert wait_end(daemon, run)["progress"]["completed"] == 30
        assert limits(daemon) == before and lane(daemon)["breaker"] == "closed"


def test_a_breaker_lets_one_call_try_and_opens_with_its_answer(make_lane, simulator):
    quick = {"retry": {"base_delay": "20ms", "max_delay": "50ms", "max_tries": 50}}
    with make_lane(quick) as daemon:
        wait_end(daemon, start(daemon, 1))
        script(simulator, ("status=500", {}))
        run = start(daemon, 30)
        wait_state(daemon, "failing")
        place.wait_until(lambda: figures(simulator)["in_flight"] == 0, 5, "the last failures")
        asked = figures(simulator)["asked"]
        script(simulator)
        hold(simulator)
        # A good look from outside lets the trial go at once.
        daemon.call("providers.show", provider="openai", check=True)
        wait_asked(simulator, asked + 1)
        told = lane(daemon)
        assert (told["breaker"], told["inFlight"]) == ("half-open", 1)
        assert told["why"] == "the provider fails; a trial call is under way"
        assert show(daemon, run)["progress"]["completed"] == 0
        hold(simulator, False)
        assert wait_end(daemon, run)["progress"]["completed"] == 30
        assert lane(daemon)["breaker"] == "closed"
        trial, *later = [entry for entry in ledger(simulator) if entry["status"] == 200][1:]
        assert min(entry["arrived"] for entry in later) >= trial["ended"], "nothing was asked before its answer"


def test_one_bad_model_among_good_ones_does_not_open_the_breaker(make_lane, simulator):
    with make_lane({"retry": {"base_delay": "20ms", "max_delay": "50ms"}}) as daemon:
        script(simulator, ("status=500", {"model": "gpt-4"}))
        run = start(daemon, 40, ["gpt-4", "gpt-3.5-turbo", "gpt-4o"])
        assert wait_end(daemon, run)["progress"] == {"total": 120, "completed": 80, "failed": 40, "cancelled": 0}
        assert not [line for line in daemon.log_lines() if "lane.breaker_open" in line]


def test_the_death_of_a_worker_is_not_the_providers_failure(make_lane, simulator):
    hold(simulator)
    with make_lane({"pool:probe": {"size": 1}}) as daemon:
        run = start(daemon, 20)
        wait_asked(simulator, 20)
        os.kill(daemon.worker_pids()[0], signal.SIGKILL)
        hold(simulator, False)
        assert wait_end(daemon, run)["progress"]["completed"] == 20
        assert lane(daemon)["breaker"] == "closed" and lane(daemon)["why"] == ""
        assert not [line for line in daemon.log_lines() if "lane.breaker_open" in line]


def test_a_provider_that_never_answered_fails_its_probes_with_the_reason(make_lane, simulator):
    script(simulator, ("status=500", {}))
    with make_lane({"retry": {"base_delay": "20ms", "max_delay": "50ms"}}) as daemon:
        run = start(daemon, 30)
        assert wait_end(daemon, run)["progress"]["failed"] == 30
        assert lane(daemon)["breaker"] == "closed"
