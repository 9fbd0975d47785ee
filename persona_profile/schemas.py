"""Colander schemas of request bodies, and how they report what is wrong.

Colander's own types quote the value in their messages and take a number for a string; these do
neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import colander

from persona_profile.claims import CLAIMS, InvalidClaim
from persona_profile.encoding import Json, MalformedText, base64url_decode
from persona_profile.errors import FieldError, ValidationFailed
from persona_profile.records import KEY_BYTES

MAX_PROOFS: Final = 20
_MAX_NAME_CHARACTERS: Final = 64
_READ_ONLY: Final = frozenset({"email", "picture", "updated_at", "version", "protected", "etag"})


class Object:
    """A JSON object with the members of the node's children and no other."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the members that are there.

        Raises:
            colander.Invalid: with a child for every member that is wrong, missing or unknown.
        """
        if cstruct is colander.null:
            return colander.null
        if not isinstance(cstruct, dict):
            raise colander.Invalid(node, "must be an object")
        error = colander.Invalid(node)
        members = {}
        for position, child in enumerate(node.children):
            try:
                value = child.deserialize(cstruct.get(child.name, colander.null))
            except colander.Invalid as invalid:
                error.add(invalid, position)
                continue
            if value is not colander.drop:
                members[child.name] = value
        for name in cstruct.keys() - {child.name for child in node.children}:
            unknown = colander.SchemaNode(colander.String(), name=name[:_MAX_NAME_CHARACTERS])
            reason = "is read-only" if name in _READ_ONLY else "is not a known member"
            error.add(colander.Invalid(unknown, reason))
        if error.children:
            raise error
        return members


class Claim:
    """A string that a function of `claims` accepts; null or nothing but space means no claim."""

    def __init__(self, accept: Callable[[str], str]) -> None:
        self._accept = accept

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the stored spelling, or None.

        Raises:
            colander.Invalid: it is not acceptable.
        """
        if cstruct is colander.null or cstruct is None:
            return cstruct
        if not isinstance(cstruct, str):
            raise colander.Invalid(node, "must be a string or null")
        try:
            return self._accept(cstruct) or None
        except InvalidClaim as invalid:
            raise colander.Invalid(node, str(invalid)) from None


class Exactly:
    """A value of one JSON type; true and false are no numbers."""

    def __init__(self, kind: type, name: str) -> None:
        self._kind = kind
        self._name = name

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the value.

        Raises:
            colander.Invalid: it is of another type.
        """
        if cstruct is not colander.null and type(cstruct) is not self._kind:
            raise colander.Invalid(node, f"must be {self._name}")
        return cstruct


class ProfileKey:
    """The key of a person: base64url of KEY_BYTES, or null for none."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the bytes, or None.

        Raises:
            colander.Invalid: it is not acceptable.
        """
        if cstruct is colander.null or cstruct is None:
            return cstruct
        try:
            key = base64url_decode(cstruct) if isinstance(cstruct, str) else b""
        except MalformedText:
            key = b""
        if len(key) != KEY_BYTES:
            raise colander.Invalid(node, f"must be base64url of {KEY_BYTES} bytes, or null")
        return key


class ListOf:
    """A JSON array of `least` to `most` elements of the node's only child."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the elements.

        Raises:
            colander.Invalid: with a child, named by its position, for every element that is wrong.
        """
        if cstruct is colander.null:
            return cstruct
        if not isinstance(cstruct, list) or not self._least <= len(cstruct) <= self._most:
            raise colander.Invalid(node, f"must be an array of {self._least} to {self._most} elements")
        error = colander.Invalid(node)
        elements = []
        for position, element in enumerate(cstruct):
            try:
                elements.append(node.children[0].deserialize(element))
            except colander.Invalid as invalid:
                invalid.node = colander.SchemaNode(node.children[0].typ, name=str(position))
                error.add(invalid, position)
        if error.children:
            raise error
        return elements


def _node(kind: Any, *children: Any, **options: Any) -> Any:
    return colander.SchemaNode(kind, *children, **options)


CLAIMS_BODY: Final = _node(
    Object(),
    *(_node(Claim(accept), name=name, missing=colander.drop) for name, accept in CLAIMS.items()),
)
"""Claims to set; None for those to remove."""


def session_body(thumbnail_sizes: tuple[int, ...]) -> Any:
    """Return the schema of the body that opens a session with these sizes of thumbnails."""
    proof = _node(Object(), _node(Exactly(str, "a string"), name="assertion"))
    return _node(
        Object(),
        _node(ListOf(1, MAX_PROOFS), proof, name="proofs"),
        _node(
            Exactly(int, "a number"),
            name="thumbnails",
            missing=None,
            validator=_one_of(thumbnail_sizes),
        ),
        _node(ProfileKey(), name="profile_key", missing=None),
    )


PROFILE_KEY_BODY: Final = _node(Object(), _node(ProfileKey(), name="profile_key"))
"""`{"profile_key": KEY}`: the key that a profile opens with from now on; None for none."""


def assertion_body() -> Any:
    """Return the schema of `{"email": "..."}`, which asks for an assertion in development."""
    return _node(Object(), _node(Exactly(str, "a string"), name="email"))


def validate(schema: Any, document: Json) -> Any:
    """Return what a schema makes of a decoded body.

    Raises:
        ValidationFailed: with one error for each thing that is wrong.
    """
    try:
        return schema.deserialize(document if document is not None else "null")
    except colander.Invalid as invalid:
        errors = tuple(
            FieldError("body", name, description) for name, description in invalid.asdict().items()
        )
        raise ValidationFailed("The body is not acceptable.", errors=errors) from None


def _one_of(values: tuple[int, ...]) -> Callable[[Any, Any], None]:
    def check(node: Any, value: Any) -> None:
        if value is not None and value not in values:
            raise colander.Invalid(node, f"must be one of {', '.join(map(str, values))}")

    return check
