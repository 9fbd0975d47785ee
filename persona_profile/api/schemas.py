"""Colander schemas of request bodies: how they report what is wrong, and how they are published.

Colander's own types quote the value in their messages and take a number for a string; these do
neither. Each also says what it takes as JSON Schema, so that the two can't disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

import colander

from persona_profile.encoding import Json, MalformedText, base64url_decode
from persona_profile.errors import FieldError, ValidationFailed
from persona_profile.keys.records import KEY_BYTES
from persona_profile.profiles.claims import (
    CLAIMS,
    LANGUAGE_TAG,
    LONG_TEXT_CHARACTERS,
    TEXT_CHARACTERS,
    InvalidClaim,
    locale,
    long_text,
    text,
    time_zone,
    website,
)

MAX_PROOFS: Final = 20
MAX_ERRORS: Final = 20
"""Faults of one body that an answer lists."""

_MAX_NAME_CHARACTERS: Final = 64
_READ_ONLY: Final = frozenset({"email", "picture", "updated_at", "version", "protected", "etag"})

JsonSchema = dict[str, Any]
"""A schema of JSON Schema 2020-12."""

# What JSON Schema can say of a claim; nothing but space, which removes it, is the empty string here.
_CLAIM_SCHEMAS: Final[Mapping[Callable[[str], str], JsonSchema]] = {
    text: {"maxLength": TEXT_CHARACTERS},
    long_text: {"maxLength": LONG_TEXT_CHARACTERS},
    website: {"maxLength": LONG_TEXT_CHARACTERS, "pattern": "^(https://.+)?$"},
    locale: {"pattern": f"^({LANGUAGE_TAG})?$"},
    time_zone: {"pattern": "^([A-Za-z][A-Za-z0-9+_/-]*)?$"},
}
_BASE64URL: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


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
        known = {child.name for child in node.children}
        foreign = (name for name in cstruct if name not in known)
        for name in islice(foreign, MAX_ERRORS + 1):  # a node of colander is costly
            unknown = colander.SchemaNode(colander.String(), name=name[:_MAX_NAME_CHARACTERS])
            reason = "is read-only" if name in _READ_ONLY else "is not a known member"
            error.add(colander.Invalid(unknown, reason))
        if error.children:
            raise error
        return members

    def describe(self, node: Any) -> JsonSchema:
        """Return what it takes."""
        return {
            "type": "object",
            "properties": {child.name: json_schema(child) for child in node.children},
            "required": [child.name for child in node.children if child.required],
            "additionalProperties": False,
        }


class OneMember(Object):
    """A JSON object with exactly one of the members of the node's children."""

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the member that is there.

        Raises:
            colander.Invalid: as of `Object`, or there is none, or more than one.
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

    def describe(self, node: Any) -> JsonSchema:
        """Return what it takes."""
        return super().describe(node) | {"minProperties": 1, "maxProperties": 1}


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

    def describe(self, _node: Any) -> JsonSchema:
        """Return what it takes, once trimmed and in NFC."""
        return {"type": ["string", "null"], **_CLAIM_SCHEMAS[self._accept]}


class Exactly:
    """A value of one JSON type; true and false are no numbers."""

    def __init__(self, kind: type, name: str, json_type: str) -> None:
        self._kind = kind
        self._name = name
        self._json_type = json_type

    def deserialize(self, node: Any, cstruct: Any) -> Any:
        """Return the value.

        Raises:
            colander.Invalid: it is of another type.
        """
        if cstruct is not colander.null and type(cstruct) is not self._kind:
            raise colander.Invalid(node, f"must be {self._name}")
        return cstruct

    def describe(self, _node: Any) -> JsonSchema:
        """Return what it takes."""
        return {"type": self._json_type}


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

    def describe(self, _node: Any) -> JsonSchema:
        """Return what it takes: the last character's spare bits are zero."""
        characters = -(-8 * KEY_BYTES // 6)
        last = _BASE64URL[:: 2 ** (6 * characters - 8 * KEY_BYTES)]
        return {
            "type": ["string", "null"],
            "pattern": f"^[A-Za-z0-9_-]{{{characters - 1}}}[{last}]$",
        }


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

    def describe(self, node: Any) -> JsonSchema:
        """Return what it takes."""
        items = json_schema(node.children[0])
        return {"type": "array", "items": items, "minItems": self._least, "maxItems": self._most}


class OneOf:
    """A validator that takes some values alone."""

    def __init__(self, values: tuple[int, ...]) -> None:
        self._values = values

    def __call__(self, node: Any, value: Any) -> None:
        """Check a value.

        Raises:
            colander.Invalid: it is none of them.
        """
        if value is not None and value not in self._values:
            raise colander.Invalid(node, f"must be one of {', '.join(map(str, self._values))}")

    def describe(self) -> JsonSchema:
        """Return what it takes."""
        return {"enum": list(self._values)}


def json_schema(node: Any) -> JsonSchema:
    """Return what a node takes, with its description, as JSON Schema 2020-12."""
    schema: JsonSchema = node.typ.describe(node)
    if node.validator is not None:
        schema |= node.validator.describe()
    if node.description:
        schema["description"] = node.description
    return schema


def _node(kind: Any, *children: Any, **options: Any) -> Any:
    return colander.SchemaNode(kind, *children, **options)


CLAIMS_BODY: Final = _node(
    Object(),
    *(_node(Claim(accept), name=name, missing=colander.drop) for name, accept in CLAIMS.items()),
)
"""Claims to set; None for those to remove."""


def session_body(thumbnail_sizes: tuple[int, ...], proofs: Mapping[str, str]) -> Any:
    """Return the schema of the body that opens a session.

    Args:
        thumbnail_sizes: in pixels.
        proofs: the members that a proof may have, with a description of each.
    """
    kinds = (
        _node(
            Exactly(str, "a string", "string"),
            name=member,
            missing=colander.drop,
            description=description,
        )
        for member, description in proofs.items()
    )
    return _node(
        Object(),
        _node(
            ListOf(1, MAX_PROOFS),
            _node(OneMember(), *kinds),
            name="proofs",
            description="Each proves an email; the session has those of all of them.",
        ),
        _node(
            Exactly(int, "a number", "integer"),
            name="thumbnails",
            missing=None,
            validator=OneOf(thumbnail_sizes),
            description="Width in pixels of the pictures that come within the answer.",
        ),
        _node(
            ProfileKey(),
            name="profile_key",
            missing=None,
            description="Opens profiles that are protected by the person's own key.",
        ),
    )


PROFILE_KEY_BODY: Final = _node(
    Object(),
    _node(
        ProfileKey(),
        name="profile_key",
        description=f"What the profile opens with from now on: {KEY_BYTES} bytes; null for none.",
    ),
)
"""`{"profile_key": KEY}`: the key that a profile opens with from now on; None for none."""


def assertion_body() -> Any:
    """Return the schema of `{"email": "..."}`, which asks for an assertion in development."""
    return _node(Object(), _node(Exactly(str, "a string", "string"), name="email"))


def validate(schema: Any, document: Json) -> Any:
    """Return the values that a schema reads from a decoded body.

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
