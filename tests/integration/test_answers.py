"""Strange answers arrive unharmed or fail as what they are: nothing empty passes for an answer."""

import base64

import pytest

from probing import MODEL_OF, failures, ledger, script, sql, start, turns_of, wait_end

pytest_plugins = ["probe_fixtures"]

EACH = pytest.mark.parametrize("model", MODEL_OF.values(), ids=MODEL_OF.keys())


def answers(daemon, run):
    return [turn for _, turns in turns_of(daemon, run) for turn in turns]


@EACH
def test_an_answer_of_a_megabyte_arrives_whole(proctor, simulator, model):
    script(simulator, ("huge=1048576", {}))
    simulator.post("/_sim/config", {"keep_text": True})
    run = start(proctor, 1, [model])
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    turn, = answers(proctor, run)
    entry, = ledger(simulator)
    assert len(turn["targetResponse"]) == 1 << 20 and turn["targetResponse"] == entry["answer"]


@EACH
def test_every_script_emoji_and_control_character_arrives(proctor, simulator, model):
    script(simulator, ("unicode", {}))
    simulator.post("/_sim/config", {"keep_text": True})
    run = start(proctor, 1, [model], followups=1)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    sent = {entry["turn"]: entry["answer"] for entry in ledger(simulator)}
    kept = {turn["turnNumber"]: turn["targetResponse"] for turn in answers(proctor, run)}
    assert kept == sent and "👩🏽‍🚀" in kept[1] and "\u2028" in kept[1]


def test_a_megabyte_of_unicode_arrives_whole(proctor):
    text = "Ωμέγα 你好 👩🏽‍🚀"
    run = start(proctor, [f"[[sim:text={text},huge=1048576]]"])
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    answer, = (turn["targetResponse"] for turn in answers(proctor, run))
    assert len(answer) == 1 << 20 and set(answer) == set(text + "\n") and answer.startswith(f"{text}\n\n{text}")


@EACH
def test_a_nul_becomes_a_replacement_and_the_raw_text_is_kept_beside(proctor, simulator, model):
    script(simulator, ("nul", {}))
    run = start(proctor, 1, [model], followups=1)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    for turn in answers(proctor, run):
        assert "\ufffd" in turn["targetResponse"] and "\x00" not in turn["targetResponse"]
        raw = base64.b64decode(turn["targetResponseRaw"]).decode("utf-8", "surrogatepass")
        assert "\x00" in raw and raw.replace("\x00", "\ufffd") == turn["targetResponse"]


@EACH
def test_a_lone_surrogate_becomes_a_replacement_and_the_raw_text_is_kept_beside(proctor, simulator, model):
    script(simulator, ("surrogate", {}))
    run = start(proctor, 1, [model], followups=1)
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    for turn in answers(proctor, run):
        raw = base64.b64decode(turn["targetResponseRaw"]).decode("utf-8", "surrogatepass")
        assert "\ud83d" in raw and raw.replace("\ud83d", "\ufffd") == turn["targetResponse"]


@pytest.mark.parametrize("usage", ["1e400", "-1e400", "NaN", "Infinity", "-5", "1e19", "3.5", "null", '"many"'])
def test_a_count_of_tokens_that_is_no_number_does_not_lose_the_answer(proctor, simulator, usage):
    script(simulator, (f"usage={usage}", {}))
    run = start(proctor, 2)
    shown = wait_end(proctor, run)
    assert shown["progress"] == {"total": 2, "completed": 2, "failed": 0, "cancelled": 0}, failures(proctor, run)
    for turn in answers(proctor, run):
        assert turn["targetResponse"]
        assert turn["outputTokens"] in (0, 3, None) and turn["usageNote"], turn
    assert sql(proctor, "SELECT bool_and(output_tokens >= 0 AND token_count >= 0) FROM transcripts "
                        "WHERE run_id = %s", run) == [(True,)]
    assert not any("protocol" in line for line in proctor.log_lines()), "the worker is not to blame"


@EACH
def test_an_empty_answer_is_an_error_never_a_success(proctor, simulator, model):
    script(simulator, ("empty", {"turn": 2}))
    run = start(proctor, 2, [model], followups=2)
    shown = wait_end(proctor, run)
    assert shown["status"] == "FAILED" and shown["progress"]["failed"] == 2
    for error in failures(proctor, run):
        assert error["code"] == "INVALID_RESPONSE" and "without any content" in error["message"]
    assert sql(proctor, "SELECT count(*) FROM transcripts WHERE run_id = %s", run) == [(0,)]


REFUSALS = [("gpt-4", "content_filter"), ("claude-3-sonnet", ""), ("gemini-1.5-pro", "prompt"),
            ("gemini-1.5-pro", "safety"), ("gemini-1.5-pro", "recitation")]


@pytest.mark.parametrize("model, style", REFUSALS)
def test_a_refusal_by_the_providers_filter_is_content_blocked(proctor, simulator, model, style):
    script(simulator, (f"refuse={style}" if style else "refuse", {}))
    run = start(proctor, 1, [model])
    assert wait_end(proctor, run)["status"] == "FAILED"
    error, = failures(proctor, run)
    assert error["code"] == "CONTENT_BLOCKED"
    assert len(ledger(simulator)) == 1


def test_reasoning_without_an_answer_is_no_answer(proctor, simulator):
    script(simulator, ("empty,reasoning=500", {}))
    run = start(proctor, 1, ["deepseek-chat"])
    assert wait_end(proctor, run)["status"] == "FAILED"
    error, = failures(proctor, run)
    assert error["code"] == "INVALID_RESPONSE" and "reasoning" in error["message"]


def test_blank_lines_before_the_answer_are_keep_alive(proctor, simulator):
    script(simulator, ("keepalive=50", {}))
    run = start(proctor, 1, ["deepseek-chat"])
    assert wait_end(proctor, run)["status"] == "COMPLETED"


def test_an_answer_over_the_cap_is_an_invalid_response_and_the_worker_lives(proctor, simulator):
    worker, = proctor.worker_pids()
    script(simulator, ("huge=6000000", {"contains": "Case 1:"}))
    run = start(proctor, 3)
    shown = wait_end(proctor, run)
    assert shown["progress"] == {"total": 3, "completed": 2, "failed": 1, "cancelled": 0}
    error, = failures(proctor, run)
    assert error["code"] == "INVALID_RESPONSE" and "4" in error["message"]
    assert proctor.worker_pids() == [worker]


def test_a_strange_prompt_reaches_the_provider_as_it_is(proctor, simulator):
    simulator.post("/_sim/config", {"keep_text": True})
    prompt = "Zeile\r\n\tTab \"x\" \\ „y“ 你好 👩🏽‍🚀 \u2028\u0085 end"
    run = start(proctor, [prompt])
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    entry, = ledger(simulator)
    assert entry["messages"][-1][1] == prompt
    assert answers(proctor, run)[0]["probePrompt"] == prompt


@pytest.mark.parametrize("model", ["gpt-4 ü你", "gemini-a/b c?d#e%20", "gemini-../../secret", "claude-" + "x" * 300,
                                   "mistral-\"quoted\"", "openai:", "deepseek-\r\nX-Header: 1"])
def test_a_strange_model_id_harms_nobody(proctor, simulator, model):
    worker, = proctor.worker_pids()
    run = start(proctor, 1, [model, "gpt-4"])
    shown = wait_end(proctor, run)
    models = {found["modelId"]: found for found in shown["models"]}
    assert models["gpt-4"]["completed"] == 1 and models[model]["completed"] + models[model]["failed"] == 1
    assert all(entry["model"] in (model, "gpt-4") for entry in ledger(simulator) if entry["status"] == 200)
    assert proctor.worker_pids() == [worker]


def test_a_megabyte_of_prompt_passes(proctor):
    run = start(proctor, ["Read this: " + "many words " * 100_000])
    assert wait_end(proctor, run)["status"] == "COMPLETED"
    assert len(answers(proctor, run)[0]["probePrompt"]) > 1_000_000
