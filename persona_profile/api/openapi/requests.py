"""What calls take: parameters and bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from persona_profile.api.bodies import CROP_PATTERN, MULTIPART
from persona_profile.api.openapi.answers import CLAIMS_EXAMPLE, EMAIL_SCHEMA
from persona_profile.api.schemas import PROFILE_KEY_BODY, JsonSchema, json_schema, session_body
from persona_profile.images.formats import THUMBNAIL_SIZES


def _parameter(where: str, name: str, description: str, schema: JsonSchema, **more: Any) -> Any:
    return {"in": where, "name": name, "description": description, "schema": schema, **more}


PARAMETERS: Final[dict[str, Any]] = {
    "email": _parameter(
        "path",
        "email",
        "One of the session's emails; `/`, `?`, `#` and `%` are percent-encoded.",
        EMAIL_SCHEMA,
        required=True,
        example="alice@example.com",
    ),
    "capability": _parameter(
        "path",
        "capability",
        "The last part of one of a profile's `picture.urls`.",
        {"type": "string", "minLength": 1},
        required=True,
    ),
    "thumbnails": _parameter(
        "query",
        "thumbnails",
        "Width in pixels of the pictures that come within the answer.",
        {"type": "integer", "enum": list(THUMBNAIL_SIZES)},
        example=128,
    ),
    "crop": _parameter(
        "query",
        "crop",
        "`left,top,side` of a square, in pixels of the upright picture; by default the largest in the "
        "centre.",
        {"type": "string", "pattern": f"^{CROP_PATTERN}$"},
        example="0,0,600",
    ),
    "If-Match": _parameter(
        "header",
        "If-Match",
        "The profile's `etag`: the write is refused if somebody was faster. `*`: any that was written.",
        {"type": "string"},
        example='"27ee5ec0254c1b83.0"',
    ),
    "If-None-Match": _parameter(
        "header",
        "If-None-Match",
        "`*`: the write is refused if the profile was written before.",
        {"type": "string"},
        example="*",
    ),
    "If-Changed": _parameter(
        "header",
        "If-None-Match",
        "The `ETag` of what the client has: it is not sent again.",
        {"type": "string"},
        example='"27ee5ec0254c1b83.0"',
    ),
    "Accept": _parameter(
        "header",
        "Accept",
        "The smallest of the formats that it names is sent; JPEG if it names none.",
        {"type": "string"},
        example="image/avif,image/webp,*/*",
    ),
}

CLAIMS_JSON: Final = {"schema": {"$ref": "#/components/schemas/Claims"}, "example": CLAIMS_EXAMPLE}
PICTURE_BODIES: Final[dict[str, Any]] = {
    "image/*": {},
    "application/octet-stream": {},
    MULTIPART: {
        "schema": {
            "type": "object",
            "required": ["picture"],
            "properties": {
                "picture": {"type": "string", "contentMediaType": "application/octet-stream"}
            },
        }
    },
}
EXAMPLE_PROOFS: Final = {
    "assertion": "eyJhbGciOiJSUzI1NiJ9.e30.AA~eyJhbGciOiJSUzI1NiJ9.e30.AA",
    "id_token": "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AA",
}
PROFILE_KEY_JSON: Final = {
    "schema": json_schema(PROFILE_KEY_BODY),
    "example": {"profile_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"},
}


def session_json(proofs: Mapping[str, str]) -> dict[str, Any]:
    """Return the media object of a body that opens a session by these kinds of proofs."""
    member = next(iter(proofs))
    example = {"proofs": [{member: EXAMPLE_PROOFS.get(member, "...")}]}
    return {"schema": json_schema(session_body(THUMBNAIL_SIZES, proofs)), "example": example}
