"""Limit headers and waits, in every spelling."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proctor import limits


def read(**headers):
    return limits.read([f"{name.replace('_', '-')}: {value}\r\n".encode() for name, value in headers.items()])


@pytest.mark.parametrize("text, ms", [
    ("6m0s", 360_000), ("12ms", 12), ("1s", 1000), ("45.837906927s", 45_838), ("1h2m3.5s", 3_723_500),
    ("1d", 86_400_000), ("0", 0), ("1.2", 1200), ("2", 2000), ("0s", 0), ("9999d", limits.MAX_WAIT_MS),
    ("", None), ("soon", None), ("5 s", None), ("-3", None), ("s", None), ("1x", None), ("nan", None),
])
def test_span(text, ms):
    assert limits.span_ms(text) == ms


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.123456789Z",
                                  "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S.5Z"])
def test_a_date_is_a_span_from_now(form):
    assert 58_000 < limits.span_ms(time.strftime(form, time.gmtime(time.time() + 60))) < 62_000


def test_a_date_that_is_past_is_no_wait():
    assert limits.span_ms("2001-01-01T00:00:00Z") == 0
    assert limits.span_ms(str(int(time.time()) - 5)) == 0


def test_seconds_since_1970_are_a_date():
    assert 58_000 < limits.span_ms(str(int(time.time()) + 60)) < 61_000


def test_retry_after_as_an_http_date():
    wait = read(retry_after=formatdate(time.time() + 30, usegmt=True)).retry_after_ms
    assert 28_000 < wait <= 30_000
    assert read(retry_after="Mon, 99 Foo 2025").retry_after_ms is None


def test_openai_headers():
    hints = read(x_ratelimit_limit_requests=500, x_ratelimit_remaining_requests=499,
                 x_ratelimit_reset_requests="120ms", x_ratelimit_limit_tokens=30000,
                 x_ratelimit_remaining_tokens=29000, X_RateLimit_Reset_Tokens="6m0s")
    assert hints.limits == {"requests": {"limit": 500, "remaining": 499, "reset_ms": 120},
                            "tokens": {"limit": 30000, "remaining": 29000, "reset_ms": 360_000}}


def test_anthropic_headers():
    reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    hints = read(**{f"anthropic_ratelimit_{bucket}_{field}": reset if field == "reset" else 40
                    for bucket in ("requests", "tokens", "input_tokens", "output_tokens")
                    for field in ("limit", "remaining", "reset")})
    assert set(hints.limits) == {"requests", "tokens", "input_tokens", "output_tokens"}
    for bucket in hints.limits.values():
        assert bucket["limit"] == bucket["remaining"] == 40 and 57_000 < bucket["reset_ms"] < 61_000


def test_mistral_headers():
    hints = read(x_ratelimit_limit_tokens_minute=500000, x_ratelimit_remaining_tokens_minute=1,
                 x_ratelimit_limit_req_minute=60, x_ratelimit_remaining_req_minute=59, Retry_After=4)
    assert hints.limits == {"tokens": {"limit": 500000, "remaining": 1},
                            "requests": {"limit": 60, "remaining": 59}, "retry_after_ms": 4000}
    assert hints.retry_after_ms == 4000


def test_headers_that_say_nothing():
    assert read(content_type="application/json", date="x") is limits.NO_HINTS
    assert read(x_ratelimit_limit_requests="many", retry_after="").limits is None
    assert read(x_ratelimit_limit_requests="9" * 40).limits is None


def test_should_retry():
    assert read(x_should_retry="true").should_retry is True
    assert read(x_should_retry="FALSE").should_retry is False
    assert read(x_should_retry="maybe").should_retry is None


@given(st.lists(st.binary(max_size=60), max_size=6), st.text(max_size=20))
def test_no_header_breaks_the_reader(lines, text):
    data = text.encode("utf-8", "surrogatepass")
    limits.read([*lines, b"retry-after: " + data, b"x-ratelimit-reset-tokens:" + data])


@given(st.text(alphabet="0123456789.smhdTZ:-+ ", max_size=30))
def test_a_span_is_none_or_within_bounds(text):
    ms = limits.span_ms(text)
    assert ms is None or 0 <= ms <= limits.MAX_WAIT_MS
