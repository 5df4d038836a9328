"""How long an answer takes: fixed, uniform or lognormal (heavy-tailed), in seconds."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """kind: fixed (a), uniform (a..b) or lognormal (median a, sigma b); `most` caps it."""

    kind: str
    a: float
    b: float = 0.0
    most: float = math.inf

    def draw(self, rng: random.Random) -> float:
        if self.kind == "fixed":
            return self.a
        if self.kind == "uniform":
            return rng.uniform(self.a, self.b)
        if self.a == 0:
            return 0.0
        return min(self.most, self.a * math.exp(self.b * rng.gauss(0.0, 1.0)))


# kind -> how many numbers may follow it
_ARITY = {"fixed": (1, 1), "uniform": (2, 2), "lognormal": (2, 3)}

FORMS = "SECONDS, fixed:S, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA[:MAX]"


def parse_latency(text: object) -> Latency:
    """Reads one of FORMS (a bare number too).  Raises ValueError that says what is allowed."""
    parts = str(text).split(":")
    if len(parts) == 1:
        parts.insert(0, "fixed")
    kind, raw = parts[0], parts[1:]
    least, most = _ARITY.get(kind, (0, -1))
    try:
        numbers = [float(part) for part in raw]
    except ValueError:
        numbers = []
    sane = all(math.isfinite(n) and n >= 0 for n in numbers)
    if not (least <= len(raw) <= most and len(numbers) == len(raw) and sane):
        raise ValueError(f"latency {text!r} is not {FORMS}")
    if kind == "uniform" and numbers[0] > numbers[1]:
        raise ValueError(f"latency {text!r}: LOW is greater than HIGH")
    return Latency(kind, *numbers)
