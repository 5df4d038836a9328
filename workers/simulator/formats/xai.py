"""xAI: OpenAI's requests, flat error bodies, reasoning tokens beside the completion's."""

from __future__ import annotations

from simulator.faults import AUTH, INVALID, NOT_FOUND, QUOTA, RATE, SERVER, Fault, gateway_page
from simulator.formats.base import Format, message_of
from simulator.formats.openai import OpenAI, chat_completion, models_list, spent_headers

ARGUMENT = {"code": "Client specified an invalid argument"}
PERMISSION = {"code": "The caller does not have permission to execute the specified operation"}
EXHAUSTED = {"code": "Some resource has been exhausted"}
UNAVAILABLE = {"code": "The service is currently unavailable"}
CREDITS = ("Your team has either used all available credits or reached its monthly spending limit. "
           "To continue making API requests, please purchase more credits or raise your spending limit.")


class XAI(OpenAI):
    name = "xai"
    sample_models = ("grok-2", "grok-3-mini", "grok-4")
    missing_key, bad_key = "missing_api_key", "incorrect_api_key"
    unknown_model, unknown_path, wrong_method = "model_not_found", "not_found", "method_not_allowed"
    too_large = "request_too_large"
    quota_fault, rate_fault = "credits_exhausted", "rate_limit"
    rejects = {"json": "deserialize", "missing": "deserialize", "type": "deserialize", "range": "invalid_argument",
               "value": "invalid_argument"}
    table = (
        Fault("invalid_argument", 400, INVALID, "The request has an invalid argument.", ARGUMENT),
        Fault("incorrect_api_key", 400, AUTH, "Incorrect API key provided: ***. "
              "You can obtain an API key from https://console.x.ai.", ARGUMENT),
        Fault("missing_api_key", 401, AUTH, "No API key was provided in the Authorization header.",
              {"code": "The caller does not have valid authentication credentials"}),
        Fault("permission_denied", 403, AUTH, "This API key may not use {model}.", PERMISSION),
        Fault("credits_exhausted_403", 403, QUOTA, CREDITS, PERMISSION),
        Fault("model_not_found", 404, NOT_FOUND, "The model {model} does not exist or your team has no access to it.",
              {"code": "Some requested entity was not found"}),
        Fault("not_found", 404, NOT_FOUND, "No such path.", {"code": "Some requested entity was not found"}),
        Fault("method_not_allowed", 405, INVALID, "Method not allowed.", ARGUMENT),
        Fault("request_timeout", 408, SERVER, "The request took too long.", {"code": "Deadline expired"}),
        Fault("conflict", 409, SERVER, "The operation was aborted.", {"code": "The operation was aborted"}),
        Fault("request_too_large", 413, INVALID, "The request body is too large.", ARGUMENT),
        Fault("deserialize", 422, INVALID, "Failed to deserialize the JSON body into the target type.", ARGUMENT),
        Fault("rate_limit", 429, RATE, "Too many requests for {model}: the limit of your team is reached.", EXHAUSTED,
              waits=True),
        Fault("rate_limit_bare", 429, RATE, "Too many requests for {model}.", EXHAUSTED),
        Fault("credits_exhausted", 429, QUOTA, CREDITS, EXHAUSTED),
        Fault("internal", 500, SERVER, "Internal error.", {"code": "Internal error"}),
        Fault("bad_gateway", 502, SERVER, "Bad gateway", raw=gateway_page(502, "Bad Gateway")),
        Fault("unavailable", 503, SERVER, "The model is at capacity at the moment.", UNAVAILABLE),
        Fault("gateway_timeout", 504, SERVER, "The upstream did not answer in time.", UNAVAILABLE),
    )

    def check_model_parameters(self, payload, model):
        """xAI's models take what the API takes."""

    def token_costs(self, ask, draft):
        return Format.token_costs(self, ask, draft)

    def breach(self, meter, wait_ns):
        return self.rate_fault

    def answer(self, draft, model):
        message = {"content": draft.text, "refusal": None}
        finish = self.finish(draft.finish)
        if draft.refusal == "message":
            message.update(content="", refusal="I can't help with that. (Simulated refusal.)")
        elif draft.refusal == "content_filter":
            message["content"], finish = "", "content_filter"
        total = draft.input_tokens + draft.output_tokens + draft.reasoning_tokens
        usage = {"prompt_tokens": draft.input_tokens, "completion_tokens": draft.output_tokens, "total_tokens": total,
                 "prompt_tokens_details": {"text_tokens": draft.input_tokens, "cached_tokens": 0},
                 "completion_tokens_details": {"reasoning_tokens": draft.reasoning_tokens, "audio_tokens": 0}}
        return {**chat_completion(draft, message, finish, usage), "system_fingerprint": "fp_simulator"}

    def error_body(self, fault, detail):
        return {"code": fault.fields["code"] if fault.fields else "Unknown error", "error": message_of(fault, detail)}

    def headers(self, ident):
        return Format.headers(self, ident)

    def wait_headers(self, fault, detail):
        if detail.wait_s is None:
            return {}
        unit = detail.meter.spec.unit if detail.meter else "requests"
        return spent_headers("requests" if unit == "requests" else "tokens", detail)

    def health(self, kind, models, balance):
        return models_list(models)
