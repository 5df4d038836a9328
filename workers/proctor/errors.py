"""Everything that can end a probe, as one exception tree.

A class carries its code and whether the same call may succeed later; an instance adds what is
known of this one case. `to_json` gives the error object of a `result` line and of one-shot output.
"""

from . import sanitize, redaction

MAX_MESSAGE_CHARS = 2000
MAX_DETAILS_BYTES = 8192


class ProbeError(Exception):
    """Base of all; on its own it means a fault that nothing here foresaw."""

    code = "UNKNOWN"
    retryable = True

    def __init__(self, message, details=None, retry_after_ms=None, status=None, limits=None,
                 retryable=None):
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after_ms = retry_after_ms
        self.status = status
        self.limits = limits
        if retryable is not None:
            self.retryable = retryable

    def to_json(self):
        """The error object: safe for jsonb, bounded, without keys."""
        message = sanitize.text(redaction.redact(self.message))
        error = {
            "message": message[:MAX_MESSAGE_CHARS],
            "code": self.code,
            "retryable": self.retryable,
            "details": _bounded(self.details),
            "retryAfterMs": self.retry_after_ms,
            "statusCode": self.status,
        }
        if self.limits:
            error["limits"] = self.limits
        return error


class TransientError(ProbeError):
    """Worth another try."""


class PermanentError(ProbeError):
    """The same call would fail again."""

    retryable = False


class RateLimit(TransientError):
    code = "RATE_LIMIT"


class Timeout(TransientError):
    code = "TIMEOUT"


class NetworkError(TransientError):
    code = "NETWORK_ERROR"


class ServerError(TransientError):
    code = "SERVER_ERROR"


class QuotaExhausted(PermanentError):
    code = "QUOTA_EXHAUSTED"


class AuthError(PermanentError):
    code = "AUTH_ERROR"


class MissingApiKey(PermanentError):
    code = "MISSING_API_KEY"


class ValidationError(PermanentError):
    code = "VALIDATION_ERROR"


class NotFound(PermanentError):
    code = "NOT_FOUND"


class InvalidResponse(PermanentError):
    code = "INVALID_RESPONSE"


class ContentBlocked(PermanentError):
    code = "CONTENT_BLOCKED"


class UnsupportedProvider(PermanentError):
    code = "UNSUPPORTED_PROVIDER"


class Cancelled(PermanentError):
    code = "CANCELLED"


def _bounded(details):
    """The details, or their beginning as text when they are too long to keep whole."""
    if details is None:
        return None
    details = sanitize.value(details)
    text = redaction.redact(sanitize.encode(details))
    if len(text.encode()) > MAX_DETAILS_BYTES:
        # An escaped character is at most 6 bytes in JSON for 1 character here.
        return {"truncated": True, "text": text[:MAX_DETAILS_BYTES // 8]}
    return sanitize.decode(text)
