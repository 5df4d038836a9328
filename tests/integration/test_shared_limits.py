"""Limits of a provider that hold over all nodes of one database, against the simulator's own enforcement of them."""

import contextlib
import signal

import pytest

from harness import place
from probing import (connect, figures, hold, lane, ledger, renew, running, show, sql, start, wait_asked,
                     wait_end)

pytest_plugins = ["probe_fixtures"]
pytestmark = pytest.mark.timed


@pytest.fixture
def node(simulator, postgres):
    """node() is a ready daemon with a folder of its own on the test's one database."""
    url = postgres.database()
    with contextlib.ExitStack() as nodes:
        def make(**ini):
            return nodes.enter_context(running(simulator, {"database": {"url": url, "shared": True},
                                                           "provider:openai": ini}))
        yield make
    renew(simulator)


def limit(simulator, *limits, latency="0.05"):
    simulator.post("/_sim/config", {"limits": [{"provider": "openai", **one} for one in limits],
                                    "latency": {"*": latency}})


def refused(simulator):
    return [entry for entry in ledger(simulator, provider="openai") if entry["status"] == 429]


def begun(simulator):
    """When calls arrived, in seconds, oldest first."""
    return sorted(entry["arrived"] for entry in ledger(simulator, provider="openai"))


def use_percent(at, per_second, begin, end):
    return sum(begin <= when < end for when in at) / (per_second * (end - begin)) * 100


def test_three_nodes_never_break_a_sliding_window_and_use_it(node, simulator):
    """Windows of 15 s, so that several pass."""
    limit(simulator, {"kind": "sliding", "limit": 300, "window_s": 15})
    nodes = [node(requests_per_minute=1200, requests_window="15s", ramp_up="0s") for _ in range(3)]
    start(nodes[1], ["What is a node?"])  # with work it looks for more every 2 s
    run = start(nodes[0], 900)
    wait_end(nodes[0], run, 120)
    assert refused(simulator) == []
    at = begun(simulator)
    assert len(at) == 901
    shares = [daemon.call("status")["probes"]["completed"] for daemon in nodes]
    assert min(shares) >= 100, shares
    # Without the beginning, when nothing is known, and the end, when some node has no work any more.
    assert use_percent(at, 20, at[100], at[800]) >= 95


def test_slots_of_a_concurrency_are_shared_and_all_used(node, simulator):
    limit(simulator, {"kind": "concurrency", "limit": 7}, latency="0.2")
    nodes = [node(concurrency=7) for _ in range(3)]
    start(nodes[1], ["What is a node?"])
    run = start(nodes[0], 300)
    wait_end(nodes[0], run, 60)
    assert refused(simulator) == []
    at = begun(simulator)
    assert use_percent(at, 7 / 0.2, at[80], at[250]) >= 80


def test_slots_that_other_nodes_hold_are_told_from_a_nodes_own(node, simulator):
    hold(simulator)
    nodes = [node(concurrency=2) for _ in range(2)]
    start(nodes[1], ["What is a node?"])
    run = start(nodes[0], 60)
    # Fairly shared it is one slot each, and each would want two.
    for daemon in nodes:
        place.wait_until(lambda: lane(daemon)["why"] == "concurrency: other nodes have what is left", 20,
                         f"the reason to be told; it is {lane(daemon)['why']!r}")
    told = show(nodes[0], run)["waiting"]
    assert [wait["why"] for wait in told] == ["concurrency: other nodes have what is left"]
    for daemon in nodes:
        row, = lane(daemon)["limits"]
        assert (row["unit"], row["configured"], row["limit"], row["used"], row["left"]) == ("concurrency", 2, 2, 1, 0)
    assert figures(simulator)["in_flight"] == 2
    hold(simulator, False)
    assert wait_end(nodes[0], run)["progress"]["completed"] == 60
    # No node holds a slot that it has no call for, and the limit is what is configured all the same.
    row, = lane(nodes[0])["limits"]
    assert (row["configured"], row["limit"], row["used"]) == (2, 2, 0)


def test_a_node_that_stops_leaves_its_slots_to_the_others(node, simulator):
    hold(simulator)
    one = node(concurrency=4)
    other = node(concurrency=4)
    held = "SELECT held FROM limit_shares WHERE node_id = %s"
    number = one.call("status")["database"]["nodeId"]
    run = start(one, 8)
    wait_asked(simulator, 4)
    assert sql(other, held, number) == [(4,)]
    one.process.send_signal(signal.SIGTERM)
    one.wait_log("daemon.stopping")
    hold(simulator, False)
    assert one.wait_exit() == 0
    assert sql(other, held, number) == [(0,)]
    other.call("run.delete", run=run, force=True)


def test_without_its_database_a_node_makes_no_call_and_says_why(node, simulator, postgres):
    limit(simulator, latency="0.05")
    one = node(requests_per_minute=1200)
    run = start(one, 400)
    wait_asked(simulator, 40)
    with contextlib.closing(connect(one)) as blocker, blocker.cursor() as cursor:
        # Its rounds wait for this row, and end unanswered.
        cursor.execute("SELECT FROM limit_grants FOR UPDATE")
        place.wait_until(lambda: "database is away" in str(one.call("providers.list")), 10, "the reason")
        asked = figures(simulator)["asked"]
        one.wait_log(r"store\.refused what=grants sqlstate=57014", 10)
        assert figures(simulator)["asked"] == asked
        assert "database is away" in str(one.call("providers.list"))
    wait_end(one, run, 60)
    assert refused(simulator) == []


def test_what_a_killed_node_held_is_soon_used_by_the_others(node, simulator):
    limit(simulator, {"kind": "sliding", "limit": 300, "window_s": 15})
    nodes = [node(requests_per_minute=1200, requests_window="15s", ramp_up="0s") for _ in range(2)]
    start(nodes[1], ["What is a node?"])
    run = start(nodes[0], 500)
    wait_asked(simulator, 150)
    nodes[1].process.send_signal(signal.SIGKILL)
    nodes[1].process.wait(10)
    wait_asked(simulator, 420, 60)
    assert refused(simulator) == []
    at = begun(simulator)
    assert use_percent(at, 20, at[200], at[400]) >= 90
    nodes[0].call("run.cancel", run=run)
    assert sql(nodes[0], "SELECT sum(used) FROM limit_grants WHERE day IS NOT NULL") in ([(None,)], [(0,)])
