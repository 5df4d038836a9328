"""Who restarts, with whom, how often, and who keeps its pid."""

import os
import random
import signal
import time

import pytest

from harness import place
from harness.control import ControlError
from services import sections


def notes_on(tree, name):
    """What `status` notes of the node."""
    return [note for note in tree.call("status")["notes"] if note.startswith(name + " ") or f": {name}:" in note]


TYPES = ("permanent", "transient", "temporary")


def test_nine_cells_of_type_and_end(make_tree, services):
    """{permanent, transient, temporary} × {exit 0, asked to stop, abnormal}."""
    parts = []
    for kind in TYPES:
        parts += [services.service(f"{kind}-exit-0", "live=0.2", type=kind),
                  services.service(f"{kind}-asked", type=kind),
                  services.service(f"{kind}-abnormal", "live=0.2", "status=1", type=kind)]
    tree = make_tree(services.group("cells", "one_for_one", *parts))
    for kind in TYPES:
        services.wait("ready", f"{kind}-asked")
        tree.call("services.stop", name=f"{kind}-asked")
    for kind, restarts in (("permanent", ("exit-0", "abnormal")), ("transient", ("abnormal",)), ("temporary", ())):
        for end in ("exit-0", "abnormal"):
            name = f"{kind}-{end}"
            if end in restarts:
                services.wait("born", name, 3)
            else:
                tree.wait_node(name, state="ended")
        tree.wait_node(f"{kind}-asked", state="stopped")
    for name in ("transient-exit-0", "temporary-exit-0", "temporary-abnormal", *(f"{kind}-asked" for kind in TYPES)):
        assert len(services.journal("born", name=name)) == 1, name


# first and last of a, b, c that have another pid afterwards
TAKEN_ALONG = {"one_for_one": {"a": "a", "b": "b", "c": "c"},
               "one_for_all": {"a": "abc", "b": "abc", "c": "abc"},
               "rest_for_one": {"a": "abc", "b": "bc", "c": "c"}}


def test_who_keeps_its_pid_under_each_strategy(make_tree, services):
    groups = [services.group(strategy, strategy, *[services.service(f"{strategy}-{name}") for name in "abc"])
              for strategy in TAKEN_ALONG]
    tree = make_tree(*groups)
    tree.wait_up(*TAKEN_ALONG)
    for strategy, victims in TAKEN_ALONG.items():
        names = [f"{strategy}-{name}" for name in "abc"]
        for victim, taken in victims.items():
            before = tree.pids_of(*names)
            lives = {name: len(services.journal("born", name=f"{strategy}-{name}")) for name in taken}
            os.kill(before[f"{strategy}-{victim}"], signal.SIGKILL)
            for name in taken:
                services.wait("ready", f"{strategy}-{name}", lives[name] + 1)
            tree.wait_up(*names, strategy)
            after = tree.pids_of(*names)
            changed = "".join(name for name in "abc" if before[f"{strategy}-{name}"] != after[f"{strategy}-{name}"])
            assert changed == taken, f"{strategy}: {victim} died"
    # A stranger's kills are no fault of theirs: they use up nothing.
    assert all(tree.node(strategy)["restartsInWindow"] == 0 for strategy in TAKEN_ALONG)


def test_repeated_failing_starts_use_up_the_intensity(make_tree, services):
    tree = make_tree({"group:root": {"intensity": 3, "period": "30s"}}, services.service("bad", "exit=1"),
                     services.service("good"))
    node = tree.wait_node("bad", state="parked")
    # As many restarts as are borne, and the start before them.
    assert len(services.journal("born", name="bad")) == 4
    assert node["why"] == "more than 3 restarts in 30 s; exit=1"
    assert 200_000 < node["nextStartMs"] <= 300_000, "the next trial"
    tree.wait_up("good", "probe")
    assert notes_on(tree, "bad") == ["bad is given up on, and tried again every few minutes: "
                                     "more than 3 restarts in 30 s; exit=1"]
    # Mended, and started by an operator: all is well again at once.
    services.say("bad")
    assert tree.call("services.start", name="bad")["state"] in ("starting", "up")
    tree.wait_up("bad")
    assert notes_on(tree, "bad") == []


def test_a_group_over_its_intensity_is_restarted_as_one_by_its_parent(make_tree, services):
    tree = make_tree(services.group("group", "one_for_one", services.service("a"), services.service("b"), intensity=2,
                                    period="30s"), services.service("c"))
    tree.wait_up("group", "c")
    pids = tree.pids_of("a", "c")
    services.say("b", "exit=1")
    tree.kill_node("b")
    tree.wait_log('group.failed group=group child=b reason="too many restarts within the period"')
    services.say("b")
    tree.wait_up("group")
    assert tree.node("a")["pid"] != pids["a"]
    assert tree.node("c")["pid"] == pids["c"]
    assert tree.node("root")["restartsInWindow"] >= 1


def test_a_crash_loop_in_a_group_uses_up_the_intensity_above_it(make_tree, services):
    """Each time that the group fails, the delay of its child begins anew: the group's own has taken its place."""
    loop = services.service("a", "live=0.01", "status=1", restart_delay="200ms", restart_delay_max="1m")
    tree = make_tree({"group:root": {"intensity": 2, "period": "30s"}},
                     services.group("group", "one_for_one", loop, intensity=2, period="5s"))
    node = tree.wait_node("group", state="parked", deadline=25)
    assert node["why"] == "a: too many restarts within the period"
    assert sum("group.failed group=group" in line for line in tree.log_lines()) == 3
    assert len(services.journal("born", name="a")) == 9


def test_intensity_1_in_1_s_survives_a_death_every_2_1_s(make_tree, services):
    """In a third of the time: intensity 1 in 330 ms, a death every 700 ms."""
    tree = make_tree(services.group("group", "one_for_one", services.service("a", "live=0.7", "status=1"), intensity=1,
                                    period="330ms"))
    services.wait("born", "a", 5)
    assert not any("group.failed" in line for line in tree.log_lines())
    # The same deaths, only faster, are too many.
    services.say("a", "live=0.02", "status=1")
    tree.wait_log("group.failed group=group child=a")


def test_the_delay_grows_from_failure_to_failure(make_tree, services):
    tree = make_tree(services.service("a", "exit=1", restart_delay="100ms", restart_delay_max="400ms"))
    services.wait("born", "a", 5)
    born = [entry["at"] for entry in services.journal("born", name="a")]
    gaps = [later - earlier for earlier, later in zip(born, born[1:])]
    # Half of each delay is certain: 50, 100, 200, 200 ms.
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2, 0.2))), gaps
    assert "failures=1" in tree.wait_log("service.restart service=a next=after")


@pytest.mark.parametrize("code", [77, 78, 125])
def test_a_broken_install_is_parked_until_an_operator_starts_it(make_tree, services, code):
    tree = make_tree(services.service("a", f"exit={code}"), services.service("b"))
    assert tree.wait_node("a", state="parked")["why"] == f"exit={code}"
    tree.wait_up("b")
    assert notes_on(tree, "a") == [f"a is given up on: exit={code}; mend it, then: proctorctl services start a"]
    assert len(services.journal("born", name="a")) == 1
    services.say("a")
    tree.call("services.start", name="a")
    tree.wait_up("a")
    assert notes_on(tree, "a") == []


def test_terminate_is_idempotent_and_restart_of_a_running_child_is_refused_by_name(make_tree, services):
    tree = make_tree(services.group("group", "one_for_all", services.service("a"), services.service("b")))
    tree.wait_up("group")
    with pytest.raises(ControlError, match="a is running already"):
        tree.call("services.start", name="a")
    for _ in range(3):
        tree.call("services.stop", name="a")
    tree.wait_node("a", state="stopped")
    assert tree.call("services.stop", name="a")["state"] == "stopped"
    assert services.names("end") == ["a"]
    # It stays down, whatever its brothers do.
    tree.kill_node("b")
    services.wait("ready", "b", 2)
    assert tree.node("a")["state"] == "stopped"
    tree.call("services.start", name="a")
    tree.wait_up("a")
    with pytest.raises(ControlError, match='nothing that is supervised is called "z"'):
        tree.call("services.stop", name="z")
    for name in ("root", "store"):
        with pytest.raises(ControlError, match=f"{name} starts and stops with the daemon"):
            tree.call("services.stop", name=name)


def test_counts_are_right_in_mid_storm(make_tree, services):
    names = [f"s{number}" for number in range(8)]
    tree = make_tree(services.group("storm", "one_for_one", *map(services.service, names)))
    tree.wait_up("storm")
    dice = random.Random(7)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        group = tree.node("storm")
        assert [child["name"] for child in group["children"]] == names
        pids = [child["pid"] for child in group["children"] if child["pid"]]
        assert len(set(pids)) == len(pids)
        for child in group["children"]:
            assert child["state"] in ("up", "starting", "waiting"), child
            assert (child["state"] == "waiting") == (child["nextStartMs"] is not None), child
        if pids:
            try:
                os.kill(dice.choice(pids), signal.SIGKILL)
            except ProcessLookupError:
                pass
    tree.wait_up("storm", *names)
    children = tree.node("storm")["children"]
    exits = sum("service.exit" in line for line in tree.log_lines())
    assert sum(child["restarts"] for child in children) == exits
    assert exits >= 10, "that was no storm"
    assert sorted(child["pid"] for child in children) == services.living()


def test_reload_leaves_untouched_pids_untouched(make_tree, services):
    tree = make_tree(services.group("group", "one_for_one", services.service("a"), services.service("b")),
                     services.service("c"), services.service("d"))
    tree.wait_up("group", "c", "d", "probe")
    before = {**tree.pids_of("a", "b", "c", "d"), "worker": tree.worker_pids()}
    tree.write_ini(sections(services.group("group", "rest_for_one", services.service("e"), intensity=7),
                            services.service("d", "slow=0.1"), {"service:b": None}))
    report = tree.ctl("reload")
    assert "[group:group] strategy" in report["applied"]
    tree.wait_up("e")
    services.wait("ready", "d", 2)
    place.wait_until(lambda: tree.node("b") is None, 5, "b to be gone")
    after = {**tree.pids_of("a", "c", "d"), "worker": tree.worker_pids()}
    assert after["a"] == before["a"] and after["c"] == before["c"] and after["worker"] == before["worker"]
    assert after["d"] != before["d"], "its command has changed"
    assert not place.process_is_alive(before["b"])
    group = tree.node("group")
    assert (group["strategy"], group["intensity"]) == ("rest_for_one", 7)
    assert [child["name"] for child in group["children"]] == ["a", "e"]


def test_a_broken_child_parks_the_group_that_depends_on_it_and_a_mended_one_brings_it_back(make_tree, services):
    tree = make_tree(services.group("group", "rest_for_one", services.service("a"), services.service("b", "exit=78"),
                                    services.service("c")), services.service("d"))
    assert tree.wait_node("group", state="parked")["why"] == "b: it is broken, and its brothers depend on it"
    assert services.names("end") == ["b", "a"]
    assert services.journal("born", name="c") == []
    tree.wait_up("d")
    tree.write_ini(services.group("group", "rest_for_one", services.service("b")))
    tree.ctl("reload")
    tree.wait_up("group", "a", "b", "c")
