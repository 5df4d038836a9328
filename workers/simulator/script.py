"""Rules set from outside: which asks get which directives, without a word in the prompt.

The first rule that matches and has uses left applies; what the prompt itself says
wins over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from simulator.directives import DirectiveError, Group, parse_group

_FORM = {"do", "match", "times", "chance", "used"}  # used is shown, and ignored when it comes back
_MATCH = {"provider", "model", "turn", "contains"}


@dataclass
class Rule:
    """do: the directives' text; times: uses in all (None = endless); chance: 0..1."""

    do: str
    group: Group
    provider: str = "*"
    model: str = "*"
    turn: int | None = None
    contains: str = ""
    times: int | None = None
    chance: float | None = None
    used: int = 0

    def matches(self, provider: str, model: str, turn: int, prompt: str) -> bool:
        return ((self.times is None or self.used < self.times)
                and (self.turn is None or self.turn == turn)
                and fnmatchcase(provider, self.provider) and fnmatchcase(model, self.model)
                and self.contains in prompt)

    def as_dict(self) -> dict:
        match = {"provider": self.provider, "model": self.model, "turn": self.turn, "contains": self.contains}
        return {"match": match, "do": self.do, "times": self.times, "chance": self.chance, "used": self.used}


def parse_rule(raw: object, where: str) -> Rule:
    """Raises ValueError that names `where` and the field."""
    if not isinstance(raw, dict) or not isinstance(raw.get("do"), str):
        raise ValueError(f"{where}: must be an object with a text \"do\"")
    match = raw.get("match", {})
    if not isinstance(match, dict):
        raise ValueError(f"{where}.match: must be an object")
    for name in [*(raw.keys() - _FORM), *(f"match.{key}" for key in match.keys() - _MATCH)]:
        raise ValueError(f"{where}: unknown key {name!r}")
    try:
        group = parse_group(raw["do"])
    except DirectiveError as error:
        raise ValueError(f"{where}.do: {error}") from None
    rule = Rule(raw["do"], group, match.get("provider", "*"), match.get("model", "*"), match.get("turn"),
                match.get("contains", ""), raw.get("times"), raw.get("chance"))
    _check(rule, where)
    return rule


def _check(rule: Rule, where: str) -> None:
    for name in ("provider", "model", "contains"):
        if not isinstance(getattr(rule, name), str):
            raise ValueError(f"{where}.match.{name}: must be a text")
    for name in ("turn", "times"):
        value = getattr(rule, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{where}.{name}: must be an integer, 1 or more")
    if rule.chance is not None and not (isinstance(rule.chance, (int, float)) and 0 <= rule.chance <= 1):
        raise ValueError(f"{where}.chance: must be a number 0..1")
