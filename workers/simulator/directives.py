"""`[[sim:…]]` in a prompt: what the answer to it shall be.

One row per directive feeds parsing, the range check, GET /_sim/directives and the
table in README.md.  Several directives share one bracket with commas; several
brackets are merged, the later one wins.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

_BRACKET = re.compile(r"\[\[sim:([^\[\]]*)\]\]")
_RAW_NUMBER = re.compile(r"-?[0-9.eE+-]+|NaN|-?Infinity|null|\"[^\"\\]*\"")


def _whole(low: int, high: int):
    def read(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(f"must be {low}..{high}")
        return number
    return read


def _seconds(value: str) -> float:
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError("must be a number of seconds, 0 or more")
    return number


def _share(value: str) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError("must be 0..1")
    return number


def _one_of(*allowed: str):
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value
    return read


def _text(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


def _number_text(value: str) -> str:
    if not _RAW_NUMBER.fullmatch(value):
        raise ValueError("must be a JSON number, NaN, Infinity, null or a quoted text")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+:[\x20-\x7e]*", value):
        raise ValueError("must be NAME:VALUE")
    return value


@dataclass(frozen=True)
class Directive:
    """name; read: value -> what is kept; bare: kept when no value is given (None = one is needed)."""

    name: str
    read: object
    bare: object
    help: str


ROWS = (
    Directive("status", _whole(400, 599), None, "this status with the provider's own body for it"),
    Directive("error", _text, None, "a named error: GET /_sim/errors lists them; the provider's name may be left out"),
    Directive("quota", None, True, "the provider's way to say that credit or quota is used up"),
    Directive("ratelimit", _seconds, 1.0, "429, to come back in so many seconds, told in the provider's way"),
    Directive("refuse", _text, "", "a refusal with status 200; styles per provider as in README.md"),
    Directive("empty", None, True, "status 200 with an empty text"),
    Directive("text", _text, None, "exactly this text"),
    Directive("echo", None, True, "the last user message, without directives"),
    Directive("words", _whole(1, 1_000_000), None, "prose of about so many words"),
    Directive("huge", _whole(1, 256 << 20), 1 << 20, "exactly so many ASCII characters, not cut by max_tokens"),
    Directive("unicode", None, True, "many scripts, emoji, controls and separators in the text"),
    Directive("nul", None, True, "U+0000 in the middle of the text"),
    Directive("surrogate", None, True, "a lone surrogate (\\ud83d) in the middle of the text"),
    Directive("reasoning", _whole(0, 1_000_000), 64, "so many reasoning tokens, told as the provider tells them"),
    Directive("finish", _text, None, "finish reason: stop, length, content_filter, or the provider's own word"),
    Directive("usage", _number_text, None, "this raw JSON value as the count of output tokens"),
    Directive("1e400", None, True, "short for usage=1e400"),
    Directive("version", _text, None, "this model version instead of simulator-MODEL; `none` leaves it out"),
    Directive("badjson", None, True, "the body breaks off in the middle, with a fitting Content-Length"),
    Directive("html", None, True, "an HTML page in place of the body"),
    Directive("keepalive", _whole(1, 10_000), 3, "so many blank lines before the body"),
    Directive("header", _header, None, "NAME:VALUE added to the response's headers"),
    Directive("latency", _seconds, None, "seconds until the answer, in place of the configured latency"),
    Directive("slow", _seconds, None, "the body comes in ten pieces over so many seconds"),
    Directive("hangup", _one_of("start", "headers", "middle"), "middle",
              "the connection is closed: before any byte, after the headers, or in mid-answer"),
    Directive("hang", _one_of("start", "headers", "middle"), "start", "silence from there on, until the client leaves"),
)

CONDITIONS = (
    Directive("times", _whole(1, 1_000_000), None, "only the first so many asks of the same messages and model"),
    Directive("turn", _whole(1, 1_000_000), None, "only on this turn"),
    Directive("chance", _share, None, "only with this probability, drawn from seed, ask and its count"),
)

_KNOWN = {row.name: row for row in ROWS + CONDITIONS}
_CONDITION_NAMES = frozenset(row.name for row in CONDITIONS)


class DirectiveError(ValueError):
    """A directive that is unknown or malformed; the text names it and what is allowed."""


@dataclass
class Group:
    """One bracket: effects, and the conditions under which they hold (None = always)."""

    effects: dict = field(default_factory=dict)
    times: int | None = None
    turn: int | None = None
    chance: float | None = None

    def holds(self, turn: int, ask: int, fraction) -> bool:
        """`ask` counts from 1; `fraction` is called for a number in [0, 1) if chance needs one."""
        if self.times is not None and ask > self.times:
            return False
        if self.turn is not None and turn != self.turn:
            return False
        return self.chance is None or fraction() < self.chance


def parse_group(text: str) -> Group:
    """`status=500,times=2` -> Group.  Raises DirectiveError."""
    group = Group()
    for item in text.split(","):
        name, has_value, value = item.strip().partition("=")
        kept = _read(name, value if has_value else None)
        if name in _CONDITION_NAMES:
            setattr(group, name, kept)
        elif name == "header":
            group.effects.setdefault("header", []).append(kept)
        elif name == "1e400":
            group.effects["usage"] = "1e400"
        else:
            group.effects[name] = kept
    return group


def _read(name: str, value: str | None) -> object:
    row = _KNOWN.get(name)
    if row is None:
        raise DirectiveError(f"unknown directive {name!r}; GET /_sim/directives lists them")
    if value is None:
        if row.bare is None:
            raise DirectiveError(f"directive {name} needs a value: {row.help}")
        return row.bare
    if row.read is None:
        raise DirectiveError(f"directive {name} takes no value")
    try:
        return row.read(value)
    except ValueError as error:
        raise DirectiveError(f"directive {name}={value}: {error}") from None


def find_groups(text: str) -> list[Group]:
    """Every bracket of a prompt, in order.  Raises DirectiveError."""
    if "[[sim:" not in text:
        return []
    return [parse_group(inner) for inner in _BRACKET.findall(text)]


def without_directives(text: str) -> str:
    return _BRACKET.sub("", text).strip() if "[[sim:" in text else text


def listing() -> dict:
    def row(directive: Directive) -> dict:
        return {"name": directive.name, "value": directive.read is not None,
                "default": directive.bare if directive.read is not None else None, "help": directive.help}
    return {"directives": [row(d) for d in ROWS], "conditions": [row(d) for d in CONDITIONS]}
