"""DeepSeek: OpenAI's format without the /v1.

The chain of thought comes in `reasoning_content`, which is no answer; blank lines that keep a waiting
connection alive precede the document, and JSON allows them.
"""

from .chat import ChatCompletions


class DeepSeek(ChatCompletions):
    name = "deepseek"
    label = "DeepSeek"
    base_url = "https://api.deepseek.com"
    path = "/chat/completions"
    takes = frozenset(("temperature", "max_tokens"))
    failed_finishes = frozenset(("insufficient_system_resource",))
