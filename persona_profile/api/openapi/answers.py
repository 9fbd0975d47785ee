"""What the service answers with when all went well, as JSON Schema, with an example of each."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from persona_profile.api.openapi.problems import FIELD_ERROR_SCHEMA, PROBLEM_SCHEMA
from persona_profile.api.operations import NAME
from persona_profile.api.schemas import CLAIMS_BODY, JsonSchema, json_schema
from persona_profile.api.sessions import MAX_EMAILS
from persona_profile.emails import MAX_BYTES
from persona_profile.images.formats import ACCEPTED_MEDIA_TYPES, MEDIA_TYPES, SIZES, THUMBNAIL_SIZES
from persona_profile.profiles.claims import CLAIMS, LONG_TEXT_CHARACTERS, TEXT_CHARACTERS
from persona_profile.settings import MAX_PICTURE_BYTES
from persona_profile.store.profile import PROFILE_KEY_REQUIRED, PROFILE_KEY_WRONG, UNREADABLE

VERSION: Final = version("persona-profile-server")

EMAIL_SCHEMA: Final[JsonSchema] = {"type": "string", "format": "email", "maxLength": MAX_BYTES}
ENTITY_TAG_SCHEMA: Final[JsonSchema] = {"type": "string", "pattern": '^"[!#-~]*"$'}
_INSTANT: Final[JsonSchema] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
}
_CLAIM_MEANINGS: Final = {
    "label": "What the card says of the email: Work.",
    "picture_alt": "What the picture shows, for those who don't see it.",
    "website": "An https URL without user information.",
    "locale": "A language tag (BCP 47).",
    "zoneinfo": "A name of the IANA time zone database.",
}


def _object(description: str, **properties: Any) -> JsonSchema:
    """Return the schema of an object; an optional member's name ends with an underscore."""
    return {
        "description": description,
        "type": "object",
        "required": [name for name in properties if not name.endswith("_")],
        "properties": {name.rstrip("_"): schema for name, schema in properties.items()},
    }


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/components/schemas/{name}"}


def _whole(description: str, least: int = 0) -> JsonSchema:
    return {"type": "integer", "minimum": least, "description": description}


def _text(description: str, least: int = 1) -> JsonSchema:
    return {"type": "string", "minLength": least, "description": description}


def _claims() -> JsonSchema:
    schema = json_schema(CLAIMS_BODY)
    for name, meaning in _CLAIM_MEANINGS.items():
        schema["properties"][name]["description"] = meaning
    schema["description"] = (
        "Text is one visible line; it is trimmed and brought into NFC. null, or nothing but space, "
        "removes a claim."
    )
    return schema


_SESSION_MEMBERS: Final[dict[str, JsonSchema]] = {
    "token": _text("What `Authorization: Bearer` carries from now on."),
    "token_type": {"const": "Bearer"},
    "expires_at": _INSTANT,
}

CLAIMS_SCHEMA: Final[JsonSchema] = _claims()

SCHEMAS: Final[dict[str, JsonSchema]] = {
    "Claims": CLAIMS_SCHEMA,
    "Picture": _object(
        "The current picture.",
        id=_text("Another one whenever the picture changes."),
        urls={
            "description": "Where each size is; the width in pixels is its name.",
            "type": "object",
            "properties": {str(size): {"type": "string", "format": "uri"} for size in SIZES},
            "additionalProperties": False,
            "minProperties": 1,
        },
        thumbnail_={
            "type": "string",
            "pattern": "^data:image/(webp|jpeg);base64,[A-Za-z0-9+/]+={0,2}$",
            "description": "The picture itself, if a size was asked for.",
        },
    ),
    "Profile": _object(
        "What is kept for one email. Everything is null, and `version` 0, until something is written.",
        email=EMAIL_SCHEMA,
        **CLAIMS_SCHEMA["properties"],
        picture={"oneOf": [_ref("Picture"), {"type": "null"}]},
        updated_at={"oneOf": [_INSTANT, {"type": "null"}]},
        version=_whole("How often it was written since it was blank."),
        protected={
            "type": "boolean",
            "description": "Whether it opens only with the person's own key.",
        },
        etag=ENTITY_TAG_SCHEMA,
        error_={
            "enum": [UNREADABLE, PROFILE_KEY_REQUIRED, PROFILE_KEY_WRONG],
            "description": "Why all else is blank although something is stored.",
        },
    ),
    "Nonce": _object(
        "A number used once.",
        nonce=_text("What the provider is sent as `nonce`."),
        expires_at=_INSTANT,
    ),
    "Profiles": _object(
        "The profiles of the session's emails, in the order proved.",
        profiles={"type": "array", "items": _ref("Profile"), "minItems": 1, "maxItems": MAX_EMAILS},
    ),
    "Session": _object(
        "A session, and the profiles of its emails in the order proved.",
        **_SESSION_MEMBERS,
        profiles={"type": "array", "items": _ref("Profile"), "minItems": 1, "maxItems": MAX_EMAILS},
    ),
    "ProfileKeySession": _object(
        "A session that holds the new key, and the profile that opens with it.",
        **_SESSION_MEMBERS,
        profile=_ref("Profile"),
    ),
    "Account": _object(
        "An email as FedCM describes an account (IdentityProviderAccount).",
        id=_text("Names the email; the same for as long as the server's index key."),
        name=_text("`name`, else given and family name, else `nickname`, else what is before the @."),
        email=EMAIL_SCHEMA,
        given_name_=_text("`given_name`, else `nickname`."),
        picture_={
            "type": "string",
            "format": "uri",
            "description": "Of 128 pixels, or fewer if it is smaller; dies by itself.",
        },
        login_hints={"type": "array", "items": EMAIL_SCHEMA, "minItems": 1, "maxItems": 1},
        domain_hints={"type": "array", "items": _text("A domain."), "minItems": 1, "maxItems": 1},
    ),
    "Accounts": _object(
        "The session's emails, in the order proved.",
        accounts={"type": "array", "items": _ref("Account"), "minItems": 1, "maxItems": MAX_EMAILS},
    ),
    "Service": _object(
        "What this server takes and makes.",
        name={"const": NAME},
        version=_text("Of the server."),
        proofs={
            "type": "array",
            "items": _text("A member that a proof may have."),
            "minItems": 1,
            "description": "The kinds of proofs that open sessions.",
        },
        claims={"type": "array", "items": {"enum": list(CLAIMS)}},
        limits=_object(
            "What is too much.",
            emails_per_session=_whole("Emails of one session.", 1),
            text_characters=_whole("Characters of most claims.", 1),
            long_text_characters=_whole("Characters of `website` and `picture_alt`.", 1),
            picture_bytes=_whole("Size of an upload in bytes.", 1),
        ),
        pictures=_object(
            "What pictures there are.",
            sizes={"type": "array", "items": {"enum": list(SIZES)}},
            thumbnails={"type": "array", "items": {"enum": list(THUMBNAIL_SIZES)}},
            formats={"type": "array", "items": {"enum": list(MEDIA_TYPES.values())}},
            accepted={"type": "array", "items": {"enum": list(ACCEPTED_MEDIA_TYPES)}},
        ),
    ),
    "Up": _object("The process answers.", status={"const": "ok"}),
    "Health": _object(
        "Whether the server can do its work, and each thing that it depends on.",
        status={"enum": ["ok", "error"]},
        checks={"type": "object", "additionalProperties": {"enum": ["ok", "error", "timeout"]}},
        details=_object(
            "More of some checks; nothing here changes the status.",
            pictures={
                "type": "object",
                "description": "Each part of the workers' confinement: `ok`, or why it is missing.",
                "additionalProperties": {"type": "string"},
            },
        ),
    ),
    "Stopping": _object("The process finishes what is in flight.", status={"const": "stopping"}),
    "Trouble": {
        "oneOf": [
            {"$ref": "#/components/schemas/Health"},
            {"$ref": "#/components/schemas/Stopping"},
        ]
    },
    "Build": _object(
        "Which build runs (Dockerflow); empty is what is not known.",
        name={"const": NAME},
        source=_text("Where its source is.", least=0),
        version=_text("Of the server."),
        commit=_text("Of the source.", least=0),
        build=_text("Where it was built.", least=0),
    ),
    "OpenAPI": {
        "description": "An OpenAPI document.",
        "type": "object",
        "required": ["openapi", "info", "paths"],
        "properties": {"openapi": {"type": "string", "pattern": r"^3\.1\.[0-9]+$"}},
    },
    "Problem": PROBLEM_SCHEMA,
    "FieldError": FIELD_ERROR_SCHEMA,
}
"""The named schemas of the document."""

CLAIMS_EXAMPLE: Final = {"name": "Alice Example", "label": "Work"}

_ETAG: Final = '"27ee5ec0254c1b83.0"'
_PROFILE: Final[dict[str, Any]] = {
    "email": "alice@example.com",
    **dict.fromkeys(CLAIMS),
    **CLAIMS_EXAMPLE,
    "picture": None,
    "updated_at": "2026-01-01T11:00:00.000Z",
    "version": 1,
    "protected": False,
    "etag": _ETAG,
}
_BLANK: Final = _PROFILE | dict.fromkeys([*CLAIMS, "updated_at"]) | {"version": 0, "etag": '"0.0"'}
_WITH_PICTURE: Final = _PROFILE | {
    "version": 2,
    "etag": '"6b0656c1a3c7d5e2.6955b900"',
    "picture": {
        "id": "X6H4EMAn1tRGez-6I-aIVQ",
        "urls": {str(size): f"https://profiles.example.com/v1/pictures/AbCd{size}" for size in SIZES},
    },
}
_SESSION: Final = {
    "token": "AQzqF3k0cCwVn1y5",
    "token_type": "Bearer",
    "expires_at": "2026-01-01T12:00:00.000Z",
}

EXAMPLES: Final[dict[str, Any]] = {
    "Profile": _PROFILE,
    "ProfileWithPicture": _WITH_PICTURE,
    "Profiles": {"profiles": [_PROFILE]},
    "Session": _SESSION | {"profiles": [_BLANK]},
    "Accounts": {
        "accounts": [
            {
                "id": "pVu0eXhUAEAEaFqOYlnuNw",
                "name": CLAIMS_EXAMPLE["name"],
                "email": _PROFILE["email"],
                "login_hints": [_PROFILE["email"]],
                "domain_hints": ["example.com"],
            }
        ]
    },
    "Nonce": {
        "nonce": "AQAAAAE8yQ2Jc0rA6b1nWkqzX4sT9vYd3mRgLhPuEoFi",
        "expires_at": "2026-01-01T11:10:00.000Z",
    },
    "ProfileKeySession": _SESSION | {"profile": _PROFILE | {"version": 2, "protected": True}},
    "Service": {
        "name": NAME,
        "version": VERSION,
        "proofs": ["assertion", "id_token"],
        "claims": list(CLAIMS),
        "limits": {
            "emails_per_session": MAX_EMAILS,
            "text_characters": TEXT_CHARACTERS,
            "long_text_characters": LONG_TEXT_CHARACTERS,
            "picture_bytes": MAX_PICTURE_BYTES,
        },
        "pictures": {
            "sizes": list(SIZES),
            "thumbnails": list(THUMBNAIL_SIZES),
            "formats": list(MEDIA_TYPES.values()),
            "accepted": list(ACCEPTED_MEDIA_TYPES),
        },
    },
    "Up": {"status": "ok"},
    "Health": {
        "status": "ok",
        "checks": {"storage": "ok", "keyring": "ok", "pictures": "ok"},
        "details": {"pictures": {"landlock": "ok", "seccomp": "ok"}},
    },
    "Stopping": {"status": "stopping"},
    "Trouble": {
        "status": "error",
        "checks": {"storage": "error", "keyring": "ok", "pictures": "ok"},
        "details": {"pictures": {"landlock": "ok", "seccomp": "ok"}},
    },
    "Build": {"name": NAME, "source": "", "version": VERSION, "commit": "", "build": ""},
}
"""Answers by name, as clients see them in that order: what is sent is in `operations`."""
