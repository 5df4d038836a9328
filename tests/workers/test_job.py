"""The input object: every field's rule, and its message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import probe_input
from proctor.errors import ValidationError
from proctor.job import Probe

FOLLOWUP = {"label": "l", "prompt": "p"}


def changed(path, value):
    doc = probe_input()
    *way, last = path.split(".")
    inner = doc
    for step in way:
        inner = inner[step]
    inner[last] = value
    return doc


@pytest.mark.parametrize("path, value, words", [
    ("modelId", None, "modelId"), ("modelId", "", "modelId"), ("modelId", "a b", "modelId"),
    ("modelId", "x" * 257, "modelId"), ("modelId", "\n", "modelId"), ("modelId", 7, "modelId"),
    ("provider", 7, "provider must be text"), ("scenario", None, "scenario must be an object"),
    ("scenario", [], "scenario must be an object"), ("scenario.preamble", 7, "scenario.preamble"),
    ("scenario.prompt", None, "scenario.prompt must be text"),
    ("scenario.prompt", "", "scenario.prompt is empty"),
    ("scenario.prompt", " \n", "scenario.prompt is empty"), ("scenario.followups", {}, "scenario.followups"),
    ("scenario.followups", ["x"], "scenario.followups[0]"),
    ("scenario.followups", [FOLLOWUP, {"label": "x"}], "scenario.followups[1].prompt"),
    ("scenario.followups", [FOLLOWUP, {"prompt": ""}], "scenario.followups[1].prompt is empty"),
    ("scenario.followups", [{"label": 7, "prompt": "p"}], "scenario.followups[0].label"),
    ("config", 7, "config must be an object"), ("config.temperature", "hot", "config.temperature"),
    ("config.temperature", 2.1, "config.temperature"), ("config.temperature", -0.1, "config.temperature"),
    ("config.temperature", float("nan"), "config.temperature"),
    ("config.temperature", True, "config.temperature"),
    ("config.maxTokens", 0, "config.maxTokens"), ("config.maxTokens", 1.5, "config.maxTokens"),
    ("config.maxTokens", True, "config.maxTokens"), ("config.maxTurns", 0, "config.maxTurns"),
    ("config.seed", "x", "config.seed"), ("config.seed", 2**64, "config.seed"),
    ("sampleIndex", -1, "sampleIndex"),
])
def test_a_wrong_field_is_named(path, value, words):
    with pytest.raises(ValidationError) as caught:
        Probe(changed(path, value))
    assert words in caught.value.message and not caught.value.retryable


@pytest.mark.parametrize("doc", [None, [], "x", 7, {}])
def test_an_input_that_is_no_probe_is_refused(doc):
    with pytest.raises(ValidationError):
        Probe(doc)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(
                        st.sampled_from(["modelId", "scenario", "prompt", "followups", "config", "label",
                                         "temperature", "preamble"]), inner), max_leaves=8))
def test_any_input_is_taken_or_refused(doc):
    try:
        assert Probe(doc).steps
    except ValidationError as error:
        assert error.message


def test_only_prompt_and_model_are_required():
    probe = Probe({"modelId": "m", "scenario": {"prompt": "p"}})
    assert probe.steps == [("scenario_prompt", "p")]
    assert (probe.preamble, probe.temperature, probe.max_tokens, probe.seed) == ("", None, None, None)


def test_null_is_the_same_as_absent():
    doc = probe_input(temperature=None, maxTokens=None, maxTurns=None, seed=None)
    doc["scenario"]["followups"] = None
    assert Probe(doc).steps == [("scenario_prompt", "What ought one do?")]


def test_labels_follow_the_seed():
    doc = probe_input(followups=[{"prompt": "a"}, {"label": "why", "prompt": "b"},
                                 {"label": "", "prompt": "c"}])
    assert [label for label, _ in Probe(doc).steps] == ["scenario_prompt", "followup_1", "why", "followup_3"]


@pytest.mark.parametrize("max_turns, turns", [(None, 10), (1, 1), (3, 3), (50, 13)])
def test_max_turns_bounds_the_conversation(max_turns, turns):
    doc = probe_input(followups=[{"prompt": str(n)} for n in range(12)], maxTurns=max_turns)
    assert len(Probe(doc).steps) == turns


def test_the_seed_grows_with_the_sample():
    doc = probe_input(seed=5)
    doc["sampleIndex"] = 3
    assert Probe(doc).seed == 8


def test_text_unfit_for_jsonb_is_replaced_before_it_is_sent():
    probe = Probe(probe_input(prompt="a\x00b\ud800", preamble="\udfff"))
    assert probe.steps[0][1] == "a\ufffdb\ufffd" and probe.preamble == "\ufffd"
