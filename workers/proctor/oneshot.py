"""One-shot mode: one conversation from a JSON document on stdin, its transcript on stdout."""

from . import errors, sanitize
from .conversation import DEFAULT_DEADLINE_MS, MAX_CONVERSATION_BYTES
from .transport import Transport

MAX_INPUT_BYTES = MAX_CONVERSATION_BYTES


def answer(settings, engine, file):
    """The answer object for an input document in a binary file; never raises a ProbeError."""
    try:
        doc = _parse(file.read(MAX_INPUT_BYTES + 1))
        return {"success": True, "transcript": _hold(settings, engine, doc)}
    except errors.ProbeError as error:
        return {"success": False, "error": error.to_json()}


def _parse(data):
    if len(data) > MAX_INPUT_BYTES:
        raise errors.ValidationError(f"stdin holds more than {MAX_INPUT_BYTES} bytes")
    try:
        return sanitize.decode_bytes(data)
    except ValueError as fault:
        raise errors.ValidationError(f"stdin is no JSON document: {fault}") from None


def _hold(settings, engine, doc):
    """Holds the whole conversation, call after call, and returns its transcript."""
    conversation = engine.open_conversation(doc)
    turns = []

    def on_done(exchange, error):
        if error is not None:
            raise error
        turn = conversation.take(exchange.status, exchange.headers, exchange.body,
                                 exchange.started_at, exchange.latency_ms)
        turns.append(sanitize.decode_bytes(turn.body))

    transport = Transport(settings, on_done)
    while not conversation.finished:
        transport.start(conversation, conversation.provider, conversation.url, conversation.request(),
                        DEFAULT_DEADLINE_MS)
        while transport.active:
            transport.wait(None)
    totals = conversation.totals()
    return {
        "turns": turns,
        "totalInputTokens": totals["inputTokens"],
        "totalOutputTokens": totals["outputTokens"],
        "totalReasoningTokens": totals["reasoningTokens"],
        "modelVersion": conversation.model_version,
        "startedAt": totals["startedAt"],
        "completedAt": totals["completedAt"],
    }
