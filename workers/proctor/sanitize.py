"""Making any text and number fit for Postgres jsonb, and the one JSON codec of the workers.

jsonb takes neither NUL nor lone surrogates, and JSON itself neither NaN nor Infinity. Ordinary
answers are only found to be fit, not looked at character by character (see `conversation.encode_body`).
"""

import json
import re
from base64 import b64encode

INT64_MAX = 2**63 - 1
MAX_DEPTH = 32

_BAD = re.compile("[\x00\ud800-\udfff]")

decode = json.JSONDecoder().decode


def _make_encode():
    """JSON text of a value: compact, not escaped to ASCII, NaN and Infinity refused.

    JSONEncoder.encode builds the C encoder anew at each call, which costs as much as encoding a
    message does; so it is built once here where the interpreter has it.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False,
                               check_circular=False)
    if json.encoder.c_make_encoder is None:
        return encoder.encode
    iterencode = json.encoder.c_make_encoder(None, encoder.default, json.encoder.encode_basestring, None,
                                             ":", ",", False, False, False)
    join = "".join
    return lambda value: join(iterencode(value, 0))


encode = _make_encode()
quote = json.encoder.encode_basestring


def quote_or_null(string):
    """JSON text of a string or None."""
    return "null" if string is None else quote(string)


def decode_bytes(data):
    """The JSON document in UTF-8 bytes.

    Raises ValueError for anything that is none, hostile nesting and endless digits included.
    Bytes that are not UTF-8 become lone surrogates, which `text` later replaces.
    """
    try:
        return decode(data.decode())
    except UnicodeDecodeError:
        return _decode_guarded(data.decode(errors="surrogateescape"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decode_guarded(string):
    try:
        return decode(string)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def text(string):
    """The string with NUL and lone surrogates replaced by U+FFFD."""
    if string.isascii() and "\x00" not in string:
        return string
    return _BAD.sub("\ufffd", string)


def raw_base64(string):
    """Base64 of the string as it came, surrogates included."""
    return b64encode(string.encode("utf-8", "surrogatepass")).decode()


def value(item, depth=0):
    """A copy of any decoded JSON value that jsonb accepts; numbers out of range become None."""
    kind = type(item)
    if kind is str:
        return text(item)
    if kind is bool or item is None:
        return item
    if kind is int:
        return item if -INT64_MAX - 1 <= item <= INT64_MAX else None
    if kind is float:
        return item if item - item == 0.0 else None
    if depth >= MAX_DEPTH:
        return "..."
    if kind is dict:
        return {text(str(key)): value(inner, depth + 1) for key, inner in item.items()}
    if kind in (list, tuple):
        return [value(inner, depth + 1) for inner in item]
    return text(str(item))
