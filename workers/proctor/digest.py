"""The chain that ties each turn to the one before it."""

from hashlib import blake2b

DIGEST_BYTES = 16


def extend(previous, body):
    """Hex digest of a turn: over the predecessor's hex digest ("" for the first) and the body's bytes."""
    return blake2b(previous.encode() + body, digest_size=DIGEST_BYTES).hexdigest()
