"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

import errno
import logging
import secrets
from http import HTTPStatus
from typing import Any, Final

from pyramid.config import Configurator
from pyramid.exceptions import URLDecodeError
from pyramid.httpexceptions import HTTPException, HTTPForbidden, HTTPNotFound
from pyramid.request import Request
from pyramid.response import Response

import backends
from persona_profile.encoding import json_encode
from persona_profile.errors import (
    KeyServiceUnavailable,
    MalformedRequest,
    NoRoom,
    ServiceError,
    StorageUnavailable,
)
from persona_profile.keys.service import KeysUnavailable
from persona_profile.runtime.logs import place_of

PROBLEM_TYPE: Final = "application/problem+json"

logger = logging.getLogger(__name__)


def problem_document(
    status: int, code: str, request_id: str, detail: str = "", **members: Any
) -> dict[str, Any]:
    """Return a problem object (RFC 9457). Its type is `about:blank`, so its title is that of HTTP."""
    document: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "request_id": request_id,
    }
    if detail:
        document["detail"] = detail
    return document | members


def new_request_id() -> str:
    """Return a new identifier for the response and the log lines of a request."""
    return secrets.token_hex(16)


def includeme(config: Configurator) -> None:
    """Render every exception, and every response that Pyramid makes itself, as a problem."""
    for context in (Exception, HTTPException, HTTPNotFound, HTTPForbidden):
        config.add_exception_view(_problem_view, context=context)


def _problem_view(error: Exception, request: Request) -> Response:
    if isinstance(error, HTTPException) and error.code < 400:
        return error
    known = _service_error(error, request)
    request.problem_code = known.code  # for the metrics
    members = dict(known.members)
    if known.errors:
        members["errors"] = [each._asdict() for each in known.errors]
    document = problem_document(known.status, known.code, request.request_id, known.detail, **members)
    response = Response(json_encode(document), status=int(known.status), content_type=PROBLEM_TYPE)
    response.headers.update(known.headers)
    return response


def _service_error(error: Exception, request: Request) -> ServiceError:
    """Translate Pyramid's responses, the storage's errors, and programming errors."""
    match error:
        case ServiceError():
            known = error
        case backends.Unavailable():
            known = StorageUnavailable("The storage does not answer; try again.", error.retry_after)
        case KeysUnavailable():
            detail = "The key service does not answer; try again."
            known = KeyServiceUnavailable(detail, error.retry_after)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EMFILE | errno.ENFILE | errno.ENOMEM):
            logger.error("no room for a request: %s", error.strerror)
            known = NoRoom()
        case URLDecodeError():
            known = MalformedRequest("The path is not UTF-8.")
        case HTTPException():
            known = ServiceError()
            known.status = HTTPStatus(error.code)
            known.code = known.status.name.lower()
            if "Allow" in error.headers:
                known.headers["Allow"] = error.headers["Allow"]
        case _:
            # The place alone: values may be personal data.
            name, where = type(error).__name__, place_of(error.__traceback__)
            logger.error("unhandled %s at %s request_id=%s", name, where, request.request_id)
            known = ServiceError("The server has failed; the error was logged.")
    return known
