"""The engine of a conversation: which call comes next, and what an answer turns into.

It does no input or output and never waits: serve mode and one-shot drive it alike. After
`open_conversation` the driver alternates `request` (the bytes to send) and `take` (the response
that they brought) until `finished`. Every failure is a ProbeError.
"""

import re

from . import clock, digest, errors, sanitize
from .job import Probe
from .sanitize import quote, quote_or_null

MAX_CONVERSATION_BYTES = 32 * 1024 * 1024
DEFAULT_DEADLINE_MS = 300_000
_DIGEST = re.compile(f"([0-9a-f]{{{2 * digest.DIGEST_BYTES}}})?")


class Turn:
    """A turn just taken: `body` is its line for the record, the rest goes into the protocol's envelope."""

    __slots__ = ("number", "last", "previous", "digest", "body", "latency_ms", "input", "output",
                 "reasoning", "limits")


class Conversation:
    """provider, model, url: whom it is held with; number: turns done; digest: of the last one."""

    __slots__ = ("probe", "provider", "model", "url", "number", "digest", "model_version", "_facts",
                 "_parameters", "_not_sent", "_history", "_bytes", "_input", "_output", "_reasoning",
                 "_duration_ms", "_started_at", "_completed_at")

    def __init__(self, probe, provider, model, facts):
        self.probe = probe
        self.provider = provider
        self.model = model
        self.url = provider.url(model)
        self.number = 0
        self.digest = ""
        self.model_version = None
        self._facts = facts
        self._parameters, self._not_sent = _parameters(probe, provider, facts)
        self._history = []
        self._bytes = len(probe.preamble)
        self._input = self._output = self._reasoning = self._duration_ms = 0
        self._started_at = self._completed_at = None

    @property
    def finished(self):
        return self.number == len(self.probe.steps)

    def resume(self, turns, last_digest):
        """Takes up turns done in an earlier attempt: decoded bodies and the last one's digest."""
        if type(turns) is not list or type(last_digest) is not str or not _DIGEST.fullmatch(last_digest):
            raise errors.ValidationError("turns must be a list, digest 32 hex digits or empty")
        if len(turns) > len(self.probe.steps):
            raise errors.ValidationError(
                f"{len(turns)} turns are done of a conversation of {len(self.probe.steps)}")
        for number, body in enumerate(turns, 1):
            _check_resumed(body, number)
            self._remember(body, len(body["probePrompt"]) + len(body["targetResponse"]))
        self.digest = last_digest

    def request(self):
        """The next call's body."""
        if self._bytes > MAX_CONVERSATION_BYTES:
            raise errors.ValidationError(
                f"the conversation has grown to {self._bytes} bytes;"
                f" at most {MAX_CONVERSATION_BYTES} are allowed")
        provider = self.provider
        history = [*self._history, provider.message("user", self.probe.steps[self.number][1])]
        return sanitize.encode(provider.payload(self.model, self._facts, self.probe.preamble, history,
                                                self._parameters)).encode()

    def take(self, status, header_lines, data, started_at, latency_ms):
        """Turn from a whole response; the conversation moves on by one."""
        answer = self.provider.interpret(status, header_lines, data)
        number = self.number
        label, prompt = self.probe.steps[number]
        body = {
            "turnNumber": number + 1,
            "promptLabel": label,
            "probePrompt": prompt,
            "targetResponse": answer.text,
            "inputTokens": answer.input,
            "outputTokens": answer.output,
            "reasoningTokens": answer.reasoning,
            "durationMs": latency_ms,
            "finishReason": answer.finish,
            "modelVersion": answer.version,
            "startedAt": started_at,
        }
        turn = Turn()
        turn.body = encode_body(body, self._extras(answer))
        turn.previous = self.digest
        turn.digest = digest.extend(self.digest, turn.body)
        turn.latency_ms = latency_ms
        turn.input, turn.output, turn.reasoning = answer.input, answer.output, answer.reasoning
        turn.limits = answer.hints.limits
        self.digest = turn.digest
        self._completed_at = clock.iso_now()
        self._remember(body, len(turn.body))
        turn.number = self.number
        turn.last = self.finished
        return turn

    def _extras(self, answer):
        """Keys that only some bodies have."""
        extras = {}
        if answer.fingerprint:
            extras["systemFingerprint"] = answer.fingerprint
        if answer.note:
            extras["usageNote"] = answer.note
        if self._not_sent and self.number == 0:
            extras["parametersNotSent"] = self._not_sent
        return extras

    def _remember(self, body, size):
        """Adds a turn, new or resumed, to history and totals."""
        self.number += 1
        self._bytes += size
        self._input += body["inputTokens"]
        self._output += body["outputTokens"]
        self._reasoning += body.get("reasoningTokens") or 0
        self._duration_ms += body.get("durationMs") or 0
        self._started_at = self._started_at or body.get("startedAt")
        self.model_version = body.get("modelVersion") or self.model_version
        if not self.finished:
            message = self.provider.message
            self._history.append(message("user", body["probePrompt"]))
            self._history.append(message("assistant", body["targetResponse"]))

    def totals(self):
        """The protocol's totals; the duration is that of the calls, waits between them left out."""
        return {"turns": self.number, "inputTokens": self._input, "outputTokens": self._output,
                "reasoningTokens": self._reasoning, "durationMs": self._duration_ms,
                "startedAt": self._started_at, "completedAt": self._completed_at or self._started_at}


class Engine:
    """Opens conversations: knows the providers, the models and the model that is to fail."""

    def __init__(self, settings, models, providers):
        self._models = models
        self._providers = providers
        self._fail_model_id = settings.fail_model_id

    def open_conversation(self, doc, turns=(), last_digest=""):
        """Conversation for an input object. Raises ProbeError when it cannot be held."""
        probe = Probe(doc)
        if probe.model_id == self._fail_model_id:
            raise errors.RateLimit(f"simulated rate limit: FAIL_MODEL_ID is {probe.model_id}",
                                   {"provider": "simulated"}, status=429)
        name, model = self._models.route(probe.model_id, probe.provider)
        conversation = Conversation(probe, self._providers[name], model, self._models.facts(model))
        if turns or last_digest:
            conversation.resume(turns, last_digest)
        return conversation


def encode_body(body, extras):
    """A turn's body as one line of UTF-8 that jsonb accepts.

    `body` has all the usual keys, `extras` any others.

    Only a body that really holds something unfit is rebuilt; if that was the answer's text, the raw
    text goes beside it. `body` is changed in place, so that its reader sees what was stored.
    """
    line = _body_line(body, extras)
    # A backslash before u0000 in the text itself is a false alarm that costs only time.
    if "\\u0000" not in line:
        try:
            return line.encode()
        except UnicodeEncodeError:
            pass
    answer = body["targetResponse"]
    body.update(sanitize.value(body))
    if body["targetResponse"] != answer:
        extras["targetResponseRaw"] = sanitize.raw_base64(answer)
    return _body_line(body, sanitize.value(extras)).encode()


def _body_line(body, extras):
    # Three times as fast as encoding the dict, and every answer passes here.
    line = (f'{{"turnNumber":{body["turnNumber"]},"promptLabel":{quote(body["promptLabel"])}'
            f',"probePrompt":{quote(body["probePrompt"])},"targetResponse":{quote(body["targetResponse"])}'
            f',"inputTokens":{body["inputTokens"]},"outputTokens":{body["outputTokens"]}'
            f',"reasoningTokens":{body["reasoningTokens"]},"durationMs":{body["durationMs"]}'
            f',"finishReason":{quote_or_null(body["finishReason"])}'
            f',"modelVersion":{quote_or_null(body["modelVersion"])},"startedAt":"{body["startedAt"]}"')
    return f"{line},{sanitize.encode(extras)[1:]}" if extras else line + "}"


def _parameters(probe, provider, facts):
    """(those to send, names of those that were asked for but are not sent)."""
    wanted = {}
    if probe.temperature is not None:
        wanted["temperature"] = probe.temperature
    if probe.max_tokens is not None:
        wanted["max_tokens"] = probe.max_tokens
    elif facts.default_max_tokens is not None:
        wanted["max_tokens"] = facts.default_max_tokens
    if probe.seed is not None:
        wanted["seed"] = probe.seed
    if not facts.refuses and wanted.keys() <= provider.takes:
        return wanted, None
    sent = {name: value for name, value in wanted.items()
            if name in provider.takes and name not in facts.refuses}
    return sent, [name for name in wanted if name not in sent]


def _check_resumed(body, number):
    whole = ("turnNumber", "inputTokens", "outputTokens")
    if (type(body) is not dict or any(type(body.get(key)) is not int for key in whole)
            or body["turnNumber"] != number
            or any(type(body.get(key)) is not str for key in ("probePrompt", "targetResponse"))):
        raise errors.ValidationError(f"turns[{number - 1}] is not the body of turn {number}")
