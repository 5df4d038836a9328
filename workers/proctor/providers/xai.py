"""xAI: OpenAI's format, reasoning tokens counted beside the completion, errors flat."""

from .. import errors
from .base import Fault
from .chat import ChatCompletions


class XAI(ChatCompletions):
    name = "xai"
    label = "xAI"
    base_url = "https://api.x.ai"
    max_tokens_field = "max_completion_tokens"
    reasoning_added = True

    def fault(self, doc):
        if isinstance(doc.get("error"), str):
            return Fault(doc["error"], (doc.get("code"),), doc)
        return super().fault(doc)

    def error_class(self, status, fault):
        if status in (403, 429) and "used all available credits" in fault.message:
            return errors.QuotaExhausted
        if status == 400 and "Incorrect API key" in fault.message:
            return errors.AuthError
        return super().error_class(status, fault)
