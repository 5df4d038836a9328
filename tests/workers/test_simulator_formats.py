"""Six wire formats: shapes, tokens, refusals, every named error, validation, keys, health pages."""

import json

import pytest
from simulator_fixtures import MODELS, PROVIDERS, Simulator, ask_path, auth, request_body, text_of, usage_of

from simulator.engine import listed_errors
from simulator.faults import class_of_status

ERRORS = {error["name"]: error for error in listed_errors()}


@pytest.fixture(scope="module")
def process():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(process):
    process.default()
    return process


def finish_of(provider, body):
    if provider == "anthropic":
        return body["stop_reason"]
    return body["candidates"][0]["finishReason"] if provider == "google" else body["choices"][0]["finish_reason"]


def version_of(provider, body):
    return body.get("modelVersion" if provider == "google" else "model")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_answer_has_the_providers_shape(sim, provider):
    answer = sim.ask(provider, "Should a hospital draw lots for its last bed?", system="Be brief.")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json
    text = text_of(provider, body)
    assert "simulated answer" in text
    assert MODELS[provider] in text
    assert 80 <= len(text.split()) <= 150
    assert "hospital" in text
    assert version_of(provider, body) == f"simulator-{MODELS[provider]}"
    chars = len("Should a hospital draw lots for its last bed?") + len("Be brief.")
    assert usage_of(provider, body)[:2] == (-(-chars // 4), -(-len(text) // 4))
    assert finish_of(provider, body) == {"anthropic": "end_turn", "google": "STOP"}.get(provider, "stop")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_same_ask_gets_the_same_words_and_another_gets_others(sim, provider):
    first = text_of(provider, sim.ask(provider, "What is owed to strangers?").json)
    assert text_of(provider, sim.ask(provider, "What is owed to strangers?").json) == first
    assert text_of(provider, sim.ask(provider, "What is owed to neighbours?").json) != first
    later = text_of(provider, sim.ask(provider, "What is owed to strangers?", first, "And why?").json)
    assert "turn 2" in later.lower() or "number 2" in later
    sim.post("/_sim/config", {"seed": 5})
    assert text_of(provider, sim.ask(provider, "What is owed to strangers?").json) != first


@pytest.mark.parametrize("provider", PROVIDERS)
def test_reasoning_is_counted_as_the_provider_counts_it(sim, provider):
    body = sim.ask(provider, "Weigh it. [[sim:reasoning=50,text=eight ch]]").json
    assert text_of(provider, body) == "eight ch"
    _, output, reasoning = usage_of(provider, body)
    assert output == 52
    if provider != "mistral":  # which has no field for it
        assert reasoning == 50
    if provider == "xai":
        assert body["usage"]["completion_tokens"] == 2
    if provider in ("openai", "deepseek"):
        assert body["usage"]["completion_tokens"] == 52


@pytest.mark.parametrize("provider", PROVIDERS)
def test_max_tokens_cuts_and_says_so(sim, provider):
    limit = {"google": {"generationConfig": {"maxOutputTokens": 5}},
             "openai": {"max_completion_tokens": 5}}.get(provider, {"max_tokens": 5})
    body = sim.ask(provider, "Say much.", **limit).json
    assert len(text_of(provider, body)) == 20
    assert finish_of(provider, body) == {"anthropic": "max_tokens", "google": "MAX_TOKENS"}.get(provider, "length")
    body = sim.ask(provider, "Think much. [[sim:reasoning=50]]", **limit).json
    assert text_of(provider, body) == ""
    assert usage_of(provider, body)[1] == 5


def test_each_refusal_looks_as_its_provider_refuses(sim):
    def refused(provider, style=""):
        answer = sim.ask(provider, f"No. [[sim:refuse{style}]]")
        assert answer.status == 200
        return answer.json
    message = refused("openai")["choices"][0]["message"]
    assert message["content"] is None and message["refusal"]
    assert finish_of("openai", refused("openai", "=content_filter")) == "content_filter"
    claude = refused("anthropic")
    assert (claude["content"], claude["stop_reason"]) == ([], "refusal")
    blocked = refused("google")
    assert blocked["promptFeedback"]["blockReason"] and "candidates" not in blocked
    safety = refused("google", "=safety")["candidates"][0]
    assert (safety["finishReason"], "content" in safety) == ("SAFETY", False)
    assert text_of("google", refused("google", "=empty")) == ""
    thought = refused("deepseek")["choices"][0]["message"]
    assert thought["content"] == "" and thought["reasoning_content"]
    assert text_of("mistral", refused("mistral")) == ""
    assert finish_of("mistral", refused("mistral", "=error")) == "error"
    assert refused("xai")["choices"][0]["message"]["refusal"]


def read_class(provider, status, body):
    """The class that PROVIDERS' evidence gives, read by another hand than the table's own label."""
    text = body if isinstance(body, str) else json.dumps(body)
    used_up = {"openai": ("insufficient_quota", "_spend_limit_exceeded"), "xai": ("used all available credits",),
               "anthropic": ("API usage limits", "enforced_spend_limit_reached", "credit balance is too low"),
               "google": ("PerDay", "limit: 0")}.get(provider, ())
    if status == 402 or any(mark in text for mark in used_up):
        return "QUOTA_EXHAUSTED"
    if status == 400 and ("API_KEY_INVALID" in text or "Incorrect API key" in text):
        return "AUTH_ERROR"
    if provider == "openai" and status == 503 and "slow_down" in text:
        return "RATE_LIMIT"
    return class_of_status(status)


@pytest.mark.parametrize("name", ERRORS)
def test_named_error_is_sent_as_listed(sim, name):
    listed = ERRORS[name]
    provider = listed["provider"]
    answer = sim.ask(provider, f"[[sim:error={name},ratelimit=2]]", model="MODEL")
    assert answer.status == listed["status"]
    body = answer.raw.decode() if isinstance(listed["body"], str) else {**answer.json}
    if "request_id" in body:
        body["request_id"] = listed["body"]["request_id"]
    assert body == listed["body"]
    for header, value in listed["headers"].items():
        if not header.endswith("-reset"):  # a wall clock's time
            assert answer.headers[header] == value
    assert read_class(provider, answer.status, body) == listed["class"]
    entry = sim.entries()[-1]
    assert (entry["error"], entry["status"], entry["bought"]) == (name, answer.status, False)


def test_error_table_is_served_whole(sim):
    served = sim.get("/_sim/errors")["errors"]
    assert [e["name"] for e in served] == list(ERRORS)
    for provider in PROVIDERS:
        classes = {e["class"] for e in served if e["provider"] == provider}
        assert classes == {"QUOTA_EXHAUSTED", "AUTH_ERROR", "VALIDATION_ERROR", "NOT_FOUND", "RATE_LIMIT",
                           "SERVER_ERROR"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_status_can_be_asked_for(sim, provider):
    for status in (400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529, 599):
        assert sim.ask(provider, f"[[sim:status={status}]]").status == status
    assert sim.ask(provider, "[[sim:status=429]]").json != sim.ask(provider, "[[sim:quota]]").json


KEYS = {  # provider: (status without a key, status of a bad one, what its body says)
    "openai": (401, 401, "invalid_api_key"), "anthropic": (401, 401, "authentication_error"),
    "google": (403, 400, "API_KEY_INVALID"), "xai": (401, 400, "Incorrect API key"),
    "deepseek": (401, 401, "authentication_error"), "mistral": (401, 401, "Unauthorized")}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_keys_are_checked_and_never_repeated(sim, provider):
    missing, bad, evidence = KEYS[provider]
    assert sim.ask(provider, "Hello", key="").status == missing
    answer = sim.ask(provider, "Hello", key="bad-Zq9secret")
    assert answer.status == bad
    assert evidence in answer.raw.decode()
    assert "Zq9" not in answer.raw.decode() + str(answer.headers)
    assert "Zq9" not in json.dumps(sim.entries())


def test_google_key_in_the_url_does_not_count(sim):
    answer = sim.request("POST", "/google/v1beta/models/gemini-1.5-pro:generateContent?key=abc", {"contents": []})
    assert answer.status == 403


INVALID = [
    ("openai", {"model": None}, 400, "model"),
    ("openai", {"messages": []}, 400, "messages"),
    ("openai", {"messages": [{"role": "robot", "content": "x"}]}, 400, "robot"),
    ("openai", {"temperature": 2.5}, 400, "temperature"),
    ("openai", {"temperature": "hot"}, 400, "invalid_type"),
    ("openai", {"max_completion_tokens": 0}, 400, "max_completion_tokens"),
    ("openai", {"model": "gpt-5", "max_tokens": 10}, 400, "unsupported_parameter"),
    ("openai", {"model": "o3-mini", "max_tokens": 10}, 400, "max_completion_tokens"),
    ("openai", {"model": "gpt-5-mini", "temperature": 0.7}, 400, "unsupported_value"),
    ("openai", {"model": "nonexistent-9"}, 404, "model_not_found"),
    ("anthropic", {"max_tokens": None}, 400, "max_tokens"),
    ("anthropic", {"temperature": 1.1}, 400, "temperature"),
    ("anthropic", {"model": "claude-opus-4-7", "temperature": 0.5}, 400, "temperature"),
    ("anthropic", {"messages": [{"role": "system", "content": "x"}]}, 400, "system"),
    ("anthropic", {"model": "no-such-claude"}, 404, "not_found_error"),
    ("google", {"contents": []}, 400, "INVALID_ARGUMENT"),
    ("google", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, 400, "valid role"),
    ("google", {"generationConfig": {"temperature": 2.1}}, 400, "temperature"),
    ("xai", {"temperature": -1}, 400, "temperature"),
    ("xai", {"model": None}, 422, "model"),
    ("deepseek", {"temperature": 3}, 422, "temperature"),
    ("deepseek", {"model": "nonexistent"}, 400, "Model Not Exist"),
    ("mistral", {"temperature": 1.6}, 422, "temperature"),
    ("mistral", {"model": None}, 422, "model"),
    ("mistral", {"model": "no-such-model"}, 400, "invalid_model"),
]


@pytest.mark.parametrize("provider, patch, status, evidence", INVALID)
def test_invalid_request_is_refused_as_the_provider_would(sim, provider, patch, status, evidence):
    body = {**request_body(provider, ["Hello"], MODELS[provider]), **patch}
    answer = sim.request("POST", f"/{provider}{ask_path(provider, MODELS[provider])}", body, auth(provider))
    assert (answer.status, evidence in answer.raw.decode()) == (status, True), answer.raw


VALID = [
    ("openai", {"temperature": 2, "max_tokens": 100, "seed": 3}), ("openai", {"model": "gpt-5", "temperature": 1}),
    ("openai", {"model": "gpt-5-chat-latest", "temperature": 0.3}), ("anthropic", {"temperature": 1}),
    ("deepseek", {"model": "deepseek-reasoner", "temperature": 9}), ("mistral", {"temperature": 1.5, "random_seed": 1}),
    ("google", {"generationConfig": {"temperature": 0, "seed": 1}})]


@pytest.mark.parametrize("provider, patch", VALID + [(p, {}) for p in PROVIDERS])
def test_valid_request_with_unknown_fields_is_answered(sim, provider, patch):
    assert sim.ask(provider, "Hello", **{**patch, "some_future_field": {"x": 1}}).status == 200


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff\xfe{", b"[" * 100_000])
def test_body_that_is_no_json_object_is_refused(sim, provider, raw):
    answer = sim.request("POST", f"/{provider}{ask_path(provider, 'm')}", raw, auth(provider))
    assert answer.status in (400, 422)


def test_anthropic_version_is_required(sim):
    answer = sim.request("POST", "/anthropic/v1/messages", {}, {"x-api-key": "k"})
    assert (answer.status, "anthropic-version" in answer.raw.decode()) == (400, True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_request_over_the_size_limit_gets_413(sim, provider):
    sim.post("/_sim/config", {"max_request_bytes": 2000})
    assert sim.ask(provider, "x" * 3000).status == 413


HEALTH = [("openai", "/v1/models", "data"), ("anthropic", "/v1/models?limit=1", "data"),
          ("google", "/v1beta/models?pageSize=1", "models"), ("xai", "/v1/models", "data"),
          ("deepseek", "/models", "data"), ("deepseek", "/user/balance", "balance_infos"),
          ("mistral", "/v1/models", "data")]


@pytest.mark.parametrize("provider, path, key", HEALTH)
def test_health_page_costs_nothing_and_checks_the_key(sim, provider, path, key):
    answer = sim.request("GET", f"/{provider}{path}", headers=auth(provider))
    assert answer.status == 200 and answer.json[key]
    assert sim.request("GET", f"/{provider}{path}", headers=auth(provider, "bad-key")).status == KEYS[provider][1]
    assert sim.request("GET", f"/{provider}{path}").status == KEYS[provider][0]
    stats = sim.get("/_sim/stats")["providers"][provider]
    assert (stats["health"], stats["asked"]) == (1, 0)


def test_deepseek_without_balance_is_not_available(sim):
    sim.post("/_sim/config", {"balance": 0})
    assert sim.request("GET", "/deepseek/user/balance", headers=auth("deepseek")).json["is_available"] is False


@pytest.mark.parametrize("provider", PROVIDERS)
def test_unknown_path_and_wrong_method_are_refused(sim, provider):
    assert sim.request("POST", f"/{provider}/v9/nothing", {}, auth(provider)).status == 404
    assert sim.request("GET", f"/{provider}{ask_path(provider, 'm')}", headers=auth(provider)).status == 405
