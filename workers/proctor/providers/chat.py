"""The chat completions format: OpenAI's, spoken by xAI, DeepSeek and Mistral with small differences."""

from .. import errors
from .base import Answer, Fault, Provider
from .fields import part, tokens


class ChatCompletions(Provider):
    """Base of the four; a subclass states its differences as attributes."""

    path = "/v1/chat/completions"
    max_tokens_field = "max_tokens"
    seed_field = "seed"
    reasoning_added = False
    blocked_finishes = frozenset(("content_filter",))

    def payload(self, model, facts, preamble, history, parameters):
        if preamble:
            history = [{"role": "system", "content": preamble}, *history]
        doc = {"model": model, "messages": history}
        for name, value in parameters.items():
            if name == "max_tokens":
                name = facts.max_tokens_field or self.max_tokens_field
            elif name == "seed":
                name = self.seed_field
            doc[name] = value
        return doc

    def answer(self, doc):
        choice = part(doc, "choices", 0)
        message = part(choice, "message")
        if not isinstance(message, dict):
            raise errors.InvalidResponse(f"{self.label} answered without choices[0].message",
                                         {"provider": self.name, "body": doc})
        finish = choice.get("finish_reason")
        refusal = message.get("refusal")
        if refusal:
            raise errors.ContentBlocked(f"{self.label} refused: {refusal}",
                                        {"provider": self.name, "finishReason": finish, "refusal": refusal})
        return Answer(self.text(message), finish, doc.get("model"), self.usage(doc.get("usage")),
                      doc.get("system_fingerprint"))

    def text(self, message):
        content = message.get("content")
        return content if isinstance(content, str) else ""

    def usage(self, usage):
        if not isinstance(usage, dict):
            usage = {}
        reasoning = part(usage, "completion_tokens_details", "reasoning_tokens")
        return tokens(usage.get("prompt_tokens"), usage.get("completion_tokens"), reasoning,
                      usage.get("total_tokens"), self.reasoning_added)

    def fault(self, doc):
        error = doc.get("error")
        if not isinstance(error, dict):
            return Fault(error or doc.get("message") or doc.get("detail") or "", doc=doc)
        return Fault(error.get("message") or "", (error.get("type"), error.get("code")), doc)
