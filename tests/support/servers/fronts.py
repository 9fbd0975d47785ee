"""nginx with the shipped configuration in front of the service."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path

from support.clients.contract import contract
from support.clients.metrics import Exposition
from support.servers.nginx import DIALOG, DOMAIN, Nginx
from support.servers.services import Service

EMAIL = "alice@example.com"
SERVICE = f"pictures.formats = jpeg\ndialog_origins = {DIALOG}\nlogging.format = mozlog\n"


class Front:
    """nginx and the service behind it.

    Args:
        folder: the folder of both.
        changed: replacements for lines of the shipped configuration, beyond paths and ports.
    """

    def __init__(self, folder: Path, changed: Mapping[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.service = Service(folder / "service", more=SERVICE)
        self.nginx = Nginx(folder / "nginx", self.service.port, changed=changed)

    def metrics(self) -> Exposition:
        """Return the service's metrics."""
        return self.service.metrics()

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request over a new connection, as a page of the dialog does."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.nginx.port, timeout=60, context=self.nginx.tls
        )
        fields = {"Host": DOMAIN, "Origin": DIALOG} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        try:
            connection.request(method, path, body, fields)
            with connection.getresponse() as response:
                return response.status, response.headers, response.read()
        finally:
            connection.close()

    def sign_in(self, email: str = EMAIL) -> tuple[int, str]:
        """Open a session; return the status and the token."""
        proof = self.service.identity_provider().bundle(email, self.service.origin)
        body = json.dumps({"proofs": [{"assertion": proof}]}).encode()
        status, _, answer = self.call("POST", "/v1/sessions", body, Content_Type="application/json")
        return status, json.loads(answer).get("token", "")

    def close(self) -> None:
        """Stop both."""
        self.nginx.close()
        self.service.close()


def problem(
    answer: tuple[int, http.client.HTTPMessage, bytes], origin: str | None = DIALOG
) -> dict[str, object]:
    """Return the problem document of an answer, which pages of an origin can read."""
    status, headers, body = answer
    assert headers.get_content_type() == "application/problem+json"
    assert headers.get_all("Access-Control-Allow-Origin") == (origin and [origin])
    document = json.loads(body)
    assert document["status"] == status
    assert document["request_id"] == headers["X-Request-Id"]
    contract().validate("Problem", document)
    return document
