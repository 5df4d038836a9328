"""Services that are broken in one way or another: each is told in a clear line, and harms nobody else."""

import os
import signal
import time

import pytest

from harness import place
from harness.control import ControlError
from services import sections

LIMITED = {"group:root": {"intensity": 2, "period": "30s"}}


def others_are_well(tree, services):
    """A neighbour and the pool behind the broken one are up, and the daemon answers at once."""
    tree.wait_up("neighbour", "probe")
    begun = time.monotonic()
    status = tree.call("status")
    assert time.monotonic() - begun < 1
    return status


@pytest.fixture
def make_broken(make_tree, services):
    """make_broken(*words, **keys) gives a daemon over a broken service and a good one behind it."""
    def make(*words, **keys):
        return make_tree(LIMITED, services.service("broken", *words, **keys), services.service("neighbour"))
    return make


@pytest.mark.parametrize("command, reason", [
    ("/nowhere/at/all", "/nowhere/at/all cannot be started: No such file or directory"),
    ("no-such-program-anywhere", "no-such-program-anywhere cannot be started: No such file or directory"),
    ("/etc/passwd", "/etc/passwd cannot be started: Permission denied"),
    ("/etc", "/etc cannot be started: Permission denied"),
], ids=["missing", "not_in_path", "not_executable", "folder"])
def test_a_program_that_cannot_be_started_is_said_so(make_broken, services, command, reason):
    tree = make_broken(command=command)
    tree.wait_log(f'service.start_failed service=broken reason="{reason}"')
    node = tree.wait_node("broken", state="parked")
    assert node["why"] == f"more than 2 restarts in 30 s; {reason}"
    assert node["pid"] is None
    status = others_are_well(tree, services)
    assert any("broken" in note for note in status["notes"]), status["notes"]


def test_a_program_that_is_no_program_is_said_so(make_broken, services):
    path = os.path.join(services.folder, "nonsense")
    with open(path, "wb") as file:
        file.write(b"\x7fELF and nothing more")
    os.chmod(path, 0o755)
    tree = make_broken(command=path)
    assert "Exec format error" in tree.wait_node("broken", state="parked")["why"]
    others_are_well(tree, services)


@pytest.mark.parametrize("words, text", [(["exit=0"], "exit=0"), (["exit=1"], "exit=1")])
def test_one_that_exits_at_once_is_given_up_on(make_broken, services, words, text):
    tree = make_broken(*words)
    node = tree.wait_node("broken", state="parked")
    assert node["why"] == f"more than 2 restarts in 30 s; {text}"
    assert len(services.journal("born", name="broken")) == 3
    assert node["nextStartMs"] > 100_000
    others_are_well(tree, services)


def test_one_that_crashes_by_a_signal_of_its_own_is_given_up_on_too(make_tree, services):
    """A fault of its own is no kill from outside, which would be forgiven."""
    tree = make_tree(LIMITED, {"service:broken": {"command": "/bin/sh -c 'kill -s SEGV $$'", "restart_delay": "20ms",
                                                  "restart_delay_max": "50ms"}}, services.service("neighbour"))
    node = tree.wait_node("broken", state="parked")
    assert "signal=11" in node["why"]
    others_are_well(tree, services)


def test_one_that_never_gets_ready_is_replaced_and_holds_nobody_up(make_broken, services):
    tree = make_broken("unready", ready_timeout="300ms")
    others_are_well(tree, services)
    tree.wait_log("service.not_ready service=broken after_ms=300")
    node = tree.wait_node("broken", state="parked")
    assert node["why"] == "more than 2 restarts in 30 s; not ready within 300 ms: exit=0"
    assert services.living() == [tree.node("neighbour")["pid"]]


@pytest.mark.parametrize("command, reason", [("/bin/false", "not ready within 400 ms"),
                                             ("/nowhere/check", "not ready within 400 ms")])
def test_one_whose_check_never_succeeds_is_replaced(make_broken, services, command, reason):
    tree = make_broken(ready="command", ready_command=command, ready_interval="50ms", ready_timeout="400ms")
    others_are_well(tree, services)
    assert reason in tree.wait_node("broken", state="parked")["why"]


def test_one_is_ready_when_its_check_succeeds(make_tree, services):
    tree = make_tree(services.service("a", ready="command", ready_interval="50ms",
                                      ready_command=f"/usr/bin/test -e {services.folder}/go"), services.service("b"))
    services.wait("ready", "a")
    assert tree.wait_node("a", state="starting")
    assert services.journal("born", name="b") == []
    services.allow("go")
    tree.wait_up("a", "b")


def test_one_that_ends_as_soon_as_it_is_ready_was_ready(make_tree, services):
    """Its word and its end are met in one turn of the loop, in either order."""
    names = [f"brief{number}" for number in range(8)]
    tree = make_tree(*(services.service(name, f"wait={name}", "live=0", type="transient") for name in names))
    for count, name in enumerate(names, 1):
        pid = services.wait("born", name)["pid"]
        tree.process.send_signal(signal.SIGSTOP)
        services.allow(name)
        place.wait_until(lambda pid=pid: not place.process_is_alive(pid), 15, f"the end of {name}")
        tree.process.send_signal(signal.SIGCONT)
        place.wait_until(lambda: [line for line in tree.log_lines() if "service.exit" in line][count - 1:], 15,
                         f"{name}'s end in the log")
    said = [line.split()[2:4] for line in tree.log_lines() if "service.ready" in line or "service.exit" in line]
    assert said == [[what, f"service={name}"] for name in names for what in ("service.ready", "service.exit")]


def test_one_that_ignores_term_is_killed_when_it_is_removed(make_tree, services):
    tree = make_tree(services.service("broken", "deaf", shutdown_timeout="300ms"), services.service("neighbour"))
    tree.wait_up("broken", "neighbour")
    pid = tree.node("broken")["pid"]
    tree.write_ini({"service:broken": None})
    tree.ctl("reload")
    tree.wait_log("service.exit service=broken signal=9")
    assert tree.node("broken") is None
    assert not place.process_is_alive(pid)
    others_are_well(tree, services)


def test_one_that_closes_its_stdout_lives_on(make_broken, services):
    tree = make_broken("mute")
    tree.wait_up("broken")
    pid = tree.node("broken")["pid"]
    others_are_well(tree, services)
    # Its silence is no fault: its process is what counts.
    place.wait_until(lambda: tree.node("broken")["upMs"] > 300, 5, "some time without a stdout")
    assert tree.node("broken")["pid"] == pid


def test_one_that_floods_stderr_fills_neither_log_nor_memory(make_broken, services):
    tree = make_broken("flood")
    tree.wait_up("broken", "neighbour", "probe")
    pid = tree.node("broken")["pid"]
    written = place.wait_until(lambda: written_by(pid) > 100e6 and written_by(pid), 60, "100 MB on stderr")
    begun = time.monotonic()
    tree.call("status")
    assert time.monotonic() - begun < 0.5
    assert resident_kb(tree.process.pid) < 64 << 10
    assert os.path.getsize(os.path.join(tree.folder, "proctord.log")) < written / 100
    tree.wait_log("stderr.suppressed service=broken lines=")
    tree.stop()


def written_by(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("wchar"))


def resident_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def test_one_over_its_memory_limit_gets_no_more(make_tree, services):
    program = "import sys; sys.stdout.write('x' * 10); b = bytearray(400 << 20); import time; time.sleep(60)"
    keys = {"command": f'/usr/bin/python3 -S -c "{program}"', "memory_limit": "200M", "restart_delay": "20ms",
            "restart_delay_max": "50ms"}
    tree = make_tree(LIMITED, {"service:broken": keys}, services.service("neighbour"))
    tree.wait_log("MemoryError")
    assert tree.wait_node("broken", state="parked")["why"].endswith("exit=1")
    others_are_well(tree, services)


def test_one_over_its_processor_time_is_ended(make_tree, services):
    tree = make_tree({"service:broken": {"command": "/bin/sh -c 'while :; do :; done'", "cpu_limit": "1s"}},
                     services.service("neighbour"))
    line = tree.wait_log("service.exit service=broken signal=", deadline=30)
    assert f"signal={int(signal.SIGXCPU)}" in line or f"signal={int(signal.SIGKILL)}" in line
    others_are_well(tree, services)


# Reload.

def test_a_reload_starts_what_was_added_and_stops_what_was_removed(make_tree, services):
    tree = make_tree(services.service("a"), services.service("b"))
    tree.wait_up("a", "b", "probe")
    kept = tree.node("b")["pid"]
    tree.write_ini(sections({"service:a": None}, services.group("group", "one_for_one", services.service("c"))))
    report = tree.ctl("reload")
    for section in ("[service:a]", "[group:group]", "[service:c]"):
        assert any(name.startswith(section) for name in report["applied"]), report
    tree.wait_up("c", "group")
    place.wait_until(lambda: tree.node("a") is None, 5, "a to be gone")
    assert services.names("end") == ["a"]
    assert tree.node("b")["pid"] == kept
    assert [child["name"] for child in tree.call("tree")["children"]] == ["store", "probe", "b", "group"]


def test_a_group_that_moves_takes_its_children_with_it(make_tree, services):
    """It is another group now, in another place; who stood in it is started anew below it."""
    inner = services.group("inner", "one_for_one", services.service("a"), services.service("b"))
    sides = [services.group(side, "one_for_one", intensity=5) for side in ("left", "right")]
    tree = make_tree(*sides, inner, services.service("c"), {"group:inner": {**inner["group:inner"], "group": "left"}})
    tree.wait_up("left", "right", "inner", "c")
    kept = tree.node("c")["pid"]
    tree.write_ini({"group:inner": {"group": "right"}})
    tree.ctl("reload")
    services.wait("ready", "b", 2)
    tree.wait_up("right", "inner", "a", "b")
    assert [child["name"] for child in tree.node("right")["children"]] == ["inner"]
    assert [child["name"] for child in tree.node("inner")["children"]] == ["a", "b"]
    assert tree.node("left")["children"] == []
    assert tree.node("c")["pid"] == kept
    assert len(services.living()) == 3


def test_a_group_may_stand_behind_its_children_in_the_file(make_tree, services):
    group = services.group("group", "one_for_all", services.service("a"), services.service("b"))
    turned = {name: group[name] for name in reversed(list(group))}
    tree = make_tree(turned)
    tree.wait_up("group")
    assert [child["name"] for child in tree.node("group")["children"]] == ["b", "a"]


def test_a_name_may_change_its_kind(make_tree, services):
    tree = make_tree(services.service("a"), services.service("b"))
    tree.wait_up("a", "b")
    tree.write_ini(sections({"service:a": None}, services.group("a", "one_for_one", services.service("c"))))
    tree.ctl("reload")
    tree.wait_up("c", "a")
    assert tree.node("a")["kind"] == "group"
    assert services.names("end") == ["a"]


def test_a_broken_change_can_be_mended_by_another(make_tree, services):
    tree = make_tree({"group:root": {"intensity": 2, "period": "30s"}}, services.service("a"))
    tree.wait_up("a")
    good = tree.sections["service:a"]["command"]
    tree.write_ini({"service:a": {"command": "/nowhere/at/all"}})
    tree.ctl("reload")
    tree.wait_node("a", state="parked")
    tree.write_ini({"service:a": {"command": good}})
    tree.ctl("reload")
    tree.wait_up("a")


def test_a_stopped_service_stays_stopped_over_a_reload(make_tree, services):
    tree = make_tree(services.service("a"), services.service("b"))
    tree.wait_up("a", "b")
    tree.call("services.stop", name="a")
    tree.wait_node("a", state="stopped")
    tree.write_ini(services.service("a", "slow=0"))
    tree.ctl("reload")
    tree.kill_node("b")
    services.wait("ready", "b", 2)
    assert tree.node("a")["state"] == "stopped"
    with pytest.raises(ControlError, match="b is running already"):
        tree.call("services.start", name="b")
    tree.call("services.start", name="a")
    services.wait("ready", "a", 2)
