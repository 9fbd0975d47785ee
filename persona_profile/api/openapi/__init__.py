"""The API described for programs: OpenAPI 3.1, made of the service's own schemas and tables."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.openapi.answers import ENTITY_TAG_SCHEMA, EXAMPLES, SCHEMAS, VERSION
from persona_profile.api.openapi.calls import DEFAULT_PROOFS, Answer, Operation, operations
from persona_profile.api.openapi.problems import (
    own_problems,
    problem_examples,
    problem_responses,
    problem_schema,
)
from persona_profile.api.openapi.requests import PARAMETERS
from persona_profile.api.operations import NAME
from persona_profile.api.representations import is_known
from persona_profile.encoding import base64url_encode, json_encode
from persona_profile.errors import CHALLENGE

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
    "Misdirected": "misdirected_request",
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


def openapi_document(
    proofs: Mapping[str, str] = DEFAULT_PROOFS, codes: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the OpenAPI document of a server of this version.

    Args:
        proofs: the members that a proof may have there, with a description of each.
        codes: those of refusals that somebody's own authenticators have, with their meanings.
    """
    own = own_problems(codes or {})
    paths: dict[str, Any] = {}
    for operation in operations(proofs, tuple(code for row in own for code in row.codes)):
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
            "schemas": SCHEMAS | {"Problem": problem_schema(own)},
            "headers": _HEADERS,
            "examples": {
                **{name: {"value": value} for name, value in EXAMPLES.items()},
                **problem_examples(own),
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


_DOCUMENT: Final = "openapi_document"
_ETAG: Final = "openapi_etag"
"""Where the registry has the document, encoded, and its entity tag."""


@openapi.get()  # type: ignore[untyped-decorator]
def describe(request: Request) -> Response:
    """Return the document."""
    body: bytes = request.registry[_DOCUMENT]
    etag: str = request.registry[_ETAG]
    if is_known(request, etag):
        response = Response(status=304)
    else:
        response = Response(body, content_type="application/json")
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


def includeme(config: Configurator) -> None:
    """Register the service, and make the document."""
    services: Services = config.registry["services"]
    authenticators = services.authenticators
    document = openapi_document(authenticators.descriptions, authenticators.codes)
    body = config.registry[_DOCUMENT] = json_encode(document)
    config.registry[_ETAG] = f'"{base64url_encode(sha256(body).digest()[:16])}"'
    config.add_cornice_service(openapi)
