"""What all providers share: key, address, reading a response, and the classes of their errors.

A provider's file says how a request looks, where a response keeps its parts, and which evidence
makes an error more than its HTTP status. It holds no state but its key and address.
"""

import os
import re

from .. import KEY_VARIABLES, VERSION, errors, limits, redaction, sanitize

STATUS_ERRORS = {
    400: errors.ValidationError, 401: errors.AuthError, 402: errors.QuotaExhausted,
    403: errors.AuthError, 404: errors.NotFound, 407: errors.NetworkError,
    408: errors.ServerError, 409: errors.ServerError, 429: errors.RateLimit,
}
REFUSED_KEY = "was refused: mend it in the environment or in the key_file of proctor.ini, and reload"
SNIPPET_CHARS = 300
_PRINTABLE = re.compile(r"[!-~]+")
_USERINFO = re.compile(r"//[^/@]*@")


class Answer:
    """One answer as the provider gave it; its usage as `fields.tokens` gives it."""

    __slots__ = ("text", "finish", "version", "fingerprint", "input", "output", "reasoning", "note",
                 "hints")

    def __init__(self, text, finish, version, usage, fingerprint=None):
        self.text = text
        self.finish = finish if type(finish) is str else None
        self.version = version if type(version) is str and version else None
        self.fingerprint = fingerprint if type(fingerprint) is str else None
        self.input, self.output, self.reasoning, self.note = usage
        self.hints = limits.NO_HINTS


class Fault:
    """An error body's parts: its message, its types and codes as `words`, and the document itself."""

    __slots__ = ("message", "words", "doc")

    def __init__(self, message, words=(), doc=None):
        self.message = message if isinstance(message, str) else sanitize.encode(sanitize.value(message))
        self.words = frozenset(word for word in words if isinstance(word, str))
        self.doc = doc


class Provider:
    """Base of all. Class attributes are the facts, methods the shapes."""

    name = label = base_url = path = ""
    obeys_should_retry = False
    blocked_finishes = frozenset()
    failed_finishes = frozenset()
    takes = frozenset(("temperature", "max_tokens", "seed"))

    def __init__(self, base_url=None, key_env=None):
        self.base_url = (base_url or self.base_url).rstrip("/")
        self.key_env = key_env or KEY_VARIABLES[self.name]
        self._key = None
        self._key_bytes = b""

    # What each provider's file gives.

    def auth_headers(self, key):
        return [f"Authorization: Bearer {key}"]

    def url(self, model):
        return self.base_url + self.path

    def message(self, role, text):
        """One message of the history; role is "user" or "assistant"."""
        return {"role": role, "content": text}

    def payload(self, model, facts, preamble, history, parameters):
        """The request's document. parameters: dict of those of `takes` that are to be sent."""
        raise NotImplementedError

    def answer(self, doc):
        """Answer from a success document. Raises ContentBlocked or InvalidResponse."""
        raise NotImplementedError

    def fault(self, doc):
        """Fault from an error document (a dict)."""
        raise NotImplementedError

    def error_class(self, status, fault):
        """The class of an error, from the status unless the body says more."""
        return status_error(status)

    def retry_delay_ms(self, fault):
        """A wait that the body, not a header, asks for."""
        return None

    # What they share.

    def headers(self):
        """Header lines of every request. Raises MissingApiKey."""
        return [*self.auth_headers(self.key()), "Content-Type: application/json",
                "Accept: application/json", f"User-Agent: proctor/{VERSION}", "Expect:"]

    def key(self):
        if self._key is None:
            key = os.environ.get(self.key_env, "").strip()
            if not key:
                raise errors.MissingApiKey(
                    f"{self.key_env} is not set: put {self.key_env}=... into the environment,"
                    " or into the file that key_file in proctor.ini names, and reload",
                    {"provider": self.name, "variable": self.key_env})
            if not _PRINTABLE.fullmatch(key):
                raise errors.AuthError(f"{self.key_env} holds characters that no API key has"
                                       " (spaces, line breaks or non-ASCII)", {"provider": self.name})
            redaction.add(key)
            self._key = key
            self._key_bytes = key.encode()
        return self._key

    def interpret(self, status, header_lines, body):
        """Answer from a whole response. Raises the ProbeError that it amounts to."""
        hints = limits.read(header_lines)
        body = redaction.redact_bytes(body, self._key_bytes)
        try:
            doc = sanitize.decode_bytes(body)
        except ValueError:
            doc = None
        if not 200 <= status < 300:
            raise self._error(status, hints, doc, body)
        if not isinstance(doc, dict):
            raise errors.InvalidResponse(f"{self.label} answered {len(body)} bytes that are no JSON object",
                                         {"provider": self.name, "body": snippet(body)}, status=status)
        try:
            answer = self.answer(doc)
            self._check(answer)
        except errors.ProbeError as error:
            error.status, error.limits = status, hints.limits
            raise
        answer.hints = hints
        return answer

    def _check(self, answer):
        """Refuses what is no whole answer."""
        finish = answer.finish
        if (answer.text and not answer.text.isspace() and finish not in self.blocked_finishes
                and finish not in self.failed_finishes):
            return
        details = {"provider": self.name, "finishReason": finish, "outputTokens": answer.output,
                   "reasoningTokens": answer.reasoning}
        if finish in self.blocked_finishes:
            raise errors.ContentBlocked(f"{self.label} blocked the answer ({finish})", details)
        if finish in self.failed_finishes:
            raise errors.ServerError(f"{self.label} broke off the answer ({finish})", details)
        raise errors.InvalidResponse(
            f"{self.label} answered without any content (finish reason {finish}, {answer.output}"
            f" output tokens, {answer.reasoning} of them reasoning)", details)

    def _error(self, status, hints, doc, body):
        if isinstance(doc, list) and doc:
            doc = doc[0]
        fault = self.fault(doc) if isinstance(doc, dict) else Fault(snippet(body))
        kind = self.error_class(status, fault)
        wait = self.retry_delay_ms(fault) if hints.retry_after_ms is None else hints.retry_after_ms
        if wait is None and kind is errors.RateLimit:
            wait = limits.wait_for_reset(hints.limits)
        retryable = None
        if self.obeys_should_retry and kind is not errors.QuotaExhausted:
            retryable = hints.should_retry
        details = {"provider": self.name, "url": _USERINFO.sub("//", self.base_url)}
        details["body"] = fault.doc or snippet(body)
        message = f"{self.label} answered {status}: {fault.message.strip() or 'no message'}"
        if kind is errors.AuthError:
            message = f"{message.rstrip('.')}; the key in {self.key_env} {REFUSED_KEY}"
        return kind(message, details, retry_after_ms=wait, status=status, limits=hints.limits,
                    retryable=retryable)


def status_error(status):
    """The error class of an HTTP status alone."""
    kind = STATUS_ERRORS.get(status)
    if kind:
        return kind
    if status >= 500:
        return errors.ServerError
    # A redirect is no answer: the base_url is not the provider's.
    return errors.ValidationError if status >= 400 else errors.InvalidResponse


def snippet(body):
    """The beginning of a body that could not be read, as text."""
    return body[:SNIPPET_CHARS].decode(errors="replace")
