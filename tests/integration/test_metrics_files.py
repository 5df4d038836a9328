"""What is made for Prometheus and Grafana: it is valid, tested, and names metrics and labels that exist."""

import json
import os
import re

import pytest
import yaml

from harness.place import REPOSITORY
from scrape import NAME, OF_HISTOGRAMS, promtool, reference, rows

PACKAGING = os.path.join(REPOSITORY, "packaging")
RULES = os.path.join(PACKAGING, "prometheus", "proctor.rules.yml")
TESTS = os.path.join(PACKAGING, "prometheus", "proctor.rules.test.yml")
DASHBOARD = os.path.join(PACKAGING, "grafana", "proctor.json")
OF_PROMETHEUS = {"instance", "job", "le"}
SELECTOR = re.compile(r"(proctor_[a-z_]+)(?:\{([^}]*)\})?")
LABELS_OF = re.compile(r"\b(?:by|without) \(([^)]*)\)")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def rules():
    return [rule for group in yaml.safe_load(read(RULES))["groups"] for rule in group["rules"]]


def panels():
    return [panel for panel in json.loads(read(DASHBOARD))["panels"] if panel["type"] != "row"]


def expressions():
    """(where, expression) of every one in rules and dashboard."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    found += [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    dashboard = json.loads(read(DASHBOARD))
    found += [(one["name"], one["expr"]) for one in dashboard["annotations"]["list"]]
    return found + [(one["name"], one["definition"]) for one in dashboard["templating"]["list"] if "definition" in one]


@pytest.fixture(scope="module")
def known():
    return rows()


def family(known, name):
    return name if name in known else OF_HISTOGRAMS.sub("", name)


def test_the_rules_are_valid():
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_tests_of_the_rules_pass_and_each_alert_has_one_that_raises_it_and_one_that_does_not():
    checked = promtool("test", "rules", TESTS)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    raised, quiet = set(), set()
    for case in yaml.safe_load(read(TESTS))["tests"]:
        for one in case["alert_rule_test"]:
            (raised if one["exp_alerts"] else quiet).add(one["alertname"])
    assert raised == quiet == {rule["alert"] for rule in rules()}


def test_each_rule_says_how_bad_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "warn"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "remedy"}, rule["alert"]


def test_rules_and_dashboard_name_metrics_and_labels_that_exist(known):
    assert len(expressions()) > 50
    for where, expression in expressions():
        names = NAME.findall(expression)
        assert names or "up{" in expression, where
        allowed = set(OF_PROMETHEUS)
        for name, selector in SELECTOR.findall(expression):
            assert family(known, name) in known, f"{where}: {name}"
            labels = set(known[family(known, name)][1]) | OF_PROMETHEUS
            allowed |= labels
            assert set(re.findall(r"(\w+)\s*[=!]~?", selector)) <= labels, f"{where}: {expression}"
        for listed in LABELS_OF.findall(expression):
            assert {label.strip() for label in listed.split(",")} <= allowed, f"{where}: {expression}"


def test_counters_are_never_shown_as_they_are(known):
    for where, expression in expressions():
        if where in ("Node", "instance", "provider"):
            continue
        for name in NAME.findall(expression):
            if known[family(known, name)][0] != "gauge":
                ranged = re.search(re.escape(name) + r"(?:\{[^}]*\})?\[", expression)
                assert ranged, f"{where}: {expression}"


def test_what_the_legends_of_the_dashboard_name_is_in_their_series(known):
    for panel in panels():
        for target in panel["targets"]:
            grouped = LABELS_OF.findall(target["expr"])
            labels = {label.strip() for label in grouped[0].split(",")} if grouped else OF_PROMETHEUS.union(
                *(known[family(known, name)][1] for name in NAME.findall(target["expr"])))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]


def test_the_dashboard_has_no_panel_above_another():
    taken = set()
    for panel in json.loads(read(DASHBOARD))["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in json.loads(read(DASHBOARD))["panels"]]
    assert len(ids) == len(set(ids))


def test_the_readme_has_the_reference_as_the_program_prints_it():
    assert read(os.path.join(PACKAGING, "prometheus", "README.md")).endswith("\n\n" + reference())
