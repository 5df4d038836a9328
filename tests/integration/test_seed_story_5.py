"""User story 5 of the walk: all six providers."""

import pytest

from probing import KEYS, MODEL_OF, ONE_OF_EACH, failures, ledger, start, wait_end

pytest_plugins = ["probe_fixtures"]

CHECKED = {"openai": ("gpt-4", "OPENAI_API_KEY"), "anthropic": ("claude-3-sonnet", "ANTHROPIC_API_KEY"),
           "google": ("gemini-1.5-pro", "GOOGLE_API_KEY"), "xai": ("grok-2", "XAI_API_KEY"),
           "deepseek": ("deepseek-chat", "DEEPSEEK_API_KEY"), "mistral": ("mistral-large", "MISTRAL_API_KEY")}


def test_story_5_a_run_over_three_providers_has_transcripts_of_each(proctor):
    run = start(proctor, 40, ["gpt-4", "claude-3-sonnet", "gemini-1.5-pro"], followups=2, samplePercentage=5)
    assert wait_end(proctor, run)["progress"] == {"total": 6, "completed": 6, "failed": 0, "cancelled": 0}
    items = proctor.ctl("run", "show", run, "--transcripts", 10)["transcripts"]
    assert sorted((item["modelId"], item["turnCount"]) for item in items) == \
        sorted([("gpt-4", 3), ("claude-3-sonnet", 3), ("gemini-1.5-pro", 3)] * 2)


def test_story_5_a_run_over_all_six_asks_each_provider_for_its_own_model(proctor, simulator):
    run = start(proctor, 2, ONE_OF_EACH, followups=1)
    shown = wait_end(proctor, run)
    assert shown["status"] == "COMPLETED" and shown["progress"]["completed"] == 12
    asked = sorted({(entry["provider"], entry["model"]) for entry in ledger(simulator)})
    assert asked == sorted(MODEL_OF.items())
    for model in shown["models"]:
        bought = [entry for entry in ledger(simulator, model=model["modelId"]) if entry["bought"]]
        assert len(bought) == 4
        assert model["inputTokens"] == sum(entry["input_tokens"] for entry in bought)
        assert model["outputTokens"] == sum(entry["output_tokens"] for entry in bought)
        assert model["modelVersions"] == [f"simulator-{model['modelId']}"]


def test_story_5_reasoning_is_counted_once_with_every_provider(proctor, simulator):
    simulator.post("/_sim/config", {"reasoning": {"*": 77}})
    run = start(proctor, 1, ONE_OF_EACH)
    shown = wait_end(proctor, run)
    assert shown["status"] == "COMPLETED"
    for model in shown["models"]:
        entry, = ledger(simulator, model=model["modelId"])
        assert model["outputTokens"] == entry["output_tokens"], model
    for item in proctor.ctl("transcripts", "list", run)["items"]:
        # Anthropic and Mistral may not tell the share, but never more than what was billed.
        assert item["reasoningTokens"] in (0, 77), item


@pytest.mark.parametrize("provider", CHECKED)
def test_story_5_check_each_model_id_uses_the_key_variable_of_its_provider(make_proctor, provider):
    model, variable = CHECKED[provider]
    keys = {name: key for name, key in KEYS.items() if name != variable}
    with make_proctor(keys=keys) as proctor:
        run = start(proctor, 1, ONE_OF_EACH)
        shown = wait_end(proctor, run)
        assert shown["progress"] == {"total": 6, "completed": 5, "failed": 1, "cancelled": 0}
        failed, = proctor.call("jobs", run=run, state="failed")["items"]
        assert (failed["modelId"], failed["lane"]) == (model, provider)
        assert failures(proctor, run)[0]["message"].startswith(f"{variable} is not set")
