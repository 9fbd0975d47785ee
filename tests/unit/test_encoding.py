"""Decoders of untrusted input accept a single spelling of each value, and raise one error."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from persona_profile.encoding import (
    MAX_DEPTH,
    MalformedText,
    base64url_decode,
    base64url_encode,
    json_decode,
    json_decode_own,
    json_encode,
)


@given(st.binary(max_size=200))
def test_base64url_round_trip(data):
    """Bytes survive base64url, which equals the standard library's without padding."""
    text = base64url_encode(data)
    assert base64url_decode(text) == data
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")


ALPHABET = "ABCabcxyz0189-_"


@given(st.one_of(st.text(ALPHABET, max_size=12), st.text(max_size=12)))
@example("AB")
@example("AA=")
@example("A")
def test_base64url_is_canonical(text):
    """Any text is rejected or is the canonical spelling of its bytes."""
    try:
        data = base64url_decode(text)
    except MalformedText:
        return
    assert base64url_encode(data) == text


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AAAAA",
        "AA==",
        "AAA=",
        "=",
        "AB",
        "AAB",
        "++++",
        "////",
        "AA+_",
        "AAAA\n",
        "AA AA",
        " AAAA",
        "AAAA\0",
        "AAAA.",
        "AAA\u00e9",
        "\uff21\uff21\uff21\uff21",
        "AAA\ud800",
    ],
)
def test_base64url_refused(text):
    """Padding, stray bits, foreign characters and white space are rejected."""
    with pytest.raises(MalformedText):
        base64url_decode(text)


def without_floats(*, nested):
    """Return a strategy of JSON values without floats, which another test compares."""
    texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
    leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), texts)
    if not nested:
        return leaves
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
    )


@given(without_floats(nested=True))
def test_json_round_trip(value):
    """A JSON value survives a round trip, escaped or not."""
    assert json_decode(json_encode(value)) == value
    assert json_decode(json.dumps(value, ensure_ascii=True).encode()) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_json_floats(value):
    """A finite number survives a round trip."""
    assert json_decode(json_encode(value)) == value


@given(
    st.one_of(st.binary(max_size=60), st.text('{}[]":,0123456789eE+-.\\uNaIntrufls \n').map(str.encode))
)
def test_json_decode_of_anything(text):
    """Any bytes decode to an encodable value or raise MalformedText."""
    try:
        value = json_decode(text)
    except MalformedText:
        return
    assert json_decode(json.dumps(value).encode()) == value


REJECTED = {
    "nothing": b"",
    "white space": b" \n",
    "two values": b"{} {}",
    "what follows": b"{}x",
    "a comma at the end": b"[1,]",
    "single quotes": b"{'a': 1}",
    "no quotes": b"{a: 1}",
    "a comment": b"/* */ {}",
    "a raw newline in a string": b'"a\nb"',
    "a raw NUL in a string": b'"a\0b"',
    "NUL at the end": b"{}\0",
    "an unknown escape": b'"\\x41"',
    "an octal number": b"010",
    "a plus sign": b"+1",
    "a bare fraction": b".5",
    "a fraction of nothing": b"1.",
    "a hexadecimal number": b"0x10",
    "a number with an underscore": b"1_000",
    "Unicode digits": "\u0661".encode(),
    "NaN": b"NaN",
    "Infinity": b"[Infinity]",
    "minus Infinity": b"-Infinity",
    "a number out of range": b"1e999",
    "a negative number out of range": b'{"a": -1e999}',
    "an integer of 5,000 digits": b"9" * 5_000,
    "a member twice": b'{"a": 1, "a": 1}',
    "a member twice, once escaped": b'{"a": 1, "\\u0061": 2}',
    "a member twice, deep inside": b'[{"b": {"a": 1, "a": 2}}]',
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-be"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "Latin-1": b'"\xe9"',
    "an overlong character": b'"\xc0\xaf"',
    "a surrogate": b'"\xed\xa0\x80"',
    "an escaped surrogate": b'"\\ud800"',
    "an escaped surrogate of the other half": b'"\\udc00"',
    "surrogates exchanged": b'"\\udc00\\ud800"',
    "a surrogate in a name": b'{"\\ud800": 1}',
    "1,000 levels of arrays": b"[" * 1_000 + b"]" * 1_000,
    "100,000 levels of arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels of objects": b'{"":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 levels that don't end": b"[" * 100_000,
}


@pytest.mark.parametrize("name", REJECTED)
def test_json_refused(name):
    """Ambiguous and excessive JSON is rejected without being quoted."""
    with pytest.raises(MalformedText) as rejected:
        json_decode(REJECTED[name])
    assert len(str(rejected.value)) < 40
    assert rejected.value.__cause__ is None


def test_json_depth():
    """The depth limit is the same for arrays, objects and mixtures."""
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'[1,{"a":', b',"b":2}]')):
        per_round = opening.count(b"[") + opening.count(b"{")
        rounds = MAX_DEPTH // per_round
        json_decode(opening * rounds + b"1" + closing * rounds)
        with pytest.raises(MalformedText, match="deep"):
            json_decode(opening * (rounds + 1) + b"1" + closing * (rounds + 1))


def test_json_accepted():
    """Escapes, surrogate pairs, and finite numbers of any size are valid."""
    assert json_decode(b' {"a": "\\ud83d\\ude00\\n"} ') == {"a": "\U0001f600\n"}
    assert json_decode(b'"\\\\ud800"') == "\\ud800"
    assert json_decode(b"9" * 4_000) == int("9" * 4_000)
    assert json_decode(b"[-0.0, 1E2, 1e-999]") == [0.0, 100.0, 0.0]


@pytest.mark.parametrize(
    "wide",
    [
        b"[%s]" % b",".join([b"1"] * 9),
        b"{%s}" % b",".join(b'"%d":1' % number for number in range(9)),
        b"[%s]" % b",".join([b"[]"] * 4 + [b"1"]),
        b'[{"a":1},{"a":[1,2,3,4]},5]',
        b'["%s"%s]' % (b"[,{" * 50, b",1" * 8),
        b'{"\\",[,{\\\\":%s}' % (b'["\\"",%s]' % b",".join([b"1"] * 7)),
    ],
)
def test_json_values(wide):
    """Values and members count towards the limit; the content of strings does not."""
    assert json_decode(wide, 10)
    with pytest.raises(MalformedText, match="too many values"):
        json_decode(wide, 8)
    assert json_decode(b"[" + wide + b"]", None)


@pytest.mark.parametrize("text", [b"[%s", b'["",%s', b'["\\""%s', b'["a" "b"%s', b"\xff%s", b"}]%s"])
def test_json_values_are_counted_first(text):
    """A text of too many values is rejected before it is parsed, valid or not."""
    assert "too many values" in rejection(text % (b',"":1' * 500_000), 100)
    assert "too many values" not in rejection(text % b"", 100)


def rejection(text, limit):
    """Return the reason for a rejection."""
    with pytest.raises(MalformedText) as rejected:
        json_decode(text, limit)
    return str(rejected.value)


@given(without_floats(nested=True))
def test_json_of_this_service(value):
    """JSON that the service has sealed, perhaps padded, is read as it was written."""
    assert json_decode_own(json_encode(value).ljust(1024)) == value


@pytest.mark.parametrize("text", [b"", b"{", b"\xff"])
def test_json_of_this_service_is_damaged(text):
    """A text that is not JSON is a ValueError, as callers expect."""
    with pytest.raises(json.JSONDecodeError):
        json_decode_own(text)


def test_json_files_of_operators():
    """An operator's file may have any number of values."""
    wide = list(range(10_000))
    assert json_decode(json_encode(wide), None) == wide


def test_json_encode():
    """JSON is encoded compactly in UTF-8."""
    assert json_encode({"a": ["\u00e9", 1]}) == '{"a":["\u00e9",1]}'.encode()
