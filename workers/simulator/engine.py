"""One request in, one plan of its answer out.

Synchronous and without a socket: the server calls receive() when a request has
arrived whole, delivers the plan, and calls finish() once the answer is out or the
client is gone.  All state of the simulator lives here.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from simulator.directives import DirectiveError, find_groups, without_directives
from simulator.faults import Fault, Reject, gateway_page
from simulator.formats import FORMATS, Format
from simulator.formats.base import Ask, Detail, Draft, gauges_of, seconds_of, tokens_in
from simulator.ledger import Ledger
from simulator.limits import NS, Book, Verdict
from simulator.prose import UNICODE, Dice, compose, filler
from simulator.settings import Settings, latency_for, most_specific

ASKS_KEPT = 100_000  # conversations whose asks are counted for times=N
_RAW_USAGE = "@@usage@@"
_dump = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_dump_ascii = json.JSONEncoder(check_circular=False).encode


@dataclass
class Plan:
    """What to send, when and how.

    effects   those directives that shape the delivery: slow, hangup, hang
    gated     waits while settings.hold is true
    record    the ledger's entry so far; None for what is not an ask
    """

    status: int
    headers: dict[str, str]
    body: bytes
    latency_s: float = 0.0
    effects: dict = field(default_factory=dict)
    gated: bool = False
    verdict: Verdict | None = None
    record: dict | None = None


@dataclass
class Figures:
    """Counters of one provider; tokens are those of bought answers."""

    asked: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    bought: int = 0
    undelivered: int = 0
    refused: int = 0
    health: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: Counter = field(default_factory=Counter)


class Engine:
    def __init__(self, settings: Settings, ledger: Ledger):
        self.settings, self.ledger = settings, ledger
        self._serial = 0
        self.held = 0       # asks that wait while settings.hold is true
        self.figures = {name: Figures() for name in FORMATS}
        self.reset()
        self.configured(set())

    def reset(self) -> None:
        """Forgets what happened: limits' use, counters, asks, uses of rules, the ledger's memory.

        Asks under way stay counted as such.
        """
        self.book = Book(self.settings.limits)
        self.figures = {name: Figures(in_flight=f.in_flight, peak_in_flight=f.in_flight)
                        for name, f in self.figures.items()}
        self._asks: dict[tuple[str, str, str], int] = {}
        self._rng = random.Random(self.settings.seed)
        for rule in self.settings.script:
            rule.used = 0
        self.ledger.forget()

    def configured(self, changed: set[str]) -> None:
        """To be called after settings changed.  New limits start unused."""
        self._latencies: dict[tuple[str, str], object] = {}
        if "limits" in changed:
            self.book = Book(self.settings.limits)
        if "seed" in changed:
            self._rng = random.Random(self.settings.seed)

    @property
    def in_flight(self) -> int:
        return sum(f.in_flight for f in self.figures.values())

    # --- arrival

    def receive(self, provider: str, method: str, path: str, headers, body: bytes | None, now: int,
                wall: float, port: int = 0) -> Plan:
        """`path` is what follows the provider's prefix; body None means it was too long.

        `now` is nanoseconds of the monotonic clock, `wall` Unix seconds, both of the arrival.
        `port` is the client's end of the connection.
        """
        wire = FORMATS[provider]
        self._serial += 1
        ident = f"sim{self._serial:09d}"
        allowed, kind, model = wire.target(path)
        detail = Detail(model=model, now=wall, ident=ident)
        record = None
        if kind == "ask":
            record = {"id": ident, "port": port, "arrived": now / NS, "arrived_unix": wall, "provider": provider,
                      "model": model or None}
        try:
            self._check_access(wire, method, allowed, kind, headers)
            if record is None:
                return self._health(wire, kind, ident)
            plan = self._ask(wire, headers, body, detail, record, now)
        except Reject as reject:
            fault = wire.fault_of_reject(reject)
            detail.message, detail.param = reject.message, reject.param
            plan = self._failure(wire, fault, detail, record)
        if record is not None:
            self._started(plan)
        return plan

    def _check_access(self, wire: Format, method: str, allowed: str, kind: str, headers) -> None:
        if not kind:
            raise Reject(wire.unknown_path, "Nothing is at this path.")
        if method != allowed:
            raise Reject(wire.wrong_method)
        key = wire.credential(headers)
        if not key:
            raise Reject(wire.missing_key)
        if key.startswith("bad-"):
            raise Reject(wire.bad_key)

    def _health(self, wire: Format, kind: str, ident: str) -> Plan:
        self.figures[wire.name].health += 1
        body = wire.health(kind, list(wire.sample_models), self.settings.balance)
        return Plan(200, self._headers(wire, ident), _encode(body))

    def _ask(self, wire: Format, headers, body: bytes | None, detail: Detail, record: dict, now: int) -> Plan:
        ask = self._parse(wire, headers, body, detail)
        record.update(model=ask.model, digest=ask.digest, conversation=ask.conversation, turn=ask.turn)
        if self.settings.keep_text:
            record["messages"] = ask.messages
        effects, rule = self._effects(ask)
        fault = self._asked_fault(wire, effects)
        draft = self._draft(wire, ask, effects, detail)
        verdict = self.book.admit(now, wire.name, ask.model, wire.token_costs(ask, draft))
        if not self.settings.silent_limits:
            detail.gauges = gauges_of(verdict.meters, now, verdict.refused)
        if verdict.refused is not None:
            self.figures[wire.name].refused += 1
            record["refused_by"] = verdict.refused.scope
            detail.meter, detail.wait_s = verdict.refused, seconds_of(verdict.wait_ns)
            return self._failure(wire, wire.faults[wire.breach(verdict.refused, verdict.wait_ns)], detail, record)
        self._count(ask)
        if rule is not None:
            rule.used += 1
        if fault is not None:
            detail.wait_s = effects.get("ratelimit", 1.0) if fault.waits else None
            plan = self._failure(wire, fault, detail, record, effects)
        else:
            plan = self._answer(wire, draft, ask, detail, record, effects)
        plan.verdict, plan.gated = verdict, True
        plan.latency_s = effects["latency"] if "latency" in effects else self._latency(wire.name, ask.model)
        return plan

    def _parse(self, wire: Format, headers, body: bytes | None, detail: Detail) -> Ask:
        if body is None:
            raise Reject(wire.too_large)
        wire.check_headers(headers)
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Reject("json", f"The request body is not valid JSON: {type(error).__name__}.") from None
        if not isinstance(payload, dict):
            raise Reject("json", "The request body must be a JSON object.")
        ask = wire.parse(payload, detail.model)
        detail.model = ask.model
        if any(fnmatchcase(ask.model, glob) for glob in self.settings.unknown_models):
            raise Reject(wire.unknown_model)
        return ask

    # --- what shall happen to this ask

    def _ask_number(self, ask: Ask) -> int:
        return self._asks.get((ask.provider, ask.model, ask.digest), 0) + 1

    def _count(self, ask: Ask) -> None:
        key = (ask.provider, ask.model, ask.digest)
        self._asks[key] = self._ask_number(ask)
        if len(self._asks) > ASKS_KEPT:
            del self._asks[next(iter(self._asks))]

    def _effects(self, ask: Ask) -> tuple[dict, object]:
        """Directives that hold for this ask, the script's first; and the rule that gave them."""
        try:
            groups = find_groups(ask.system) + find_groups(ask.prompt)
        except DirectiveError as error:
            raise Reject("value", f"simulator: {error}") from None
        if not groups and not self.settings.script:
            return {}, None
        number = self._ask_number(ask)
        dice = Dice("chance", self.settings.seed, ask.model, ask.digest, number)
        effects: dict = {}
        chosen = next((r for r in self.settings.script if r.matches(ask.provider, ask.model, ask.turn, ask.prompt)
                       and (r.chance is None or dice.fraction() < r.chance)), None)
        for group in [chosen.group, *groups] if chosen else groups:
            if group.holds(ask.turn, number, dice.fraction):
                effects.update(group.effects)
        return effects, chosen

    def _asked_fault(self, wire: Format, effects: dict) -> Fault | None:
        if "error" in effects:
            provider, dot, name = effects["error"].rpartition(".")
            if (dot and provider != wire.name) or name not in wire.faults:
                raise Reject("value", f"simulator: {wire.name} has no error {effects['error']!r}; "
                             "GET /_sim/errors lists them")
            return wire.faults[name]
        if "quota" in effects:
            return wire.faults[wire.quota_fault]
        if "status" in effects:
            return wire.fault_of_status(effects["status"])
        return wire.faults[wire.rate_fault] if "ratelimit" in effects else None

    # --- the answer

    def _draft(self, wire: Format, ask: Ask, effects: dict, detail: Detail) -> Draft:
        refusal = effects.get("refuse")
        if refusal == "":
            refusal = wire.refusals[0]
        if refusal is not None and refusal not in wire.refusals:
            raise Reject("value", f"simulator: {wire.name} refuses as {', '.join(wire.refusals)}, not {refusal!r}")
        text = "" if refusal else self._text(ask, effects)
        if text and self.settings.sign:
            text = f"[{detail.ident}] {text}"
        reasoning = effects.get("reasoning")
        if reasoning is None:
            reasoning = self.settings.reasoning and most_specific(self.settings.reasoning, wire.name, ask.model) or 0
        version = effects.get("version", f"simulator-{ask.model}")
        draft = Draft(text, None if version == "none" else version, tokens_in(ask.chars), tokens_in(len(text)),
                      reasoning, refusal=refusal or "", ident=detail.ident, created=int(detail.now))
        if ask.max_tokens is not None and "huge" not in effects:
            _cut(draft, ask.max_tokens)
        if draft.reasoning_tokens:
            draft.thought = f"Simulated thought about turn {ask.turn}: weigh both sides, then answer in plain words."
        draft.finish = effects.get("finish", draft.finish)
        return draft

    def _text(self, ask: Ask, effects: dict) -> str:
        if "text" in effects:
            text = effects["text"]
        elif "echo" in effects:
            text = without_directives(ask.prompt)
        elif "empty" in effects:
            text = ""
        else:
            words = (effects["words"],) * 2 if "words" in effects else self.settings.words
            key = (self.settings.seed, ask.model, ask.turn, ask.digest, ask.seed)
            text = compose(key, ask.model, ask.turn, without_directives(ask.prompt), words)
        if "huge" in effects:
            text = filler(text or "x", effects["huge"])
        if "unicode" in effects:
            text += "\n\n" + UNICODE
        for name, mark in (("nul", "\x00"), ("surrogate", "\ud83d")):
            if name in effects:
                text = text[:len(text) // 2] + mark + text[len(text) // 2:]
        return text

    def _answer(self, wire: Format, draft: Draft, ask: Ask, detail: Detail, record: dict, effects: dict) -> Plan:
        body = wire.answer(draft, ask.model)
        if "usage" in effects:
            section, name = wire.usage_field
            body[section][name] = _RAW_USAGE
        record.update(status=200, error=None, input_tokens=draft.input_tokens,
                      output_tokens=draft.output_tokens + draft.reasoning_tokens,
                      reasoning_tokens=draft.reasoning_tokens)
        if self.settings.keep_text:
            record["answer"] = draft.text
        data = _encode(body)
        if "usage" in effects:
            data = data.replace(f'"{_RAW_USAGE}"'.encode(), effects["usage"].encode(), 1)
        headers = self._headers(wire, detail.ident)
        headers.update(wire.limit_headers(detail.gauges, detail.now))
        return self._shaped(Plan(200, headers, data, record=record), effects)

    def _failure(self, wire: Format, fault: Fault, detail: Detail, record: dict | None,
                 effects: dict | None = None) -> Plan:
        headers = self._headers(wire, detail.ident)
        headers.update(wire.limit_headers(detail.gauges, detail.now))
        if self.settings.silent_limits:
            detail.wait_s = None
        if fault.waits:
            headers.update(wire.wait_headers(fault, detail))
        headers.update(fault.headers)
        if fault.raw is not None:
            headers["Content-Type"] = "text/html"
            data = fault.raw.encode()
        else:
            data = _encode(wire.error_body(fault, detail))
        if record is not None:
            record.update(status=fault.status, error=f"{wire.name}.{fault.name}", input_tokens=0, output_tokens=0,
                          reasoning_tokens=0)
        return self._shaped(Plan(fault.status, headers, data, record=record), effects or {})

    def _headers(self, wire: Format, ident: str) -> dict[str, str]:
        return {"Content-Type": "application/json", **wire.headers(ident)}

    def _shaped(self, plan: Plan, effects: dict) -> Plan:
        """Applies the directives that touch the finished response."""
        if not effects:
            return plan
        if "html" in effects:
            plan.headers["Content-Type"] = "text/html"
            plan.body = gateway_page(plan.status, "Simulated page").encode()
        if "badjson" in effects:
            plan.body = plan.body[:len(plan.body) * 2 // 3]
        plan.body = b"\n" * effects.get("keepalive", 0) + plan.body
        for header in effects.get("header", ()):
            name, _, value = header.partition(":")
            plan.headers[name] = value.strip()
        plan.effects = {name: effects[name] for name in ("slow", "hangup", "hang") if name in effects}
        return plan

    def _latency(self, provider: str, model: str) -> float:
        found = self._latencies.get((provider, model))
        if found is None:
            found = self._latencies[provider, model] = latency_for(self.settings, provider, model)
        return found.draw(self._rng)

    # --- the end of an ask, and what is known of all

    def _started(self, plan: Plan) -> None:
        figures = self.figures[plan.record["provider"]]
        figures.asked += 1
        figures.in_flight += 1
        figures.peak_in_flight = max(figures.peak_in_flight, figures.in_flight)
        if plan.record["error"]:
            figures.errors[plan.record["error"]] += 1

    def finish(self, plan: Plan, delivered: bool, now: int, wall: float) -> None:
        """The answer was written whole, or the client had gone; to be called once for each ask."""
        record = plan.record
        if plan.verdict is not None:
            self.book.release(plan.verdict)
        figures = self.figures[record["provider"]]
        figures.in_flight -= 1
        bought = delivered and record["status"] == 200
        if bought:
            figures.bought += 1
            figures.input_tokens += record["input_tokens"]
            figures.output_tokens += record["output_tokens"]
        figures.undelivered += not delivered
        record.update(ended=now / NS, ended_unix=wall, delivered=delivered, bought=bought, bytes=len(plan.body))
        self.ledger.append(record)

    def stats(self, now: int) -> dict:
        providers = {name: {**vars(f), "errors": dict(f.errors)} for name, f in self.figures.items()}
        return {"in_flight": self.in_flight, "held": self.held, "ledger": self.ledger.n, "providers": providers,
                "limits": self.book.report(now)}


def _cut(draft: Draft, most: int) -> None:
    """Holds the answer to max_tokens; reasoning is spent first, as all six do."""
    if draft.reasoning_tokens + draft.output_tokens <= most:
        return
    draft.reasoning_tokens = min(draft.reasoning_tokens, most)
    draft.output_tokens = most - draft.reasoning_tokens
    draft.text = draft.text[:4 * draft.output_tokens]
    draft.finish = "length"


def _encode(body: object) -> bytes:
    try:
        return _dump(body).encode()
    except UnicodeEncodeError:
        # A lone surrogate can only travel as an escape.
        return _dump_ascii(body).encode()


def listed_errors() -> list[dict]:
    """Every named error as it is sent, with a wait of 2 s where it tells one."""
    found = []
    for wire in FORMATS.values():
        for fault in wire.table:
            detail = Detail(model="MODEL", wait_s=2.0 if fault.waits else None, ident="sim000000000")
            told = wire.wait_headers(fault, detail) if fault.waits else {}
            found.append({"name": f"{wire.name}.{fault.name}", "provider": wire.name, "status": fault.status,
                          "class": fault.code, "headers": {**told, **fault.headers},
                          "body": fault.raw if fault.raw is not None else wire.error_body(fault, detail)})
    return found
