"""The API for programs: OpenAPI 3.1, `openapi.yaml` completed for this server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

import yaml
from cornice import Service
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

from persona_profile.api import Services
from persona_profile.api.problems import PROBLEM_TYPE, problem_document
from persona_profile.api.representations import digest_tag, validated
from persona_profile.encoding import json_encode
from persona_profile.images.formats import SIZES, THUMBNAIL_SIZES

_DOCUMENT: Final = "openapi_document"
_ETAG: Final = "openapi_etag"
"""The keys of the encoded document and its entity tag in the registry."""

openapi = Service(name="openapi", path="/v1/openapi.json", description="The API for programs.")


class _Problems:
    """The problems of the API: status, advice and examples of each code, from `x-problems`."""

    def __init__(self, table: Mapping[str, Any], own_codes: Mapping[str, str]) -> None:
        advice = {int(status): dict(codes) for status, codes in table["statuses"].items()}
        self.statuses = {code: status for status, codes in advice.items() for code in codes}
        proofs = {code: text for code, text in own_codes.items() if code not in self.statuses}
        proofs |= table["proofs"]
        self.statuses |= dict.fromkeys(proofs, 401)
        self._advice = proofs | {
            code: text for codes in advice.values() for code, text in codes.items()
        }
        self._groups = table["groups"] | {"proof": list(proofs)}
        self._table = table

    def examples(self) -> dict[str, Any]:
        """Return an example object of each code."""
        members = self._table["members"]
        return {
            code: {
                "summary": self._advice[code] or code.replace("_", " "),
                "value": problem_document(status, code, "0" * 32, **members.get(code, {})),
            }
            for code, status in self.statuses.items()
        }

    def responses(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the response objects of codes and groups of codes, by status."""
        by_status: dict[int, list[str]] = {}
        for code in dict.fromkeys(self._codes(names)):
            by_status.setdefault(self.statuses[code], []).append(code)
        return {str(status): self._response(status, by_status[status]) for status in sorted(by_status)}

    def components(self) -> dict[str, Any]:
        """Return the named response objects that belong to no operation."""
        named = self._table["components"].items()
        return {name: self._response(self.statuses[code], [code]) for name, code in named}

    def _codes(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            yield from self._codes(self._groups[name]) if name in self._groups else (name,)

    def _response(self, status: int, codes: list[str]) -> dict[str, Any]:
        schema = {
            "allOf": [{"$ref": "#/components/schemas/Problem"}],
            "properties": {"status": {"const": status}, "code": {"enum": codes}},
        }
        examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
        response: dict[str, Any] = {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
            "content": {PROBLEM_TYPE: {"schema": schema, "examples": examples}},
        }
        header = self._table["headers"].get(str(status))
        if header:
            response["headers"] = {header: {"$ref": f"#/components/headers/{header}"}}
        return response


@cache
def openapi_source() -> dict[str, Any]:
    """Return the content of `openapi.yaml`, shared and read-only."""
    text = files(__package__).joinpath("openapi.yaml").read_bytes()
    source: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return source


def openapi_document(
    proofs: Mapping[str, str],
    own_codes: Mapping[str, str] | None = None,
    companions: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Return the OpenAPI document of a server.

    Args:
        proofs: the kinds of proofs, with a description of each.
        own_codes: reasons of the configured authenticators for rejected proofs, with their meanings.
        companions: the optional members beside kinds of proofs, with descriptions.
    """
    document = deepcopy(openapi_source())
    problems = _Problems(document.pop("x-problems"), own_codes or {})
    for operations in document["paths"].values():
        for operation in operations.values():
            errors = problems.responses(operation.pop("x-problems"))
            operation["responses"] = operation["responses"] | errors
    components = document["components"]
    components["responses"] |= problems.components()
    components["examples"] |= problems.examples()
    problem = components["schemas"]["Problem"]["properties"]
    problem["status"]["enum"] = sorted(set(problems.statuses.values()))
    problem["code"]["enum"] = list(problems.statuses)
    _add_proofs(document, proofs, companions or {})
    _add_sizes(components)
    for versioned in (
        document["info"],
        components["examples"]["Service"]["value"],
        components["examples"]["Build"]["value"],
    ):
        versioned["version"] = version("persona-profile-server")
    return document


def _add_proofs(
    document: dict[str, Any],
    proofs: Mapping[str, str],
    companions: Mapping[str, Mapping[str, str]],
) -> None:
    session = document["components"]["schemas"]["SessionRequest"]["properties"]
    items, described = session["proofs"]["items"], dict(proofs)
    owners: dict[str, list[dict[str, Any]]] = {}
    for owner, members in companions.items():
        described |= members
        for name in members:
            owners.setdefault(name, []).append({"required": [owner]})
    if owners:
        items["dependentSchemas"] = {name: {"anyOf": each} for name, each in owners.items()}
    items["properties"] = {
        name: {"type": "string", "description": description} for name, description in described.items()
    }
    items["oneOf"] = [{"required": [kind]} for kind in proofs]
    document["components"]["examples"]["Service"]["value"]["proofs"] = list(proofs)
    body = document["paths"]["/v1/sessions"]["post"]["requestBody"]["content"]["application/json"]
    examples, kind = body.pop("x-example-proofs"), next(iter(proofs))
    body["example"] = {"proofs": [{kind: examples.get(kind, "...")}]}


def _add_sizes(components: dict[str, Any]) -> None:
    schemas = components["schemas"]
    sizes, thumbnails = {"enum": list(SIZES)}, {"enum": list(THUMBNAIL_SIZES)}
    components["parameters"]["thumbnails"]["schema"] |= thumbnails
    schemas["SessionRequest"]["properties"]["thumbnails"] |= thumbnails
    urls = schemas["Picture"]["properties"]["urls"]
    urls["properties"] = dict.fromkeys(map(str, SIZES), urls["additionalProperties"])
    urls["additionalProperties"] = False
    described = schemas["Service"]["properties"]["pictures"]["properties"]
    described["sizes"]["items"], described["thumbnails"]["items"] = sizes, thumbnails
    examples = components["examples"]
    examples["Service"]["value"]["pictures"] |= {
        "sizes": list(SIZES),
        "thumbnails": list(THUMBNAIL_SIZES),
    }
    examples["ProfileWithPicture"]["value"]["picture"]["urls"] = {
        str(size): f"https://profiles.example.com/v1/pictures/AbCd{size}" for size in SIZES
    }


@openapi.get()  # type: ignore[untyped-decorator]
def describe(request: Request) -> Response:
    """Return the document."""
    registry = request.registry
    return validated(request, registry[_DOCUMENT], registry[_ETAG], "public, max-age=300")


def includeme(config: Configurator) -> None:
    """Register the view, and make the document."""
    services: Services = config.registry["services"]
    authenticators = services.authenticators
    document = openapi_document(
        authenticators.descriptions, authenticators.codes, authenticators.companions
    )
    config.registry[_DOCUMENT] = json_encode(document)
    config.registry[_ETAG] = digest_tag(config.registry[_DOCUMENT])
    config.add_cornice_service(openapi)
