"""Every call of the API: one table, from which the document is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from persona_profile.api import profiles, sessions
from persona_profile.api.bodies import JSON, MERGE_PATCH
from persona_profile.api.openapi.problems import PROOF_CODES
from persona_profile.api.openapi.requests import (
    CLAIMS_JSON,
    PICTURE_BODIES,
    PROFILE_KEY_JSON,
    session_json,
)
from persona_profile.auth.browserid import BrowserIDVerifier
from persona_profile.auth.openid import OpenIDVerifier
from persona_profile.images.formats import MEDIA_TYPES

ALWAYS: Final = (
    "malformed_request",
    "body_too_large",
    "request_headers_too_large",
    "not_implemented",
    "internal_error",
)
"""Problems of any call, most of which the server answers before it looks at the address."""

ANY: Final = (*ALWAYS, "overloaded")
"""Those of any call of the API, which may come too late."""

STORAGE: Final = ("storage_unavailable", "keys_unavailable")
TOKEN: Final = ("session_invalid", "session_expired", "session_revoked")
SESSION: Final = ("session_missing", *TOKEN, *STORAGE)
OWN: Final = (*SESSION, "email_not_proved", "not_found")
OPENED: Final = (*OWN, "profile_key_required", "profile_key_wrong", "profile_unreadable")
CHARGED: Final = ("origin_refused", "rate_limited")
"""Those of calls that a rate limit counts."""

WRITE: Final = ("precondition_failed", "conflict", *CHARGED)
BODY: Final = ("validation_failed", "unsupported_media_type", "overloaded")
PICTURE: Final = (
    "picture_broken",
    "picture_too_many_pixels",
    "picture_too_complex",
    "crop_outside_picture",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a call answers with when all went well.

    Attributes:
        schema: name of the schema of JSON; none for what is not JSON.
        media_types: what the body may be; none for no body.
        headers: names of those that clients need.
        example: name of one, if not that of the schema.
    """

    description: str
    schema: str | None = None
    media_types: tuple[str, ...] = ()
    headers: tuple[str, ...] = ("Cache-Control",)
    example: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call.

    Attributes:
        call: method and path.
        id: a name for programs that are made of the document.
        tag: what it is about.
        session: `required`, `optional` or `none`.
        parameters: names of `requests.PARAMETERS`.
        bodies: media object by media type.
        answers: by status.
        problems: codes of those that it may answer with.
    """

    call: str
    id: str
    tag: str
    summary: str
    description: str = ""
    session: str = "none"
    parameters: tuple[str, ...] = ()
    bodies: dict[str, Any] | None = None
    answers: dict[int, Answer]
    problems: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """In capitals."""
        return self.call.partition(" ")[0]

    @property
    def path(self) -> str:
        """With its variables in braces."""
        return self.call.partition(" ")[2]


DEFAULT_PROOFS: Final = {each.member: each.description for each in (BrowserIDVerifier, OpenIDVerifier)}
"""What the members of proofs hold, where the settings name no other authenticators."""

_OPEN_SESSION: Final = "openSession"
_JSON_BYTES: Final = f"At most {profiles.MAX_BODY_BYTES // 1024} KiB."
_READ: Final = ("ETag", "Cache-Control")
_NOT_MODIFIED: Final = Answer(description="The client has it already.", headers=_READ)
_PROFILE: Final = Answer(description="The profile.", schema="Profile", headers=_READ)
_GONE: Final = Answer(description="Done.", headers=())

_CONDITIONS: Final = ("email", "If-Match", "If-None-Match")

OPERATIONS: Final = (
    Operation(
        call="GET /v1/",
        id="describe",
        tag="service",
        summary="What this server takes and makes",
        answers={
            200: Answer(description="Limits, claims, sizes and formats.", schema="Service"),
        },
        problems=ANY,
    ),
    Operation(
        call="GET /v1",
        id="describeWithoutSlash",
        tag="service",
        summary="The same as `/v1/`, which is easily mistyped",
        answers={
            200: Answer(description="Limits, claims, sizes and formats.", schema="Service"),
        },
        problems=ANY,
    ),
    Operation(
        call="GET /v1/openapi.json",
        id="openapi",
        tag="service",
        summary="This document",
        parameters=("If-Changed",),
        answers={
            200: Answer(description="The document.", schema="OpenAPI", headers=_READ),
            304: _NOT_MODIFIED,
        },
        problems=ANY,
    ),
    Operation(
        call="POST /v1/nonces",
        id="issueNonce",
        tag="sessions",
        summary="A nonce for an identity provider's token",
        description=(
            "Send it to the provider as `nonce` (OpenID Connect, Portier); the ID token that holds it "
            "opens one session. It has no body, and depends on nothing that is stored."
        ),
        answers={201: Answer(description="The nonce, and when it expires.", schema="Nonce")},
        problems=(*ANY, *CHARGED),
    ),
    Operation(
        call="POST /v1/sessions",
        id=_OPEN_SESSION,
        tag="sessions",
        summary="Prove emails; get a session and their profiles",
        description=(
            "The dialog's one round trip. Send an older token along to add emails to its session. Each "
            "proof is accepted once; if one does not hold, none is used up. "
            f"At most {sessions.MAX_BODY_BYTES // 1024} KiB."
        ),
        session="optional",
        bodies={JSON: session_json(DEFAULT_PROOFS)},
        answers={201: Answer(description="The session and the profiles.", schema="Session")},
        problems=(*ANY, *BODY, *TOKEN, *PROOF_CODES, *STORAGE, *CHARGED),
    ),
    Operation(
        call="DELETE /v1/sessions",
        id="signOut",
        tag="sessions",
        summary="End every session that proved any of this one's emails",
        description=(
            "After a lost answer or a 503 send it again, until it is 204 or 401 `session_revoked`. "
            "Proofs that say that they are older than the sign-out are revoked by it too."
        ),
        session="required",
        answers={204: _GONE},
        problems=(*ANY, *SESSION, "conflict"),
    ),
    Operation(
        call="GET /v1/profiles",
        id="listProfiles",
        tag="profiles",
        summary="The profiles of the session's emails",
        description="A profile whose data does not open has an `error`; the others are served.",
        session="required",
        parameters=("thumbnails", "If-Changed"),
        answers={
            200: Answer(description="In the order proved.", schema="Profiles", headers=_READ),
            304: _NOT_MODIFIED,
        },
        problems=(*ANY, *SESSION, *CHARGED, "validation_failed"),
    ),
    Operation(
        call="GET /v1/profiles/{email}",
        id="readProfile",
        tag="profiles",
        summary="One profile",
        session="required",
        parameters=("email", "If-Changed"),
        answers={200: _PROFILE, 304: _NOT_MODIFIED},
        problems=(*ANY, *OPENED, *CHARGED),
    ),
    Operation(
        call="PUT /v1/profiles/{email}",
        id="replaceProfile",
        tag="profiles",
        summary="Replace all claims",
        description=_JSON_BYTES,
        session="required",
        parameters=_CONDITIONS,
        bodies={JSON: CLAIMS_JSON},
        answers={200: _PROFILE},
        problems=(*ANY, *OPENED, *WRITE, *BODY),
    ),
    Operation(
        call="PATCH /v1/profiles/{email}",
        id="changeProfile",
        tag="profiles",
        summary="Change the claims that the body names (RFC 7396)",
        description=_JSON_BYTES,
        session="required",
        parameters=_CONDITIONS,
        bodies={MERGE_PATCH: CLAIMS_JSON, JSON: CLAIMS_JSON},
        answers={200: _PROFILE},
        problems=(*ANY, *OPENED, *WRITE, *BODY),
    ),
    Operation(
        call="DELETE /v1/profiles/{email}",
        id="eraseProfile",
        tag="profiles",
        summary="Remove everything about one email",
        session="required",
        parameters=_CONDITIONS,
        answers={204: _GONE},
        problems=(*ANY, *OWN, *WRITE),
    ),
    Operation(
        call="PUT /v1/profiles/{email}/profile-key",
        id="setProfileKey",
        tag="profiles",
        summary="Set, change or remove the person's own key",
        description=(
            "A key that is lost can't be replaced: the profile is lost. "
            f"At most {profiles.MAX_PROFILE_KEY_BODY_BYTES} bytes."
        ),
        session="required",
        parameters=_CONDITIONS,
        bodies={JSON: PROFILE_KEY_JSON},
        answers={
            200: Answer(
                description="A session that holds the new key, and the profile.",
                schema="ProfileKeySession",
            )
        },
        problems=(*ANY, *OPENED, *WRITE, *BODY),
    ),
    Operation(
        call="GET /v1/profiles/{email}/export",
        id="exportProfile",
        tag="profiles",
        summary="A profile to take away",
        session="required",
        parameters=("email",),
        answers={
            200: Answer(
                description="`profile.json`, and `picture/<size>.<format>`.",
                media_types=("application/zip",),
                headers=("Content-Disposition", "Cache-Control"),
            )
        },
        problems=(*ANY, *OPENED, *CHARGED),
    ),
    Operation(
        call="PUT /v1/profiles/{email}/picture",
        id="replacePicture",
        tag="pictures",
        summary="Replace the picture",
        description=(
            "The file itself, with any of these types or none, or a form with a field `picture`. Its "
            "content tells the format: JPEG up to 100 megapixels; PNG, WebP, GIF, HEIC and AVIF up to "
            "50. `GET /v1/` tells how many bytes are taken."
        ),
        session="required",
        parameters=(*_CONDITIONS, "crop"),
        bodies=PICTURE_BODIES,
        answers={
            200: Answer(
                description="The profile.",
                schema="Profile",
                headers=_READ,
                example="ProfileWithPicture",
            )
        },
        problems=(*ANY, *OPENED, *WRITE, *BODY, *PICTURE),
    ),
    Operation(
        call="DELETE /v1/profiles/{email}/picture",
        id="removePicture",
        tag="pictures",
        summary="Remove the picture, if there is one",
        session="required",
        parameters=_CONDITIONS,
        answers={204: _GONE},
        problems=(*ANY, *OPENED, *WRITE),
    ),
    Operation(
        call="GET /v1/pictures/{capability}",
        id="readPicture",
        tag="pictures",
        summary="One size of a picture",
        description=(
            "The URL is the permission; it dies by itself. Pages of origins that are not configured "
            "are refused."
        ),
        parameters=("capability", "Accept", "If-Changed"),
        answers={
            200: Answer(
                description="Square, upright, sRGB, without metadata.",
                media_types=tuple(MEDIA_TYPES.values()),
                headers=(*_READ, "Vary"),
            ),
            304: _NOT_MODIFIED,
        },
        problems=(
            *ANY,
            *STORAGE,
            "not_found",
            "not_acceptable",
            "profile_unreadable",
            *CHARGED,
        ),
    ),
    Operation(
        call="GET /v1/fedcm/accounts",
        id="listAccounts",
        tag="fedcm",
        summary="The session's emails as accounts of FedCM",
        description=(
            "What the accounts endpoint of an identity provider may answer with, whose server asks "
            "here with a session; a browser that asks by itself is refused."
        ),
        session="required",
        parameters=("If-Changed",),
        answers={
            200: Answer(description="In the order proved.", schema="Accounts", headers=_READ),
            304: _NOT_MODIFIED,
        },
        problems=(*ANY, *SESSION, *CHARGED, "fedcm_direct_call"),
    ),
    Operation(
        call="GET /__lbheartbeat__",
        id="isUp",
        tag="operations",
        summary="Whether the process answers, for load balancers",
        answers={
            200: Answer(description="It does.", schema="Up"),
            503: Answer(description="It stops.", schema="Stopping"),
        },
        problems=ALWAYS,
    ),
    Operation(
        call="GET /__heartbeat__",
        id="isWorking",
        tag="operations",
        summary="Whether the server can do its work, for monitoring",
        answers={
            200: Answer(description="It can.", schema="Health"),
            503: Answer(description="It can't, or it stops.", schema="Trouble"),
        },
        problems=ALWAYS,
    ),
    Operation(
        call="GET /__version__",
        id="whichBuild",
        tag="operations",
        summary="Which build runs",
        answers={200: Answer(description="As far as it is known.", schema="Build")},
        problems=ALWAYS,
    ),
)


def operations(proofs: Mapping[str, str], own_codes: tuple[str, ...]) -> tuple[Operation, ...]:
    """Return every call, of a server that takes these kinds of proofs, refused by these codes too."""
    return tuple(
        replace(each, bodies={JSON: session_json(proofs)}, problems=(*each.problems, *own_codes))
        if each.id == _OPEN_SESSION
        else each
        for each in OPERATIONS
    )
