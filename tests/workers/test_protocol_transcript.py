"""The conversation recorded in PROTOCOL.md is what a worker really says."""

import hashlib
import json
import os
import re

from conftest import WORKERS, Reply

# What differs from one run to the next.
VOLATILE = {"pid", "python", "rss_kb", "latency_ms", "durationMs", "startedAt", "completedAt", "digest",
            "prev", "bytes", "url"}


def recorded():
    """[(mark, text)] of the transcript in PROTOCOL.md."""
    with open(os.path.join(WORKERS, "PROTOCOL.md"), encoding="utf-8") as file:
        block = file.read().rsplit("```", 2)[1]
    return [(line[0], line[2:]) for line in block.strip().splitlines()]


def stable(value):
    """The value without what differs, the set of its keys kept."""
    if isinstance(value, dict):
        return {key: "varies" if key in VOLATILE else stable(inner) for key, inner in value.items()}
    return [stable(inner) for inner in value] if isinstance(value, list) else value


def test_the_recorded_conversation_is_replayed(start_worker, provider):
    worker = start_worker(ready=False, keys=("openai", "anthropic"), FAIL_MODEL_ID="rate-limit-test")
    body = None
    for mark, text in recorded():
        if mark == ">":
            worker.send(text.encode() + b"\n")
        elif mark == "p":
            status, _, answer = text.partition(" ")
            provider.script(Reply(answer, int(status)))
        elif body is not None:
            assert list(stable(json.loads(text)).items()) == list(stable(json.loads(body)).items())
            body = None
        else:
            message = worker.read()
            body = message.pop("body", None)
            assert list(stable(json.loads(text)).items()) == list(stable(message).items())
    assert body is None and worker.wait() == (0, [])


def test_the_recorded_digests_and_lengths_are_right():
    lines = [text for mark, text in recorded() if mark == "<"]
    previous, turns = "", 0
    for line, after in zip(lines, lines[1:]):
        message = json.loads(line)
        if message.get("type") == "turn":
            turns += 1
            assert message["bytes"] == len(after.encode()) and message["prev"] == previous
            previous = hashlib.blake2b(previous.encode() + after.encode(), digest_size=16).hexdigest()
            assert message["digest"] == previous
    assert turns == 2


def test_every_message_and_code_is_documented():
    from proctor import errors, serve
    with open(os.path.join(WORKERS, "PROTOCOL.md"), encoding="utf-8") as file:
        text = file.read()
    kinds = set(re.findall(r'"type":"(\w+)"', text))
    assert {"job", "go", "cancel", "ping", "shutdown", "hello", "ready", "turn", "result", "pong"} <= kinds
    for name in vars(errors).values():
        if isinstance(name, type) and issubclass(name, errors.ProbeError):
            assert f"`{name.code}`" in text
    for number in (serve.EXIT_PROTOCOL, serve.EXIT_READER_GONE):
        assert f" {number} " in text
