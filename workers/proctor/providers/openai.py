"""OpenAI, and the many servers that speak its format."""

from .. import errors
from .chat import ChatCompletions


class OpenAI(ChatCompletions):
    name = "openai"
    label = "OpenAI"
    base_url = "https://api.openai.com"
    max_tokens_field = "max_completion_tokens"
    obeys_should_retry = True

    def error_class(self, status, fault):
        if status == 429 and any(word == "insufficient_quota" or word.endswith("_spend_limit_exceeded")
                                 for word in fault.words):
            return errors.QuotaExhausted
        if status == 503 and "slow_down" in fault.words:
            return errors.RateLimit
        return super().error_class(status, fault)
