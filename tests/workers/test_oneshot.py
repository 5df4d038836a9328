"""One-shot probe.py, as the seed shows it."""

import json
import subprocess

from conftest import PROBE, PYTHON, Reply, chat_answer, environment, probe_input, run_one_shot


def test_one_document_in_one_transcript_out(provider):
    provider.script(chat_answer("one"), chat_answer("two"))
    document = probe_input(preamble="Be brief.", followups=[{"label": "followup_1", "prompt": "What if?"}],
                           temperature=0.7, maxTokens=1000, maxTurns=10)
    code, answer, stderr = run_one_shot(document, environment(provider.url))
    assert code == 0 and set(answer) == {"success", "transcript"} and answer["success"] is True
    transcript = answer["transcript"]
    assert {"turns", "totalInputTokens", "totalOutputTokens", "modelVersion", "startedAt", "completedAt"
            } <= set(transcript)
    assert transcript["totalInputTokens"] == 24 and transcript["totalOutputTokens"] == 10
    assert transcript["modelVersion"] == "gpt-4-0613"
    assert transcript["startedAt"] <= transcript["completedAt"]
    first, second = transcript["turns"]
    assert first["turnNumber"] == 1 and first["promptLabel"] == "scenario_prompt"
    assert first["probePrompt"] == "What ought one do?" and first["targetResponse"] == "one"
    assert first["inputTokens"] == 12 and first["outputTokens"] == 5
    assert second["promptLabel"] == "followup_1" and second["targetResponse"] == "two"
    assert len(provider.request().doc["messages"]) == 2 and len(provider.request().doc["messages"]) == 4
    assert stderr == b""


def test_an_error_is_an_answer(provider):
    provider.script(Reply({"error": {"message": "Slow down", "code": "x"}}, status=429,
                          headers={"retry-after": "3"}))
    code, answer, _ = run_one_shot(probe_input(), environment(provider.url))
    error = answer["error"]
    assert code == 0 and answer["success"] is False and set(answer) == {"success", "error"}
    assert (error["code"], error["retryable"], error["retryAfterMs"], error["statusCode"]) == (
        "RATE_LIMIT", True, 3000, 429)
    assert provider.requests.qsize() == 1


def test_a_later_turn_that_fails_fails_the_whole(provider):
    provider.script(chat_answer("one"), chat_answer(""))
    _, answer, _ = run_one_shot(probe_input(followups=[{"prompt": "Why?"}]), environment(provider.url))
    assert answer["error"]["code"] == "INVALID_RESPONSE"


def test_a_missing_key_is_told_as_in_the_seed(provider):
    code, answer, _ = run_one_shot(probe_input(), environment(provider.url, keys=()))
    assert code == 0 and answer["error"]["code"] == "MISSING_API_KEY"
    assert answer["error"]["message"].startswith("OPENAI_API_KEY is not set")
    assert provider.requests.empty()


def test_an_invalid_model_is_not_retryable(provider):
    _, answer, _ = run_one_shot(probe_input("invalid-model-xyz"), environment(provider.url))
    error = answer["error"]
    assert error["code"] == "UNSUPPORTED_PROVIDER" and error["retryable"] is False
    assert "invalid-model-xyz" in error["message"] and "models.ini" in error["message"]


def test_fail_model_id_is_a_rate_limit(provider):
    _, answer, _ = run_one_shot(probe_input("rate-limit-test"),
                                environment(provider.url, FAIL_MODEL_ID="rate-limit-test"))
    assert answer["error"]["code"] == "RATE_LIMIT" and answer["error"]["retryable"] is True


def test_bad_input_is_an_answer_too():
    for data, words in ((b"", "no JSON document"), (b"{", "no JSON document"), (b"[]", "object"),
                        (b"{}", "modelId"), (b"[" * 100_000, "nested"),
                        (b'{"modelId":"gpt-4","scenario":{"prompt":""}}', "scenario.prompt is empty")):
        code, answer, stderr = run_one_shot(data, environment())
        assert code == 0 and answer["error"]["code"] == "VALIDATION_ERROR"
        assert words in answer["error"]["message"] and b"Traceback" not in stderr


def test_an_environment_that_cannot_be_used_is_an_answer_too():
    code, answer, _ = run_one_shot(probe_input(), environment(PROCTOR_CAPACITY="0"))
    assert code == 0 and "PROCTOR_CAPACITY" in answer["error"]["message"]


def test_help_version_and_usage():
    def run(*arguments):
        return subprocess.run([PYTHON, PROBE, *arguments], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
    assert "usage: probe.py" in run("--help").stdout and run("--help").returncode == 0
    assert "protocol 1" in run("--version").stdout
    wrong = run("--serv")
    assert wrong.returncode == 64 and "--serv" in wrong.stderr and wrong.stdout == ""


def test_the_output_is_one_line_of_json(provider):
    done = subprocess.run([PYTHON, PROBE], input=json.dumps(probe_input()).encode(), capture_output=True,
                          env=environment(provider.url))
    assert done.stdout.count(b"\n") == 1 and done.stdout.endswith(b"}\n")
