"""Every class of error, by every evidence that a provider gives for it."""

import json

import pytest

from conftest import environment
from proctor import config, errors, providers
from simulator.engine import listed_errors


@pytest.fixture
def interpret(monkeypatch):
    """interpret(provider, status, document, headers) -> the ProbeError."""
    monkeypatch.delenv("PROCTOR_PROVIDERS", raising=False)
    opened = providers.open_all(config.Settings(environment()))

    def call(name, status, doc, headers=()):
        lines = [f"{key}: {value}\r\n".encode() for key, value in dict(headers).items()]
        data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        with pytest.raises(errors.ProbeError) as caught:
            opened[name].interpret(status, lines, data)
        assert caught.value.status == status
        return caught.value

    return call


def openai(code=None, kind="requests", message="No."):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic(kind, message="No.", **more):
    return {"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_1"}


def google(code, status, message="No.", *details):
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def quota(quota_id):
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]}


def mistral(message="No.", kind="invalid", code=None):
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


API_KEY_INVALID = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
PER_MINUTE = "You exceeded your current quota, please check your plan and billing details."
CREDITS = "Your team has either used all available credits or reached its monthly spending limit."
UNPROCESSABLE = {"detail": [{"loc": ["body", "temperature"], "msg": "too high", "type": "v"}]}

ROWS = [
    ("openai", 429, openai("insufficient_quota", "insufficient_quota"), "QUOTA_EXHAUSTED"),
    ("openai", 429, openai(None, "insufficient_quota"), "QUOTA_EXHAUSTED"),
    ("openai", 429, openai("project_spend_limit_exceeded"), "QUOTA_EXHAUSTED"),
    ("openai", 429, openai("rate_limit_exceeded", "tokens"), "RATE_LIMIT"),
    ("openai", 429, openai("rate_limit_exceeded", message="insufficient_quota in prose"), "RATE_LIMIT"),
    ("openai", 503, openai("slow_down"), "RATE_LIMIT"),
    ("openai", 503, openai(None, "slow_down"), "RATE_LIMIT"),
    ("openai", 503, openai("overloaded"), "SERVER_ERROR"),
    ("openai", 401, openai("invalid_api_key", "invalid_request_error"), "AUTH_ERROR"),
    ("openai", 403, openai("unsupported_country_region_territory"), "AUTH_ERROR"),
    ("openai", 400, openai("unsupported_parameter", "invalid_request_error"), "VALIDATION_ERROR"),
    ("openai", 404, openai("model_not_found", "invalid_request_error"), "NOT_FOUND"),
    ("anthropic", 402, anthropic("billing_error"), "QUOTA_EXHAUSTED"),
    ("anthropic", 400, anthropic("invalid_request_error", "You have reached your specified API usage limits."
                                 " You will regain access on 2026-08-01."), "QUOTA_EXHAUSTED"),
    ("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low to access the API."),
     "QUOTA_EXHAUSTED"),
    ("anthropic", 429, anthropic("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}),
     "QUOTA_EXHAUSTED"),
    ("anthropic", 429, anthropic("enforced_spend_limit_reached"), "QUOTA_EXHAUSTED"),
    ("anthropic", 429, anthropic("rate_limit_error", "enforced_spend_limit_reached"), "QUOTA_EXHAUSTED"),
    ("anthropic", 429, anthropic("rate_limit_error", details=None), "RATE_LIMIT"),
    ("anthropic", 401, anthropic("authentication_error"), "AUTH_ERROR"),
    ("anthropic", 403, anthropic("permission_error"), "AUTH_ERROR"),
    ("anthropic", 404, anthropic("not_found_error"), "NOT_FOUND"),
    ("anthropic", 413, anthropic("request_too_large"), "VALIDATION_ERROR"),
    ("anthropic", 529, anthropic("overloaded_error"), "SERVER_ERROR"),
    ("google", 400, google(400, "INVALID_ARGUMENT", "API key not valid.", API_KEY_INVALID), "AUTH_ERROR"),
    ("google", 400, google(400, "INVALID_ARGUMENT"), "VALIDATION_ERROR"),
    ("google", 403, google(403, "PERMISSION_DENIED"), "AUTH_ERROR"),
    ("google", 402, google(402, "PAYMENT_REQUIRED"), "QUOTA_EXHAUSTED"),
    ("google", 404, google(404, "NOT_FOUND"), "NOT_FOUND"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED", PER_MINUTE,
                           quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")), "RATE_LIMIT"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED", PER_MINUTE,
                           quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), "QUOTA_EXHAUSTED"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED", PER_MINUTE + " Quota exceeded, limit: 0, model: x"),
     "QUOTA_EXHAUSTED"),
    ("google", 429, google(429, "RESOURCE_EXHAUSTED", PER_MINUTE + " Quota exceeded, limit: 05"),
     "RATE_LIMIT"),
    ("google", 429, [google(429, "RESOURCE_EXHAUSTED", PER_MINUTE, quota("PerDay"))], "QUOTA_EXHAUSTED"),
    ("google", 503, google(503, "UNAVAILABLE"), "SERVER_ERROR"),
    ("google", 504, google(504, "DEADLINE_EXCEEDED"), "SERVER_ERROR"),
    ("xai", 400, {"code": "invalid-argument", "error": "Incorrect API key provided: xa***."}, "AUTH_ERROR"),
    ("xai", 400, {"code": "invalid-argument", "error": "max_tokens"}, "VALIDATION_ERROR"),
    ("xai", 403, {"code": "permission-denied", "error": CREDITS}, "QUOTA_EXHAUSTED"),
    ("xai", 429, {"code": "resource-exhausted", "error": CREDITS}, "QUOTA_EXHAUSTED"),
    ("xai", 429, {"code": "resource-exhausted", "error": "Too many requests"}, "RATE_LIMIT"),
    ("xai", 403, {"code": "permission-denied", "error": "No access"}, "AUTH_ERROR"),
    ("xai", 404, {"code": "not-found", "error": "No such model"}, "NOT_FOUND"),
    ("deepseek", 402, openai("invalid_request_error", message="Insufficient Balance"), "QUOTA_EXHAUSTED"),
    ("deepseek", 401, openai("invalid_request_error", "authentication_error"), "AUTH_ERROR"),
    ("deepseek", 422, openai(), "VALIDATION_ERROR"),
    ("deepseek", 429, openai(), "RATE_LIMIT"),
    ("mistral", 402, mistral(), "QUOTA_EXHAUSTED"),
    ("mistral", 401, {"message": "Unauthorized", "request_id": "x"}, "AUTH_ERROR"),
    ("mistral", 422, UNPROCESSABLE, "VALIDATION_ERROR"),
    ("mistral", 429, mistral("Requests rate limit exceeded", code="1300"), "RATE_LIMIT"),
    ("mistral", 400, mistral({"detail": [{"msg": "x"}]}), "VALIDATION_ERROR"),
]
EVERYWHERE = [
    (400, "VALIDATION_ERROR"), (401, "AUTH_ERROR"), (402, "QUOTA_EXHAUSTED"), (403, "AUTH_ERROR"),
    (404, "NOT_FOUND"), (408, "SERVER_ERROR"), (409, "SERVER_ERROR"), (413, "VALIDATION_ERROR"),
    (418, "VALIDATION_ERROR"), (422, "VALIDATION_ERROR"), (429, "RATE_LIMIT"), (500, "SERVER_ERROR"),
    (502, "SERVER_ERROR"), (503, "SERVER_ERROR"), (504, "SERVER_ERROR"), (529, "SERVER_ERROR"),
    (301, "INVALID_RESPONSE"), (407, "NETWORK_ERROR"),
]
RETRYABLE = {"RATE_LIMIT", "SERVER_ERROR", "NETWORK_ERROR"}


@pytest.mark.parametrize("name, status, doc, code", ROWS)
def test_an_error_has_the_class_of_its_evidence(interpret, name, status, doc, code):
    error = interpret(name, status, doc)
    assert error.code == code and error.retryable == (code in RETRYABLE)
    shown = error.to_json()
    assert shown["statusCode"] == status and shown["details"]["provider"] == name
    assert str(status) in shown["message"]


@pytest.mark.parametrize("listed", listed_errors(), ids=lambda listed: listed["name"])
def test_workers_and_the_simulator_mean_the_same_by_an_error(interpret, listed):
    body = listed["body"]
    error = interpret(listed["provider"], listed["status"], body.encode() if isinstance(body, str) else body,
                      listed["headers"])
    assert error.code == listed["class"]


@pytest.mark.parametrize("name", ["openai", "anthropic", "google", "xai", "deepseek", "mistral"])
@pytest.mark.parametrize("status, code", EVERYWHERE)
@pytest.mark.parametrize("doc", [b"", b"<html>Bad gateway</html>", b"{}", b'{"error":null}', b"[]", b"7",
                                 b'{"error":{"message":7,"details":3,"type":[]}}', b'{"detail":{}}'])
def test_without_evidence_the_status_decides(interpret, name, status, code, doc):
    error = interpret(name, status, doc)
    assert error.code == code
    json.dumps(error.to_json(), allow_nan=False)


def test_the_providers_words_are_in_the_message(interpret):
    assert interpret("mistral", 422, UNPROCESSABLE).message == (
        "Mistral answered 422: body.temperature: too high")
    assert "Too many" in interpret("xai", 429, {"code": "c", "error": "Too many requests"}).message
    assert "Bad gateway" in interpret("openai", 502, b"<html>Bad gateway</html>").message


@pytest.mark.parametrize("name, obeyed", [("openai", True), ("anthropic", True), ("xai", False),
                                          ("mistral", False), ("google", False), ("deepseek", False)])
def test_x_should_retry_is_obeyed_where_it_is_meant(interpret, name, obeyed):
    error = interpret(name, 500, b"", {"x-should-retry": "false"})
    assert error.code == "SERVER_ERROR" and error.retryable is not obeyed
    error = interpret(name, 400, b"", {"X-Should-Retry": "true"})
    assert error.code == "VALIDATION_ERROR" and error.retryable is obeyed


def test_x_should_retry_cannot_unpark_a_spent_quota(interpret):
    error = interpret("openai", 429, openai("insufficient_quota"), {"x-should-retry": "true"})
    assert error.code == "QUOTA_EXHAUSTED" and error.retryable is False


@pytest.mark.parametrize("headers, wait", [
    ({"retry-after": "2"}, 2000),
    ({"Retry-After": "1.5"}, 1500),
    ({"retry-after-ms": "250", "retry-after": "9"}, 250),
    ({"retry-after": "soon"}, None),
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s",
      "x-ratelimit-remaining-tokens": "99", "x-ratelimit-reset-tokens": "12ms"}, 360_000),
    ({"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "400",
      "x-ratelimit-reset-requests": "1s", "x-ratelimit-limit-tokens": "30000",
      "x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "20s"}, 20_000),
    ({"retry-after": "3", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}, 3000),
    ({}, None),
])
def test_a_rate_limit_says_when_to_come_back(interpret, headers, wait):
    assert interpret("openai", 429, openai(), headers).retry_after_ms == wait


def test_google_says_when_to_come_back_in_the_body(interpret):
    doc = google(429, "RESOURCE_EXHAUSTED", PER_MINUTE, quota("PerMinute"),
                 {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.837906927s"})
    assert interpret("google", 429, doc).retry_after_ms == 45838


def test_an_overload_too_may_say_when_to_come_back(interpret):
    assert interpret("anthropic", 529, anthropic("overloaded_error"), {"retry-after": "7"}
                     ).retry_after_ms == 7000


def test_limits_travel_with_the_error(interpret):
    error = interpret("openai", 429, openai(), {"x-ratelimit-remaining-requests": "0"})
    assert error.to_json()["limits"] == {"requests": {"remaining": 0}}


def test_an_error_object_is_bounded_and_fit_for_jsonb():
    error = errors.ServerError("m\x00\ud800" * 5000, {"body": {"k\x00": ["\ud800", float("inf"), 2**70]}})
    shown = error.to_json()
    assert len(shown["message"]) == 2000 and "\x00" not in shown["message"]
    assert shown["details"] == {"body": {"k\ufffd": ["\ufffd", None, None]}}
    long = errors.ServerError("m", {"body": "\u4e16\"\\" * 20_000}).to_json()
    assert long["details"]["truncated"] is True
    assert len(json.dumps(long["details"], ensure_ascii=False).encode()) <= 8192


def test_every_code_has_its_class():
    def walk(kind):
        for sub in kind.__subclasses__():
            yield sub
            yield from walk(sub)
    codes = {kind.code: kind for kind in walk(errors.ProbeError) if "code" in vars(kind)}
    assert set(codes) | {errors.ProbeError.code} == {
        "RATE_LIMIT", "TIMEOUT", "NETWORK_ERROR", "SERVER_ERROR", "UNKNOWN", "QUOTA_EXHAUSTED", "AUTH_ERROR",
        "MISSING_API_KEY", "VALIDATION_ERROR", "NOT_FOUND", "INVALID_RESPONSE", "CONTENT_BLOCKED",
        "UNSUPPORTED_PROVIDER", "CANCELLED"}
    assert {code for code, kind in codes.items() if kind.retryable} == {
        "RATE_LIMIT", "TIMEOUT", "NETWORK_ERROR", "SERVER_ERROR"}
