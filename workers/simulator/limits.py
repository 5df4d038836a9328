"""Rate limits as a provider keeps them: four kinds, exact, and counted.

Pure: every call takes `now`, integer nanoseconds of one monotonic clock, so that
tests own the time and no rounding can let a call slip through or hold it back.
`now` must never run backwards.

A Book holds every configured limit.  A call is admitted by all the limits that
cover it, or by none of them: a refused call uses up nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase

NS = 1_000_000_000
NEVER = math.inf  # a wait that no amount of time ends

KINDS = ("sliding", "fixed", "bucket", "concurrency")
UNITS = ("requests", "tokens", "input_tokens", "output_tokens")


@dataclass(frozen=True)
class LimitSpec:
    """One configured limit.

    provider, model   what it covers; model is a glob
    kind, unit        members of KINDS and UNITS; concurrency counts requests
    limit             the most per window (bucket: refilled per window; concurrency: at once)
    window_s          seconds, > 0; ignored by concurrency
    burst             bucket only: its capacity; None = limit
    per               "provider": all covered models share it; "model": each has its own
    enforce           False counts the use, and how often it was over, but refuses nothing
    """

    provider: str
    kind: str
    limit: int
    unit: str = "requests"
    model: str = "*"
    window_s: float = 60.0
    burst: int | None = None
    per: str = "provider"
    enforce: bool = True

    def covers(self, provider: str, model: str) -> bool:
        return self.provider == provider and fnmatchcase(model, self.model)


class SlidingWindow:
    """At most `limit` in any span of `window_ns`: an event counts for exactly that long."""

    def __init__(self, limit: int, window_ns: int):
        self.limit, self.window_ns = limit, window_ns
        self._events: deque[tuple[int, int]] = deque()  # (time, cost), oldest first
        self._sum = 0

    def used(self, now: int) -> int:
        horizon = now - self.window_ns
        while self._events and self._events[0][0] <= horizon:
            self._sum -= self._events.popleft()[1]
        return self._sum

    def wait(self, now: int, cost: int) -> float:
        excess = self.used(now) + cost - self.limit
        if excess <= 0:
            return 0
        for at, freed in self._events:
            excess -= freed
            if excess <= 0:
                return at + self.window_ns - now
        return NEVER

    def take(self, now: int, cost: int) -> None:
        self.used(now)
        self._events.append((now, cost))
        self._sum += cost

    def reset_in(self, now: int) -> int:
        """Nanoseconds until nothing of it is used any more."""
        self.used(now)
        return self._events[-1][0] + self.window_ns - now if self._events else 0


class FixedWindow:
    """At most `limit` in each aligned window: the count drops to 0 at every multiple of it."""

    def __init__(self, limit: int, window_ns: int):
        self.limit, self.window_ns = limit, window_ns
        self._index = -1
        self._sum = 0

    def used(self, now: int) -> int:
        index = now // self.window_ns
        if index != self._index:
            self._index, self._sum = index, 0
        return self._sum

    def wait(self, now: int, cost: int) -> float:
        if self.used(now) + cost <= self.limit:
            return 0
        return self.window_ns - now % self.window_ns if cost <= self.limit else NEVER

    def take(self, now: int, cost: int) -> None:
        self._sum = self.used(now) + cost

    def reset_in(self, now: int) -> int:
        return self.window_ns - now % self.window_ns if self.used(now) else 0


class TokenBucket:
    """`burst` at once, refilled by `limit` each window; whole arithmetic, no drift.

    The level is kept in units of 1/window_ns of a token.
    """

    def __init__(self, limit: int, window_ns: int, burst: int):
        self.limit, self.window_ns, self.burst = limit, window_ns, burst
        self._level = burst * window_ns
        self._at: int | None = None

    def _refill(self, now: int) -> int:
        if self._at is not None:
            self._level = min(self.burst * self.window_ns, self._level + (now - self._at) * self.limit)
        self._at = now
        return self._level

    def used(self, now: int) -> int:
        return self.burst - self._refill(now) // self.window_ns

    def wait(self, now: int, cost: int) -> float:
        lacking = cost * self.window_ns - self._refill(now)
        if lacking <= 0:
            return 0
        return -(-lacking // self.limit) if cost <= self.burst else NEVER

    def take(self, now: int, cost: int) -> None:
        self._level = self._refill(now) - cost * self.window_ns

    def reset_in(self, now: int) -> int:
        lacking = self.burst * self.window_ns - self._refill(now)
        return -(-lacking // self.limit)


class Concurrency:
    """At most `limit` calls under way.  When a place falls free nobody can tell: wait is 1 s."""

    def __init__(self, limit: int):
        self.limit = limit
        self._sum = 0

    def used(self, now: int) -> int:
        return self._sum

    def wait(self, now: int, cost: int) -> float:
        return 0 if self._sum + cost <= self.limit else NS

    def take(self, now: int, cost: int) -> None:
        self._sum += cost

    def give(self, cost: int) -> None:
        self._sum -= cost

    def reset_in(self, now: int) -> int:
        return 0


def _shape(spec: LimitSpec):
    window_ns = round(spec.window_s * NS)
    if spec.kind == "sliding":
        return SlidingWindow(spec.limit, window_ns)
    if spec.kind == "fixed":
        return FixedWindow(spec.limit, window_ns)
    if spec.kind == "bucket":
        return TokenBucket(spec.limit, window_ns, spec.burst or spec.limit)
    if spec.kind == "concurrency":
        return Concurrency(spec.limit)
    raise ValueError(f"unknown kind of limit {spec.kind!r}")


class Meter:
    """One limit at work on one scope, with the figures that prove how it was used."""

    def __init__(self, spec: LimitSpec, scope: str):
        self.spec, self.scope = spec, scope
        self.shape = _shape(spec)
        self.ceiling = (spec.burst or spec.limit) if spec.kind == "bucket" else spec.limit
        self.admitted = self.admitted_cost = self.refused = self.over = self.peak = 0
        self.first: int | None = None
        self.last: int | None = None

    def cost_of(self, costs: dict[str, int]) -> int:
        return 1 if self.spec.kind == "concurrency" else costs[self.spec.unit]

    def take(self, now: int, cost: int) -> None:
        self.shape.take(now, cost)
        used = self.shape.used(now)
        self.admitted += 1
        self.admitted_cost += cost
        self.over += used > self.ceiling
        self.peak = max(self.peak, used)
        self.first = now if self.first is None else self.first
        self.last = now

    def remaining(self, now: int) -> int:
        return max(0, self.ceiling - self.shape.used(now))

    def report(self, now: int) -> dict:
        spec = self.spec
        return {
            "scope": self.scope, "kind": spec.kind, "unit": spec.unit, "limit": spec.limit,
            "window_s": None if spec.kind == "concurrency" else spec.window_s,
            "burst": self.ceiling if spec.kind == "bucket" else None,
            "enforce": spec.enforce, "used": self.shape.used(now), "peak": self.peak,
            "admitted": self.admitted, "admitted_cost": self.admitted_cost,
            "refused": self.refused, "over": self.over,
            "first_s": None if self.first is None else self.first / NS,
            "last_s": None if self.last is None else self.last / NS,
        }


@dataclass
class Verdict:
    """What the limits said to one call.

    refused   the meter that would keep it waiting longest; None = admitted
    wait_ns   0 when admitted; NEVER when the call alone is beyond the limit
    held      meters whose place must be given back with Book.release
    meters    every meter that covers the call
    """

    refused: Meter | None
    wait_ns: float
    held: list[Meter]
    meters: list[Meter]


class Book:
    """All limits.  Not thread-safe: one owner, calls in order of arrival."""

    def __init__(self, specs: list[LimitSpec]):
        self.specs = list(specs)
        self._meters: dict[tuple[int, str], Meter] = {}
        self._covering: dict[tuple[str, str], list[Meter]] = {}

    def meters(self, provider: str, model: str) -> list[Meter]:
        found = self._covering.get((provider, model))
        if found is None:
            found = [self._meter(i, spec, model) for i, spec in enumerate(self.specs)
                     if spec.covers(provider, model)]
            self._covering[provider, model] = found
        return found

    def _meter(self, index: int, spec: LimitSpec, model: str) -> Meter:
        name = model if spec.per == "model" else spec.model
        meter = self._meters.get((index, name))
        if meter is None:
            scope = spec.provider if name == "*" else f"{spec.provider}/{name}"
            meter = self._meters[index, name] = Meter(spec, scope)
        return meter

    def admit(self, now: int, provider: str, model: str, costs: dict[str, int]) -> Verdict:
        """Charges `costs` (by unit) to every covering limit, or to none."""
        meters = self.meters(provider, model)
        refused, longest = None, 0.0
        for meter in meters:
            if not meter.spec.enforce:
                continue
            wait = meter.shape.wait(now, meter.cost_of(costs))
            if wait > 0:
                meter.refused += 1
                if wait > longest:
                    refused, longest = meter, wait
        if refused is not None:
            return Verdict(refused, longest, [], meters)
        for meter in meters:
            meter.take(now, meter.cost_of(costs))
        return Verdict(None, 0, [m for m in meters if m.spec.kind == "concurrency"], meters)

    def release(self, verdict: Verdict) -> None:
        """Gives the places of an ended call back; harmless when called again."""
        held, verdict.held = verdict.held, []
        for meter in held:
            meter.shape.give(1)

    def report(self, now: int) -> list[dict]:
        for index, spec in enumerate(self.specs):
            if spec.per == "provider":
                self._meter(index, spec, spec.model)
        return [meter.report(now) for _, meter in sorted(self._meters.items())]
