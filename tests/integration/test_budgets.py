"""Budgets of runs and of a provider's day: never passed, whatever becomes of the daemon, and in nobody else's way.

What was paid is what the simulator says was bought, priced here. The address ends in a slash, as in test_money.py, for
its answers to have a price.
"""

import contextlib
import time
from collections import Counter
from decimal import Decimal

import pytest

from harness import place
from harness.control import ControlError
from probing import (figures, hold, lane, ledger, outcome_rows, renew, running, show, sql, start, turns_of, wait_asked,
                     wait_end, wait_held)

pytest_plugins = ["probe_fixtures"]

PER_IN, PER_OUT = Decimal("2.5") / 1000000, Decimal(10) / 1000000     # USD a token of gpt-4o
DAY_MS = 86400000


@pytest.fixture
def node(simulator, postgres):
    """node(keys of the provider…) is a ready daemon; all of a test are on one database."""
    url = postgres.database()
    simulator.post("/_sim/config", {"latency": {"*": "0.02"}, "words": [100, 120]})
    with contextlib.ExitStack() as nodes:
        def make(shared=False, **keys):
            ini = {"database": {"url": url, "shared": shared}, "pool:probe": {"size": 1},
                   "provider:openai": {"base_url": f"{simulator.url}/openai/", **keys}}
            return nodes.enter_context(running(simulator, ini))
        yield make
    renew(simulator)


def bought(simulator):
    return [entry for entry in ledger(simulator, provider="openai") if entry["bought"]]


def paid(simulator):
    return sum(PER_IN * entry["input_tokens"] + PER_OUT * entry["output_tokens"] for entry in bought(simulator))


def spent(daemon, run):
    return sql(daemon, "SELECT spent_usd FROM runs WHERE id = %s", run)[0][0]


def wait_over(daemon, run, budget):
    """Waits until the run is paused for its budget and nothing of it is held any more; returns what run.show tells."""
    place.wait_until(lambda: show(daemon, run, brief=True)["status"] in ("PAUSED", "COMPLETED"), 20, "the pause")
    place.wait_until(lambda: daemon.call("jobs", run=run, state="leased")["items"] == [], 10, "nothing to be leased")
    shown = show(daemon, run)
    assert shown["status"] == "PAUSED" and f"the budget of ${budget:.4f} is used up" in shown["pauseReason"], shown
    return shown


def check_went_on(daemon, simulator, run, probes, turns):
    """After a larger budget: all is done, and no turn was paid for twice."""
    daemon.call("run.resume", run=run, budgetUsd=50)
    wait_end(daemon, run)
    assert outcome_rows(daemon, run) == {"completed": probes, "failed": 0, "cancelled": 0}
    assert [len(answers) for _, answers in turns_of(daemon, run)] == [turns] * probes
    times = Counter((entry["conversation"], entry["turn"]) for entry in bought(simulator))
    assert len(times) == probes * turns and set(times.values()) == {1}
    assert spent(daemon, run) == paid(simulator)


# A run's


def test_a_run_stops_before_its_budget_is_passed_and_goes_on_with_more(node, simulator):
    daemon = node(concurrency=6)
    run = start(daemon, 40, ["gpt-4o"], followups=2, budgetUsd=0.08)
    shown = wait_over(daemon, run, 0.08)
    assert Decimal("0.06") < paid(simulator) <= Decimal("0.08")
    assert spent(daemon, run) == paid(simulator)
    # What was complete is there; what was not has its turns with it.
    assert 0 < shown["progress"]["completed"] < 40 and shown["progress"]["failed"] == 0
    assert sql(daemon, "SELECT count(*) > 0 FROM checkpoints") == [(True,)]
    daemon.wait_event("run.over_budget")
    check_went_on(daemon, simulator, run, 40, 3)


@pytest.mark.parametrize("budget", [None, 0.05, 0.01], ids=["none", "the-same", "less"])
def test_a_run_over_budget_goes_on_with_a_larger_one_only(node, simulator, budget):
    daemon = node(concurrency=4)
    run = start(daemon, 60, ["gpt-4o"], budgetUsd=0.05)
    wait_over(daemon, run, 0.05)
    asked = figures(simulator)["asked"]
    with pytest.raises(ControlError, match="raise the budget with --budget-usd"):
        daemon.call("run.resume", run=run, **({} if budget is None else {"budgetUsd": budget}))
    done = daemon.proctorctl("run", "resume", run)
    assert done.returncode != 0 and "raise the budget" in done.stderr
    assert show(daemon, run)["status"] == "PAUSED" and figures(simulator)["asked"] == asked


def test_a_budget_smaller_than_a_call_buys_nothing(node, simulator):
    daemon = node()
    run = start(daemon, 3, ["gpt-4o"], budgetUsd=0.0001)
    wait_over(daemon, run, 0.0001)
    assert figures(simulator)["asked"] == 0
    check_went_on(daemon, simulator, run, 3, 1)


def test_a_run_over_budget_is_in_nobody_s_way(node):
    daemon = node(concurrency=2)
    poor = start(daemon, 100, ["gpt-4o"], followups=2, budgetUsd=0.03)
    rich = start(daemon, 30, ["gpt-4o"], followups=1)
    assert wait_end(daemon, rich)["progress"]["completed"] == 30
    wait_over(daemon, poor, 0.03)
    assert spent(daemon, poor) <= Decimal("0.03")


def all_is_kept(spool):
    return spool["unwritten"] == 0 and spool["unsynced"] == 0


def test_a_budget_goes_on_where_it_was_after_kill_9(node, simulator):
    daemon = node(concurrency=4)
    run = start(daemon, 60, ["gpt-4o"], followups=1, budgetUsd=0.08)
    wait_asked(simulator, 20)
    # Each of the calls under way went off after the answer before it was kept, and none of them is answered.
    hold(simulator)
    wait_held(simulator, 4)
    place.wait_until(lambda: lane(daemon)["inFlight"] == 4, 10, "no answer to be under way")
    # The end of a conversation is kept behind the first call of the one that comes after it.
    place.wait_until(lambda: all_is_kept(daemon.call("spool")), 10, "every answer to be in the spool")
    daemon.kill()
    place.wait_until(lambda: figures(simulator)["in_flight"] == 0, 10, "the workers to be gone")
    hold(simulator, False)
    before = paid(simulator)
    daemon.start().wait_ready()
    wait_over(daemon, run, 0.08)
    assert before < paid(simulator) <= Decimal("0.08") and spent(daemon, run) == paid(simulator)
    check_went_on(daemon, simulator, run, 60, 2)


def test_a_budget_goes_on_through_an_upgrade(node, simulator):
    daemon = node(concurrency=4)
    run = start(daemon, 60, ["gpt-4o"], followups=1, budgetUsd=0.08)
    wait_asked(simulator, 15)
    hold(simulator)
    wait_held(simulator, 4)
    daemon.call("upgrade")
    hold(simulator, False)
    wait_over(daemon, run, 0.08)
    assert Decimal("0.06") < paid(simulator) <= Decimal("0.08") and spent(daemon, run) == paid(simulator)
    check_went_on(daemon, simulator, run, 60, 2)


def test_a_budget_is_kept_by_whichever_node_goes_on_with_the_run(node, simulator):
    first = node(shared=True, concurrency=4)
    run = start(first, 60, ["gpt-4o"], followups=1, budgetUsd=0.04)
    wait_over(first, run, 0.04)
    first.stop()
    before = paid(simulator)
    second = node(shared=True, concurrency=4)
    second.call("run.resume", run=run, budgetUsd=0.06)
    wait_over(second, run, 0.06)
    assert before < paid(simulator) <= Decimal("0.06") and spent(second, run) == paid(simulator)


def test_nodes_that_spend_at_once_pass_a_budget_by_no_more_than_is_not_told_yet(node, simulator):
    nodes = [node(shared=True, concurrency=4) for _ in range(2)]
    hold(simulator)
    start(nodes[1], ["What is a node?"], ["gpt-4o"])  # with work it looks for more every 2 s
    run = start(nodes[0], 150, ["gpt-4o"], budgetUsd=0.05)
    place.wait_until(lambda: all(lane(daemon)["inFlight"] > 0 for daemon in nodes), 15, "both to call")
    hold(simulator, False)
    wait_over(nodes[0], run, 0.05)
    # Each counts all that it spends itself, and of the other's what that has recorded.
    assert Decimal("0.03") < spent(nodes[0], run) <= 2 * Decimal("0.05")
    nodes[0].call("run.resume", run=run, budgetUsd=50)
    assert wait_end(nodes[0], run)["progress"]["completed"] == 150
    assert set(Counter(entry["conversation"] for entry in bought(simulator)).values()) == {1}


# A provider's day


def wait_day_over(daemon, why):
    """Waits until the lane waits for the next day (UTC), and nothing is under way."""
    def told():
        seen = lane(daemon)
        return seen if seen["why"] == why and seen["inFlight"] == 0 else None
    seen = place.wait_until(told, 15, f"the lane to wait for {why}; it tells {lane(daemon)['why']!r}")
    # The lane's clock is the monotonic one: it may be off by what passes between two looks.
    assert abs((seen["untilMs"] + DAY_MS // 2) % DAY_MS - DAY_MS // 2) < 2000
    assert 0 < seen["untilMs"] / 1000 - time.time() <= DAY_MS / 1000 + 2


def restart(daemon):
    daemon.stop()
    daemon.start().wait_ready()


def restart_by_kill(daemon):
    daemon.kill()
    daemon.start().wait_ready()


def test_a_budget_of_a_day_stops_its_lane_over_restarts_and_no_other(node, simulator):
    daemon = node(budget_usd_per_day="0.05", concurrency=4)
    run = start(daemon, 80, ["gpt-4o"])
    wait_day_over(daemon, "money/day")
    before = paid(simulator)
    assert Decimal("0.03") < before <= Decimal("0.05")
    for again in (restart, restart_by_kill):
        again(daemon)
        wait_day_over(daemon, "money/day")
        assert paid(simulator) == before
    # It is the lane's matter, not the run's.
    shown = show(daemon, run)
    assert shown["status"] == "RUNNING" and [wait["why"] for wait in shown["waiting"]] == ["money/day"]
    assert wait_end(daemon, start(daemon, 5, ["claude-3-sonnet"]))["progress"]["completed"] == 5
    daemon.write_ini({"provider:openai": {"budget_usd_per_day": "5"}})
    daemon.call("reload")
    assert wait_end(daemon, run)["progress"]["completed"] == 80
    assert len(bought(simulator)) == 80


def upgrade(daemon):
    daemon.call("upgrade")
    daemon.wait_ready()


@pytest.mark.parametrize("again", [restart, restart_by_kill, upgrade], ids=["stop", "kill", "upgrade"])
def test_requests_of_a_day_are_counted_over_a_restart(node, simulator, again):
    daemon = node(requests_per_day=7)
    wait_end(daemon, start(daemon, 3, ["gpt-4o"]))
    again(daemon)
    run = start(daemon, 20, ["gpt-4o"])
    wait_day_over(daemon, "requests/day")
    again(daemon)
    wait_day_over(daemon, "requests/day")
    assert figures(simulator)["asked"] == 7
    assert show(daemon, run)["progress"]["completed"] == 4


def test_two_nodes_spend_the_money_of_one_day(node, simulator):
    nodes = [node(shared=True, budget_usd_per_day="0.05", concurrency=4) for _ in range(2)]
    start(nodes[1], 1, ["gpt-4o"])
    run = start(nodes[0], 80, ["gpt-4o"])
    for daemon in nodes:
        place.wait_until(lambda: lane(daemon)["why"].startswith("money/day") and lane(daemon)["inFlight"] == 0, 20,
                         f"the day's money to be spent; it waits for {lane(daemon)['why']!r}")
    assert Decimal("0.03") < paid(simulator) <= Decimal("0.05")
    shown = show(nodes[0], run)
    assert shown["status"] == "RUNNING" and shown["waiting"][0]["why"].startswith("money/day")


def test_two_nodes_make_the_calls_of_one_day(node, simulator):
    nodes = [node(shared=True, requests_per_day=20) for _ in range(2)]
    start(nodes[1], 1, ["gpt-4o"])  # with work it looks for more every 2 s
    run = start(nodes[0], 60, ["gpt-4o"])
    place.wait_until(lambda: figures(simulator)["asked"] >= 20, 20, "all calls of the day")
    place.wait_until(lambda: all(lane(daemon)["inFlight"] == 0 for daemon in nodes), 10, "the answers")
    for daemon in nodes:
        restart_by_kill(daemon)
    place.wait_until(lambda: "requests/day" in show(nodes[0], run)["waiting"][0]["why"], 20, "the lane to tell why")
    assert figures(simulator)["asked"] == 20
