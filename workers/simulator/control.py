"""The control API below /_sim/: configuration at run time, and what happened so far."""

from __future__ import annotations

import asyncio
import json
import time

from simulator import VERSION, directives, settings
from simulator.engine import Engine, listed_errors
from simulator.script import parse_rule

WAIT_MOST_S = 600.0
LEDGER_FILTERS = ("provider", "model", "status", "conversation", "digest", "bought")


class BadCall(ValueError):
    """The caller's mistake; the text says which."""


class Control:
    """Answers control calls as (status, JSON object).  Runs on the server's loop."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.open_gate = asyncio.Event()
        self._waiters: set[asyncio.Future] = set()
        self._table = {
            ("GET", ""): (self._index, "this list"),
            ("GET", "config"): (self._config, "the configuration in force"),
            ("POST", "config"): (self._configure, "set some keys, all or none"),
            ("POST", "script"): (self._script, "{rules: […], append: false}"),
            ("GET", "ledger"): (self._ledger, "?since=N&limit=N, and equal to: " + " ".join(LEDGER_FILTERS)),
            ("GET", "stats"): (self._stats, "counters and the use of every limit"),
            ("GET", "errors"): (self._errors, "every named error with its body; ?provider=…"),
            ("GET", "directives"): (self._directives, "every directive"),
            ("GET", "wait"): (self._wait, "until ?ledger=N, ?in_flight=N, ?held=N or ?asked=N are reached; timeout=S"),
            ("POST", "reset"): (self._reset, "forget ledger memory, counters, limits' use, asks, uses of rules"),
        }
        self.apply_gate()

    async def handle(self, method: str, path: str, query, body: bytes) -> tuple[int, dict]:
        call = self._table.get((method, path.strip("/")))
        if call is None:
            return 404, {"error": f"no {method} /_sim/{path}; GET /_sim/ lists what there is"}
        try:
            return 200, await call[0](query, _json(body))
        except ValueError as error:
            return 400, {"error": str(error)}

    def changed(self) -> None:
        """An ask has arrived or ended: waiters look again."""
        if self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    def apply_gate(self) -> None:
        if self.engine.settings.hold:
            self.open_gate.clear()
        else:
            self.open_gate.set()

    async def _index(self, query, body) -> dict:
        return {"simulator": VERSION, "calls": {f"{m} /_sim/{p}": text for (m, p), (_, text) in self._table.items()}}

    async def _config(self, query, body) -> dict:
        return self.engine.settings.as_dict()

    async def _configure(self, query, body) -> dict:
        changed = settings.apply(self.engine.settings, body)
        self.engine.configured(changed)
        self.apply_gate()
        return {"changed": sorted(changed)}

    async def _script(self, query, body) -> dict:
        if not isinstance(body, dict) or not isinstance(body.get("rules"), list) or body.keys() - {"rules", "append"}:
            raise BadCall('the body must be {"rules": […], "append": false}')
        rules = [parse_rule(raw, f"rules[{i}]") for i, raw in enumerate(body["rules"])]
        kept = self.engine.settings.script if body.get("append") else []
        self.engine.settings.script = kept + rules
        return {"rules": [rule.as_dict() for rule in self.engine.settings.script]}

    async def _ledger(self, query, body) -> dict:
        wanted = {key: query[key] for key in LEDGER_FILTERS if key in query}
        found = self.engine.ledger.query(_count(query, "since", 0), _count(query, "limit", 1000), **wanted)
        return {"entries": found, "last": self.engine.ledger.n}

    async def _stats(self, query, body) -> dict:
        return self.engine.stats(time.monotonic_ns())

    async def _errors(self, query, body) -> dict:
        provider = query.get("provider")
        return {"errors": [e for e in listed_errors() if provider in (None, e["provider"])]}

    async def _directives(self, query, body) -> dict:
        return directives.listing()

    async def _reset(self, query, body) -> dict:
        self.engine.reset()
        return {}

    async def _wait(self, query, body) -> dict:
        wanted = {key: _count(query, key, 0) for key in ("ledger", "in_flight", "held", "asked") if key in query}
        if not wanted:
            raise BadCall("wait needs ledger=N, in_flight=N, held=N or asked=N")
        try:
            timeout = min(WAIT_MOST_S, float(query.get("timeout", 10)))
        except ValueError:
            raise BadCall("timeout must be a number of seconds") from None
        met = await self._wait_for(wanted, time.monotonic() + timeout)
        return {"met": met, **self._reached()}

    def _reached(self) -> dict[str, int]:
        engine = self.engine
        return {"ledger": engine.ledger.n, "in_flight": engine.in_flight, "held": engine.held,
                "asked": sum(f.asked for f in engine.figures.values())}

    async def _wait_for(self, wanted: dict[str, int], deadline: float) -> bool:
        while True:
            reached = self._reached()
            if all(reached[key] >= value for key, value in wanted.items()):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait_for(waiter, left)
            except asyncio.TimeoutError:
                self._waiters.discard(waiter)


def _json(body: bytes) -> object:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise BadCall("the body is not JSON") from None


def _count(query, key: str, usual: int) -> int:
    text = query.get(key, str(usual))
    if not text.isascii() or not text.isdigit():
        raise BadCall(f"{key} must be a whole number, 0 or more")
    return int(text)
