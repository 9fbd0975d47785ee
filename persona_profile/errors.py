"""Domain errors: what a call can end with, apart from its result."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

NO_ROOM_SECONDS = 5
"""When to come back to a machine that has no room."""

CHALLENGE = 'Bearer realm="persona-profile"'
"""The WWW-Authenticate challenge of every 401 (RFC 6750, section 3)."""


class FieldError(NamedTuple):
    """One thing that is wrong with a request: in its body, querystring, path or header."""

    location: str
    name: str
    description: str


class ServiceError(Exception):
    """Base of all that is answered with a problem.

    Args:
        detail: a sentence for the developer of the client; never holds personal data.
        errors: what is wrong, field by field.
        headers: response headers beyond the usual.
        members: further members of the problem object.
    """

    status: HTTPStatus = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "internal_error"

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


class MalformedRequest(ServiceError):
    """The request can't be read at all."""

    status = HTTPStatus.BAD_REQUEST
    code = "malformed_request"


class ValidationFailed(ServiceError):
    """The request was read; `errors` tells which parts of it are not acceptable."""

    status = HTTPStatus.BAD_REQUEST
    code = "validation_failed"


class Unauthorized(ServiceError):
    """A proof or a session is missing or does not hold; `code` is the reason."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, code: str, detail: str = "", *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail, errors=errors, headers={"WWW-Authenticate": CHALLENGE})
        self.code = code


class InvalidProof(Unauthorized):
    """A proof of email ownership does not hold."""


class InvalidSession(Unauthorized):
    """The bearer token opens no session (any more)."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.headers["WWW-Authenticate"] = f'{CHALLENGE}, error="invalid_token"'


class Forbidden(ServiceError):
    """The session may not do this."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"


class EmailNotProved(Forbidden):
    """The session has not proved this email; whether anything is stored for it stays unsaid."""

    code = "email_not_proved"


class ProfileKeyRequired(Forbidden):
    """The profile opens only with the person's own key, and the session holds none or another."""

    def __init__(self, code: str) -> None:
        super().__init__("Open a session with the profile key of this email, or erase the profile.")
        self.code = code


class OriginRefused(Forbidden):
    """A page of an origin that is not configured caused the request."""

    code = "origin_refused"


class DirectCall(Forbidden):
    """A browser's own request for accounts (FedCM), which identity providers answer."""

    code = "fedcm_direct_call"


class NotFound(ServiceError):
    """There is nothing at this address (any more)."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class NotAcceptable(ServiceError):
    """No representation that the client accepts."""

    status = HTTPStatus.NOT_ACCEPTABLE
    code = "not_acceptable"


class WriteConflict(ServiceError):
    """Others kept writing to the same profile for longer than a request may wait."""

    status = HTTPStatus.CONFLICT
    code = "conflict"


class PreconditionFailed(ServiceError):
    """If-Match or If-None-Match does not hold for the profile as it is."""

    status = HTTPStatus.PRECONDITION_FAILED
    code = "precondition_failed"


class BodyTooLarge(ServiceError):
    """The body is over the limit of this call, which the problem names in bytes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body may have at most {limit} bytes.", members={"limit": limit})


class UnsupportedMediaType(ServiceError):
    """The body is of a kind that this call does not take."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"


class UnprocessablePicture(ServiceError):
    """The picture is of a known format but can't be used; `code` says why."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail, members=members)
        self.code = code


class RateLimited(ServiceError):
    """The client has used up what a policy allows it; `retry_after` in seconds."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    code = "rate_limited"

    def __init__(self, policy: str, retry_after: int, headers: Mapping[str, str]) -> None:
        super().__init__(
            "Too much in too short a time; `policy` tells of what.",
            headers={**headers, "Retry-After": str(retry_after)},
            members={"policy": policy},
        )


class Overloaded(ServiceError):
    """Not now; `retry_after` in seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "overloaded"

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class NoRoom(Overloaded):
    """The machine has no room for a request: its disk is full, or too many files are open."""

    def __init__(self) -> None:
        super().__init__("There is no room for this request now; try again.", NO_ROOM_SECONDS)


class StorageUnavailable(Overloaded):
    """The storage backend does not answer."""

    code = "storage_unavailable"


class KeyServiceUnavailable(Overloaded):
    """The service that wraps the keys of emails does not answer."""

    code = "keys_unavailable"


class UnreadableProfile(Overloaded):
    """What is stored for an email does not open: damaged, or its key is not in the keyring."""

    code = "profile_unreadable"
