"""Log lines: JSON objects on stderr, one a line, event first and constant."""

import os

from . import sanitize, redaction

LEVELS = {"debug": 0, "info": 1, "warning": 2, "error": 3}

_threshold = LEVELS.get(os.environ.get("PROCTOR_LOG_LEVEL", "info"), 1)


def _write(level, event, fields):
    if LEVELS[level] < _threshold:
        return
    line = sanitize.encode(sanitize.value({"level": level, "event": event, **fields}))
    try:
        os.write(2, (redaction.redact(line) + "\n").encode())
    except OSError:
        # Nobody reads our log any more; that is no reason to lose a conversation.
        pass


def debug(event, **fields):
    _write("debug", event, fields)


def info(event, **fields):
    _write("info", event, fields)


def warning(event, **fields):
    _write("warning", event, fields)


def error(event, **fields):
    _write("error", event, fields)
