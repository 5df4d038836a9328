"""Mistral: OpenAI's dialect with content chunks, random_seed, and bodies of its own for errors."""

from __future__ import annotations

from simulator.faults import AUTH, INVALID, NOT_FOUND, QUOTA, RATE, SERVER, Fault, Reject, gateway_page
from simulator.formats.base import (Ask, Detail, Format, chat_messages, integer, message_of, need_model, number,
                                    whole_seconds)
from simulator.formats.openai import ROLES, OpenAI, chat_completion, models_list

UNITS = {"requests": "req", "tokens": "tokens"}


def _row(name: str, status: int, code: str, message: str, type_: str, number_: str | None, **more) -> Fault:
    return Fault(name, status, code, message, {"type": type_, "code": number_}, **more)


class Mistral(OpenAI):
    name = "mistral"
    sample_models = ("mistral-large", "mistral-small-latest", "magistral-medium-latest")
    temperature_range = (0, 1.5)
    max_fields = ("max_tokens",)
    missing_key, bad_key = "unauthorized", "unauthorized"
    unknown_model, unknown_path, wrong_method = "invalid_model", "not_found", "method_not_allowed"
    too_large = "request_too_large"
    quota_fault, rate_fault = "payment_required", "rate_limited"
    rejects = {"json": "unprocessable", "missing": "unprocessable", "type": "unprocessable", "range": "unprocessable",
               "value": "unprocessable"}
    refusals = ("empty", "error")
    table = (
        _row("invalid_request", 400, INVALID, "The request is not valid.", "invalid_request_error", "3051"),
        _row("invalid_model", 400, INVALID, "Invalid model: {model}", "invalid_model", "1500"),
        Fault("unauthorized", 401, AUTH, "Unauthorized", {"detail": "Unauthorized"}),
        _row("payment_required", 402, QUOTA, "Payment required: the workspace has no credit left.", "payment_required",
             "1402"),
        _row("forbidden", 403, AUTH, "This key may not use {model}.", "forbidden", None),
        _row("not_found", 404, NOT_FOUND, "No such route.", "not_found", None),
        _row("method_not_allowed", 405, INVALID, "Method not allowed.", "method_not_allowed", None),
        _row("request_timeout", 408, SERVER, "Request timeout.", "timeout", None),
        _row("conflict", 409, SERVER, "Conflict.", "conflict", None),
        _row("request_too_large", 413, INVALID, "The request body is too large.", "request_too_large", None),
        Fault("unprocessable", 422, INVALID, "Input should be valid", {"loc": "messages"}),
        _row("rate_limited", 429, RATE, "Rate limit exceeded", "rate_limited", "1300", waits=True),
        _row("capacity_exceeded", 429, RATE, "Service tier capacity exceeded for this model.",
             "service_tier_capacity_exceeded", "3505"),
        _row("internal", 500, SERVER, "Service unavailable.", "internal_server_error", "3000"),
        Fault("bad_gateway", 502, SERVER, "Bad gateway", raw=gateway_page(502, "Bad Gateway")),
        _row("unavailable", 503, SERVER, "The service is overloaded.", "unreachable_backend", "1100"),
        Fault("gateway_timeout", 504, SERVER, "Gateway timeout", raw=gateway_page(504, "Gateway Time-out")),
    )

    def parse(self, payload: dict, model: str) -> Ask:
        model = need_model(payload)
        messages = chat_messages(payload, ROLES)
        if messages[-1][0] == "assistant":
            raise Reject("invalid_request", "Expected last role User or Tool for serving but got assistant.")
        number(payload, "temperature", *self.temperature_range)
        number(payload, "top_p", 0, 1)
        return Ask(self.name, model, messages, integer(payload, "max_tokens", 0), integer(payload, "random_seed", 0))

    def token_costs(self, ask, draft):
        return Format.token_costs(self, ask, draft)

    def breach(self, meter, wait_ns):
        return self.rate_fault

    def answer(self, draft, model):
        content: object = draft.text
        finish = self.finish(draft.finish)
        if draft.refusal:
            content = ""
            finish = "error" if draft.refusal == "error" else finish
        elif draft.thought:
            content = [{"type": "thinking", "thinking": [{"type": "text", "text": draft.thought}]},
                       {"type": "text", "text": draft.text}]
        completion = draft.output_tokens + draft.reasoning_tokens
        usage = {"prompt_tokens": draft.input_tokens, "completion_tokens": completion,
                 "total_tokens": draft.input_tokens + completion}
        body = chat_completion(draft, {"content": content, "tool_calls": None}, finish, usage)
        return {**body, "id": draft.ident}

    def error_body(self, fault: Fault, detail: Detail) -> object:
        message = message_of(fault, detail)
        if fault.status == 422:
            where = detail.param or fault.fields.get("loc", "messages")
            return {"detail": [{"loc": ["body", where], "msg": message, "type": "value_error"}]}
        if "detail" in fault.fields:
            return {"detail": fault.fields["detail"]}
        return {"object": "error", "message": message, "type": fault.fields.get("type"), "param": detail.param,
                "code": fault.fields.get("code")}

    def headers(self, ident):
        return {"mistral-correlation-id": ident}

    def limit_headers(self, gauges, now):
        found = {}
        for gauge in gauges:
            if gauge.unit in UNITS:
                found[f"x-ratelimit-limit-{UNITS[gauge.unit]}-minute"] = str(gauge.limit)
                found[f"x-ratelimit-remaining-{UNITS[gauge.unit]}-minute"] = str(gauge.remaining)
        return found

    def wait_headers(self, fault, detail):
        return {} if detail.wait_s is None else {"Retry-After": whole_seconds(detail.wait_s)}

    def health(self, kind, models, balance):
        return models_list(models)
