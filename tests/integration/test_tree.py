"""The tree as people see it, and their stopping and starting of its parts."""

import re

import pytest

from harness import place
from services import sections

FIELDS = {"name", "kind", "state", "pid", "upMs", "restarts", "nextStartMs", "why"}


@pytest.fixture
def tree(make_tree, services):
    inner = services.group("inner", "rest_for_one", services.service("b"), services.service("c"))
    tree = make_tree(services.group("outer", "one_for_all", services.service("a"), inner, intensity=5, period="1m"),
                     services.service("bad", "exit=78"), {"pool:probe": {"size": 2}})
    tree.wait_up("outer", "inner", "probe")
    tree.wait_node("bad", state="parked")
    place.wait_until(lambda: [worker["state"] for worker in tree.workers()] == ["ready", "ready"], 10, "two workers")
    return tree


def lines_of(tree, *words):
    done = tree.proctorctl(*words)
    assert done.returncode == 0, done.stderr
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_the_tree_is_drawn(tree):
    lines = lines_of(tree, "tree")
    assert lines[0].split() == ["NAME", "KIND", "STATE", "PID", "UP", "RESTARTS", "IN", "WINDOW", "WHY"]
    drawn = [re.match(r"([│├└─ ]*\S+) +(\S+) +(\S+)", line).groups() for line in lines[1:]]
    assert drawn == [("root", "one_for_one", "up"),
                     ("├─ store", "store", "up"),
                     ("├─ probe", "pool", "up"),
                     ("│  ├─ probe/1", "worker", "ready"),
                     ("│  └─ probe/2", "worker", "ready"),
                     ("├─ outer", "one_for_all", "up"),
                     ("│  ├─ a", "service", "up"),
                     ("│  └─ inner", "rest_for_one", "up"),
                     ("│     ├─ b", "service", "up"),
                     ("│     └─ c", "service", "up"),
                     ("└─ bad", "service", "parked")]
    assert lines[-1].endswith("exit=78")
    assert any("0 of 5" in line for line in lines if "─ outer" in line)
    # All columns stand under their titles, though the lines before the names are more bytes than columns.
    at = lines[0].index("STATE")
    assert {line[at - 1] for line in lines} == {" "}
    assert {line[at] for line in lines[1:]} <= set("urp")


def test_the_json_says_all_of_every_node(tree, services):
    root = tree.ctl("tree")
    assert root == {**tree.call("tree"), **{field: root[field] for field in ("upMs", "children")}}
    assert (root["name"], root["kind"], root["strategy"]) == ("root", "group", "one_for_one")
    outer = next(child for child in root["children"] if child["name"] == "outer")
    limits = (outer["strategy"], outer["intensity"], outer["periodMs"], outer["restartsInWindow"])
    assert limits == ("one_for_all", 5, 60000, 0)

    def walk(node):
        yield node
        for child in node.get("children", ()):
            yield from walk(child)
    nodes = list(walk(root))
    assert all(FIELDS <= set(node) for node in nodes)
    pids = {node["name"]: node["pid"] for node in nodes if node["kind"] in ("service", "worker") and node["pid"]}
    assert {pids[name] for name in "abc"} <= services.pids()
    assert sorted(pids[f"probe/{number}"] for number in (1, 2)) == sorted(tree.worker_pids())
    assert all(node["upMs"] >= 0 for node in nodes if node["state"] in ("up", "ready"))
    assert all(node["upMs"] is None for node in nodes if node["state"] == "parked")
    store = next(node for node in nodes if node["name"] == "store")
    assert "Connection refused" in store["why"]


def test_one_that_waits_says_until_when_and_why(make_tree, services):
    tree = make_tree({"group:root": {"intensity": 1, "period": "2m"}},
                     services.service("slow", "exit=3", restart_delay="40s", restart_delay_max="40s"))
    node = tree.wait_node("slow", state="waiting")
    assert 10_000 < node["nextStartMs"] <= 40_000
    assert (node["why"], node["pid"], node["restarts"]) == ("exit=3", None, 1)
    assert tree.node("root")["restartsInWindow"] == 1
    line = next(line for line in lines_of(tree, "tree") if "slow" in line)
    assert re.search(r"waiting .*\d+\.?\d*s +exit=3$", line), line


def test_a_restart_is_counted_and_its_time_starts_anew(tree, services):
    before = tree.node("a")
    tree.kill_node("c")
    services.wait("ready", "c", 2)
    tree.wait_up("inner", "c")
    assert tree.node("c")["restarts"] == 1
    assert tree.node("c")["upMs"] < tree.node("a")["upMs"]
    assert (tree.node("a")["pid"], tree.node("a")["restarts"]) == (before["pid"], 0)


def test_services_stop_and_start_show_what_became_of_the_node(tree, services):
    lines = lines_of(tree, "services", "stop", "inner")
    assert [line.split()[0] for line in lines[1:]] == ["inner", "├─", "└─"]
    tree.wait_node("inner", state="stopped")
    tree.wait_node("b", state="down")
    assert services.names("end")[-2:] == ["c", "b"]
    assert next(line for line in lines_of(tree, "tree") if "inner" in line).endswith("stopped by an operator")
    done = tree.proctorctl("services", "start", "b")
    assert done.returncode != 0
    assert "b starts with its group: start inner" in done.stderr
    assert tree.proctorctl("services", "start", "inner").returncode == 0
    tree.wait_up("inner", "b", "c")
    assert tree.proctorctl("services", "start", "inner").returncode != 0


def test_a_pool_can_be_stopped_and_started(tree):
    pids = tree.worker_pids()
    tree.call("services.stop", name="probe")
    tree.wait_node("probe", state="stopped")
    assert not any(place.process_is_alive(pid) for pid in pids)
    tree.call("services.start", name="probe")
    tree.wait_up("probe")
    place.wait_until(lambda: tree.call("status")["workers"]["serving"] == 2, 10, "two workers")


def test_postgres_is_drawn_as_a_service_of_the_root(make_tree, services):
    tree = make_tree(sections({"database": {"url": "embedded"}}))
    tree.wait_ready()
    postgres = tree.node("postgres")
    assert (postgres["kind"], postgres["state"]) == ("service", "up")
    assert postgres["pid"] in place.descendants(tree.process.pid)
    assert [child["name"] for child in tree.call("tree")["children"]] == ["postgres", "store", "probe"]
    assert tree.node("store")["why"] is None
