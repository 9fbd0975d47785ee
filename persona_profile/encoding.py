"""Strict decoders for text that strangers send, JSON and base64url; and the text of an instant."""

from __future__ import annotations

import binascii
import json
import math
import re
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import orjson

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


MAX_DEPTH: Final = 64
"""Deepest nesting of arrays and objects that `json_decode` accepts."""


MAX_VALUES: Final = 4096
"""Default number of array values and object members that `json_decode` accepts in one text."""


class MalformedText(ValueError):
    """The text violates its encoding. The message never quotes the text."""


def base64url_encode(data: bytes) -> str:
    """Return bytes as base64url without padding (RFC 4648, section 5; RFC 7515, section 2)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL_SAFE, b"=").decode("ascii")


def base64url_decode(text: str) -> bytes:
    """Return the bytes of unpadded base64url in its canonical spelling.

    Raises:
        MalformedText: on padding, a character outside the alphabet, or stray bits at the end.
    """
    try:
        standard = text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(standard)
    except ValueError:
        raise MalformedText("not base64url") from None
    if base64url_encode(data) != text:
        raise MalformedText("not canonical base64url")
    return data


def json_decode(text: bytes, max_values: int | None = MAX_VALUES) -> Json:
    """Return the value of one JSON text (RFC 8259), read more strictly than by the standard library.

    Besides broken syntax it rejects invalid UTF-8, a byte-order mark, repeated member names, NaN,
    infinities, numbers of thousands of digits, unpaired surrogates and nesting beyond MAX_DEPTH. Values
    are counted before any object is made. The caller bounds the size of the text.

    Args:
        text: the bytes.
        max_values: largest number of values; None for a file of the operator.

    Raises:
        MalformedText: the text is not JSON, or breaks a limit.
    """
    try:
        if max_values is not None:
            _check_values(text, max_values)
        decoded: Json = _DECODER.decode(text.decode("utf-8"))
        if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
            _check_depth(decoded)
        if b"\\u" in text:
            json.dumps(decoded, ensure_ascii=False).encode("utf-8")
    except MalformedText:
        raise
    except UnicodeDecodeError:
        raise MalformedText("not UTF-8") from None
    except UnicodeEncodeError:
        raise MalformedText("unpaired surrogate") from None
    except RecursionError:
        raise MalformedText("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise MalformedText(f"not JSON, as of line {error.lineno}") from None
    except ValueError:
        raise MalformedText("not JSON") from None
    return decoded


def json_encode(value: Any) -> bytes:
    """Return a value as compact UTF-8 JSON. Integers have at most 64 bits, names are strings."""
    return orjson.dumps(value)


def json_decode_own(text: bytes) -> Any:
    """Return the value of JSON that this service has written and sealed; none of strangers.

    Raises:
        ValueError: the text is not JSON.
    """
    return orjson.loads(text)


def _check_values(text: bytes, max_values: int) -> None:
    """Count values: each is the first of its container, or after a comma."""
    if sum(map(text.count, (b",", b"[", b"{"))) <= max_values:  # quick: counts within strings too
        return
    position = 0
    for _ in range(max_values + 1):
        found = _SEPARATOR.match(text, position)
        if found is None:
            return
        position = found.end()
    raise MalformedText("too many values")


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [each for each in level if isinstance(each, dict | list)]
        if not containers:
            return
        level = [
            child
            for each in containers
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    raise MalformedText("nested too deeply")


def _unique_members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedText("repeated member name")
    return members


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise MalformedText("number out of range")
    return number


def _no_constant(_name: str) -> NoReturn:
    raise MalformedText("not a JSON number")


# The next separator outside of strings. Without backtracking: each byte is read once.
_SEPARATOR = re.compile(rb'(?:[^",\[{]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+[,\[{]', re.DOTALL)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members, parse_constant=_no_constant, parse_float=_finite
)
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def timestamp(milliseconds: int) -> str:
    """Return an instant since 1970 as RFC 3339 in UTC."""
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
