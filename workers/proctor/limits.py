"""What a response's headers say of limits and of when to come back.

`read` is called for every response, so it looks for the two words that matter before it parses.
"""

import re
import time

MAX_WAIT_MS = 7 * 24 * 3600 * 1000

_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# A plain number this large is a date in seconds, not a span.
_EPOCH_FLOOR = 1_000_000_000
# Fractions of a second beyond microseconds, which fromisoformat refuses.
_EXCESS_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def _header_table():
    """Header name -> (bucket, field) for every spelling that a provider uses."""
    table = {}
    for field in ("limit", "remaining", "reset"):
        for word, bucket in (("requests", "requests"), ("tokens", "tokens")):
            table[f"x-ratelimit-{field}-{word}"] = (bucket, field)
        for word, bucket in (("req", "requests"), ("tokens", "tokens")):
            table[f"x-ratelimit-{field}-{word}-minute"] = (bucket, field)
        for bucket in ("requests", "tokens", "input-tokens", "output-tokens"):
            table[f"anthropic-ratelimit-{bucket}-{field}"] = (bucket.replace("-", "_"), field)
    return table


_TABLE = _header_table()


class Hints:
    """limits: the protocol's object or None; retry_after_ms: int or None; should_retry: bool or None."""

    __slots__ = ("limits", "retry_after_ms", "should_retry")

    def __init__(self, limits=None, retry_after_ms=None, should_retry=None):
        self.limits = limits
        self.retry_after_ms = retry_after_ms
        self.should_retry = should_retry


NO_HINTS = Hints()


def read(lines):
    """Hints from raw header lines (bytes)."""
    block = b"".join(lines).lower()
    if b"ratelimit" not in block and b"retry" not in block:
        return NO_HINTS
    limits, waits, should_retry = {}, {}, None
    for line in block.decode("latin-1").splitlines():
        name, _, text = line.partition(":")
        text = text.strip()
        place = _TABLE.get(name)
        if place:
            _put(limits, place, text)
        elif name in ("retry-after", "retry-after-ms"):
            waits[name] = text
        elif name == "x-should-retry" and text in ("true", "false"):
            should_retry = text == "true"
    wait = _retry_after(waits)
    if wait is not None:
        limits["retry_after_ms"] = wait
    return Hints(limits or None, wait, should_retry)


def _put(limits, place, text):
    bucket, field = place
    if field == "reset":
        number, field = span_ms(text), "reset_ms"
    else:
        # More than 18 digits is no count of anything and does not fit 64 bits.
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
    if number is not None:
        limits.setdefault(bucket, {})[field] = number


def _retry_after(waits):
    text = waits.get("retry-after-ms", "")
    if _NUMBER.fullmatch(text):
        return _bounded(float(text))
    text = waits.get("retry-after")
    if text is None:
        return None
    if _NUMBER.fullmatch(text):
        return _bounded(float(text) * 1000)
    return _from_http_date(text)


def span_ms(text):
    """Milliseconds of `6m0s`, `12ms`, `45.8s`, plain seconds, seconds since 1970 or an RFC 3339 date.

    None for anything else; never negative.
    """
    if _NUMBER.fullmatch(text):
        number = float(text)
        return _bounded((number - time.time()) * 1000 if number >= _EPOCH_FLOOR else number * 1000)
    text = text.lower()
    if _WHOLE_DURATION.fullmatch(text):
        return _bounded(sum(float(number) * _UNIT_MS[unit] for number, unit in _DURATION.findall(text)))
    return _from_rfc3339(text)


def _from_rfc3339(text):
    from datetime import datetime, timezone
    text = _EXCESS_FRACTION.sub(lambda match: match[1].ljust(7, "0"), text.upper())
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return _bounded((moment.timestamp() - time.time()) * 1000)


def _from_http_date(text):
    from email.utils import parsedate_to_datetime
    try:
        return _bounded((parsedate_to_datetime(text).timestamp() - time.time()) * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


def _bounded(ms):
    """Rounded up, so that nobody comes back a moment too early."""
    return max(0, min(MAX_WAIT_MS, -int(-ms // 1)))


def wait_for_reset(limits):
    """Milliseconds until the bucket that is empty, or nearest to it, fills; None when not told.

    For a 429 that says when its buckets reset but not when to retry.
    """
    buckets = [bucket for name, bucket in (limits or {}).items()
               if name != "retry_after_ms" and "reset_ms" in bucket]
    if not buckets:
        return None
    empty = [bucket["reset_ms"] for bucket in buckets if bucket.get("remaining") == 0]
    if empty:
        return max(empty)
    return min(buckets, key=_share_left)["reset_ms"]


def _share_left(bucket):
    limit = bucket.get("limit")
    return bucket.get("remaining", 0) / limit if limit else 0.0
