"""Anything that comes must go into jsonb, and into the chain of digests."""

import base64
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor import digest, sanitize
from proctor.conversation import encode_body

UNFIT_OR_LIKE_IT = st.sampled_from("\x00\ud800\udfff\\u0\"")
WITH_BAD = st.text(alphabet=st.one_of(st.characters(), UNFIT_OR_LIKE_IT), max_size=60)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WITH_BAD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WITH_BAD, inner, max_size=4), max_leaves=8)


def body(**changes):
    doc = {"turnNumber": 1, "promptLabel": "l", "probePrompt": "p", "targetResponse": "t", "inputTokens": 1,
           "outputTokens": 2, "reasoningTokens": 0, "durationMs": 3, "finishReason": None,
           "modelVersion": None, "startedAt": "2025-01-01T00:00:00.000Z"}
    doc.update(changes)
    return doc


def is_fit(text):
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


@given(WITH_BAD)
def test_text_keeps_all_but_what_is_unfit(text):
    fit = sanitize.text(text)
    assert is_fit(fit) and len(fit) == len(text)
    assert all(new == old or (new == "\ufffd" and not is_fit(old)) for new, old in zip(fit, text))


def assert_jsonb(value):
    if isinstance(value, str):
        assert is_fit(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        assert -2**63 <= value < 2**63
    elif isinstance(value, float):
        assert math.isfinite(value)
    else:
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            assert_jsonb(inner)


@given(ANY_JSON)
def test_any_value_becomes_fit(value):
    fit = sanitize.value(value)
    assert_jsonb(fit)
    assert json.loads(sanitize.encode(fit).encode()) == fit


def test_nesting_is_cut_off():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert len(sanitize.encode(sanitize.value(deep))) < 200


@given(WITH_BAD, WITH_BAD, st.none() | WITH_BAD, st.none() | WITH_BAD)
def test_a_body_is_one_fit_line_that_loses_nothing(prompt, answer, finish, version):
    line = encode_body(body(probePrompt=prompt, targetResponse=answer, finishReason=finish,
                            modelVersion=version), {})
    assert b"\n" not in line
    read = json.loads(line.decode())
    assert_jsonb(read)
    assert read["targetResponse"] == sanitize.text(answer) and read["probePrompt"] == sanitize.text(prompt)
    if is_fit(answer):
        assert "targetResponseRaw" not in read
    else:
        raw = base64.b64decode(read["targetResponseRaw"]).decode("utf-8", "surrogatepass")
        assert raw == answer


def test_a_body_has_its_extra_keys():
    assert json.loads(encode_body(body(), {"usageNote": "n\x00"}))["usageNote"] == "n\ufffd"
    assert json.loads(encode_body(body(), {}))["startedAt"] == "2025-01-01T00:00:00.000Z"


def test_bytes_that_are_no_utf8_become_replaced_text_with_the_raw_beside_it():
    doc = sanitize.decode_bytes(b'{"a":"x\xffy"}')
    read = json.loads(encode_body(body(targetResponse=doc["a"]), {}))
    assert read["targetResponse"] == "x\ufffdy"
    assert base64.b64decode(read["targetResponseRaw"]) == "x\udcffy".encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 200_000, b'{"a":' * 200_000, b"\xff",
                                  b"\xff" + b"[" * 200_000, b"1" * 100_000, b"{} {}", b"nul"])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError):
        sanitize.decode_bytes(data)


@given(ANY_JSON)
def test_encoding_agrees_with_the_standard_library(value):
    fit = sanitize.value(value)
    assert sanitize.encode(fit) == json.dumps(fit, ensure_ascii=False, separators=(",", ":"))


def test_encoding_refuses_what_json_has_not():
    with pytest.raises(ValueError):
        sanitize.encode({"a": float("nan")})


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_each_digest_is_over_its_predecessor_and_the_body(bodies):
    previous = ""
    for data in bodies:
        chained = digest.extend(previous, data)
        assert chained == hashlib.blake2b(previous.encode() + data, digest_size=16).hexdigest()
        assert len(chained) == 32 and chained != previous
        previous = chained
