"""The providers by name. Each file knows one vendor's wire format and nothing of transport or protocol."""

from .. import PROVIDERS
from .anthropic import Anthropic
from .deepseek import DeepSeek
from .google import Google
from .mistral import Mistral
from .openai import OpenAI
from .xai import XAI

_CLASSES = (OpenAI, Anthropic, Google, XAI, DeepSeek, Mistral)


def open_all(settings):
    """name -> provider, each with what the configuration changes of its defaults."""
    providers = {kind.name: kind(**settings.providers.get(kind.name, {})) for kind in _CLASSES}
    assert tuple(providers) == PROVIDERS
    return providers
