"""Mistral: OpenAI's format with content that may be a list of chunks, and errors of two shapes."""

from .base import Fault
from .chat import ChatCompletions


class Mistral(ChatCompletions):
    name = "mistral"
    label = "Mistral"
    base_url = "https://api.mistral.ai"
    seed_field = "random_seed"
    failed_finishes = frozenset(("error",))

    def text(self, message):
        content = message.get("content")
        if not isinstance(content, list):
            return super().text(message)
        return "".join(chunk["text"] for chunk in content
                       if isinstance(chunk, dict) and chunk.get("type") == "text"
                       and isinstance(chunk.get("text"), str))

    def fault(self, doc):
        detail = doc.get("detail")
        if isinstance(detail, list):
            return Fault("; ".join(_complaint(entry) for entry in detail), doc=doc)
        if "error" in doc:
            return super().fault(doc)
        return Fault(doc.get("message") or detail or "", (doc.get("type"), doc.get("code")), doc)


def _complaint(entry):
    """`body.temperature: must be below 1.5` of one entry of a 422."""
    if not isinstance(entry, dict):
        return str(entry)
    place = entry.get("loc")
    place = ".".join(str(step) for step in place) if isinstance(place, list) else ""
    return f"{place}: {entry.get('msg')}" if place else str(entry.get("msg"))
