"""Start in order, stop in reverse, and what a failure at boot leaves behind."""

import re

from harness import place
from services import sections


def test_start_order_and_reverse_stop(make_tree, services):
    parts = [services.service("a"), services.service("b", "wait=go"), services.service("c")]
    tree = make_tree(services.group("group", "one_for_one", *parts), services.service("d"))
    services.wait("born", "b")
    # b is not ready: nobody behind it was started.
    tree.wait_node("a", state="up")
    tree.wait_node("b", state="starting")
    assert tree.node("c")["state"] == tree.node("d")["state"] == "down"
    services.allow("go")
    tree.wait_up("group", "d", "probe")
    tree.stop()
    assert services.names("born") == ["a", "b", "c", "d"]
    assert services.names("ready") == ["a", "b", "c", "d"]
    assert services.names("end") == ["d", "c", "b", "a"]
    # Each was down before the one before it was asked.
    told = [(entry["what"], entry["name"]) for entry in services.journal() if entry["what"] in ("term", "end")]
    assert told == [(what, name) for name in "dcba" for what in ("term", "end")]
    assert services.living() == []


def test_child_k_fails_at_boot_and_those_before_it_are_stopped_and_the_error_names_it(make_tree, services):
    services.say("c", "exit=3")
    parts = [services.service(name) for name in "abcd"]
    tree = make_tree(services.group("group", "one_for_one", *parts), services.service("e"))
    line = tree.wait_log(r"group\.failed group=group")
    assert 'child=c reason="it did not come up"' in line
    first = services.wait("term", "a")
    assert services.names("term")[:2] == ["b", "a"]
    assert first["at"] > services.journal("term", name="b")[0]["at"]
    assert services.journal("born", name="d") == []
    # What has nothing to do with it is up, and the group comes when c is mended.
    tree.wait_up("e", "probe")
    why = place.wait_until(lambda: tree.node("group")["why"], 10, "the reason in the tree")
    assert why == "c: it did not come up"
    services.say("c")
    tree.wait_up("group", "a", "b", "c", "d")
    assert re.search("exit=3", "\n".join(line for line in tree.log_lines() if "service.exit service=c" in line))


def test_a_tree_within_a_tree_starts_and_stops_as_one_child(make_tree, services):
    inner = services.group("inner", "rest_for_one", services.service("b"), services.service("c"))
    outer = services.group("outer", "one_for_all", services.service("a"), inner, services.service("d"))
    tree = make_tree(sections(outer, services.service("e")))
    tree.wait_up("e", "outer", "inner")
    tree.stop()
    assert services.names("born") == ["a", "b", "c", "d", "e"]
    assert services.names("end") == ["e", "d", "c", "b", "a"]
