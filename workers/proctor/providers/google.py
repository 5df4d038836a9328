"""Google's Gemini API. The key travels in a header, never in the URL."""

import re

from .. import errors, limits
from .base import Answer, Fault, Provider
from .fields import part, tokens

BLOCKED = frozenset(("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"))
# The prose of a per-minute limit and of a spent quota is the same; a limit of nothing is the exception.
_LIMIT_ZERO = re.compile(r"\blimit: 0(?!\.?\d)")
# What a model's name may hold that a path may not; such names are printable ASCII (see `job`).
_NOT_IN_PATH = re.compile(r"[^A-Za-z0-9._~-]")
_FIELDS = {"temperature": "temperature", "max_tokens": "maxOutputTokens", "seed": "seed"}


class Google(Provider):
    name = "google"
    label = "Google"
    base_url = "https://generativelanguage.googleapis.com"
    path = "/v1beta/models/"
    blocked_finishes = BLOCKED

    def auth_headers(self, key):
        return [f"x-goog-api-key: {key}"]

    def url(self, model):
        name = _NOT_IN_PATH.sub(lambda match: f"%{ord(match[0]):02X}", model)
        return f"{self.base_url}{self.path}{name}:generateContent"

    def message(self, role, text):
        return {"role": "user" if role == "user" else "model", "parts": [{"text": text}]}

    def payload(self, model, facts, preamble, history, parameters):
        doc = {"contents": history}
        if preamble:
            doc["systemInstruction"] = {"parts": [{"text": preamble}]}
        if parameters:
            doc["generationConfig"] = {_FIELDS[name]: value for name, value in parameters.items()}
        return doc

    def answer(self, doc):
        reason = part(doc, "promptFeedback", "blockReason")
        if reason:
            raise errors.ContentBlocked(f"Google blocked the prompt ({reason})",
                                        {"provider": self.name, "promptFeedback": doc["promptFeedback"]})
        candidate = part(doc, "candidates", 0)
        if not isinstance(candidate, dict):
            raise errors.InvalidResponse("Google answered without candidates",
                                         {"provider": self.name, "body": doc})
        return Answer(_text(candidate), candidate.get("finishReason"), doc.get("modelVersion"),
                      _usage(doc.get("usageMetadata")))

    def fault(self, doc):
        error = doc.get("error")
        if not isinstance(error, dict):
            return Fault(error or "", doc=doc)
        words = [error.get("status")]
        words.extend(detail.get("reason") for detail in _details(error))
        return Fault(error.get("message") or "", words, doc)

    def error_class(self, status, fault):
        if status == 400 and "API_KEY_INVALID" in fault.words:
            return errors.AuthError
        if status == 429 and _quota_is_spent(fault):
            return errors.QuotaExhausted
        return super().error_class(status, fault)

    def retry_delay_ms(self, fault):
        for detail in _details(part(fault.doc, "error")):
            delay = detail.get("retryDelay")
            if isinstance(delay, str):
                return limits.span_ms(delay)
        return None


def _text(candidate):
    parts = part(candidate, "content", "parts")
    if not isinstance(parts, list):
        return ""
    return "".join(piece["text"] for piece in parts
                   if isinstance(piece, dict) and isinstance(piece.get("text"), str)
                   and piece.get("thought") is not True)


def _usage(usage):
    if not isinstance(usage, dict):
        usage = {}
    # proto3's JSON leaves out what is 0.
    output = usage.get("candidatesTokenCount", 0 if usage else None)
    return tokens(usage.get("promptTokenCount"), output, usage.get("thoughtsTokenCount"),
                  usage.get("totalTokenCount"), added=True)


def _details(error):
    details = part(error, "details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []


def _quota_is_spent(fault):
    """Whether a 429 means the day's quota, or none at all, rather than this minute's."""
    if _LIMIT_ZERO.search(fault.message):
        return True
    for detail in _details(part(fault.doc, "error")):
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if "PerDay" in str(part(violation, "quotaId")):
                return True
    return False
