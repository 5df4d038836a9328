"""The six wire formats by name."""

from simulator.formats.anthropic import Anthropic
from simulator.formats.base import Format
from simulator.formats.deepseek import DeepSeek
from simulator.formats.google import Google
from simulator.formats.mistral import Mistral
from simulator.formats.openai import OpenAI
from simulator.formats.xai import XAI

FORMATS: dict[str, Format] = {f.name: f for f in (OpenAI(), Anthropic(), Google(), XAI(), DeepSeek(), Mistral())}
