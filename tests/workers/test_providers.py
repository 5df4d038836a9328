"""The six wire formats: what is sent, and what is read from a success."""

import json

import pytest

from conftest import KEY, KEY_VARIABLES, environment, probe_input
from proctor import config, conversation, errors, models, providers

MODELS = {"openai": "gpt-4", "anthropic": "claude-3-sonnet", "google": "gemini-1.5-pro", "xai": "grok-2",
          "deepseek": "deepseek-chat", "mistral": "mistral-large"}


@pytest.fixture
def engine(monkeypatch):
    """An engine on the providers' own addresses, with the planted key for all."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    settings = config.Settings(environment())
    return conversation.Engine(settings, models.load(settings.models_path), providers.open_all(settings))


def opened(engine, provider_name="openai", **more):
    return engine.open_conversation(probe_input(more.pop("model", MODELS[provider_name]), **more))


def read(engine, name, doc, **more):
    """The Answer that a provider reads from a document."""
    conversation = opened(engine, name, **more)
    return conversation.provider.interpret(200, [], json.dumps(doc).encode())


def chat(content, finish="stop", usage=None, **message):
    return {"model": "m-1", "choices": [{"message": {"role": "assistant", "content": content, **message},
                                         "finish_reason": finish}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30} if usage is None
            else usage}


def claude(*blocks, stop="end_turn", **usage):
    return {"type": "message", "model": "claude-v", "content": list(blocks), "stop_reason": stop,
            "usage": {"input_tokens": 10, "output_tokens": 20, **usage}}


def gemini(*parts, finish="STOP", **usage):
    return {"modelVersion": "gemini-v",
            "candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 30,
                              **usage}}


# Requests.

@pytest.mark.parametrize("name, url, auth", [
    ("openai", "https://api.openai.com/v1/chat/completions", f"Authorization: Bearer {KEY}"),
    ("anthropic", "https://api.anthropic.com/v1/messages", f"x-api-key: {KEY}"),
    ("google", "https://generativelanguage.googleapis.com/v1beta/models/gemini-1.5-pro:generateContent",
     f"x-goog-api-key: {KEY}"),
    ("xai", "https://api.x.ai/v1/chat/completions", f"Authorization: Bearer {KEY}"),
    ("deepseek", "https://api.deepseek.com/chat/completions", f"Authorization: Bearer {KEY}"),
    ("mistral", "https://api.mistral.ai/v1/chat/completions", f"Authorization: Bearer {KEY}"),
])
def test_address_and_auth(engine, name, url, auth):
    conversation = opened(engine, name)
    assert conversation.provider.name == name and conversation.url == url
    headers = conversation.provider.headers()
    assert auth in headers and "Content-Type: application/json" in headers
    assert KEY not in conversation.url
    assert ("anthropic-version: 2023-06-01" in headers) == (name == "anthropic")


@pytest.mark.parametrize("name, model, fields", [
    ("openai", "gpt-4", {"temperature": 0.7, "max_completion_tokens": 99, "seed": 4}),
    ("openai", "o3-mini", {"max_completion_tokens": 99, "seed": 4}),
    ("openai", "gpt-5-mini", {"max_completion_tokens": 99, "seed": 4}),
    ("xai", "grok-2", {"temperature": 0.7, "max_completion_tokens": 99, "seed": 4}),
    ("deepseek", "deepseek-chat", {"temperature": 0.7, "max_tokens": 99}),
    ("deepseek", "deepseek-reasoner", {"max_tokens": 99}),
    ("mistral", "mistral-large", {"temperature": 0.7, "max_tokens": 99, "random_seed": 4}),
])
def test_chat_request(engine, name, model, fields):
    conversation = opened(engine, name, model=model, preamble="P", temperature=0.7, maxTokens=99, seed=4)
    doc = json.loads(conversation.request())
    assert doc == {"model": model, **fields, "messages": [
        {"role": "system", "content": "P"}, {"role": "user", "content": "What ought one do?"}]}


@pytest.mark.parametrize("name", ["openai", "xai", "deepseek", "mistral"])
def test_chat_request_without_parameters_sends_none(engine, name):
    doc = json.loads(opened(engine, name).request())
    assert set(doc) == {"model", "messages"} and doc["messages"][0]["role"] == "user"


def test_anthropic_request(engine):
    conversation = opened(engine, "anthropic", preamble="P", temperature=1, maxTokens=99, seed=4)
    assert json.loads(conversation.request()) == {
        "model": "claude-3-sonnet", "max_tokens": 99, "temperature": 1, "system": "P",
        "messages": [{"role": "user", "content": "What ought one do?"}]}


def test_anthropic_always_sends_a_limit(engine):
    assert json.loads(opened(engine, "anthropic").request())["max_tokens"] == 4096
    assert json.loads(opened(engine, model="claude-sonnet-4-5").request())["max_tokens"] == 8192
    assert json.loads(opened(engine, model="anthropic:own").request())["max_tokens"] == 4096


def test_google_request(engine):
    conversation = opened(engine, "google", preamble="P", temperature=0, maxTokens=99, seed=4)
    assert json.loads(conversation.request()) == {
        "systemInstruction": {"parts": [{"text": "P"}]},
        "contents": [{"role": "user", "parts": [{"text": "What ought one do?"}]}],
        "generationConfig": {"temperature": 0, "maxOutputTokens": 99, "seed": 4}}
    assert set(json.loads(opened(engine, "google").request())) == {"contents"}


def test_google_quotes_the_model_in_its_path(engine):
    assert opened(engine, model="google:a/b?c").url.endswith("/models/a%2Fb%3Fc:generateContent")


def test_each_sample_has_its_own_seed(engine):
    document = probe_input(seed=40)
    document["sampleIndex"] = 2
    assert json.loads(engine.open_conversation(document).request())["seed"] == 42


@pytest.mark.parametrize("name, answer, roles", [
    ("anthropic", claude({"type": "text", "text": "one"}), ["user", "assistant", "user"]),
    ("google", gemini({"text": "one"}), ["user", "model", "user"]),
    ("mistral", chat([{"type": "text", "text": "one"}]), ["user", "assistant", "user"]),
])
def test_history_is_sent_in_the_providers_roles(engine, name, answer, roles):
    conversation = opened(engine, name, followups=[{"prompt": "Why?"}])
    turn = conversation.take(200, [], json.dumps(answer).encode(), "2025-01-01T00:00:00.000Z", 5)
    assert json.loads(turn.body)["targetResponse"] == "one" and not turn.last
    doc = json.loads(conversation.request())
    history = doc["contents"] if name == "google" else doc["messages"]
    assert [message["role"] for message in history] == roles
    assert "one" in json.dumps(history[1]) and "Why?" in json.dumps(history[2])


def test_parameters_that_were_asked_for_but_not_sent_are_recorded(engine):
    conversation = opened(engine, model="o3-mini", temperature=0.5)
    turn = conversation.take(200, [], json.dumps(chat("x")).encode(), "2025-01-01T00:00:00.000Z", 5)
    assert json.loads(turn.body)["parametersNotSent"] == ["temperature"]


# Answers.

@pytest.mark.parametrize("name, doc, text, finish, version", [
    ("openai", chat("Hi."), "Hi.", "stop", "m-1"),
    ("openai", chat("Hi.", "length"), "Hi.", "length", "m-1"),
    ("xai", chat("Hi."), "Hi.", "stop", "m-1"),
    ("deepseek", chat("Hi.", reasoning_content="Hm"), "Hi.", "stop", "m-1"),
    ("mistral", chat("Hi.", "model_length"), "Hi.", "model_length", "m-1"),
    ("mistral", chat([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
                      {"type": "text", "text": "Hi"}, {"type": "text", "text": "."}]), "Hi.", "stop", "m-1"),
    ("anthropic", claude({"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hi"},
                         {"type": "text", "text": "."}), "Hi.", "end_turn", "claude-v"),
    ("anthropic", claude({"type": "text", "text": "Hi."}, stop="max_tokens"), "Hi.", "max_tokens",
     "claude-v"),
    ("anthropic", claude({"type": "text", "text": "Hi."}, stop="stop_sequence"), "Hi.", "stop_sequence",
     "claude-v"),
    ("anthropic", claude({"type": "text", "text": "Hi."}, stop="pause_turn"), "Hi.", "pause_turn",
     "claude-v"),
    ("google", gemini({"text": "Hm", "thought": True}, {"text": "Hi"}, {"text": "."}), "Hi.", "STOP",
     "gemini-v"),
    ("google", gemini({"text": "Hi."}, finish="MAX_TOKENS"), "Hi.", "MAX_TOKENS", "gemini-v"),
])
def test_answer(engine, name, doc, text, finish, version):
    answer = read(engine, name, doc)
    assert (answer.text, answer.finish, answer.version) == (text, finish, version)
    assert (answer.input, answer.output, answer.reasoning, answer.note) == (10, 20, 0, None)


def test_a_version_that_is_not_told_is_null(engine):
    doc = chat("Hi.")
    del doc["model"]
    assert read(engine, "openai", doc).version is None


def test_blank_lines_before_the_document_are_allowed(engine):
    conversation = opened(engine, "deepseek")
    answer = conversation.provider.interpret(200, [], b"\n\n\r\n" + json.dumps(chat("Hi.")).encode())
    assert answer.text == "Hi."


def reasoning_usage(prompt, completion, reasoning, total):
    usage = {"prompt_tokens": prompt, "completion_tokens": completion,
             "completion_tokens_details": {"reasoning_tokens": reasoning}}
    return usage if total is None else {**usage, "total_tokens": total}


@pytest.mark.parametrize("name, usage, output", [
    ("openai", reasoning_usage(10, 50, 30, 60), 50),
    ("openai", reasoning_usage(10, 50, 30, None), 50),
    ("openai", reasoning_usage(10, 20, 30, 60), 50),
    ("xai", reasoning_usage(10, 20, 30, 60), 50),
    ("xai", reasoning_usage(10, 20, 15, None), 35),
    ("xai", reasoning_usage(10, 50, 30, 60), 50),
    ("deepseek", reasoning_usage(10, 50, 30, 60), 50),
])
def test_reasoning_is_counted_once_in_chat(engine, name, usage, output):
    answer = read(engine, name, chat("Hi.", usage=usage))
    assert (answer.input, answer.output, answer.reasoning) == (
        10, output, usage["completion_tokens_details"]["reasoning_tokens"])


def test_reasoning_is_counted_once_by_google(engine):
    added = read(engine, "google", gemini({"text": "x"}, thoughtsTokenCount=7, totalTokenCount=37))
    assert (added.output, added.reasoning) == (27, 7)
    inside = read(engine, "google", gemini({"text": "x"}, thoughtsTokenCount=7, totalTokenCount=30))
    assert (inside.output, inside.reasoning) == (20, 7)


def test_anthropic_counts_cached_input_and_thinking_inside(engine):
    answer = read(engine, "anthropic", claude(
        {"type": "text", "text": "x"}, cache_creation_input_tokens=3, cache_read_input_tokens=4,
        output_tokens_details={"thinking_tokens": 15}))
    assert (answer.input, answer.output, answer.reasoning) == (17, 20, 15)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": "12", "completion_tokens": None},
                                   {"prompt_tokens": -1, "completion_tokens": 2**63},
                                   {"prompt_tokens": True, "completion_tokens": 1.5}, [], "none", 7])
def test_usage_that_cannot_be_used_counts_as_nothing_and_is_noted(engine, usage):
    doc = chat("Hi.")
    doc["usage"] = usage
    answer = read(engine, "openai", doc)
    assert (answer.input, answer.output, answer.reasoning) == (0, 0, 0)
    assert answer.note == "provider told no usable count for: input, output"


def test_whole_floats_are_counts(engine):
    answer = read(engine, "openai", chat("Hi.", usage={"prompt_tokens": 3.0, "completion_tokens": 4.0}))
    assert (answer.input, answer.output, answer.note) == (3, 4, None)


# Refusals and empty answers.

@pytest.mark.parametrize("name, doc", [
    ("openai", chat(None, refusal="I cannot help.")),
    ("openai", chat("partly", "content_filter")),
    ("openai", chat(None, "content_filter")),
    ("xai", chat("", "content_filter")),
    ("deepseek", chat("", "content_filter")),
    ("mistral", chat("", "content_filter")),
    ("anthropic", claude(stop="refusal")),
    ("anthropic", claude({"type": "text", "text": "I"}, stop="refusal")),
    ("google", {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}}),
    *(("google", {"candidates": [{"finishReason": reason}]})
      for reason in ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")),
])
def test_a_refusal_is_content_blocked(engine, name, doc):
    with pytest.raises(errors.ContentBlocked) as caught:
        read(engine, name, doc)
    assert caught.value.status == 200 and caught.value.retryable is False


def test_a_refusals_words_are_kept(engine):
    with pytest.raises(errors.ContentBlocked) as caught:
        read(engine, "openai", chat(None, refusal="I cannot help."))
    assert "I cannot help." in caught.value.message
    assert caught.value.to_json()["details"]["refusal"] == "I cannot help."


@pytest.mark.parametrize("name, doc", [
    *((name, doc) for name in ("openai", "xai", "deepseek", "mistral")
      for doc in (chat(""), chat(None), chat(" \n\t"), chat("", "length"), chat(None, "length"))),
    ("deepseek", chat("", reasoning_content="I only thought.")),
    ("mistral", chat([])),
    ("mistral", chat([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}])),
    ("anthropic", claude()), ("anthropic", claude({"type": "text", "text": ""})),
    ("anthropic", claude({"type": "thinking", "thinking": "Hm"}, stop="max_tokens")),
    ("google", gemini({"text": ""})), ("google", gemini()), ("google", gemini(finish="MAX_TOKENS")),
    ("google", gemini({"text": "Hm", "thought": True})), ("google", gemini(finish="OTHER")),
    ("google", {"candidates": [{"finishReason": "STOP"}]}), ("google", {"candidates": []}), ("google", {}),
])
def test_an_empty_answer_is_never_a_success(engine, name, doc):
    with pytest.raises(errors.InvalidResponse) as caught:
        read(engine, name, doc)
    assert caught.value.status == 200 and caught.value.code == "INVALID_RESPONSE"


@pytest.mark.parametrize("name, finish", [("deepseek", "insufficient_system_resource"), ("mistral", "error")])
def test_an_answer_broken_off_by_the_provider_is_tried_again(engine, name, finish):
    with pytest.raises(errors.ServerError) as caught:
        read(engine, name, chat("half an ans", finish))
    assert caught.value.retryable and finish in caught.value.message


@pytest.mark.parametrize("name", list(KEY_VARIABLES))
@pytest.mark.parametrize("data", [
    b"", b"<html>", b"[]", b"null", b'"text"', b"{", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000,
    b'{"choices":{}}', b'{"choices":[1]}', b'{"content":"x"}', b'{"content":[1,{"type":"text"}]}',
    b'{"candidates":{}}', b'{"candidates":[{"content":7}]}', b'{"choices":[{"message":{"content":{}}}]}',
])
def test_a_success_of_another_shape_is_an_invalid_response(engine, name, data):
    conversation = opened(engine, name)
    with pytest.raises(errors.InvalidResponse):
        conversation.provider.interpret(200, [], data)
