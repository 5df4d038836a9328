"""Budgets: no call is begun that would pass one, what is paid for is kept, and a larger budget goes on from there.

Answers of a lane that names the simulator have no price: the address ends in a slash, which makes it one that is not
known as the simulator's. gpt-4o costs 10 USD per million tokens out: 1000 tokens at most are 0.01 USD, and those in a
little more.
"""

from decimal import Decimal

import pytest

from harness import place
from harness.control import ControlError
from probing import figures, hold, show, sql, start, wait_asked, wait_end, wait_progress

pytest_plugins = ["probe_fixtures"]


@pytest.fixture
def make_priced(make_proctor, simulator):
    return lambda **keys: make_proctor({"provider:openai": {"base_url": f"{simulator.url}/openai/", **keys}})


def wait_paused(daemon, run):
    def paused():
        shown = show(daemon, run)
        return shown if shown["status"] == "PAUSED" else None
    return place.wait_until(paused, 20.0, f"run {run} to be paused")


def wait_idle(daemon):
    """What is under way is waited for, and what waits goes back."""
    place.wait_until(lambda: daemon.call("status")["probes"]["held"] == 0, 15.0, "all probes to go back")


def spent(daemon, run):
    return sql(daemon, "SELECT spent_usd FROM runs WHERE id = %s", run)[0][0]


def test_a_run_stops_short_of_its_budget_and_goes_on_with_a_larger_one(make_priced, simulator):
    with make_priced() as daemon:
        run = start(daemon, 20, ["gpt-4o"], followups=2, maxTokens=1000, budgetUsd=0.05)
        shown = wait_paused(daemon, run)
        assert "the budget of $0.0500 is used up" in shown["pauseReason"]
        wait_idle(daemon)
        assert 0 < spent(daemon, run) <= Decimal("0.05")
        assert sql(daemon, "SELECT count(*) FROM events WHERE kind = 'run.over_budget' AND run_id = %s", run) == [(1,)]
        with pytest.raises(ControlError, match="raise the budget"):
            daemon.call("run.resume", run=run)
        daemon.call("run.resume", run=run, budgetUsd=5)
        assert wait_end(daemon, run)["progress"]["completed"] == 20
        # Turns that were paid for before the pause are not bought again.
        assert figures(simulator)["asked"] == 60
        assert spent(daemon, run) == sql(daemon, "SELECT sum(cost_usd) FROM transcripts WHERE run_id = %s", run)[0][0]


def test_calls_under_way_are_reserved_for(make_priced, simulator):
    with make_priced() as daemon:
        hold(simulator)
        # Two calls of a little more than 0.01 USD fit; the third waits for what they really cost, which is less.
        run = start(daemon, 10, ["gpt-4o"], maxTokens=1000, budgetUsd=0.025)
        wait_asked(simulator, 2)
        place.wait_until(lambda: daemon.call("status")["probes"]["held"] == 10, 15.0, "all probes to be claimed")
        assert figures(simulator)["asked"] == 2 and show(daemon, run)["status"] == "RUNNING"
        hold(simulator, False)
        wait_progress(daemon, run, completed=3)


def test_a_budget_goes_on_where_it_was_after_a_kill(make_priced, simulator):
    with make_priced() as daemon:
        run = start(daemon, 20, ["gpt-4o"], followups=2, maxTokens=1000, budgetUsd=0.05)
        wait_progress(daemon, run, completed=1)
        daemon.kill()
        daemon.start().wait_ready()
        wait_paused(daemon, run)
        wait_idle(daemon)
        assert 0 < spent(daemon, run) <= Decimal("0.05")


def test_an_upgrade_forgets_no_reservation(make_priced, simulator):
    with make_priced() as daemon:
        hold(simulator)
        run = start(daemon, 10, ["gpt-4o"], maxTokens=1000, budgetUsd=0.025)
        wait_asked(simulator, 2)
        daemon.call("upgrade")
        daemon.wait_ready()
        hold(simulator, False)
        wait_end(daemon, run)
        # Each reserves more than a third of the budget, so never three at once.
        assert figures(simulator)["peak_in_flight"] == 2
        assert 0 < spent(daemon, run) <= Decimal("0.025")


def test_a_day_of_a_provider_keeps_its_budget_over_a_restart(make_priced, simulator):
    with make_priced(budget_usd_per_day="0.03") as daemon:
        run = start(daemon, 20, ["gpt-4o"], maxTokens=1000)

        def waits():
            lane = daemon.call("providers.show", provider="openai")
            return "money/day" in lane["why"] and lane["inFlight"] == 0
        place.wait_until(waits, 20.0, "the lane to wait for another day")
        asked = figures(simulator)["asked"]
        before = place.wait_until(lambda: show(daemon, run)["progress"]["completed"] == asked and spent(daemon, run),
                                  15.0, "all answers to be recorded")
        assert 0 < before <= Decimal("0.03")
        daemon.kill()
        daemon.start().wait_ready()
        place.wait_until(waits, 20.0, "the lane to wait again")
        assert (figures(simulator)["asked"], spent(daemon, run)) == (asked, before)
