"""OpenAI's chat completions: the dialect that three other providers follow."""

from __future__ import annotations

from fnmatch import fnmatchcase

from simulator.faults import AUTH, INVALID, NOT_FOUND, QUOTA, RATE, SERVER, Fault, Reject, gateway_page
from simulator.formats.base import (Ask, Detail, Draft, Format, chat_messages, go_duration, integer, message_of,
                                    need_model, number, tokens_in, whole_seconds)
from simulator.limits import NEVER

REQUEST = "invalid_request_error"
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
REASONING_MODELS = ("o1*", "o3*", "o4*", "gpt-5*")
PLAIN_MODELS = ("gpt-5-chat*",)


def _invalid(name: str, message: str, code: str | None, param: str | None = None, status: int = 400) -> Fault:
    return Fault(name, status, INVALID, message, {"type": REQUEST, "param": param, "code": code})


def _used_up(code: str, message: str) -> Fault:
    return Fault(code, 429, QUOTA, message, {"type": "insufficient_quota", "code": code})


def chat_completion(draft: Draft, message: dict, finish: str, usage: dict) -> dict:
    """The envelope that OpenAI, xAI, DeepSeek and Mistral share."""
    body = {"id": f"chatcmpl-{draft.ident}", "object": "chat.completion", "created": draft.created}
    if draft.version is not None:
        body["model"] = draft.version
    body["choices"] = [{"index": 0, "message": {"role": "assistant", **message}, "logprobs": None,
                        "finish_reason": finish}]
    body["usage"] = usage
    return body


def spent_headers(unit: str, detail: Detail) -> dict[str, str]:
    """x-ratelimit-* of a refusal.  A broken limit has told its own remainder already."""
    told = {f"x-ratelimit-reset-{unit}": go_duration(detail.wait_s)}
    return told if detail.meter else {**told, f"x-ratelimit-remaining-{unit}": "0"}


def models_list(models: list[str]) -> dict:
    return {"object": "list", "data": [{"id": m, "object": "model", "created": 1700000000, "owned_by": "simulator"}
                                       for m in models]}


class OpenAI(Format):
    name = "openai"
    ask_path = "/v1/chat/completions"
    health_paths = {"/v1/models": "models"}
    sample_models = ("gpt-4", "gpt-4o-mini", "gpt-5", "o3")
    missing_key, bad_key = "missing_api_key", "invalid_api_key"
    unknown_model, unknown_path, wrong_method = "model_not_found", "unknown_url", "method_not_allowed"
    too_large = "request_too_large"
    quota_fault, rate_fault = "insufficient_quota", "rate_limit_requests"
    rejects = {"json": "invalid_json", "missing": "missing_required_parameter", "type": "invalid_type",
               "range": "out_of_range", "value": "invalid_value"}
    refusals = ("message", "content_filter")
    table = (
        _invalid("invalid_request", "The request is not valid.", None),
        _invalid("invalid_json", "We could not parse the JSON body of your request.", None),
        _invalid("missing_required_parameter", "Missing required parameter.", "missing_required_parameter"),
        _invalid("invalid_type", "Invalid type for a parameter.", "invalid_type"),
        _invalid("invalid_value", "Invalid value for a parameter.", "invalid_value"),
        _invalid("out_of_range", "A parameter is out of its range.", "decimal_above_max_value"),
        _invalid("unsupported_parameter", "Unsupported parameter: 'max_tokens' is not supported with this model. "
                 "Use 'max_completion_tokens' instead.", "unsupported_parameter", "max_tokens"),
        _invalid("unsupported_value", "Unsupported value: 'temperature' does not support this value with this model. "
                 "Only the default (1) value is supported.", "unsupported_value", "temperature"),
        _invalid("context_length_exceeded", "The messages are longer than this model's context.",
                 "context_length_exceeded", "messages"),
        Fault("invalid_api_key", 401, AUTH, "Incorrect API key provided: ****.",
              {"type": REQUEST, "code": "invalid_api_key"}),
        Fault("missing_api_key", 401, AUTH, "You didn't provide an API key. Send it as a Bearer token in the "
              "Authorization header.", {"type": REQUEST}),
        Fault("unsupported_country", 403, AUTH, "Country, region, or territory not supported",
              {"type": "request_forbidden", "code": "unsupported_country_region_territory"}),
        Fault("model_not_found", 404, NOT_FOUND, "The model `{model}` does not exist or you do not have access to it.",
              {"type": REQUEST, "code": "model_not_found"}),
        Fault("unknown_url", 404, NOT_FOUND, "Invalid URL", {"type": REQUEST}),
        _invalid("method_not_allowed", "Not allowed on this path.", "method_not_supported", status=405),
        Fault("request_timeout", 408, SERVER, "Request timed out.", {"type": "server_error"}),
        Fault("conflict", 409, SERVER, "The resource was changed by another request.", {"type": "server_error"}),
        _invalid("request_too_large", "The request body is too large.", None, status=413),
        _invalid("unprocessable", "The request could not be processed.", None, status=422),
        Fault("rate_limit_requests", 429, RATE, "Rate limit reached for {model} on requests per min (RPM).",
              {"type": "requests", "code": "rate_limit_exceeded"}, waits=True),
        Fault("rate_limit_tokens", 429, RATE, "Rate limit reached for {model} on tokens per min (TPM).",
              {"type": "tokens", "code": "rate_limit_exceeded"}, waits=True),
        Fault("request_beyond_limit", 429, RATE, "Request too large for {model} on tokens per min (TPM).",
              {"type": "tokens", "code": "rate_limit_exceeded"}),
        _used_up("insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
        _used_up("credit_balance_exhausted", "Your organization has no prepaid credits left."),
        _used_up("organization_spend_limit_exceeded", "Your organization has reached its monthly spend limit."),
        _used_up("project_spend_limit_exceeded", "Your project has reached its monthly spend limit."),
        Fault("server_error", 500, SERVER, "The server had an error while processing your request.",
              {"type": "server_error"}),
        Fault("server_error_no_retry", 500, SERVER, "The server had an error that a retry will not mend.",
              {"type": "server_error"}, {"x-should-retry": "false"}),
        Fault("bad_gateway", 502, SERVER, "Bad gateway", raw=gateway_page(502, "Bad Gateway")),
        Fault("overloaded", 503, SERVER, "The engine is currently overloaded, please try again later.",
              {"type": "server_error"}, {"x-should-retry": "true"}),
        Fault("slow_down", 503, RATE, "Slow Down: reduce your request rate and raise it again gradually.",
              {"type": "server_error", "code": "slow_down"}, waits=True),
        Fault("gateway_timeout", 504, SERVER, "Gateway timeout", raw=gateway_page(504, "Gateway Time-out")),
    )

    temperature_range = (0, 2)
    max_fields = ("max_completion_tokens", "max_tokens")

    def parse(self, payload: dict, model: str) -> Ask:
        model = need_model(payload)
        messages = chat_messages(payload, ROLES)
        self.check_model_parameters(payload, model)
        number(payload, "temperature", *self.temperature_range)
        number(payload, "top_p", 0, 1)
        limits = [integer(payload, key, 1) for key in self.max_fields if payload.get(key) is not None]
        if len(limits) > 1:
            raise Reject("value", "Set only one of 'max_tokens' and 'max_completion_tokens'.", "max_tokens")
        return Ask(self.name, model, messages, limits[0] if limits else None, integer(payload, "seed", -1 << 63))

    def check_model_parameters(self, payload: dict, model: str) -> None:
        """Reasoning models take fewer parameters than the others."""
        if not any(fnmatchcase(model, p) for p in REASONING_MODELS) or any(fnmatchcase(model, p) for p in PLAIN_MODELS):
            return
        if payload.get("max_tokens") is not None:
            raise Reject("unsupported_parameter")
        for key in ("temperature", "top_p", "presence_penalty", "frequency_penalty"):
            value = payload.get(key)
            usual = 0 if key.endswith("penalty") else 1
            if value is not None and value != usual:
                raise Reject("unsupported_value", f"Unsupported value: '{key}' does not support {value!r} with this "
                             f"model. Only the default ({usual}) value is supported.", key)

    def token_costs(self, ask: Ask, draft: Draft) -> dict[str, int]:
        # The token limit is charged before the answer is known: the greater of max_tokens and an estimate.
        costs = super().token_costs(ask, draft)
        return {**costs, "tokens": max(ask.max_tokens or 0, tokens_in(ask.chars))}

    def breach(self, meter, wait_ns):
        if wait_ns == NEVER:
            return "request_beyond_limit"
        return "rate_limit_requests" if meter.spec.unit == "requests" else "rate_limit_tokens"

    def answer(self, draft: Draft, model: str) -> dict:
        message = {"content": draft.text, "refusal": None, "annotations": []}
        finish = self.finish(draft.finish)
        if draft.refusal == "message":
            message.update(content=None, refusal="I'm sorry, but I can't help with that. (Simulated refusal.)")
        elif draft.refusal == "content_filter":
            message["content"], finish = "", "content_filter"
        completion = draft.output_tokens + draft.reasoning_tokens
        usage = {"prompt_tokens": draft.input_tokens, "completion_tokens": completion,
                 "total_tokens": draft.input_tokens + completion,
                 "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                 "completion_tokens_details": {"reasoning_tokens": draft.reasoning_tokens, "audio_tokens": 0,
                                               "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}
        body = chat_completion(draft, message, finish, usage)
        return {**body, "service_tier": "default", "system_fingerprint": "fp_simulator"}

    def error_body(self, fault: Fault, detail: Detail) -> object:
        return {"error": {"message": message_of(fault, detail), "type": fault.fields.get("type"),
                          "param": detail.param or fault.fields.get("param"), "code": fault.fields.get("code")}}

    def headers(self, ident):
        return {"x-request-id": f"req_{ident}", "openai-version": "2020-10-01", "openai-processing-ms": "1"}

    def limit_headers(self, gauges, now):
        found = {}
        for gauge in gauges:
            if gauge.unit in ("requests", "tokens"):
                found[f"x-ratelimit-limit-{gauge.unit}"] = str(gauge.limit)
                found[f"x-ratelimit-remaining-{gauge.unit}"] = str(gauge.remaining)
                found[f"x-ratelimit-reset-{gauge.unit}"] = go_duration(gauge.reset_s)
        return found

    def wait_headers(self, fault, detail):
        if detail.wait_s is None:
            return {}
        unit = "tokens" if fault.fields.get("type") == "tokens" else "requests"
        millis = whole_seconds(detail.wait_s * 1000)
        return {"retry-after": whole_seconds(detail.wait_s), "retry-after-ms": millis, **spent_headers(unit, detail)}

    def health(self, kind, models, balance):
        return models_list(models)
