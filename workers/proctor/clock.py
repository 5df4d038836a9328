"""Wall clock stamps as the transcripts show them."""

import time

_second = 0
_stamp = ""


def iso_now():
    """Now in UTC, ISO 8601 with milliseconds and Z. The part down to the second is kept between calls."""
    global _second, _stamp
    now = time.time()
    second = int(now)
    if second != _second:
        _second = second
        _stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return f"{_stamp}.{int((now - second) * 1000):03d}Z"
