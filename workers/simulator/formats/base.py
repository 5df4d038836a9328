"""What every wire format offers to the engine, and what the formats share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import blake2b

from simulator.faults import Fault, Reject, class_of_status
from simulator.limits import NEVER, NS, Meter

SHORTEST_TOLD_S = 60


def tokens_in(chars: int) -> int:
    """The simulator's tokenizer: four characters are one token."""
    return -(-chars // 4)


@dataclass
class Ask:
    """A valid request, in the words that all formats share.

    messages     (role, text) with roles system, user, assistant; the system text first
    max_tokens   None = not given
    seed         None = not given, or the format has none
    """

    provider: str
    model: str
    messages: list[tuple[str, str]]
    max_tokens: int | None = None
    seed: int | None = None
    chars: int = 0
    turn: int = 0
    prompt: str = ""
    digest: str = ""
    conversation: str = ""

    def __post_init__(self):
        users = [text for role, text in self.messages if role == "user"]
        self.turn = len(users)
        self.prompt = users[-1] if users else ""
        self.chars = sum(len(text) for _, text in self.messages)
        self.digest = messages_digest(self.messages)
        first = [m for m in self.messages if m[0] == "system"] + [("user", users[0] if users else "")]
        self.conversation = self.digest if first == self.messages else messages_digest(first)

    @property
    def system(self) -> str:
        return "\n".join(text for role, text in self.messages if role == "system")


def messages_digest(messages: list[tuple[str, str]]) -> str:
    """32 hex digits: blake2b over role, U+001F, text, U+001E of each message, in UTF-8."""
    text = "".join(f"{role}\x1f{text}\x1e" for role, text in messages)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass
class Draft:
    """An answer before it has a wire format.  output_tokens does not hold reasoning_tokens.

    finish    stop, length, content_filter, or a provider's own word
    refusal   "" or one of the format's refusal styles
    version   None = leave it out
    """

    text: str
    version: str | None
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    finish: str = "stop"
    refusal: str = ""
    thought: str = ""
    ident: str = ""
    created: int = 0


@dataclass
class Gauge:
    """One limit as a response header tells it."""

    unit: str
    limit: int
    remaining: int
    reset_s: float


@dataclass
class Detail:
    """What an error's body and headers are filled in with.

    wait_s   seconds until a retry can succeed; None = not told, or never
    meter    the limit that was broken; None for an error that was asked for
    now      wall clock, Unix seconds
    """

    model: str = ""
    message: str | None = None
    param: str | None = None
    wait_s: float | None = None
    meter: Meter | None = None
    now: float = 0.0
    ident: str = ""
    gauges: list[Gauge] = field(default_factory=list)


class Format:
    """One provider.  Subclasses set the class attributes and the four methods at the end."""

    name = ""
    table: tuple[Fault, ...] = ()
    # kind of Reject -> row; anything else is a row's own name
    rejects: dict[str, str] = {}
    missing_key = bad_key = unknown_model = unknown_path = wrong_method = too_large = ""
    quota_fault = rate_fault = ""
    refusals: tuple[str, ...] = ()
    finishes: dict[str, str] = {}
    usage_field: tuple[str, str] = ("usage", "completion_tokens")
    ask_path = ""
    health_paths: dict[str, str] = {}
    sample_models: tuple[str, ...] = ()

    def __init__(self):
        self.faults = {fault.name: fault for fault in self.table}
        self.by_status: dict[int, Fault] = {}
        for fault in self.table:
            self.by_status.setdefault(fault.status, fault)

    def fault_of_status(self, status: int) -> Fault:
        found = self.by_status.get(status)
        return found or Fault(f"status_{status}", status, class_of_status(status), f"Simulated status {status}.")

    def fault_of_reject(self, reject: Reject) -> Fault:
        return self.faults[self.rejects.get(reject.kind, reject.kind)]

    def target(self, path: str) -> tuple[str, str, str]:
        """Path below the provider's prefix -> (allowed method, kind, model).

        kind is ask or the name of a health page; "" when there is nothing at that path.
        """
        if path == self.ask_path:
            return "POST", "ask", ""
        kind = self.health_paths.get(path)
        return ("GET", kind, "") if kind else ("", "", "")

    def credential(self, headers) -> str:
        """The key that was sent, "" if none."""
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    def check_headers(self, headers) -> None:
        """Raises Reject when a header that the provider insists on is missing."""

    def finish(self, generic: str) -> str:
        return self.finishes.get(generic, generic)

    def token_costs(self, ask: Ask, draft: Draft) -> dict[str, int]:
        """What this call is charged, by unit of limit."""
        output = draft.output_tokens + draft.reasoning_tokens
        return {"requests": 1, "tokens": draft.input_tokens + output,
                "input_tokens": draft.input_tokens, "output_tokens": output}

    def breach(self, meter: Meter, wait_ns: float) -> str:
        """The row that tells of a broken limit."""
        return self.rate_fault

    def headers(self, ident: str) -> dict[str, str]:
        """Sent with every response."""
        return {"x-request-id": f"req_{ident}"}

    def limit_headers(self, gauges: list[Gauge], now: float) -> dict[str, str]:
        return {}

    def wait_headers(self, fault: Fault, detail: Detail) -> dict[str, str]:
        """How this provider says when to come back; only for rows that wait."""
        return {}

    # What each format brings itself.

    def parse(self, payload: dict, model: str) -> Ask:
        """Raises Reject as the provider would refuse it.  Unknown fields are tolerated."""
        raise NotImplementedError

    def answer(self, draft: Draft, model: str) -> dict:
        raise NotImplementedError

    def error_body(self, fault: Fault, detail: Detail) -> object:
        raise NotImplementedError

    def health(self, kind: str, models: list[str], balance: float) -> dict:
        raise NotImplementedError


def message_of(fault: Fault, detail: Detail) -> str:
    return detail.message or fault.message.replace("{model}", detail.model or "MODEL")


def gauges_of(meters: list[Meter], now: int, refused: Meter | None) -> list[Gauge]:
    """One gauge a unit: the broken limit's, else that of the longest window.

    A limit that is kept by the second is no provider's to tell: headers speak of minutes and days.
    A bucket is told by what it is refilled with, whatever it holds.
    """
    chosen: dict[str, Meter] = {}
    for meter in meters:
        if meter.spec.kind == "concurrency" or meter.spec.window_s < SHORTEST_TOLD_S:
            continue
        held = chosen.get(meter.spec.unit)
        if held is None or meter is refused or (held is not refused and meter.spec.window_s > held.spec.window_s):
            chosen[meter.spec.unit] = meter
    return [Gauge(unit, m.spec.limit, min(m.remaining(now), m.spec.limit), m.shape.reset_in(now) / NS)
            for unit, m in chosen.items()]


def seconds_of(wait_ns: float) -> float | None:
    return None if wait_ns == NEVER else wait_ns / NS


def whole_seconds(wait_s: float) -> str:
    """Rounded up: a client that obeys must not come too early."""
    return str(math.ceil(round(wait_s, 9)))


def go_duration(seconds: float) -> str:
    """`12ms`, `1s`, `1.5s`, `6m0s`, `1h0m0s`: never shorter than what is meant."""
    millis = math.ceil(round(seconds * 1000, 6))
    if millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes == 0:
        return tail
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}"


# --- checks of a payload: each raises Reject with a kind that the format maps to its own row


def need_model(payload: dict) -> str:
    model = payload.get("model")
    if model is None:
        raise Reject("missing", "you must provide a model parameter", "model")
    if not isinstance(model, str) or not model:
        raise Reject("type", "model must be a non-empty string", "model")
    return model


def number(payload: dict, key: str, low: float, high: float) -> float | None:
    """An optional number in low..high."""
    value = payload.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Reject("type", f"Invalid type for '{key}': expected a number.", key)
    if not low <= value <= high:
        edge = f">= {low}" if value < low else f"<= {high}"
        raise Reject("range", f"Invalid '{key}': {value} given, but the value must be {edge}.", key)
    return value


def integer(payload: dict, key: str, low: int, high: int = (1 << 63) - 1) -> int | None:
    """An optional integer in low..high."""
    value = payload.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Reject("type", f"Invalid type for '{key}': expected an integer.", key)
    number(payload, key, low, high)
    return value


def text_of(content: object, param: str) -> str:
    """A message's content: a string, or a list of {"type": "text", "text": …}."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        return "".join(p["text"] for p in content)
    raise Reject("type", f"Invalid type for '{param}': expected a string or a list of text parts.", param)


def chat_messages(payload: dict, roles: dict[str, str]) -> list[tuple[str, str]]:
    """`messages` as (role, text); `roles` maps the provider's roles to ours."""
    messages = payload.get("messages")
    if messages is None:
        raise Reject("missing", "Missing required parameter: 'messages'.", "messages")
    if not isinstance(messages, list) or not messages:
        raise Reject("value", "Invalid 'messages': expected a list with at least one message.", "messages")
    found = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise Reject("type", f"Invalid type for '{where}': expected an object.", where)
        role = message.get("role")
        if not isinstance(role, str) or role not in roles:
            allowed = ", ".join(roles)
            raise Reject("value", f"Invalid value: {role!r}. Supported values are: {allowed}.", f"{where}.role")
        found.append((roles[role], text_of(message.get("content"), f"{where}.content")))
    # Several system messages, wherever they stand, are read first.
    return sorted(found, key=lambda m: m[0] != "system")
