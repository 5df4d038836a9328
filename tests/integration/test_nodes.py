"""Several nodes on one database: they share work, take over what a lost one held, and stop when nobody hears them."""

import contextlib
import signal
from collections import Counter

import pytest

from harness import place
from harness.books import check_books
from probing import connect, ledger, renew, running, show, sql, start, wait_end, wait_progress

pytest_plugins = ["probe_fixtures"]

LEASE_S = 15
FENCE_S = 10


@pytest.fixture
def node(simulator, postgres):
    """node() is a ready daemon with a folder of its own on the test's one database."""
    url = postgres.database()
    with contextlib.ExitStack() as nodes:
        def make(**ini):
            return nodes.enter_context(running(simulator, {"database": {"url": url, "shared": True}, **ini}))
        yield make
    renew(simulator)


def bought(simulator):
    """How often each turn of each conversation was paid for."""
    return Counter((entry["conversation"], entry["turn"]) for entry in ledger(simulator) if entry["bought"])


def assert_books(daemon):
    with contextlib.closing(connect(daemon)) as connection:
        assert check_books(connection) == []


def pause(daemon):
    daemon.call("providers.pause", provider="openai", reason="the other one shall work")


def resume(daemon):
    daemon.call("providers.resume", provider="openai")


def test_two_nodes_share_a_run(node, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.1"}})
    first, second = (node(**{"provider:openai": {"concurrency": 10}}) for _ in range(2))
    start(second, ["What is a node?"])  # with work it looks for more every 2 s
    run = start(first, 800)
    assert wait_end(second, run, 60)["progress"]["completed"] == 800
    shares = [daemon.call("status")["probes"]["completed"] for daemon in (first, second)]
    assert sum(shares) == 801 and min(shares) > 100, shares
    assert set(bought(simulator).values()) == {1}
    assert_books(first)


def test_another_node_goes_on_where_a_lost_machine_stopped(node, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "0.4"}})
    lost, heir = node(), node()
    pause(heir)
    run = start(lost, 12, followups=3)
    place.wait_until(lambda: sql(heir, "SELECT count(*) FROM checkpoints WHERE turn_number = 2") == [(12,)], 20,
                     "two turns of each conversation to be kept")
    lost.process.send_signal(signal.SIGKILL)
    lost.process.wait(10)
    place.remove_folder(lost.sections["daemon"]["state_dir"])
    resume(heir)
    assert wait_end(heir, run, 2 * LEASE_S + 20)["progress"] == {"total": 12, "completed": 12, "failed": 0,
                                                                 "cancelled": 0}
    heir.wait_log(r"store\.rescued jobs=12")
    times = bought(simulator)
    assert len(times) == 12 * 4
    assert {count for (_, turn), count in times.items() if turn <= 2} == {1}, "kept turns were bought again"
    assert max(times.values()) <= 2 and not [key for key, count in times.items() if count > 1 and key[1] == 4], times
    assert_books(heir)


def test_a_node_that_nobody_hears_makes_no_call_until_it_is_heard_again(node, simulator):
    simulator.post("/_sim/config", {"latency": {"*": "3"}})
    mute, heir = node(), node()
    pause(heir)
    run = start(mute, 8, followups=9)
    wait_asked_by(simulator, 8)
    with contextlib.closing(connect(heir)) as blocker, blocker.cursor() as cursor:
        # Its heartbeats wait for this row; its other connections go on.
        cursor.execute("SELECT FROM nodes WHERE id = %s FOR UPDATE", [mute.call("status")["database"]["nodeId"]])
        mute.wait_log(r"store\.fenced", FENCE_S + 10)
        assert "other nodes may have our work" in " ".join(mute.call("status")["notes"])
        # The calls under way may end; after them comes no other.
        place.wait_until(lambda: simulator.get("/_sim/stats")["providers"]["openai"]["in_flight"] == 0, 10,
                         "the calls under way to end")
        asked = simulator.get("/_sim/stats")["providers"]["openai"]["asked"]
        heir.wait_log(r"store\.rescued jobs=8", LEASE_S + 15)
        assert simulator.get("/_sim/stats")["providers"]["openai"]["asked"] == asked
        simulator.post("/_sim/config", {"latency": {"*": "0.05"}})
        resume(heir)
        assert wait_end(heir, run, 30)["progress"]["completed"] == 8
    mute.wait_log(r"store\.unfenced", 30)
    place.wait_until(lambda: mute.call("status")["probes"]["held"] == 0, 10, "the lost probes to be let go")
    assert set(bought(simulator).values()) == {1}, "every call had ended and was kept before the heir went on"
    pause(heir)
    again = start(mute, 5)
    assert wait_end(mute, again, 20)["progress"]["completed"] == 5
    assert_books(heir)


def wait_asked_by(simulator, count):
    assert simulator.get("/_sim/wait", asked=count, timeout=15)["met"]


def test_an_answer_that_comes_after_its_lease_is_lost_counts_if_it_is_the_first(node, simulator):
    """The job is queued for its next attempt already, which is then not made."""
    simulator.post("/_sim/config", {"latency": {"*": "1.5"}})
    late = node()
    run = start(late, 6)
    wait_asked_by(simulator, 6)
    late.call("providers.pause", provider="openai", reason="one attempt is enough")
    taken = sql(late, "SELECT take_back(array_agg(job_id), array_agg(DISTINCT node_id)) FROM leases")
    assert taken == [(6,)]
    assert sql(late, "SELECT count(*), min(attempt) FROM ready") == [(6, 2)]
    wait_progress(late, run, completed=6)
    assert show(late, run)["status"] == "COMPLETED"
    assert set(bought(simulator).values()) == {1} and len(bought(simulator)) == 6
    assert_books(late)
