"""What can be configured, by file, by option and at run time: one row per key.

The same rows read the JSON file, the command line's values and POST /_sim/config,
and write GET /_sim/config.  Every error is a ValueError whose text names the key.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

from simulator.formats import FORMATS
from simulator.latency import FORMS, Latency, parse_latency
from simulator.limits import KINDS, UNITS, LimitSpec
from simulator.script import Rule, parse_rule

_LIMIT_TEXT = re.compile(
    r"(?P<provider>\w+)(?:/(?P<model>.+?))?:(?P<kind>" + "|".join(KINDS) + r")(?::(?P<unit>\w+))?"
    r"=(?P<limit>\d+)(?:/(?P<window>\d+(?:\.\d+)?))?(?:\+(?P<burst>\d+))?")
LIMIT_FORM = "PROVIDER[/MODEL-GLOB]:KIND[:UNIT]=LIMIT[/WINDOW_S][+BURST]"


@dataclass
class Settings:
    """Everything that shapes the answers; see ROWS for meaning and range."""

    seed: int = 0
    words: tuple[int, int] = (80, 150)
    latency: dict[str, str] = field(default_factory=dict)
    reasoning: dict[str, int] = field(default_factory=dict)
    limits: list[LimitSpec] = field(default_factory=list)
    script: list[Rule] = field(default_factory=list)
    unknown_models: list[str] = field(default_factory=lambda: ["nonexistent*", "no-such-*"])
    balance: float = 100.0
    silent_limits: bool = False
    hold: bool = False
    keep_text: bool = False
    sign: bool = False
    max_request_bytes: int = 32 << 20

    def as_dict(self) -> dict:
        plain = {row: getattr(self, row) for row in ROWS}
        plain["limits"] = [asdict(spec) for spec in self.limits]
        plain["script"] = [rule.as_dict() for rule in self.script]
        plain["words"] = list(self.words)
        return plain


def _fail(key: str, what: str):
    raise ValueError(f"{key}: {what}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _integer(low: int, high: int):
    def read(key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _fail(key, f"must be an integer {low}..{high}")
        return value
    return read


def _number(key: str, value: object) -> float:
    return float(value) if _is_number(value) else _fail(key, "must be a number")


def _switch(key: str, value: object) -> bool:
    return value if isinstance(value, bool) else _fail(key, "must be true or false")


def _words(key: str, value: object) -> tuple[int, int]:
    count = _integer(1, 1_000_000)
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        _fail(key, "must be [least, most]")
    low, high = count(key, value[0]), count(key, value[1])
    return (low, high) if low <= high else _fail(key, "least is greater than most")


def _globs(key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        _fail(key, "must be a list of model globs")
    return value


def _scoped(read):
    """{"*" | PROVIDER | PROVIDER/MODEL-GLOB: value}"""
    def read_all(key: str, value: object) -> dict:
        if not isinstance(value, dict):
            _fail(key, "must be an object: scope -> value")
        for scope in value:
            provider = scope.partition("/")[0]
            if provider != "*" and provider not in FORMATS:
                _fail(f"{key}.{scope}", f"no such provider; known: {', '.join(FORMATS)}")
        return {scope: read(f"{key}.{scope}", v) for scope, v in value.items()}
    return read_all


def _latency(key: str, value: object) -> str:
    if not isinstance(value, str) and not _is_number(value):
        _fail(key, f"must be {FORMS}")
    try:
        parse_latency(value)
    except ValueError as error:
        _fail(key, str(error))
    return str(value)


def _limit_of_text(key: str, text: str) -> dict:
    found = _LIMIT_TEXT.fullmatch(text)
    if found is None:
        _fail(key, f"{text!r} is not {LIMIT_FORM}; kinds: {', '.join(KINDS)}")
    raw = {"provider": found["provider"], "kind": found["kind"], "limit": int(found["limit"])}
    if found["model"]:
        raw["model"] = found["model"]
    if found["unit"]:
        raw["unit"] = found["unit"]
    if found["window"]:
        raw["window_s"] = float(found["window"])
    if found["burst"]:
        raw["burst"] = int(found["burst"])
    return raw


def _limit(key: str, value: object) -> LimitSpec:
    raw = _limit_of_text(key, value) if isinstance(value, str) else value
    if not isinstance(raw, dict):
        _fail(key, f"must be an object or a text {LIMIT_FORM}")
    unknown = raw.keys() - LimitSpec.__dataclass_fields__.keys()
    if unknown:
        _fail(key, f"unknown key {min(unknown)!r}")
    missing = {"provider", "kind", "limit"} - raw.keys()
    if missing:
        _fail(key, f"{min(missing)} is missing")
    window = 1.0 if raw["kind"] == "fixed" else 60.0
    spec = LimitSpec(**{"window_s": window, **raw})
    _check_limit(key, spec)
    return spec


def _check_limit(key: str, spec: LimitSpec) -> None:
    choices = {"provider": tuple(FORMATS), "kind": KINDS, "unit": UNITS, "per": ("provider", "model")}
    for name, allowed in choices.items():
        if getattr(spec, name) not in allowed:
            _fail(f"{key}.{name}", f"must be one of {', '.join(allowed)}")
    _integer(1, 1 << 50)(f"{key}.limit", spec.limit)
    if spec.burst is not None:
        _integer(1, 1 << 50)(f"{key}.burst", spec.burst)
    if not _is_number(spec.window_s) or not 0.001 <= spec.window_s <= 86400 * 31:
        _fail(f"{key}.window_s", "must be a number of seconds 0.001..2678400")
    if not isinstance(spec.model, str):
        _fail(f"{key}.model", "must be a glob")
    _switch(f"{key}.enforce", spec.enforce)


def _listed(read):
    def read_all(key: str, value: object) -> list:
        if not isinstance(value, list):
            _fail(key, "must be a list")
        return [read(f"{key}[{i}]", v) for i, v in enumerate(value)]
    return read_all


# key -> (reader, help)
ROWS = {
    "seed": (_integer(-(1 << 63), (1 << 63) - 1), "changes every answer, draw and latency"),
    "words": (_words, "length of an answer: [least, most]"),
    "latency": (_scoped(_latency), f"scope -> {FORMS}"),
    "reasoning": (_scoped(_integer(0, 1_000_000)), "scope -> reasoning tokens of every answer"),
    "limits": (_listed(_limit), f"objects, or texts {LIMIT_FORM}"),
    "script": (_listed(lambda key, value: parse_rule(value, key)), "rules, as POST /_sim/script"),
    "unknown_models": (_globs, "models that do not exist here"),
    "silent_limits": (_switch, "true: no provider tells its limits, nor when to come back"),
    "balance": (_number, "what DeepSeek's balance page tells"),
    "hold": (_switch, "true: admitted asks wait for their answer until it is false again"),
    "keep_text": (_switch, "true: the ledger keeps message texts and answers"),
    "sign": (_switch, "true: an answer begins with its id in the ledger, so that no two are the same"),
    "max_request_bytes": (_integer(1024, 1 << 30), "a longer request gets the provider's 413"),
}


def apply(settings: Settings, patch: object) -> set[str]:
    """Sets the keys of `patch`, all or none; the changed keys.  Raises ValueError."""
    if not isinstance(patch, dict):
        raise ValueError("the configuration must be a JSON object")
    unknown = patch.keys() - ROWS.keys()
    if unknown:
        raise ValueError(f"{min(unknown)}: unknown key; known: {', '.join(ROWS)}")
    values = {key: ROWS[key][0](key, value) for key, value in patch.items()}
    for key, value in values.items():
        setattr(settings, key, value)
    return set(values)


def load_file(settings: Settings, path: str) -> None:
    """Raises ValueError or OSError."""
    with open(path, encoding="utf-8") as file:
        try:
            raw = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}") from None
    try:
        apply(settings, raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def most_specific(table: dict, provider: str, model: str):
    """The value of the longest matching scope, None if none matches."""
    def matches(scope: str) -> bool:
        name, _, glob = scope.partition("/")
        return name in ("*", provider) and fnmatchcase(model, glob or "*")
    # A provider is more specific than *, a model glob more than a provider.
    best = max(filter(matches, table), key=lambda s: ("/" in s, not s.startswith("*"), len(s)), default=None)
    return None if best is None else table[best]


def latency_for(settings: Settings, provider: str, model: str) -> Latency:
    return parse_latency(most_specific(settings.latency, provider, model) or "0")
