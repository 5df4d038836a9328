"""What is asked of a worker: the seed's input object, checked field by field.

Raises ValidationError naming the field, what is wrong and what is allowed, before any call is made.
"""

import re

from .errors import ValidationError
from .sanitize import INT64_MAX, text

DEFAULT_MAX_TURNS = 10
MAX_MODEL_CHARS = 256
_MODEL_ID = re.compile(r"[!-~]+")


class Probe:
    """One conversation to be had.

    model_id     as asked for, perhaps with its provider before a colon
    provider     named outright, or None
    preamble     the system message, "" for none
    steps        [(label, prompt)]: the scenario's prompt, then the follow-ups, at most maxTurns
    temperature  number or None
    max_tokens   int or None
    seed         int or None, the sample's index already added
    """

    __slots__ = ("model_id", "provider", "preamble", "steps", "temperature", "max_tokens", "seed")

    def __init__(self, doc):
        if type(doc) is not dict:
            raise ValidationError("the input must be an object")
        self.model_id = model_id = doc.get("modelId")
        if type(model_id) is not str or not _MODEL_ID.fullmatch(model_id) or len(model_id) > MAX_MODEL_CHARS:
            raise ValidationError(
                f"modelId must be 1 to {MAX_MODEL_CHARS} printable ASCII characters without spaces")
        self.provider = _optional(doc, "provider", str, "provider")
        scenario = doc.get("scenario")
        if type(scenario) is not dict:
            raise ValidationError('scenario must be an object such as {"prompt":"..."}')
        self.preamble = text(_optional(scenario, "preamble", str, "scenario.preamble") or "")
        config = _optional(doc, "config", dict, "config") or {}
        self.temperature = _temperature(config.get("temperature"))
        self.max_tokens = _whole(config.get("maxTokens"), "config.maxTokens", 1)
        self.seed = _seed(config.get("seed"), doc.get("sampleIndex"))
        max_turns = _whole(config.get("maxTurns"), "config.maxTurns", 1) or DEFAULT_MAX_TURNS
        self.steps = _steps(scenario)[:max_turns]


def _steps(scenario):
    steps = [("scenario_prompt", _prompt(scenario, "scenario"))]
    followups = _optional(scenario, "followups", list, "scenario.followups") or ()
    for number, followup in enumerate(followups, 1):
        where = f"scenario.followups[{number - 1}]"
        if type(followup) is not dict:
            raise ValidationError(f'{where} must be an object such as {{"label":"...","prompt":"..."}}')
        label = _optional(followup, "label", str, f"{where}.label")
        steps.append((text(label) if label else f"followup_{number}", _prompt(followup, where)))
    return steps


def _prompt(doc, where):
    prompt = doc.get("prompt")
    if type(prompt) is not str:
        raise ValidationError(f"{where}.prompt must be text")
    if not prompt.strip():
        raise ValidationError(f"{where}.prompt is empty")
    return text(prompt)


def _optional(doc, key, kind, where):
    """The value, None when absent or null."""
    item = doc.get(key)
    if item is not None and type(item) is not kind:
        name = {str: "text", dict: "an object", list: "a list"}[kind]
        raise ValidationError(f"{where} must be {name} or null")
    return item


def _whole(number, where, least):
    if number is not None and (type(number) is not int or not least <= number <= INT64_MAX):
        bounds = f"from {least} up" if least >= 0 else "within 64 bits"
        raise ValidationError(f"{where} must be a whole number {bounds}, or null")
    return number


def _seed(seed, sample_index):
    """Each sample of a seeded probe gets a seed of its own."""
    seed = _whole(seed, "config.seed", -INT64_MAX)
    sample = _whole(sample_index, "sampleIndex", 0) or 0
    return None if seed is None else min(seed + sample, INT64_MAX)


def _temperature(number):
    if number is not None and (type(number) not in (int, float) or not 0 <= number <= 2):
        raise ValidationError("config.temperature must be a number from 0 to 2, or null")
    return number
