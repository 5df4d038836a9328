"""DeepSeek: OpenAI's dialect with a visible chain of thought, a balance page, and no word about limits."""

from __future__ import annotations

from simulator.faults import AUTH, INVALID, NOT_FOUND, QUOTA, RATE, SERVER, Fault, gateway_page
from simulator.formats.base import Ask, Format
from simulator.formats.openai import OpenAI, chat_completion, models_list

REQUEST = {"type": "invalid_request_error", "code": "invalid_request_error"}
SERVICE = {"type": "service_error", "code": "service_error"}
THINKING_MODELS = ("deepseek-reasoner",)


class DeepSeek(OpenAI):
    name = "deepseek"
    ask_path = "/chat/completions"
    health_paths = {"/user/balance": "balance", "/models": "models", "/v1/models": "models"}
    sample_models = ("deepseek-chat", "deepseek-reasoner")
    max_fields = ("max_tokens",)
    missing_key, bad_key = "missing_api_key", "invalid_api_key"
    unknown_model, unknown_path, wrong_method = "model_not_exist", "not_found", "method_not_allowed"
    too_large = "request_too_large"
    quota_fault, rate_fault = "insufficient_balance", "rate_limit"
    rejects = {"json": "invalid_format", "missing": "deserialize", "type": "deserialize", "range": "invalid_parameters",
               "value": "invalid_format"}
    refusals = ("thought", "content_filter")
    table = (
        Fault("invalid_format", 400, INVALID, "The request body has an invalid format.", REQUEST),
        Fault("model_not_exist", 400, INVALID, "Model Not Exist", REQUEST),
        Fault("invalid_api_key", 401, AUTH, "Authentication Fails, Your api key: **** is invalid",
              {"type": "authentication_error", "code": "invalid_request_error"}),
        Fault("missing_api_key", 401, AUTH, "Authentication Fails (no key given)",
              {"type": "authentication_error", "code": "invalid_request_error"}),
        Fault("insufficient_balance", 402, QUOTA, "Insufficient Balance",
              {"type": "unknown_error", "code": "invalid_request_error"}),
        Fault("permission_denied", 403, AUTH, "This key may not use the model {model}.", REQUEST),
        Fault("not_found", 404, NOT_FOUND, "Not Found", REQUEST),
        Fault("method_not_allowed", 405, INVALID, "Method Not Allowed", REQUEST),
        Fault("request_timeout", 408, SERVER, "Request timeout", SERVICE),
        Fault("conflict", 409, SERVER, "Conflict", SERVICE),
        Fault("request_too_large", 413, INVALID, "The request body is too large.", REQUEST),
        Fault("invalid_parameters", 422, INVALID, "A parameter of the request is out of its range.", REQUEST),
        Fault("deserialize", 422, INVALID, "Failed to deserialize the JSON body into the target type.", REQUEST),
        Fault("rate_limit", 429, RATE, "Too many requests at once: the rate limit of {model} is reached.",
              {"type": "rate_limit_error", "code": "rate_limit_exceeded"}),
        Fault("server_error", 500, SERVER, "The server met an issue.", SERVICE),
        Fault("bad_gateway", 502, SERVER, "Bad gateway", raw=gateway_page(502, "Bad Gateway")),
        Fault("overloaded", 503, SERVER, "Service is too busy.", SERVICE),
        Fault("gateway_timeout", 504, SERVER, "Gateway timeout", raw=gateway_page(504, "Gateway Time-out")),
    )

    def target(self, path):
        return super().target("/chat/completions" if path == "/v1/chat/completions" else path)

    def parse(self, payload: dict, model: str) -> Ask:
        if payload.get("model") in THINKING_MODELS:
            payload = {key: value for key, value in payload.items() if key != "temperature"}
        return super().parse(payload, model)

    def check_model_parameters(self, payload, model):
        """No model refuses a parameter; thinking mode ignores some."""

    def token_costs(self, ask, draft):
        return Format.token_costs(self, ask, draft)

    def breach(self, meter, wait_ns):
        return self.rate_fault

    def answer(self, draft, model):
        message = {"content": draft.text}
        finish = self.finish(draft.finish)
        if draft.thought or draft.refusal == "thought":
            message["reasoning_content"] = draft.thought or "Simulated thought: this is not to be answered."
        if draft.refusal:
            message["content"] = ""
        if draft.refusal == "content_filter":
            finish = "content_filter"
        completion = draft.output_tokens + draft.reasoning_tokens
        usage = {"prompt_tokens": draft.input_tokens, "completion_tokens": completion,
                 "total_tokens": draft.input_tokens + completion, "prompt_cache_hit_tokens": 0,
                 "prompt_cache_miss_tokens": draft.input_tokens}
        if draft.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": draft.reasoning_tokens}
        return {**chat_completion(draft, message, finish, usage), "system_fingerprint": "fp_simulator"}

    def headers(self, ident):
        return {"x-ds-trace-id": ident}

    def limit_headers(self, gauges, now):
        return {}

    def wait_headers(self, fault, detail):
        return {}

    def health(self, kind, models, balance):
        if kind == "models":
            return models_list(models)
        amount = f"{balance:.2f}"
        return {"is_available": balance > 0,
                "balance_infos": [{"currency": "USD", "total_balance": amount, "granted_balance": "0.00",
                                   "topped_up_balance": amount}]}
