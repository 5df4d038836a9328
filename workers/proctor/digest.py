"""The chain that ties each turn to the one before it."""

try:
    # hashlib's very function, without the 20 ms that hashlib takes to load OpenSSL.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

DIGEST_BYTES = 16


def extend(previous, body):
    """Hex digest of a turn: over the predecessor's hex digest ("" for the first) and the body's bytes."""
    return blake2b(previous.encode() + body, digest_size=DIGEST_BYTES).hexdigest()
