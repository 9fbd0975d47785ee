"""The errors of a call, each with its HTTP status and its problem code."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

NO_ROOM_SECONDS = 5
"""The time to retry, if the machine has no room for a request."""

CHALLENGE = 'Bearer realm="persona-profile"'
"""The WWW-Authenticate challenge of every 401 (RFC 6750, section 3)."""


class FieldError(NamedTuple):
    """An error in the body, querystring, path or header of a request."""

    location: str
    name: str
    description: str


class ServiceError(Exception):
    """An error that the client gets as a problem (RFC 9457).

    A class gets its status and its code as keywords. `detail` is a sentence for the developer of the
    client, without personal data. `headers` are added to the response, `members` to the problem object.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    code = "internal_error"

    def __init_subclass__(cls, **attributes: HTTPStatus | str) -> None:
        for name, value in attributes.items():
            setattr(cls, name, value)

    def __init__(
        self,
        detail: str = "",
        *,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.members = dict(members or {})


class MalformedRequest(ServiceError, status=HTTPStatus.BAD_REQUEST, code="malformed_request"):
    """The request can't be parsed."""


class ValidationFailed(ServiceError, status=HTTPStatus.BAD_REQUEST, code="validation_failed"):
    """The request was parsed, but `errors` names invalid parts of it."""


class Unauthorized(ServiceError, status=HTTPStatus.UNAUTHORIZED):
    """A proof or a session is missing or invalid; `code` is the reason."""

    def __init__(self, code: str, detail: str = "", *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail, errors=errors, headers={"WWW-Authenticate": CHALLENGE})
        self.code = code


class InvalidProof(Unauthorized):
    """A proof of email ownership is invalid."""


class InvalidSession(Unauthorized):
    """The bearer token belongs to no session, or to an ended one."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.headers["WWW-Authenticate"] = f'{CHALLENGE}, error="invalid_token"'


class Forbidden(ServiceError, status=HTTPStatus.FORBIDDEN, code="forbidden"):
    """The session may not do this."""


class EmailNotProved(Forbidden, code="email_not_proved"):
    """The session has not proved this email. The answer does not depend on what is stored for it."""


class ProfileKeyRequired(Forbidden):
    """The profile opens only with the person's own key, which the session does not have."""

    def __init__(self, code: str) -> None:
        super().__init__("Open a session with the profile key of this email, or erase the profile.")
        self.code = code


class PictureLocked(Forbidden, code="picture_locked"):
    """An operator has removed the picture, and accepts no other one until `locked_until`."""

    def __init__(self, locked_until: str, reason: str | None) -> None:
        super().__init__(
            "An operator has removed the picture of this email; no other one is accepted until "
            "`locked_until`. `reason` is for the person.",
            members={"locked_until": locked_until, "reason": reason},
        )


class OriginRejected(Forbidden, code="origin_refused"):
    """A page of an origin that is not configured caused the request."""


class DirectCall(Forbidden, code="fedcm_direct_call"):
    """A browser asks directly for accounts (FedCM); its identity provider answers that."""


class NotFound(ServiceError, status=HTTPStatus.NOT_FOUND, code="not_found"):
    """The address names nothing, or nothing that still exists."""


class NotAcceptable(ServiceError, status=HTTPStatus.NOT_ACCEPTABLE, code="not_acceptable"):
    """The client accepts none of the representations."""


class WriteConflict(ServiceError, status=HTTPStatus.CONFLICT, code="conflict"):
    """Concurrent writes to the same profile went on for longer than a request may wait."""


class ProfileNotProtected(ServiceError, status=HTTPStatus.CONFLICT, code="profile_not_protected"):
    """Another key can be added to a protected profile only."""


class TooManyProfileKeys(ServiceError, status=HTTPStatus.CONFLICT, code="too_many_profile_keys"):
    """The profile has as many keys as it may have; the problem has the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__("Remove one of the profile's keys first.", members={"limit": limit})


class LastProfileKey(ServiceError, status=HTTPStatus.CONFLICT, code="last_profile_key"):
    """The last key of a protected profile is not removed alone: the profile would be lost."""


class PreconditionFailed(
    ServiceError, status=HTTPStatus.PRECONDITION_FAILED, code="precondition_failed"
):
    """If-Match or If-None-Match is false for the present profile."""


class BodyTooLarge(ServiceError, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code="body_too_large"):
    """The body exceeds the limit of this call; the problem has the limit in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The limit of the body is {limit} bytes.", members={"limit": limit})


class UnsupportedMediaType(
    ServiceError, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code="unsupported_media_type"
):
    """The media type of the body is not accepted by this call."""


class UnprocessablePicture(ServiceError, status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The picture has an accepted format but is rejected; `code` is the reason.

    `images/rejections.py` makes all of these errors.
    """

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail, members=members)
        self.code = code


class SuggestionRejected(ServiceError, status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """The picture of a suggestion can't be used; `code` is the reason."""

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail, members=members)
        self.code = code


class RateLimited(ServiceError, status=HTTPStatus.TOO_MANY_REQUESTS, code="rate_limited"):
    """The client has used up its quota of a policy; it may retry after some seconds."""

    def __init__(self, policy: str, retry_after: int, headers: Mapping[str, str]) -> None:
        super().__init__(
            "The quota of `policy` is used up; retry later.",
            headers={**headers, "Retry-After": str(retry_after)},
            members={"policy": policy},
        )


class Overloaded(ServiceError, status=HTTPStatus.SERVICE_UNAVAILABLE, code="overloaded"):
    """The request can't be answered now; the client may retry after some seconds."""

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class NoRoom(Overloaded):
    """The machine has no room for the request: the disk is full, or too many files are open."""

    def __init__(self) -> None:
        super().__init__("The server has no room for this request now; try again.", NO_ROOM_SECONDS)


class StorageUnavailable(Overloaded, code="storage_unavailable"):
    """The storage backend does not answer."""


class KeyServiceUnavailable(Overloaded, code="keys_unavailable"):
    """The service that wraps data keys does not answer."""


class DnsUnavailable(Overloaded, code="dns_unavailable"):
    """DNS does not answer for the domain of an email."""


class UnreadableProfile(Overloaded, code="profile_unreadable"):
    """The stored profile can't be opened: it is damaged, or its key is not in the keyring."""
