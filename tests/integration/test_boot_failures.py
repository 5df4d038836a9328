"""A pool whose workers do not come up is sick alone: what stands behind it in the start order does not wait for it."""

import os

import pytest

from harness import place

# With the first delay a minute long, nothing here is waited for that a second try would bring.
ONCE = {"restart_delay": "1m", "boot_timeout": "300ms"}
ROOT = {"group:root": {"intensity": 5, "period": "1d"}}

HALF_WELL = """#!/bin/sh
# The first that comes breaks; the other is ready when it may.
mkdir "$1/broken" 2>/dev/null && exit 1
echo '{"type":"hello","protocol":1,"kind":"probe","version":"0","python":"0","pid":1,"capacity":9,"providers":[]}'
while [ ! -e "$1/go" ]; do sleep 0.05; done
echo '{"type":"ready"}'
while read -r line; do
    case $line in *shutdown*) exit 0 ;; esac
done
"""


def second_pool(services, **keys):
    return {"pool:second": {**services.pool(**keys)["pool:probe"], "providers": "openai"}}


def group_with_a_broken_pool(services, strategy):
    return services.group("group", strategy, second_pool(services, command="/bin/false", **ONCE), services.service("b"),
                          intensity=5, period="1d")


def make_executable(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def not_up(tree, name):
    return [note for note in tree.call("status")["notes"] if note.startswith(f"{name} is not up: ")]


@pytest.mark.parametrize("command, why", [
    ("/nowhere/worker", "/nowhere/worker cannot be started: No such file or directory"),
    ("/bin/false", "exit=1"),
    ("/bin/sh -c 'exit 78'", "exit=78"),
    ("/bin/sh -c 'kill -SEGV $$'", "signal=11"),
    ("/bin/sleep 1000", "not ready 300 ms after its start (boot_timeout)"),
], ids=["missing", "exits", "broken_install", "crashes", "never_ready"])
def test_what_stands_behind_a_pool_that_never_boots_is_up_at_once(make_tree, services, command, why):
    tree = make_tree(ROOT, services.pool(command=command, size=2, **ONCE), services.service("a"),
                     second_pool(services))
    tree.wait_up("a", "second", deadline=8)
    tree.wait_log("daemon.running")
    probe = tree.node("probe")
    assert (probe["state"], probe["upMs"]) == ("starting", None)
    assert probe["why"].startswith("no worker has come up; newest: ") and why in probe["why"]
    assert not_up(tree, "probe") == [f"probe is not up: {probe['why']}"]
    assert sum("pool.stumbled pool=probe" in line for line in tree.log_lines()) == 1
    # Mended, it comes up in its place, and says nothing more.
    tree.write_ini(services.pool(size=2, **ONCE))
    tree.ctl("reload")
    tree.wait_node("probe", state="up", why=None)
    assert not_up(tree, "probe") == []


def test_in_a_group_whose_children_depend_on_it_they_wait_and_nobody_else(make_tree, services):
    tree = make_tree(ROOT, group_with_a_broken_pool(services, "rest_for_one"), services.service("c"))
    tree.wait_up("c", "probe", deadline=8)
    assert tree.node("group")["state"] == "starting"
    assert tree.node("group")["why"] == "second: no worker has come up; newest: exit=1"
    assert tree.node("b")["state"] == "down"
    assert not_up(tree, "second") and not not_up(tree, "group")
    tree.write_ini({"pool:second": {"command": services.pool()["pool:probe"]["command"]}})
    tree.ctl("reload")
    tree.wait_up("second", "b", "group")


def test_in_a_group_of_independent_children_the_group_is_up_without_it(make_tree, services):
    tree = make_tree(ROOT, group_with_a_broken_pool(services, "one_for_one"))
    tree.wait_up("group", "b", deadline=8)
    assert tree.node("second")["state"] == "starting"


def test_a_pool_is_waited_for_as_long_as_one_of_its_workers_may_come_up(make_tree, services):
    command = make_executable(os.path.join(services.folder, "half_well"), HALF_WELL)
    tree = make_tree(ROOT, services.pool(command=f"{command} {services.folder}", size=2, restart_delay="1m"),
                     services.service("a"))
    tree.wait_log("worker.exit worker=probe/. exit=1")
    assert (tree.node("probe")["state"], tree.node("a")["state"]) == ("starting", "down")
    services.allow("go")
    tree.wait_up("probe", "a")
    assert services.journal("born", name="a")
    assert not any("pool.stumbled" in line for line in tree.log_lines())


def test_a_pool_that_has_not_come_up_can_be_stopped_and_started(make_tree, services):
    tree = make_tree(ROOT, services.pool(command="/bin/false", **ONCE), services.service("a"))
    tree.wait_up("a", deadline=8)
    tree.call("services.stop", name="probe")
    assert tree.wait_node("probe", state="stopped")["why"] == "stopped by an operator"
    assert not_up(tree, "probe") == []
    tree.call("services.start", name="probe")
    place.wait_until(lambda: not_up(tree, "probe"), 5, "the note on the next start")
