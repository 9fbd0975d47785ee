"""The API described for programs: OpenAPI 3.1, made of the service's own schemas and tables."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.encoding import base64url_encode, json_encode
from persona_profile.errors import CHALLENGE
from persona_profile.views.openapi.answers import ENTITY_TAG_SCHEMA, EXAMPLES, SCHEMAS, VERSION
from persona_profile.views.openapi.calls import OPERATIONS, Answer, Operation
from persona_profile.views.openapi.problems import problem_examples, problem_responses
from persona_profile.views.openapi.requests import PARAMETERS
from persona_profile.views.operations import NAME
from persona_profile.views.representations import is_known

_DESCRIPTION: Final = (
    "The profiles and pictures behind the cards of a federated sign-in dialog.\n\n"
    "JSON in and out, UTF-8. Members of requests that are not listed are errors; members of answers "
    "may be added. Instants are RFC 3339 in UTC. HEAD is answered as GET, without the body. An address "
    "that is not listed is answered as `NotFound` (as `Malformed`, if it can't be read), a method that "
    "an address does not know as `MethodNotAllowed`. Every answer has `Vary: Origin`; pages of the "
    "configured dialog origins may read all of them."
)
_TAGS: Final = {
    "sessions": "Proofs of email ownership in, a token and the cards out.",
    "profiles": "The claims of the emails that a session has proved.",
    "pictures": "Uploads by those who proved the email, renditions for those who hold their URL.",
    "fedcm": "For identity providers that show cards in the browser's own account chooser.",
    "service": "What this server is.",
    "operations": "For load balancers and monitoring.",
}
_ELSEWHERE: Final = {
    "Malformed": "malformed_request",
    "NotFound": "not_found",
    "MethodNotAllowed": "method_not_allowed",
    "Unavailable": "service_unavailable",
}
"""Answers that belong to no call."""

_HEADERS: Final[dict[str, Any]] = {
    "Allow": {"description": "The methods that the address knows.", "schema": {"type": "string"}},
    "Cache-Control": {
        "description": "Who may keep the answer, and for how long.",
        "schema": {"type": "string"},
    },
    "Content-Disposition": {"description": "A name for the file.", "schema": {"type": "string"}},
    "ETag": {"description": "Names this state.", "schema": ENTITY_TAG_SCHEMA},
    "Retry-After": {
        "description": "Seconds after which trying again makes sense.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Vary": {
        "description": "Headers of the request that the answer depends on.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {
        "description": "The challenge (RFC 6750).",
        "schema": {"type": "string"},
        "example": CHALLENGE,
    },
}

openapi = Service(name="openapi", path="/v1/openapi.json", description="The API for programs.")


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document; it is the same for all servers of this version."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": NAME,
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "MPL 2.0", "identifier": "MPL-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that this document comes from."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `token` that `POST /v1/sessions` answers with.",
                }
            },
            "parameters": PARAMETERS,
            "schemas": SCHEMAS,
            "headers": _HEADERS,
            "examples": {
                **{name: {"value": value} for name, value in EXAMPLES.items()},
                **problem_examples(),
            },
            "responses": {
                name: next(iter(problem_responses([code]).values()))
                for name, code in _ELSEWHERE.items()
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    responses = {str(status): _answer(answer) for status, answer in operation.answers.items()}
    responses |= problem_responses(operation.problems)
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in operation.parameters],
        "responses": dict(sorted(responses.items())),
        "security": {
            "required": [{"session": []}],
            "optional": [{}, {"session": []}],
            "none": [],
        }[operation.session],
    }
    if operation.description:
        described["description"] = operation.description
    if operation.bodies:
        described["requestBody"] = {"required": True, "content": operation.bodies}
    return described


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        described["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers
        }
    if answer.schema is not None:
        media: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{answer.schema}"}}
        example = answer.example or answer.schema
        if example in EXAMPLES:
            media["examples"] = {example: {"$ref": f"#/components/examples/{example}"}}
        described["content"] = {"application/json": media}
    elif answer.media_types:
        described["content"] = {media_type: {} for media_type in answer.media_types}
    return described


_BODY: Final = json_encode(openapi_document())
_ETAG: Final = f'"{base64url_encode(sha256(_BODY).digest()[:16])}"'


@openapi.get()  # type: ignore[untyped-decorator]
def describe(request: Request) -> Response:
    """Return the document."""
    if is_known(request, _ETAG):
        response = Response(status=304)
    else:
        response = Response(_BODY, content_type="application/json")
    response.headers["ETag"] = _ETAG
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


def includeme(config: Configurator) -> None:
    """Register the service."""
    config.add_cornice_service(openapi)
