"""kill -9 of the daemon leaves no survivor, and the next start reclaims socket and lock."""

import os
import signal
import time

import pytest

from harness import place
from services import sections

WITHIN = 2.0  # seconds in which the last process must be gone


def kill_and_look(tree, services):
    """Kills the daemon and returns after how many seconds the last of its processes had gone."""
    below = place.descendants(tree.process.pid)
    begun = time.monotonic()
    tree.kill()
    place.wait_until(lambda: not [pid for pid in below if place.process_is_alive(pid)] and not services.living(), 10,
                     "the end of all its processes")
    return time.monotonic() - begun


def test_kill_9_of_the_daemon_leaves_no_survivor_and_the_next_start_reclaims_socket_and_lock(make_tree, services):
    """With its own Postgres, prepared workers, and services whose children hold on."""
    tree = make_tree({"database": {"url": "embedded"}, "pool:probe": {"size": 2, "command": None}},
                     services.service("a", "grandchild"), services.service("b", "escaped", "deaf"))
    tree.wait_ready()
    tree.wait_up("a", "b")
    # Postgres with its backends, two workers and their parent, two services and their children, the guard.
    assert len(place.descendants(tree.process.pid)) >= 12
    assert kill_and_look(tree, services) < WITHIN
    assert os.path.exists(tree.socket_path), "a sudden death leaves the socket"
    tree.start()
    tree.wait_up("a", "b", "postgres")
    tree.wait_ready()
    place.wait_until(lambda: tree.call("status")["state"] == "ready", 10, "all to be well")
    tree.stop()
    place.wait_until(lambda: services.living() == [], 2, "the end of what escaped")


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_kill_9_in_the_middle_leaves_no_survivor(make_tree, services, state):
    tree = make_tree(services.service("a", "escaped", "deaf", "wait=never" if state == "starting" else "mute"))
    services.wait("born" if state == "starting" else "ready", "a")
    if state == "stopping":
        tree.process.send_signal(signal.SIGTERM)
        services.wait("term", "a")
    assert kill_and_look(tree, services) < WITHIN


def test_a_service_may_end_by_its_own_death_signal(make_tree, services):
    """The guard kills nobody who is ending by himself."""
    tree = make_tree(services.service("a", "slow=0.5", death_signal="TERM"))
    tree.wait_up("a", "probe")
    assert kill_and_look(tree, services) < WITHIN
    assert services.names("end") == ["a"]


def test_the_end_of_the_guard_is_told_and_survived(make_tree, services):
    tree = make_tree(services.service("a"))
    tree.wait_up("a", "probe")
    guard = next(pid for pid in place.descendants(tree.process.pid) if comm_of(pid) == "proctor-guard")
    os.kill(guard, signal.SIGKILL)
    tree.wait_log("guard.gone")
    tree.kill_node("a")
    services.wait("ready", "a", 2)
    tree.stop()


def comm_of(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip()


def test_nothing_of_one_daemon_is_taken_for_anothers(make_tree, services):
    first = make_tree(services.service("a"))
    second = make_tree(sections(services.service("b"), services.service("c", "grandchild")))
    first.wait_up("a", "probe")
    second.wait_up("b", "c", "probe")
    second.wait_log("health.ok")  # the check is a process that ends by itself
    kept = second.all_pids()
    first.kill()  # waits for the end of its stderr, which its guard holds until it has looked everywhere
    pid = services.journal("born", name="a")[0]["pid"]
    place.wait_until(lambda: not place.process_is_alive(pid), 5, "the end of a")
    assert all(place.process_is_alive(pid) for pid in kept)
