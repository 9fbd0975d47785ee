"""The check before a run that the server can be measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from loadtest.generator.client import Connections, NoAnswer
from loadtest.identities import Identities
from loadtest.pictures import KINDS

MAX_BYTES: Final = 16 * 1024 * 1024
"""Largest size of an uploaded picture."""


class Unfit(Exception):
    """The server can't be measured; the message says how to repair that."""


def check(connections: Connections, identities: Identities, audience: str) -> Mapping[str, Any]:
    """Return the document of the server's `/__version__`.

    Raises:
        Unfit: it does not answer, or does not accept the users and pictures of this test.
    """
    try:
        version = connections.call("GET", "/__version__")
        about = connections.call("GET", "/v1/")
        user = identities.user(0)
        proofs = [{"assertion": each} for each in identities.assertions(user, audience)]
        session = connections.call(
            "POST",
            "/v1/sessions",
            json.dumps({"proofs": proofs}).encode(),
            {"Content-Type": "application/json"},
        )
    except NoAnswer as error:
        raise Unfit(f"the server does not answer: {error.code}") from None
    limits = about.json.get("limits") if isinstance(about.json, dict) else None
    if about.status != 200 or not isinstance(limits, dict):
        raise Unfit("the server there is no profile service: GET /v1/ has no limits")
    if limits.get("picture_bytes", 0) < MAX_BYTES:
        raise Unfit(
            f"the server accepts pictures of {limits.get('picture_bytes')} bytes; "
            f"pictures of the test ({', '.join(kind.name for kind in KINDS)}) have up to {MAX_BYTES}"
        )
    if limits.get("emails_per_session", 0) < identities.emails:
        raise Unfit(f"a session may have {limits.get('emails_per_session')} emails; users have more")
    if session.status != 201:
        raise Unfit(_refusal(session.problem, identities))
    return version.json if isinstance(version.json, dict) else {}


def _refusal(code: str, identities: Identities) -> str:
    if code == "audience_mismatch":
        return f"{code}: the server has other public_origins; name one of them by --audience"
    if code.startswith("issuer"):
        return (
            f"{code}: the server does not trust {identities.domain}; set browserid.pinned_issuers "
            "to pinned-issuers.json of the folder of identities, and start it again"
        )
    if code.startswith("algorithm"):
        return f"{code}: make the identities with --rs256-only, or allow DS128 in browserid.algorithms"
    return f"the server rejects the sign-in: {code}"
