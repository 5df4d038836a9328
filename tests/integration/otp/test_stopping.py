"""Stopping: the obedient, the deaf, the slow."""

import os
import signal
import time

import pytest

from harness import place

SLOW_WORKER = """#!/bin/sh
# Needs 1 second to stop, or 5: by who comes first.
for seconds in 1 1 1 1 5; do
    turn=$((turn + 1))
    mkdir "$1/turn-$turn" 2>/dev/null && break
done
echo '{"type":"hello","protocol":1,"kind":"probe","version":"0","python":"0","pid":1,"capacity":9,"providers":[]}'
echo '{"type":"ready"}'
while read -r line; do
    case $line in *shutdown*) sleep $seconds; exit 0 ;; esac
done
"""


def test_an_obedient_child_exits_cleanly(make_tree, services):
    tree = make_tree(services.service("a", "slow=0.3"))
    tree.wait_up("a", "probe")
    tree.stop()
    assert [entry["what"] for entry in services.journal(name="a")] == ["born", "ready", "term", "end"]
    assert any("service.exit service=a exit=0" in line for line in tree.log_lines())


def test_a_term_ignorer_dies_by_kill_after_its_own_timeout(make_tree, services):
    tree = make_tree(services.service("a", "deaf", shutdown_timeout="700ms"),
                     services.service("b", "deaf", shutdown_timeout="200ms"))
    tree.wait_up("a", "b", "probe")
    begun = time.monotonic()
    tree.stop()
    assert 0.9 <= time.monotonic() - begun < 3
    for name, least in (("a", 700), ("b", 200)):
        line = next(line for line in tree.log_lines() if f"service.exit service={name} " in line)
        assert "signal=9" in line
        assert services.journal("term", name=name)
        asked = services.journal("term", name=name)[0]["at"]
        assert asked - begun < 3, least
    asked_a, asked_b = (services.journal("term", name=name)[0]["at"] for name in ("a", "b"))
    # b takes a moment to note that it was asked, so its time is counted from the order to stop.
    assert asked_a - begun >= 0.2, "a was asked before b had its time"
    assert asked_a - asked_b < 0.7, "a was asked long after b had its time"
    assert services.living() == []


def test_a_stopped_child_hears_its_term(make_tree, services):
    """TERM alone would wait until somebody sends CONT."""
    tree = make_tree(services.service("a", shutdown_timeout="10s"))
    tree.wait_up("a", "probe")
    tree.kill_node("a", signal.SIGSTOP)
    begun = time.monotonic()
    tree.stop()
    assert time.monotonic() - begun < 5
    assert services.names("end") == ["a"]


def test_children_that_need_1_1_and_5_s_with_a_limit_of_2_s_stop_in_about_2_s(make_tree, services):
    path = os.path.join(services.folder, "slow_worker")
    with open(path, "w", encoding="utf-8") as file:
        file.write(SLOW_WORKER)
    os.chmod(path, 0o755)
    tree = make_tree(services.pool(size=5, command=f"{path} {services.folder}"), {"daemon": {"drain_timeout": "2s"}})
    place.wait_until(lambda: [worker["state"] for worker in tree.workers()] == ["ready"] * 5, 15, "five workers")
    begun = time.monotonic()
    tree.stop()
    # In turn it would be four times 1 and 2 or more, and without the limit 5.
    assert 1.9 <= time.monotonic() - begun < 2.9


def test_a_second_term_kills_at_once(make_tree, services):
    tree = make_tree(*[services.service(name, "deaf", shutdown_timeout="1m") for name in "ab"])
    tree.wait_up("a", "b", "probe")
    tree.process.send_signal(signal.SIGTERM)
    services.wait("term", "b")
    tree.process.send_signal(signal.SIGTERM)
    assert tree.wait_exit(deadline=5) == 0
    assert services.living() == []


@pytest.mark.parametrize("word", ["grandchild", "escaped"])
def test_a_grandchild_does_not_hang_a_stop(make_tree, services, word):
    """One that holds the pipe, and one that left the process group as well."""
    tree = make_tree(services.service("a", word))
    tree.wait_up("a", "probe")
    begun = time.monotonic()
    tree.stop()
    assert time.monotonic() - begun < 3
    place.wait_until(lambda: services.living() == [], 2, "the grandchild's end")
