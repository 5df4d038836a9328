"""The values that must never be shown, and their removal from text.

Owned by the process: keys are added when first read from the environment. Short values are left
alone, since "test" or "x" as a key would blot out ordinary words.
"""

MIN_SECRET_CHARS = 8
# In an answer a match must be beyond chance: real keys are 32 characters and more.
MIN_SECRET_IN_ANSWER = 24
MASK = "[key removed]"

_known = set()


def add(value):
    """Registers a secret; it is masked from then on."""
    if len(value) >= MIN_SECRET_CHARS:
        _known.add(value)


def redact(text):
    """The text with every known secret masked."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def redact_bytes(data, secret):
    """A response's bytes without the key that was sent for it, should it be echoed."""
    if len(secret) >= MIN_SECRET_IN_ANSWER and secret in data:
        return data.replace(secret, MASK.encode())
    return data
