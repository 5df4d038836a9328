"""Anthropic's Messages API."""

from .. import errors
from .base import Answer, Fault, Provider
from .fields import part, tokens

API_VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 4096
# Told as an invalid request: only the words tell it apart.
LIMIT_MESSAGES = ("reached your specified API usage limits", "reached your specified workspace API usage limits",
                  "credit balance is too low")


class Anthropic(Provider):
    name = "anthropic"
    label = "Anthropic"
    base_url = "https://api.anthropic.com"
    path = "/v1/messages"
    obeys_should_retry = True
    blocked_finishes = frozenset(("refusal",))
    takes = frozenset(("temperature", "max_tokens"))

    def auth_headers(self, key):
        return [f"x-api-key: {key}", f"anthropic-version: {API_VERSION}"]

    def payload(self, model, facts, preamble, history, parameters):
        # max_tokens is required here, so a model that "refuses" it gets the default all the same.
        doc = {"model": model, "max_tokens": facts.default_max_tokens or DEFAULT_MAX_TOKENS}
        if preamble:
            doc["system"] = preamble
        doc["messages"] = history
        doc.update(parameters)
        return doc

    def answer(self, doc):
        content = doc.get("content")
        if not isinstance(content, list):
            raise errors.InvalidResponse("Anthropic answered without a content list",
                                         {"provider": self.name, "body": doc})
        text = "".join(block["text"] for block in content
                       if isinstance(block, dict) and block.get("type") == "text"
                       and isinstance(block.get("text"), str))
        return Answer(text, doc.get("stop_reason"), doc.get("model"), _usage(doc.get("usage")))

    def fault(self, doc):
        error = doc.get("error")
        if not isinstance(error, dict):
            return Fault(error or doc.get("message") or "", doc=doc)
        return Fault(error.get("message") or "", (error.get("type"), *_detail_words(error)), doc)

    def error_class(self, status, fault):
        if "billing_error" in fault.words or any(words in fault.message for words in LIMIT_MESSAGES):
            return errors.QuotaExhausted
        if status == 429 and ("enforced_spend_limit_reached" in fault.words
                              or "enforced_spend_limit_reached" in fault.message):
            return errors.QuotaExhausted
        return super().error_class(status, fault)


def _detail_words(error):
    """The codes that may stand under `details`, whatever their key."""
    details = error.get("details")
    return tuple(details.values()) if isinstance(details, dict) else (error.get("code"), details)


def _usage(usage):
    """Input tokens are told in up to three parts: fresh, written to the cache, read from it."""
    if not isinstance(usage, dict):
        usage = {}
    fresh = usage.get("input_tokens")
    cached = [usage.get(key) for key in ("cache_creation_input_tokens", "cache_read_input_tokens")]
    if type(fresh) is int:
        fresh += sum(count for count in cached if type(count) is int and count > 0)
    thinking = part(usage, "output_tokens_details", "thinking_tokens")
    return tokens(fresh, usage.get("output_tokens"), thinking, None, added=False)
