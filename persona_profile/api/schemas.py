"""Colander schemas of JSON bodies.

Colander's own types quote the value in their messages and accept a number for a string; these types
do neither. `openapi.yaml` has the same schemas for clients; tests compare the two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

import colander

from persona_profile.encoding import Json, MalformedText, base64url_decode
from persona_profile.errors import FieldError, ValidationFailed
from persona_profile.keys.records import KEY_BYTES
from persona_profile.profiles.claims import CLAIMS

MAX_PROOFS: Final = 20
MAX_ERRORS: Final = 20
"""The number of errors in one answer."""

MAX_NAME_CHARACTERS: Final = 64
"""The part of an unknown member's name that an error repeats."""

_READ_ONLY: Final = frozenset(
    {"email", "picture", "updated_at", "version", "protected", "etag", "suggestions"}
)

_Errors = list[tuple[colander.Invalid, int | None]]
"""Errors of the children of a node, with their positions."""


class Object:
    """A JSON object with no members but the node's children."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the present members; an error has a child for each bad, missing or unknown member."""
        if cstruct is colander.null:
            return cstruct
        if not isinstance(cstruct, dict):
            raise colander.Invalid(node, "must be an object")
        errors: _Errors = []
        members = {}
        for position, child in enumerate(node.children):
            if child.name not in cstruct and child.missing is colander.drop:
                continue  # most members of most bodies; colander takes a dozen calls for each
            try:
                value = child.deserialize(cstruct.get(child.name, colander.null))
            except colander.Invalid as invalid:
                errors.append((invalid, position))
                continue
            if value is not colander.drop:
                members[child.name] = value
        known = {child.name for child in node.children}
        unknown = (name for name in cstruct if name not in known)
        for name in islice(unknown, MAX_ERRORS + 1):  # a node of colander is costly
            reason = "is read-only" if name in _READ_ONLY else "is not a known member"
            named = _node(colander.String(), name=name[:MAX_NAME_CHARACTERS])
            errors.append((colander.Invalid(named, reason), None))
        _reject(node, errors)
        return members


class OneMember(Object):
    """A JSON object with exactly one of the members of the node's children, and with its companions.

    Args:
        companions: for each member the optional members beside it, which are children too.
    """

    def __init__(self, companions: Mapping[str, Collection[str]]) -> None:
        self._companions = companions

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the member as a dictionary; its companions follow."""
        members = super().deserialize(node, cstruct)
        if members is colander.null:
            return members
        main, *others = [name for name in members if name in self._companions] or [None]
        if main is None:
            names = ", ".join(self._companions)
            raise colander.Invalid(node, f"must have one of these members: {names}")
        strangers = members.keys() - {main} - set(self._companions[main])
        errors: _Errors = []
        for position, child in enumerate(node.children):
            if child.name in strangers:
                reason = "is beside another proof"
                if child.name not in others:
                    reason = f"does not belong to `{main}`"
                errors.append((colander.Invalid(child, reason), position))
        _reject(node, errors)
        return members


class ListOf:
    """A JSON array of `minimum` to `maximum` elements, which are as the node's only child."""

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the elements; an error has a child, named by its position, for each bad element."""
        if cstruct is colander.null:
            return cstruct
        if not isinstance(cstruct, list) or not self._minimum <= len(cstruct) <= self._maximum:
            reason = f"must be an array of {self._minimum} to {self._maximum} elements"
            raise colander.Invalid(node, reason)
        errors: _Errors = []
        elements = []
        for position, element in enumerate(cstruct):
            try:
                elements.append(node.children[0].deserialize(element))
            except colander.Invalid as invalid:
                invalid.node = _node(node.children[0].typ, name=str(position))
                errors.append((invalid, position))
        _reject(node, errors)
        return elements


class Value:
    """A JSON value that is read by a function, which raises ValueError with the reason."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the value as it is read."""
        if cstruct is colander.null:
            return cstruct
        try:
            return self._read(cstruct)
        except ValueError as error:
            raise colander.Invalid(node, str(error)) from None


def _reject(node: Any, errors: _Errors) -> None:
    """Raise an error with these errors as its children, if there are any."""
    if not errors:
        return
    whole = colander.Invalid(node)
    for error, position in errors:
        whole.add(error, position)
    raise whole


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 - the client's mistake
    return value


def _claim(accept: Callable[[str], str]) -> Value:
    """Return the type of a claim; null, or an empty spelling to store, is no claim."""

    def read(value: Any) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str):
            raise ValueError("must be a string or null")  # noqa: TRY004 - the client's mistake
        return accept(value) or None

    return Value(read)


def _profile_key(value: Any) -> bytes:
    """Read the key of a person: base64url of KEY_BYTES."""
    with contextlib.suppress(MalformedText):
        if isinstance(value, str) and len(key := base64url_decode(value)) == KEY_BYTES:
            return key
    raise ValueError(f"must be base64url of {KEY_BYTES} bytes")


def _optional_profile_key(value: Any) -> bytes | None:
    """Read the key of a person, or null for no key."""
    try:
        return None if value is None else _profile_key(value)
    except ValueError as error:
        raise ValueError(f"{error}, or null") from None


def _node(kind: Any, *children: Any, **options: Any) -> Any:
    return colander.SchemaNode(kind, *children, **options)


CLAIMS_BODY: Final = _node(
    Object(),
    *(_node(_claim(accept), name=name, missing=colander.drop) for name, accept in CLAIMS.items()),
)
"""Claims to set; None removes a claim."""


def session_body(thumbnail_sizes: Sequence[int], proof_kinds: Mapping[str, Collection[str]]) -> Any:
    """Return the schema of the body that opens a session.

    `proof_kinds` has the member of each kind of proof with its optional companions.
    """

    def size(value: Any) -> int:
        if type(value) is not int:  # true and false are no numbers
            raise ValueError("must be a number")
        if value not in thumbnail_sizes:
            raise ValueError(f"must be one of {', '.join(map(str, thumbnail_sizes))}")
        return value

    companions = chain.from_iterable(proof_kinds.values())
    names = dict.fromkeys((*proof_kinds, *companions))
    proofs = (_node(Value(_text), name=name, missing=colander.drop) for name in names)
    return _node(
        Object(),
        _node(ListOf(1, MAX_PROOFS), _node(OneMember(proof_kinds), *proofs), name="proofs"),
        _node(Value(size), name="thumbnails", missing=None),
        _node(Value(_optional_profile_key), name="profile_key", missing=None),
    )


PROFILE_KEY_BODY: Final = _node(Object(), _node(Value(_optional_profile_key), name="profile_key"))
"""A profile's new key; None for no key."""

SUGGESTION_BODY: Final = _node(Object(), _node(Value(_text), name="suggestion"))
"""The reference to a suggested picture."""

ADDED_KEY_BODY: Final = _node(Object(), _node(Value(_profile_key), name="profile_key"))
"""Another key of a profile."""

ASSERTION_BODY: Final = _node(Object(), _node(Value(_text), name="email"))
"""The request of an assertion in development."""


def validate(schema: Any, document: Json) -> Any:
    """Return the values of a decoded body, or raise `ValidationFailed` with up to MAX_ERRORS errors."""
    try:
        return schema.deserialize(document if document is not None else "null")
    except colander.Invalid as invalid:
        found = invalid.asdict()
        errors = tuple(
            FieldError("body", name, description)
            for name, description in islice(found.items(), MAX_ERRORS)
        )
        more = f" These are the first {MAX_ERRORS} errors." if len(found) > MAX_ERRORS else ""
        raise ValidationFailed(f"The body is not acceptable.{more}", errors=errors) from None
