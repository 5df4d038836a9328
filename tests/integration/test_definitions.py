"""Definitions: YAML and JSON, every shape of the file, and mistakes told with their line."""

import json

import pytest

from harness.control import ControlError

pytest_plugins = ["probe_fixtures"]

YAML = """
name: kept
preamble: Be brief.
author: someone
followups:
  why: Why?
  sure:
    prompt: Are you sure?
scenarios:
  first:
    subject: The first
    body: What would you do first?
    values: [honesty, peace]
  second: {name: The second, prompt: And then?}
"""


def write(folder, text, name="definition.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(proctor, path):
    """What a refused import says; it must leave nothing behind."""
    before = proctor.call("definition.list", limit=1000)
    done = proctor.proctorctl("definition", "import", path)
    assert done.returncode != 0 and done.stdout == ""
    assert proctor.call("definition.list", limit=1000) == before
    return done.stderr


def test_a_mapping_with_subject_and_body_is_read(proctor, tmp_path):
    made = proctor.ctl("definition", "import", write(tmp_path, YAML))
    assert (made["name"], made["scenarioCount"], made["followupCount"]) == ("kept", 2, 2)
    shown = proctor.ctl("definition", "show", made["id"])
    assert shown["preamble"] == "Be brief." and shown["metadata"] == {"author": "someone"}
    assert shown["followups"] == [{"label": "why", "prompt": "Why?"}, {"label": "sure", "prompt": "Are you sure?"}]
    first, second = shown["scenarios"]
    assert (first["key"], first["name"], first["prompt"]) == ("first", "The first", "What would you do first?")
    assert first["metadata"] == {"values": ["honesty", "peace"]}
    assert (second["key"], second["name"], second["prompt"]) == ("second", "The second", "And then?")


def test_a_list_of_scenarios_and_followups_is_read_as_json(proctor, tmp_path):
    document = {"name": "listed", "followups": [{"label": "why", "prompt": "Why?"}],
                "scenarios": [{"prompt": "One?"}, {"key": "two", "name": "Two", "prompt": "Two?"}]}
    made = proctor.ctl("definition", "import", write(tmp_path, json.dumps(document), "definition.json"))
    shown = proctor.ctl("definition", "show", made["id"])
    assert [(item["key"], item["prompt"]) for item in shown["scenarios"]] == [("scenario_1", "One?"), ("two", "Two?")]
    assert shown["preamble"] is None


def test_a_definition_comes_from_standard_input_too(proctor):
    done = proctor.proctorctl("--json", "definition", "import", "-", stdin=YAML)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scenarioCount"] == 2


def test_importing_again_makes_a_new_version_and_the_old_stays(proctor, tmp_path):
    path = write(tmp_path, YAML.replace("kept", "versions"))
    first, second = (proctor.ctl("definition", "import", path) for _ in range(2))
    assert (first["version"], second["version"]) == (1, 2)
    listed = proctor.ctl("definition", "list", "--name", "versions")["items"]
    assert [item["version"] for item in listed] == [2, 1]
    assert proctor.ctl("definition", "show", "versions")["id"] == second["id"]
    assert proctor.ctl("definition", "show", first["id"])["version"] == 1


def test_a_definition_of_many_pages_arrives_whole_and_in_order(proctor, tmp_path):
    scenarios = [{"prompt": f"Question {number}?"} for number in range(1, 1731)]
    path = write(tmp_path, json.dumps({"name": "pages", "scenarios": scenarios}), "pages.json")
    assert proctor.ctl("definition", "import", path)["scenarioCount"] == 1730
    shown = proctor.ctl("definition", "show", "pages", "--scenarios", 1000)["scenarios"]
    assert [item["prompt"] for item in shown] == [item["prompt"] for item in scenarios[:1000]]


def test_a_prompt_keeps_every_character(proctor, tmp_path):
    prompt = "Zeile 1\n\tTab „Anführung“ 'x' \"y\" \\ 你好 👩🏽‍🚀 \u2028 end"
    path = write(tmp_path, json.dumps({"name": "text", "scenarios": [{"prompt": prompt}]}), "text.json")
    made = proctor.ctl("definition", "import", path)
    assert proctor.ctl("definition", "show", made["id"])["scenarios"][0]["prompt"] == prompt


@pytest.mark.parametrize("text, line, words", [
    ("name: x\nscenarios:\n  - prompt: [oops\n", 4, ""),
    ("name: x\nscenarios:\n\t- prompt: tab\n", 3, ""),
    ("name: x\nscenarios:\n  a:\n    prompt: fine\n  b:\n    name: no prompt\n", 6, "prompt"),
    ("name: x\nscenarios:\n  a:\n    prompt: fine\n  b:\n    prompt: '  '\n", 6, "prompt"),
    ("name: x\nscenarios:\n  a: {prompt: one}\n  a: {prompt: two}\n", 4, "a"),
    ("name: x\nname: y\nscenarios:\n  a: {prompt: one}\n", 2, "name"),
    ("name: x\nscenarios: []\n", 2, "scenarios"),
    ("name: x\nscenarios: {}\n", 2, "scenarios"),
    ("name: x\nscenarios: nonsense\n", 2, "scenarios"),
    ("name: x\nfollowups:\n  - label: why\nscenarios:\n  a: {prompt: one}\n", 3, "prompt"),
    ("scenarios:\n  a: {prompt: one}\n", 1, "name"),
    ("- just\n- a list\n", 1, ""),
    ("name: x\npreamble: p\n", 1, "scenarios"),
    ('{"name": "x",\n "scenarios": [{"prompt": "a\\u0000b"}]}', 2, ""),
    ("name: x\nscenarios:\n  - prompt: \"a\\0b\"\n", 3, ""),
])
def test_a_mistake_is_told_with_its_line_and_changes_nothing(proctor, tmp_path, text, line, words):
    path = write(tmp_path, text)
    told = refused(proctor, path)
    assert f"{path}:{line}" in told, told
    assert words in told and len(told.strip().splitlines()) == 1, told


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"name: \xc3\x28\n", b"{", b"\x00"])
def test_a_file_that_is_no_definition_is_refused_by_name(proctor, tmp_path, text):
    path = write(tmp_path, text)
    assert str(path) in refused(proctor, path)


def test_a_bomb_of_aliases_is_refused_quickly(proctor, tmp_path):
    layers = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    path = write(tmp_path, "name: bomb\na0: &a0 [x]\n" + layers + "scenarios:\n  s: {prompt: p}\n")
    assert str(path) in refused(proctor, path)


def test_a_missing_file_is_named(proctor, tmp_path):
    told = refused(proctor, tmp_path / "absent.yaml")
    assert "absent.yaml" in told and "No such file" in told


@pytest.mark.parametrize("args, words", [
    ({"name": "x", "scenarios": []}, "scenarios"),
    ({"name": "", "scenarios": [{"prompt": "p"}]}, "name"),
    ({"name": "x", "scenarios": [{"prompt": "p"}, {"key": "k", "prompt": " \n"}]}, "scenario 2 ('k')"),
    ({"name": "x", "scenarios": [{"key": "k"}]}, "scenario 1"),
    ({"name": "x", "scenarios": ["text"]}, "scenario 1"),
    ({"name": "x", "scenarios": {"a": 1}}, "scenarios"),
    ({"name": "x", "scenarios": [{"key": "k", "prompt": "p"}, {"key": "k", "prompt": "q"}]}, "'k'"),
    ({"name": "x", "scenarios": [{"prompt": "p"}], "followups": [{"label": "a"}]}, "followup"),
    ({"name": "x", "scenarios": [{"prompt": "p"}], "followups": [{"label": "a", "prompt": ""}]}, "followup"),
    ({"name": "x", "scenarios": [{"prompt": "p"}], "followups": "why"}, "followups"),
    ({"name": "x", "scenarios": [{"prompt": "p"}], "metadata": []}, "metadata"),
    ({"name": "x", "scenarios": [{"prompt": "p"}] * 501}, "500"),
    ({"name": "x", "scenarios": [{"key": {"a": 1}, "prompt": "p"}]}, "key"),
    ({"name": "x", "scenarios": [{"name": ["a"], "prompt": "p"}]}, "name"),
    ({"name": "x", "scenarios": [{"name": "", "prompt": "p"}]}, "name"),
    ({"name": "x", "scenarios": [{"metadata": 7, "prompt": "p"}]}, "metadata"),
])
def test_the_daemon_itself_refuses_a_bad_import_by_field(proctor, args, words):
    before = proctor.call("definition.list", limit=1000)
    with pytest.raises(ControlError) as refusal:
        proctor.call("definition.import", **args)
    assert refusal.value.code in ("BAD_ARGUMENT", "BAD_REQUEST"), refusal.value
    assert words in refusal.value.message
    assert proctor.call("definition.list", limit=1000) == before


def test_an_import_that_is_not_completed_is_invisible_and_goes(proctor):
    with proctor.connect() as control:
        half = control.call("definition.import", name="half", scenarios=[{"prompt": "One?"}], more=True)
        assert proctor.call("definition.list", name="half")["items"] == []
        with pytest.raises(ControlError) as refusal:
            proctor.call("run.start", definition=half["id"], models=["gpt-4"])
        assert refusal.value.code == "NOT_FOUND"
    proctor.call("definition.import", name="other", scenarios=[{"prompt": "One?"}])
    with pytest.raises(ControlError):
        proctor.call("definition.append", id=half["id"], scenarios=[{"prompt": "Two?"}])


def test_a_definition_that_is_not_there_is_not_found(proctor):
    with pytest.raises(ControlError) as refusal:
        proctor.call("definition.show", definition="nowhere")
    assert refusal.value.code == "NOT_FOUND" and "nowhere" in refusal.value.message
