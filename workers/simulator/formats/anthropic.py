"""Anthropic's messages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase

from simulator.faults import AUTH, INVALID, NOT_FOUND, QUOTA, RATE, SERVER, Fault, Reject, gateway_page
from simulator.formats.base import (Ask, Detail, Draft, Format, chat_messages, integer, message_of, need_model, number,
                                    text_of, whole_seconds)

ROLES = {"user": "user", "assistant": "assistant"}
# Models that take no temperature but 1.
FIXED_TEMPERATURE = ("claude-opus-4-7*", "claude-opus-5*", "claude-sonnet-5*", "claude-haiku-5*")


def _row(name: str, status: int, code: str, message: str, type_: str | None = None, **more) -> Fault:
    return Fault(name, status, code, message, {"type": type_ or name}, **more)


def rfc3339(at: float) -> str:
    """Unix seconds -> `2025-11-01T12:00:03Z`, rounded up so that obeying it is never too early."""
    exact = datetime.fromtimestamp(at, timezone.utc)
    whole = exact.replace(microsecond=0)
    return (whole + timedelta(seconds=exact != whole)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Anthropic(Format):
    name = "anthropic"
    ask_path = "/v1/messages"
    health_paths = {"/v1/models": "models"}
    sample_models = ("claude-3-sonnet", "claude-3-5-haiku-latest", "claude-sonnet-4-5")
    missing_key, bad_key = "missing_api_key", "authentication_error"
    unknown_model, unknown_path, wrong_method = "not_found_error", "not_found_error", "method_not_allowed"
    too_large = "request_too_large"
    quota_fault, rate_fault = "billing_error", "rate_limit_error"
    rejects = dict.fromkeys(("json", "missing", "type", "range", "value"), "invalid_request_error")
    refusals = ("refusal", "partial")
    finishes = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
    usage_field = ("usage", "output_tokens")
    table = (
        _row("invalid_request_error", 400, INVALID, "The request is not valid."),
        _row("usage_limits", 400, QUOTA, "You have reached your specified API usage limits. "
             "You will regain access on 2099-01-01 at 00:00 UTC.", "invalid_request_error"),
        _row("workspace_usage_limits", 400, QUOTA, "You have reached your specified workspace API usage limits. "
             "You will regain access on 2099-01-01 at 00:00 UTC.", "invalid_request_error"),
        _row("credit_balance_too_low", 400, QUOTA, "Your credit balance is too low to access the Anthropic API. "
             "Please go to Plans & Billing to upgrade or purchase credits.", "invalid_request_error"),
        _row("authentication_error", 401, AUTH, "invalid x-api-key"),
        _row("missing_api_key", 401, AUTH, "x-api-key header is required", "authentication_error"),
        _row("billing_error", 402, QUOTA, "There is an issue with your billing or payment details."),
        _row("permission_error", 403, AUTH, "Your API key may not use the specified resource."),
        _row("not_found_error", 404, NOT_FOUND, "model: {model}"),
        _row("method_not_allowed", 405, INVALID, "Method not allowed", "invalid_request_error"),
        _row("request_timeout", 408, SERVER, "Request timeout", "timeout_error"),
        _row("conflict_error", 409, SERVER, "The resource was changed by another request."),
        _row("request_too_large", 413, INVALID, "Request exceeds the maximum size"),
        _row("unprocessable", 422, INVALID, "The request could not be processed.", "invalid_request_error"),
        _row("rate_limit_error", 429, RATE, "This request would exceed your organization's rate limit.", waits=True),
        _row("spend_limit", 429, QUOTA, "Your organization has reached the monthly limit of its usage tier.",
             "rate_limit_error"),
        _row("api_error", 500, SERVER, "Internal server error"),
        _row("api_error_no_retry", 500, SERVER, "Internal server error", "api_error",
             headers={"x-should-retry": "false"}),
        Fault("bad_gateway", 502, SERVER, "Bad gateway", raw=gateway_page(502, "Bad Gateway")),
        _row("unavailable", 503, SERVER, "Service unavailable", "api_error"),
        _row("timeout_error", 504, SERVER, "The request timed out while it was processed."),
        _row("overloaded_error", 529, SERVER, "Overloaded", headers={"x-should-retry": "true"}),
    )

    def credential(self, headers):
        return headers.get("x-api-key", "").strip()

    def check_headers(self, headers):
        if not headers.get("anthropic-version"):
            raise Reject("missing", "anthropic-version: header is required")

    def parse(self, payload: dict, model: str) -> Ask:
        model = need_model(payload)
        if payload.get("max_tokens") is None:
            raise Reject("missing", "max_tokens: Field required")
        most = integer(payload, "max_tokens", 1)
        messages = chat_messages(payload, ROLES)
        if messages[0][0] != "user":
            raise Reject("value", "messages: first message must use the \"user\" role")
        if not all(text for _, text in messages):
            raise Reject("value", "messages: text content blocks must be non-empty")
        temperature = number(payload, "temperature", 0, 1)
        if temperature not in (None, 1) and any(fnmatchcase(model, glob) for glob in FIXED_TEMPERATURE):
            raise Reject("value", "temperature: this model takes only the default value 1")
        number(payload, "top_p", 0, 1)
        system = payload.get("system")
        if system is not None:
            messages.insert(0, ("system", text_of(system, "system")))
        return Ask(self.name, model, messages, most)

    def answer(self, draft: Draft, model: str) -> dict:
        stop, text = self.finish(draft.finish), draft.text
        if draft.refusal:
            stop, text = "refusal", "I would" if draft.refusal == "partial" else ""
        content = []
        if draft.thought:
            content.append({"type": "thinking", "thinking": draft.thought, "signature": "c2ltdWxhdGVk"})
        if text:
            content.append({"type": "text", "text": text})
        usage = {"input_tokens": draft.input_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                 "output_tokens": draft.output_tokens + draft.reasoning_tokens, "service_tier": "standard"}
        if draft.reasoning_tokens:
            usage["output_tokens_details"] = {"thinking_tokens": draft.reasoning_tokens}
        body = {"id": f"msg_{draft.ident}", "type": "message", "role": "assistant", "content": content,
                "stop_reason": stop, "stop_sequence": None, "usage": usage}
        return body if draft.version is None else {**body, "model": draft.version}

    def error_body(self, fault: Fault, detail: Detail) -> object:
        error = {"type": fault.fields.get("type", "api_error"), "message": message_of(fault, detail)}
        if fault.name == "spend_limit":
            error["details"] = {"error_code": "enforced_spend_limit_reached"}
        return {"type": "error", "error": error, "request_id": f"req_{detail.ident}"}

    def headers(self, ident):
        return {"request-id": f"req_{ident}"}

    def limit_headers(self, gauges, now):
        found = {}
        for gauge in gauges:
            prefix = f"anthropic-ratelimit-{gauge.unit.replace('_', '-')}"
            found[f"{prefix}-limit"] = str(gauge.limit)
            found[f"{prefix}-remaining"] = str(gauge.remaining)
            found[f"{prefix}-reset"] = rfc3339(now + gauge.reset_s)
        return found

    def wait_headers(self, fault, detail):
        if detail.wait_s is None:
            return {}
        told = {"retry-after": whole_seconds(detail.wait_s)}
        if detail.meter is None:
            told["anthropic-ratelimit-requests-remaining"] = "0"
            told["anthropic-ratelimit-requests-reset"] = rfc3339(detail.now + detail.wait_s)
        return told

    def health(self, kind, models, balance):
        data = [{"type": "model", "id": m, "display_name": m, "created_at": "2024-01-01T00:00:00Z"} for m in models]
        return {"data": data, "has_more": False, "first_id": models[0] if models else None,
                "last_id": models[-1] if models else None}
