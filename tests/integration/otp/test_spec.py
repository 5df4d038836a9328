"""A bad specification is refused by name, before anything is started."""

import os
import subprocess

import pytest

from services import sections


def refusal(tree):
    """What the daemon says of its file, which it must refuse; as it starts, and when it is only asked."""
    said = []
    for options in ([], ["--check-config"]):
        done = subprocess.run([os.path.join(tree.root, "sbin", "proctord"), "--config", tree.ini_path, *options],
                              capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 78, f"{options}: {done.returncode} {done.stdout} {done.stderr}"
        said.append(done.stderr)
    assert said[0] == said[1]
    assert said[0].count("\n") == 1, f"more than one line: {said[0]}"
    assert tree.ini_path in said[0]
    return said[0].strip()


GROUP = {"group:web": {"strategy": "one_for_all"}}


@pytest.mark.parametrize("bad, words", [
    ({"group:x": {}, "service:x": {"command": "/bin/true"}}, ["[service:x]", "the name is taken by [group:x]"]),
    ({"service:probe": {"command": "/bin/true"}}, ["probe", "the name is taken by"]),
    ({"service:store": {"command": "/bin/true"}}, ["[service:store]", "the name store is the daemon's own"]),
    ({"group:web": {"intensity": "-1"}}, ["[group:web] intensity", "-1"]),
    ({"group:web": {"intensity": "0"}}, ["[group:web] intensity", "0"]),
    ({"group:web": {"period": "-1s"}}, ["[group:web] period", "-1s"]),
    ({"group:web": {"strategy": "all_for_one"}}, ["[group:web] strategy", "all_for_one", "one_for_all"]),
    ({"group:web": {"intensty": "3"}}, ["[group:web] intensty", "intensity"]),
    ({"service:a": {"command": "/bin/true", "type": "eternal"}}, ["[service:a] type", "eternal", "permanent"]),
    ({"service:a": {"command": "/bin/true", "shutdown_timeout": "-5s"}}, ["[service:a] shutdown_timeout", "-5s"]),
    ({"service:a": {"command": "/bin/true", "stop_signal": "WINCH"}}, ["[service:a] stop_signal", "WINCH", "TERM"]),
    ({"service:a": {}}, ["[service:a] command", "a service must have a program"]),
    ({"service:a": {"command": "/bin/true", "ready": "command"}}, ["[service:a] ready_command"]),
    ({"service:a": {"command": "/bin/true", "group": "wep"}, **GROUP}, ["[service:a] group", "[group:wep]", "web"]),
    ({"pool:a": {"group": "nowhere"}}, ["[pool:a] group", "nowhere"]),
    ({"group:a": {"group": "b"}, "group:b": {"group": "a"}}, ["group", "a cycle: a in b in a"]),
    ({"group:a": {"group": "a"}}, ["[group:a] group", "a cycle: a in a"]),
], ids=["name_of_a_group", "name_of_a_pool", "reserved_name", "negative_intensity", "intensity_0", "negative_period",
        "unknown_strategy", "unknown_key", "unknown_type", "negative_timeout", "unknown_signal", "no_command",
        "no_ready_command", "unknown_group", "unknown_group_of_a_pool", "cycle", "cycle_of_one"])
def test_a_bad_spec_is_refused_by_name(make_tree, services, bad, words):
    tree = make_tree(services.service("good"), bad, start=False)
    said = refusal(tree)
    assert all(word in said for word in words), said
    assert services.journal() == [], "something was started all the same"
    assert not os.path.exists(tree.socket_path)


def test_a_section_that_comes_twice_is_refused(make_tree, services):
    tree = make_tree(services.service("good"), start=False)
    with open(tree.ini_path, "a", encoding="utf-8") as file:
        file.write("[service:good]\ncommand = /bin/false\n")
    assert "[service:good]" in refusal(tree)


def test_an_intensity_that_can_never_be_reached_is_refused(make_tree, services):
    slow = services.service("slow", restart_delay="30s", restart_delay_max="30s")
    tree = make_tree(services.group("group", "one_for_one", slow, intensity=5, period="10s"), start=False)
    said = refusal(tree)
    assert "intensity" in said and "period" in said, said


def test_an_intensity_that_no_group_within_can_ever_reach_is_refused(make_tree, services):
    inner = services.group("inner", "one_for_one", services.service("a"))
    tree = make_tree(services.group("outer", "one_for_one", inner, intensity=10, period="1m"), start=False)
    said = refusal(tree)
    assert "[group:outer] intensity: can never be exceeded by [group:inner]" in said, said
    assert "set period to 122s or more, or intensity to 7 or less" in said, said


def test_a_bad_file_is_refused_whole_by_a_reload(make_tree, services):
    tree = make_tree(services.service("a"))
    tree.wait_up("a", "probe")
    before = tree.call("tree")
    tree.write_ini(sections(services.service("b"), {"service:a": {"type": "temporary"}, "group:x": {"group": "x"}}))
    done = tree.proctorctl("reload")
    assert done.returncode != 0
    assert "a cycle: x in x" in done.stderr
    after = tree.call("tree")
    assert [child["name"] for child in after["children"]] == [child["name"] for child in before["children"]]
    assert tree.node("a")["pid"] == services.journal("born", name="a")[0]["pid"]
    assert services.journal("born", name="b") == []
