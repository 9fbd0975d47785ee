"""API calls that Schemathesis generates from the OpenAPI document, sent to an application."""

from __future__ import annotations

import gc
import json
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import schemathesis
import webtest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.clients.contract import DOCUMENT
from support.clients.identities import bundle, rsa_key, support_document
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application

from persona_profile.encoding import base64url_encode

EMAILS = ("alice@mail.test", "bob@mail.test")
PROFILE = f"/v1/profiles/{EMAILS[0]}"
OWNER, STRANGER, ANONYMOUS = "owner", "stranger", "anonymous"

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
"""A second judge beside the application's own contract."""

_MIN_ROUND, _MAX_ROUND = 40, 200
"""Examples of one kind per round: as many as a single round of all kinds needs, within limits."""

_SETTINGS = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class Kind(NamedTuple):
    """A kind of examples: the call, valid or invalid data, and the caller."""

    operation: Any
    mode: GenerationMode
    caller: str


class Owner:
    """A user with two emails, a profile and a picture; each is created again once lost."""

    def __init__(self, folder: Path) -> None:
        issuers = folder / "issuers.json"
        issuers.write_text(json.dumps({"mail.test": support_document(rsa_key("issuer"))}))
        self.app = application(
            folder,
            browserid__pinned_issuers=str(issuers),
            pictures__formats="jpeg",
            pictures__workers="1",
        )
        self.headers: dict[str, str] = {}
        self._client = webtest.TestApp(self.app, extra_environ={"HTTP_HOST": "localhost"})
        self.upload = encode(quadrants(64, 64))

    def start_again(self) -> None:
        """Open a session; delete the profile, so that it has no profile key."""
        proofs = [{"assertion": bundle(email)} for email in EMAILS]
        answer = self._client.post_json("/v1/sessions", {"proofs": proofs})
        self.headers = {"Authorization": f"Bearer {answer.json['token']}"}
        self._client.delete(PROFILE, headers=self.headers)

    def capability(self) -> str:
        """Upload a picture; return the capability of its smallest size."""
        headers = self.headers | {"Content-Type": "image/jpeg"}
        answer = self._client.put(f"{PROFILE}/picture", self.upload, headers=headers)
        return str(answer.json["picture"]["urls"]["64"].rpartition("/")[2])

    def another_key(self) -> str:
        """Protect the profile, and add a second key; return its id."""
        keys = [base64url_encode(bytes([number]) * 32) for number in (1, 2)]
        first, second = ({"profile_key": key} for key in keys)
        answer = self._client.put_json(f"{PROFILE}/profile-key", first, headers=self.headers)
        self.headers = {"Authorization": f"Bearer {answer.json['token']}"}
        answer = self._client.post_json(f"{PROFILE}/profile-keys", second, headers=self.headers)
        return str(answer.json["id"])


def fuzz(folder: Path, examples: int, number: int) -> Counter[tuple[str, str, int]]:
    """Send generated calls; return counts by operation, caller and status.

    Args:
        folder: the application's files.
        examples: the least number of calls.
        number: the seed; another number generates other calls.

    Raises:
        AssertionError: an answer violates the document.
    """
    gc.set_threshold(50_000)  # Hypothesis allocates so many objects that collections dominate
    owner = Owner(folder)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.generation.with_security_parameters = False
    garbage = st.binary(max_size=200)
    files = st.one_of(garbage, garbage, garbage, garbage.map(lambda end: owner.upload + end))
    schemathesis.openapi.media_type("image/*", files)
    seen: Counter[tuple[str, str, int]] = Counter()
    kinds, turn = list(_kinds(schema, owner.app)), 0
    share = min(max(-(-examples // len(kinds)), _MIN_ROUND), _MAX_ROUND)
    while seen.total() < examples:
        turn += 1
        lively = []
        for position, kind in enumerate(kinds):
            before = seen.total()
            if turn > 1 and before >= examples:
                break
            try:
                _make_up(kind, owner, seen, share, f"{number}/{turn}/{position}")
            except Exception as error:  # noqa: BLE001 - the waiting process must get any error
                trace = "".join(traceback.format_exception(error))
                raise AssertionError(f"{kind.operation.label} by {kind.caller}: {trace}") from None
            if seen.total() - before >= share:
                lively.append(kind)
        kinds = lively
    owner.app.close()
    return seen


def _kinds(schema: Any, app: Any) -> Iterator[Kind]:
    for each in schema.get_all_operations():
        operation = each.ok()
        operation.app = app
        yield Kind(operation, GenerationMode.POSITIVE, OWNER)
        if operation.body or operation.query:
            yield Kind(operation, GenerationMode.NEGATIVE, OWNER)
        if "{" in operation.path:
            yield Kind(operation, GenerationMode.POSITIVE, STRANGER)
        if operation.label == "GET /v1/profiles/{email}":  # all operations parse their paths alike
            yield Kind(operation, GenerationMode.NEGATIVE, STRANGER)
        if operation.definition.raw.get("security"):
            yield Kind(operation, GenerationMode.POSITIVE, ANONYMOUS)


def _make_up(
    kind: Kind, owner: Owner, seen: Counter[tuple[str, str, int]], share: int, name: str
) -> None:
    operation, mode, caller = kind
    owner.start_again()
    variables = {"email": EMAILS[0], "capability": owner.capability()} if caller == OWNER else {}
    if caller == OWNER and "/profile-keys" in operation.path:
        variables["id"] = owner.another_key()
    fixed = {each: value for each, value in variables.items() if f"{{{each}}}" in operation.path}
    proves = caller == OWNER and mode.is_positive and operation.label == "POST /v1/sessions"

    @seed(name)
    @settings(_SETTINGS, max_examples=share)
    @given(operation.as_strategy(generation_mode=mode, path_parameters=fixed or None))
    def call(case: Any) -> None:
        if proves:
            case.body = case.body | {"proofs": [{"assertion": bundle(EMAILS[0])}]}
        answer = case.call(headers=owner.headers if caller != ANONYMOUS else None)
        seen[operation.label, caller, answer.status_code] += 1
        case.validate_response(answer, checks=_CHECKS)
        if caller == OWNER and answer.status_code in (401, 403):
            owner.start_again()

    call()
