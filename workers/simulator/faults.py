"""What a named error is.  The tables themselves stand in formats/, one per provider."""

from __future__ import annotations

from dataclasses import dataclass, field

QUOTA = "QUOTA_EXHAUSTED"
AUTH = "AUTH_ERROR"
INVALID = "VALIDATION_ERROR"
NOT_FOUND = "NOT_FOUND"
RATE = "RATE_LIMIT"
SERVER = "SERVER_ERROR"


@dataclass(frozen=True)
class Fault:
    """One error that a provider is known to send.

    name      unique within its provider; `openai.NAME` is its full name
    status    HTTP status
    code      the class that a client should see in it (constants above)
    message   the error's text; may name {model}
    fields    what else stands in the body, by the provider's own key names
    headers   sent with it, besides what the format itself adds
    waits     True when it carries the provider's way of saying when to come back
    raw       a body that is not the provider's JSON (a gateway's HTML page)
    """

    name: str
    status: int
    code: str
    message: str
    fields: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    waits: bool = False
    raw: str | None = None


class Reject(Exception):
    """The request is refused before any answer: `fault` names the row, the rest details it.

    `kind` is json, missing, type, range or value, for which each format chooses its own
    row, or the very name of a row.
    """

    def __init__(self, kind: str, message: str | None = None, param: str | None = None):
        super().__init__(message or kind)
        self.kind, self.message, self.param = kind, message, param


def class_of_status(status: int) -> str:
    """The class of a status that no row describes."""
    if status in (401, 403):
        return AUTH
    if status in (408, 409) or status >= 500:
        return SERVER
    return {402: QUOTA, 404: NOT_FOUND, 429: RATE}.get(status, INVALID)


def gateway_page(status: int, reason: str) -> str:
    """The page of a proxy that stands before the provider: no JSON at all."""
    return (f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
            f"<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n")
