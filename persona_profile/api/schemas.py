"""Colander schemas of JSON bodies.

Colander's own types quote the value in their messages and accept a number for a string; these types
do neither. `openapi.yaml` has the same schemas for clients; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final

import colander

from persona_profile.encoding import Json, MalformedText, base64url_decode
from persona_profile.errors import FieldError, ValidationFailed
from persona_profile.keys.records import KEY_BYTES
from persona_profile.profiles.claims import CLAIMS, InvalidClaim

MAX_PROOFS: Final = 20
MAX_ERRORS: Final = 20
"""The number of errors in one answer."""

MAX_NAME_CHARACTERS: Final = 64
"""The part of an unknown member's name that an error repeats."""

_READ_ONLY: Final = frozenset({"email", "picture", "updated_at", "version", "protected", "etag"})


class Object:
    """A JSON object with no members but the node's children."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the present members.

        Raises:
            colander.Invalid: with a child for every invalid, missing or unknown member.
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
        known = {child.name for child in node.children}
        unknown = (name for name in cstruct if name not in known)
        for name in islice(unknown, MAX_ERRORS + 1):  # a node of colander is costly
            reason = "is read-only" if name in _READ_ONLY else "is not a known member"
            error.add(
                colander.Invalid(_node(colander.String(), name=name[:MAX_NAME_CHARACTERS]), reason)
            )
        if error.children:
            raise error
        return members


class OneMember(Object):
    """A JSON object with exactly one of the members of the node's children."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the member as a dictionary.

        Raises:
            colander.Invalid: as of `Object`, or for no member, or for several members.
        """
        members = super().deserialize(node, cstruct)
        if members is colander.null or len(members) == 1:
            return members
        names = [child.name for child in node.children]
        if not members:
            raise colander.Invalid(node, f"must have one of these members: {', '.join(names)}")
        error = colander.Invalid(node)
        for name in list(members)[1:]:
            position = names.index(name)
            error.add(colander.Invalid(node.children[position], "is beside another proof"), position)
        raise error


class Claim:
    """A string or null, as a function of `claims` accepts it.

    Args:
        accept: returns the stored spelling, empty for no claim.
    """

    def __init__(self, accept: Callable[[str], str]) -> None:
        self._accept = accept

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the stored spelling, or None for no claim.

        Raises:
            colander.Invalid: the claim is not acceptable.
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
    """A value of one JSON type; true and false are not numbers.

    Args:
        kind: the type of decoded values.
        name: the type's name in messages.
    """

    def __init__(self, kind: type, name: str) -> None:
        self._kind = kind
        self._name = name

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the value.

        Raises:
            colander.Invalid: the value has another type.
        """
        if cstruct is not colander.null and type(cstruct) is not self._kind:
            raise colander.Invalid(node, f"must be {self._name}")
        return cstruct


class ProfileKey:
    """The key of a person: base64url of KEY_BYTES, or null for no key."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the bytes, or None.

        Raises:
            colander.Invalid: the value is neither.
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
    """A JSON array whose elements are as the node's only child.

    Args:
        minimum: the smallest number of elements.
        maximum: the largest number of elements.
    """

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the elements.

        Raises:
            colander.Invalid: with a child, named by its position, for every invalid element.
        """
        if cstruct is colander.null:
            return cstruct
        if not isinstance(cstruct, list) or not self._minimum <= len(cstruct) <= self._maximum:
            reason = f"must be an array of {self._minimum} to {self._maximum} elements"
            raise colander.Invalid(node, reason)
        error = colander.Invalid(node)
        elements = []
        for position, element in enumerate(cstruct):
            try:
                elements.append(node.children[0].deserialize(element))
            except colander.Invalid as invalid:
                invalid.node = _node(node.children[0].typ, name=str(position))
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
"""Claims to set; None removes a claim."""


def session_body(thumbnail_sizes: Sequence[int], proof_kinds: Iterable[str]) -> Any:
    """Return the schema of the body that opens a session.

    Args:
        thumbnail_sizes: in pixels.
        proof_kinds: the members that a proof may have.
    """

    def check_size(node: Any, value: int) -> None:
        if value not in thumbnail_sizes:
            raise colander.Invalid(node, f"must be one of {', '.join(map(str, thumbnail_sizes))}")

    proofs = (_node(Exactly(str, "a string"), name=kind, missing=colander.drop) for kind in proof_kinds)
    size = _node(Exactly(int, "a number"), name="thumbnails", missing=None, validator=check_size)
    return _node(
        Object(),
        _node(ListOf(1, MAX_PROOFS), _node(OneMember(), *proofs), name="proofs"),
        size,
        _node(ProfileKey(), name="profile_key", missing=None),
    )


PROFILE_KEY_BODY: Final = _node(Object(), _node(ProfileKey(), name="profile_key"))
"""A profile's new key; None for no key."""


def assertion_body() -> Any:
    """Return the schema of the body that requests an assertion in development."""
    return _node(Object(), _node(Exactly(str, "a string"), name="email"))


def validate(schema: Any, document: Json) -> Any:
    """Return the values of a decoded body.

    Raises:
        ValidationFailed: with one error for each fault, at most MAX_ERRORS.
    """
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
