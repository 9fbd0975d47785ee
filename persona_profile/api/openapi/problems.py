"""Every problem that the service answers with: its status, its codes, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from persona_profile.api.problems import problem_document
from persona_profile.api.schemas import JsonSchema
from persona_profile.rate_limits import Policy

PROBLEM_TYPE: Final = "application/problem+json"


class Row(NamedTuple):
    """Codes of one status that a client treats alike."""

    status: int
    codes: tuple[str, ...]
    advice: str


PROBLEMS: Final = (
    Row(400, ("malformed_request",), "not HTTP, JSON or a form that can be read; mend the client"),
    Row(400, ("validation_failed",), "show each of `errors` at its field"),
    Row(401, ("session_missing", "session_invalid"), "send a token of this server"),
    Row(401, ("session_expired", "session_revoked"), "prove the emails again"),
    Row(403, ("email_not_proved",), "the session has not proved this email"),
    Row(
        403,
        ("profile_key_required",),
        "the profile opens only with the person's own key: show the fallback card",
    ),
    Row(403, ("profile_key_wrong",), "the session holds another key than the profile needs"),
    Row(403, ("origin_refused",), "the page is of an origin that is not configured"),
    Row(
        403,
        ("fedcm_direct_call",),
        "a browser asked for accounts: its identity provider's server has to ([fedcm.md](fedcm.md))",
    ),
    Row(404, ("not_found",), "nothing there, or a picture URL that is over"),
    Row(405, ("method_not_allowed",), "see `Allow`"),
    Row(406, ("not_acceptable",), "accept an image type"),
    Row(409, ("conflict",), "others kept writing for seconds; try again"),
    Row(412, ("precondition_failed",), "read the profile again, then repeat the change"),
    Row(413, ("body_too_large",), "`limit` tells how many bytes are taken"),
    Row(415, ("unsupported_media_type",), "not a picture of these formats, or not JSON"),
    Row(
        421,
        ("misdirected_request",),
        "the `Host` is none of this server's; connect again, by one of its origins",
    ),
    Row(422, ("picture_broken",), "the file is damaged or cut off"),
    Row(422, ("picture_too_many_pixels",), "`pixels` it has, `limit` is taken"),
    Row(422, ("picture_too_complex",), "it takes more time or memory than its size explains"),
    Row(422, ("crop_outside_picture",), "`width` and `height` tell the upright picture's size"),
    Row(
        429,
        ("rate_limited",),
        "wait for `Retry-After` seconds; `policy` tells of what it was too much",
    ),
    Row(431, ("request_headers_too_large",), "32 KiB are taken"),
    Row(501, ("not_implemented",), "a transfer coding that nobody uses"),
    Row(
        503,
        ("overloaded",),
        "too many requests, pictures or lookups at once, or no room for the body; come back after "
        "`Retry-After`",
    ),
    Row(503, ("storage_unavailable",), "wait, and show fallback cards"),
    Row(
        503,
        ("keys_unavailable",),
        "the key service does not answer; wait, and show fallback cards",
    ),
    Row(
        503,
        ("profile_unreadable",),
        "what is stored does not open; it was reported to the operators",
    ),
    Row(
        503,
        ("service_unavailable",),
        "the reverse proxy can't reach the service; wait, and show fallback cards",
    ),
    Row(500, ("internal_error",), "a mistake of ours; tell us the `request_id`"),
)

PROOF_PROBLEMS: Final = tuple(
    Row(401, codes, meaning)
    for codes, meaning in (
        (("proof_too_large",), "over 16,384 characters"),
        (("malformed_bundle",), "not exactly one certificate and one assertion"),
        (("malformed_jws",), "not three parts of canonical base64url with JSON objects"),
        (
            ("header_not_allowed",),
            "not only `alg`, `typ` (of ID tokens `kid`, `x5t`, `x5t#S256`), or another `typ`",
        ),
        (("algorithm_not_allowed",), "`alg` is none of those accepted here"),
        (("algorithm_mismatch",), "`alg` is not what the key is for"),
        (("key_not_allowed",), "a key of a size or form that no sound generator makes"),
        (
            ("certificate_times_invalid", "assertion_times_invalid"),
            "`exp` is missing, or a time is no whole number",
        ),
        (("certificate_expired", "assertion_expired"), ""),
        (("certificate_not_yet_valid", "assertion_not_yet_valid"), "issued in the future"),
        (
            ("certificate_life_invalid", "assertion_life_invalid"),
            "longer than 24 hours, 5 minutes; or none at all",
        ),
        (("audience_mismatch",), "meant for another origin, or another client of the provider"),
        (("email_missing",), "no email in the certificate or the ID token"),
        (("email_invalid",), "not an address that is taken here"),
        (("issuer_invalid",), "not a domain name in lower case"),
        (("issuer_not_authoritative",), "it does not speak for the email's domain"),
        (
            ("issuer_without_support",),
            "the domain was reached and takes no part, and nobody stands in for it",
        ),
        (("issuer_disabled",), "the domain has switched BrowserID off"),
        (("issuer_unreachable",), "the issuer can't be reached now; try again later"),
        (
            ("issuer_address_forbidden",),
            "the issuer's name leads to an address that is not public",
        ),
        (
            ("support_document_invalid", "support_document_too_large"),
            "what the domain publishes can't be used",
        ),
        (
            ("delegation_cycle", "delegation_too_long"),
            "domains point at each other, or on more than 5 times",
        ),
        (("certificate_signature_invalid", "assertion_signature_invalid"), ""),
        (("issuer_unknown",), "no provider that is configured has the identifier in `iss`"),
        (("authorized_party_mismatch",), "`azp` is another client, or missing beside several `aud`"),
        (("token_times_invalid",), "`exp` or `iat` is missing, or a time is no whole number"),
        (("token_expired",), ""),
        (("token_not_yet_valid",), "issued in the future"),
        (("token_life_invalid",), "longer than 24 hours, or none at all"),
        (("nonce_invalid",), "`nonce` is missing, or not one that this server has issued"),
        (("nonce_expired",), "too long ago: get another, and sign in again"),
        (("subject_missing",), "no `sub` of 1 to 255 characters"),
        (("email_not_verified",), "`email_verified` is not `true`"),
        (
            ("discovery_document_invalid", "key_set_invalid"),
            "what the provider publishes can't be used",
        ),
        (("key_unknown",), "the provider has no key of that `kid` that may sign tokens"),
        (("key_ambiguous",), "several keys of the provider fit"),
        (("token_signature_invalid",), ""),
        (("proof_replayed",), "it, or its nonce, has opened a session before"),
        (("proof_revoked",), "made before the last sign-out of the email: get another"),
    )
)
"""Why a proof does not hold."""

PROOF_CODES: Final = tuple(code for row in PROOF_PROBLEMS for code in row.codes)

FRONT_POLICIES: Final = ("requests-at-once", "requests-per-network", "uploads-at-once")
"""Policies of nginx, as it is shipped."""

STATUS_OF: Final = {code: row.status for row in (*PROBLEMS, *PROOF_PROBLEMS) for code in row.codes}
"""The status of each code."""

_HEADERS: Final = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
"""Names of the headers that answers of a status carry."""

_MEMBERS: Final[dict[str, dict[str, Any]]] = {
    "validation_failed": {
        "errors": [
            {"location": "body", "name": "name", "description": "must have at most 100 characters"}
        ]
    },
    "body_too_large": {"limit": 65536},
    "picture_too_many_pixels": {"limit": 50_000_000, "pixels": 144_000_000},
    "rate_limited": {"policy": Policy.WRITES_PER_EMAIL},
    "crop_outside_picture": {"width": 4032, "height": 3024},
}
"""What the examples of some codes have beyond the usual."""

PROBLEM_SCHEMA: Final[JsonSchema] = {
    "description": "What every error is answered with (RFC 9457).",
    "type": "object",
    "required": ["title", "status", "code", "request_id"],
    "properties": {
        "title": {"type": "string", "description": "HTTP's name of the status."},
        "status": {"type": "integer", "enum": sorted(set(STATUS_OF.values()))},
        "code": {"enum": list(STATUS_OF), "description": "The reason; it does not change."},
        "request_id": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "Stands in the server's log.",
        },
        "detail": {"type": "string", "description": "For the developer of the client."},
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/components/schemas/FieldError"},
        },
        "limit": {"type": "integer", "description": "What is taken, in bytes or pixels."},
        "pixels": {"type": "integer", "description": "What the picture has."},
        "width": {"type": "integer", "description": "Of the upright picture, in pixels."},
        "height": {"type": "integer", "description": "Of the upright picture, in pixels."},
        "policy": {"enum": [*Policy, *FRONT_POLICIES], "description": "What there was too much of."},
    },
}

FIELD_ERROR_SCHEMA: Final[JsonSchema] = {
    "description": "One thing that is wrong with a request.",
    "type": "object",
    "required": ["location", "name", "description"],
    "properties": {
        "location": {"enum": ["body", "querystring"]},
        "name": {"type": "string", "description": "Of the member or parameter; `proofs.0.assertion`."},
        "description": {"type": "string", "description": "What is wrong with it."},
    },
}


def own_problems(codes: Mapping[str, str]) -> tuple[Row, ...]:
    """Return the rows of why a proof does not hold that somebody's own authenticator has."""
    return tuple(Row(401, (code,), meaning) for code, meaning in codes.items() if code not in STATUS_OF)


def problem_schema(own: Iterable[Row]) -> JsonSchema:
    """Return the schema of problems that may have these codes too."""
    codes = [*STATUS_OF, *(code for row in own for code in row.codes)]
    properties = PROBLEM_SCHEMA["properties"]
    return PROBLEM_SCHEMA | {"properties": properties | {"code": properties["code"] | {"enum": codes}}}


def problem_responses(codes: Iterable[str]) -> dict[str, Any]:
    """Return the response objects of these codes, by status; one of `own_problems` is of a proof."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS_OF.get(code, 401), []).append(code)
    return {str(status): _response(status, by_status[status]) for status in sorted(by_status)}


def problem_examples(own: Iterable[Row]) -> dict[str, Any]:
    """Return an example object of each code, `own` ones too."""
    return {
        code: {
            "summary": row.advice or code.replace("_", " "),
            "value": problem_document(row.status, code, "0" * 32, **_MEMBERS.get(code, {})),
        }
        for row in (*PROBLEMS, *PROOF_PROBLEMS, *own)
        for code in row.codes
    }


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {
            PROBLEM_TYPE: {
                "schema": {
                    "allOf": [{"$ref": "#/components/schemas/Problem"}],
                    "properties": {"status": {"const": status}, "code": {"enum": codes}},
                },
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }
    names = _HEADERS.get(status, ())
    if names:
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return response
