"""The OpenAPI document as a contract for every answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

import jsonschema_rs
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api.openapi import openapi_document, openapi_source
from persona_profile.app import Application
from persona_profile.auth.browserid import BrowserIDVerifier
from persona_profile.auth.email_verification import EmailVerifier
from persona_profile.auth.openid import OpenIDVerifier

DOCUMENT = openapi_document(
    {each.member: each.description for each in (BrowserIDVerifier, OpenIDVerifier, EmailVerifier)},
    companions={OpenIDVerifier.member: OpenIDVerifier.companions},
)
"""The OpenAPI document of a development server, which accepts all kinds of proofs."""

STATUS_OF = {
    code: example["value"]["status"]
    for code, example in DOCUMENT["components"]["examples"].items()
    if example["value"].get("code") == code
}
"""The status of each code of a problem."""

PROOF_CODES = tuple(openapi_source()["x-problems"]["proofs"])
"""The reasons for rejected proofs."""

UNDOCUMENTED = {
    *("/", "/static/{name}", "/development/cards"),
    *("/development/assertions", "/development/openid", "/development/dns"),
}
"""Routes of the development server alone."""

_BASE = "urn:document"


class Broken(AssertionError):
    """An answer contradicts the document; the message has the call and the reasons."""


def document_path(pattern: str) -> str:
    """Return the documented path of a Pyramid route pattern."""
    return re.sub(r"\{(\w+):[^{}]+\}", r"{\1}", pattern)


class Contract:
    """The promises of a document. Undocumented members of objects are violations."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        schemas = {name: _closed(schema) for name, schema in document["components"]["schemas"].items()}
        self._whole = dict(document) | {"components": {**document["components"], "schemas": schemas}}
        self._registry = jsonschema_rs.Registry([(_BASE, self._whole)])
        self._validators: dict[str, Any] = {}

    def check(self, method: str, pattern: str | None, answer: Response) -> None:
        """Check the answer to a call of a route, or of no route.

        Raises:
            Broken: the document does not allow the answer.
        """
        call = f"{method} {pattern}: {answer.status_int}"
        response, pointer = self._response(method, pattern, answer.status_int, call)
        for name in response.get("headers", {}):
            if name not in answer.headers:
                raise Broken(f"{call} without {name}")
            where = _pointer("components", "headers", name, "schema")
            self._validate(where, _typed(answer.headers[name]), call)
        content = response.get("content", {})
        if not content:
            if answer.body or "Content-Type" in answer.headers:
                raise Broken(f"{call} with a body")
        elif answer.content_type not in content:
            raise Broken(f"{call} as {answer.content_type}")
        elif "schema" in content[answer.content_type]:
            self._validate(
                _pointer(*pointer, "content", answer.content_type, "schema"), answer.json, call
            )

    def validate(self, schema: str, instance: Any) -> None:
        """Check an instance against a named schema.

        Raises:
            Broken: the instance violates the schema.
        """
        self.validate_at(("components", "schemas", schema), instance)

    def validate_at(self, pointer: tuple[str, ...], instance: Any) -> None:
        """Check an instance against the schema at a place in the document.

        Raises:
            Broken: the instance violates the schema.
        """
        self._validate(_pointer(*pointer), instance, "/".join(pointer))

    def resolve(self, described: Any, pointer: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        """Follow the references of an object of the document; return the target and its place."""
        while "$ref" in described:
            pointer = tuple(described["$ref"].removeprefix("#/").split("/"))
            described = self._document
            for name in pointer:
                described = described[name]
        return described, pointer

    def _response(self, method: str, pattern: str | None, status: int, call: str) -> Any:
        operations = self._document["paths"].get(pattern)
        verb = "get" if method == "HEAD" else method.lower()
        if operations and verb in operations:
            try:
                response = operations[verb]["responses"][str(status)]
            except KeyError:
                raise Broken(f"{call} is not documented") from None
            return self.resolve(response, ("paths", pattern, verb, "responses", str(status)))
        # Requests for unknown paths, and malformed requests.
        name = {400: "Malformed", 404: "NotFound", 405: "MethodNotAllowed"}.get(status)
        if name is None or (status == 405) != bool(operations):
            raise Broken(f"{call} is not documented")
        return self._document["components"]["responses"][name], ("components", "responses", name)

    def _validate(self, pointer: str, instance: Any, call: str) -> None:
        validator = self._validators.get(pointer)
        if validator is None:
            validator = jsonschema_rs.Draft202012Validator(
                {"$ref": f"{_BASE}{pointer}"}, registry=self._registry
            )
            self._validators[pointer] = validator
        if not validator.is_valid(instance):
            reasons = "; ".join(
                f"{'/'.join(map(str, error.instance_path))}: {error.message}"
                for error in validator.iter_errors(instance)
            )
            raise Broken(f"{call}: {reasons[:2000]}")


@cache
def contract() -> Contract:
    """Return the contract of the document that this service publishes."""
    return Contract(DOCUMENT)


@cache
def _contract_of(document: bytes) -> Contract:
    return Contract(json.loads(document))


def hold_to_contract(app: Application) -> Application:
    """Make an application raise `Broken` in place of an answer that violates its document."""
    invoke = app.router.invoke_request
    promised = _contract_of(app.router.registry["openapi_document"])

    def invoke_and_check(request: Request, *arguments: Any, **options: Any) -> Response:
        answer = invoke(request, *arguments, **options)
        route = getattr(request, "matched_route", None)
        pattern = document_path(route.pattern) if route else None
        is_preflight = answer.status_int == 204 and request.method == "OPTIONS"
        if pattern not in UNDOCUMENTED and not is_preflight:
            promised.check(request.method, pattern, answer)
        return answer

    app.router.invoke_request = invoke_and_check
    return app


def _closed(schema: Any) -> Any:
    """Return a schema that forbids unnamed members of objects."""
    if not isinstance(schema, dict):
        return schema
    closed = {
        name: {each: _closed(value) for each, value in part.items()}
        if name == "properties"
        else _closed(part)
        for name, part in schema.items()
    }
    if "properties" in closed and schema.get("required") != ["openapi", "info", "paths"]:
        closed.setdefault("additionalProperties", False)
    return closed


def _pointer(*names: str) -> str:
    """Return a JSON pointer as a fragment (RFC 6901, section 6)."""
    return "#" + "".join(f"/{quote(name.replace('~', '~0').replace('/', '~1'))}" for name in names)


def _typed(header: str) -> Any:
    return int(header) if re.fullmatch("[0-9]+", header) else header
