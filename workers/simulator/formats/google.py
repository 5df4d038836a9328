"""Google's generateContent (Gemini API)."""

from __future__ import annotations

import re

from simulator.faults import AUTH, INVALID, NOT_FOUND, QUOTA, RATE, SERVER, Fault, Reject, gateway_page
from simulator.formats.base import Ask, Detail, Draft, Format, integer, message_of, number, text_of

ROLES = {"user": "user", "model": "assistant"}
RPC = "type.googleapis.com/google.rpc."
METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_"
QUOTA_PROSE = "You exceeded your current quota, please check your plan and billing details."
_CALL = re.compile(r"/v1(?:beta)?/models/([^/:]+):generateContent")
_PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"


def _row(name: str, http: int, code: str, rpc: str, message: str, **more) -> Fault:
    fields = {"status": rpc, **more.pop("fields", {})}
    return Fault(name, http, code, message, fields, **more)


def _reason(reason: str) -> dict:
    return {"@type": RPC + "ErrorInfo", "reason": reason, "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"}}


class Google(Format):
    name = "google"
    health_paths = {"/v1beta/models": "models", "/v1/models": "models"}
    sample_models = ("gemini-1.5-pro", "gemini-2.5-flash", "gemma-3-27b-it")
    missing_key, bad_key = "unregistered_caller", "api_key_invalid"
    unknown_model, unknown_path, wrong_method = "not_found", "not_found", "method_not_allowed"
    too_large = "payload_too_large"
    quota_fault, rate_fault = "per_day", "per_minute"
    rejects = dict.fromkeys(("json", "missing", "type", "range", "value"), "invalid_argument")
    refusals = ("prompt", "safety", "recitation", "blocklist", "prohibited_content", "spii", "other", "empty")
    finishes = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
    usage_field = ("usageMetadata", "candidatesTokenCount")
    table = (
        _row("invalid_argument", 400, INVALID, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        _row("api_key_invalid", 400, AUTH, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
             fields={"reason": "API_KEY_INVALID"}),
        _row("failed_precondition", 400, INVALID, "FAILED_PRECONDITION",
             "User location is not supported for the API use."),
        _row("unauthenticated", 401, AUTH, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        _row("payment_required", 402, QUOTA, "RESOURCE_EXHAUSTED", "The prepaid credit of this project is used up."),
        _row("permission_denied", 403, AUTH, "PERMISSION_DENIED", "The caller does not have permission."),
        _row("unregistered_caller", 403, AUTH, "PERMISSION_DENIED",
             "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity."),
        _row("not_found", 404, NOT_FOUND, "NOT_FOUND", "models/{model} is not found for API version v1beta."),
        _row("method_not_allowed", 405, INVALID, "INVALID_ARGUMENT", "Method not allowed."),
        _row("request_timeout", 408, SERVER, "DEADLINE_EXCEEDED", "The request took too long to arrive."),
        _row("aborted", 409, SERVER, "ABORTED", "The operation was aborted."),
        _row("payload_too_large", 413, INVALID, "INVALID_ARGUMENT", "Request payload size exceeds the limit."),
        _row("unprocessable", 422, INVALID, "INVALID_ARGUMENT", "The request could not be processed."),
        # Its prose is that of a used-up quota: only the quotaId tells that a minute is meant.
        _row("per_minute", 429, RATE, "RESOURCE_EXHAUSTED", QUOTA_PROSE, waits=True,
             fields={"metric": "requests", "quota": _PER_MINUTE}),
        _row("per_minute_tokens", 429, RATE, "RESOURCE_EXHAUSTED", QUOTA_PROSE, waits=True,
             fields={"metric": "input_token_count", "quota": "GenerateContentInputTokensPerModelPerMinute-FreeTier"}),
        _row("exhausted_bare", 429, RATE, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        _row("per_day", 429, QUOTA, "RESOURCE_EXHAUSTED", QUOTA_PROSE, waits=True,
             fields={"metric": "requests", "quota": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}),
        _row("limit_zero", 429, QUOTA, "RESOURCE_EXHAUSTED", QUOTA_PROSE + "\n* Quota exceeded for metric: "
             + METRIC + "requests, limit: 0, model: {model}", waits=True,
             fields={"metric": "requests", "quota": _PER_MINUTE, "value": "0"}),
        _row("internal", 500, SERVER, "INTERNAL", "An internal error has occurred."),
        Fault("bad_gateway", 502, SERVER, "Bad gateway", raw=gateway_page(502, "Bad Gateway")),
        _row("unavailable", 503, SERVER, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        _row("deadline_exceeded", 504, SERVER, "DEADLINE_EXCEEDED", "Deadline expired before completion."),
    )

    def target(self, path):
        found = _CALL.fullmatch(path)
        return ("POST", "ask", found[1]) if found else super().target(path)

    def credential(self, headers):
        return headers.get("x-goog-api-key", "").strip()

    def parse(self, payload: dict, model: str) -> Ask:
        contents = payload.get("contents")
        if not isinstance(contents, list) or not contents:
            raise Reject("missing", "* GenerateContentRequest.contents: contents is not specified")
        messages = [self._message(entry, i) for i, entry in enumerate(contents)]
        system = payload.get("systemInstruction", payload.get("system_instruction"))
        if system is not None:
            messages.insert(0, ("system", self._parts(system, "system_instruction")))
        config = payload.get("generationConfig", payload.get("generation_config"))
        config = {} if config is None else config
        if not isinstance(config, dict):
            raise Reject("type", "Invalid value at 'generation_config': expected an object.")
        number(config, "temperature", 0, 2)
        number(config, "topP", 0, 1)
        return Ask(self.name, model, messages, integer(config, "maxOutputTokens", 1),
                   integer(config, "seed", -1 << 31, (1 << 31) - 1))

    def _message(self, entry: object, index: int) -> tuple[str, str]:
        where = f"contents[{index}]"
        if not isinstance(entry, dict):
            raise Reject("type", f"Invalid value at '{where}': expected an object.")
        role = entry.get("role", "user")
        if not isinstance(role, str) or role not in ROLES:
            raise Reject("value", "Please use a valid role: user, model.")
        return ROLES[role], self._parts(entry, where)

    def _parts(self, entry: object, where: str) -> str:
        parts = entry.get("parts") if isinstance(entry, dict) else None
        if not isinstance(parts, list) or not parts:
            raise Reject("missing", f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.")
        return text_of(parts, f"{where}.parts")

    def breach(self, meter, wait_ns):
        return "per_minute" if meter.spec.unit == "requests" else "per_minute_tokens"

    def answer(self, draft: Draft, model: str) -> dict:
        usage = {"promptTokenCount": draft.input_tokens, "candidatesTokenCount": draft.output_tokens,
                 "totalTokenCount": draft.input_tokens + draft.output_tokens + draft.reasoning_tokens}
        if draft.reasoning_tokens:
            usage["thoughtsTokenCount"] = draft.reasoning_tokens
        body: dict = {"usageMetadata": usage, "responseId": draft.ident}
        if draft.version is not None:
            body["modelVersion"] = draft.version
        if draft.refusal == "prompt":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **body}
        return {"candidates": [self._candidate(draft)], **body}

    def _candidate(self, draft: Draft) -> dict:
        if draft.refusal and draft.refusal != "empty":
            return {"finishReason": draft.refusal.upper(), "index": 0}
        parts = [{"text": draft.thought, "thought": True}] if draft.thought else []
        parts.append({"text": "" if draft.refusal else draft.text})
        return {"content": {"parts": parts, "role": "model"}, "finishReason": self.finish(draft.finish), "index": 0}

    def error_body(self, fault: Fault, detail: Detail) -> object:
        error = {"code": fault.status, "message": message_of(fault, detail),
                 "status": fault.fields.get("status", "UNKNOWN")}
        details = []
        if "reason" in fault.fields:
            details.append(_reason(fault.fields["reason"]))
        if "quota" in fault.fields:
            details.append(self._quota_failure(fault, detail))
        if fault.waits and detail.wait_s is not None:
            nanos = f"{detail.wait_s:.9f}".rstrip("0").rstrip(".")
            details.append({"@type": RPC + "RetryInfo", "retryDelay": f"{nanos}s"})
        return {"error": {**error, "details": details} if details else error}

    def _quota_failure(self, fault: Fault, detail: Detail) -> dict:
        violation = {"quotaMetric": METRIC + fault.fields["metric"], "quotaId": fault.fields["quota"],
                     "quotaDimensions": {"location": "global", "model": detail.model or "MODEL"}}
        value = str(detail.meter.ceiling) if detail.meter else fault.fields.get("value")
        if value is not None:
            violation["quotaValue"] = value
        return {"@type": RPC + "QuotaFailure", "violations": [violation]}

    def headers(self, ident):
        return {"server-timing": "gfet4t7; dur=1"}

    def health(self, kind, models, balance):
        return {"models": [{"name": f"models/{m}", "version": "001", "displayName": m, "inputTokenLimit": 1048576,
                            "outputTokenLimit": 8192, "supportedGenerationMethods": ["generateContent"]}
                           for m in models]}
