"""OpenID providers of other authors, each in a process on loopback, and a person's browser at them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.cookiejar
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest

from persona_profile.encoding import base64url_encode
from support.forgeries.oracle import FOLDER, install_packages
from support.servers.applications import wait_for
from support.servers.ports import free_port

CLIENT = "persona-dialog"
SECRET = "secret"
CALLBACK = "https://dialog.example/callback"
SECONDS = 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


class Person:
    """A person's browser, which fills in every form with a name and any password."""

    def __init__(self, name: str, cookies: http.cookiejar.CookieJar | None = None) -> None:
        self._name = name
        jar = http.cookiejar.CookieJar() if cookies is None else cookies
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), _NoRedirect)

    def sign_in(self, url: str) -> dict[str, str]:
        """Return the parameters with which the provider sends the browser back to the dialog."""
        body: bytes | None = None
        for _ in range(20):
            location, page = self._visit(url, body)
            if location.startswith(CALLBACK):
                return {name: each[0] for name, each in parse_qs(urlsplit(location).query).items()}
            if location:
                url, body = urljoin(url, location), None
            else:
                url, body = self._fill_in(url, page)
        pytest.fail("the provider does not lead back to the dialog")

    def _visit(self, url: str, body: bytes | None) -> tuple[str, str]:
        try:
            with self._opener.open(url, body, SECONDS) as response:
                return "", response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (302, 303):
                    return error.headers["Location"], ""
                pytest.fail(f"{error.code} {url}: {error.read().decode()[:1000]}")

    def _fill_in(self, url: str, page: str) -> tuple[str, bytes]:
        form = re.search(r"<form(.*?)>(.*?)</form>", page, re.DOTALL)
        if form is None:
            pytest.fail(f"no form at {url}: {page[:1000]}")
        action = re.search(r'action="([^"]*)"', form[1])
        fields = dict.fromkeys(re.findall(r'<input[^>]*\sname="([^"]+)"', form[2]), self._name)
        for field in re.findall(r'<input[^>]*type="hidden"[^>]*>', form[2]):
            fields |= dict(re.findall(r'name="([^"]+)" value="([^"]*)"', field))
        return urljoin(url, action[1]) if action else url, urlencode(fields).encode()


@dataclass(frozen=True)
class RealProvider:
    """A provider that runs.

    Attributes:
        issuer: its identifier.
        discovery: its discovery document.
    """

    issuer: str
    discovery: Mapping[str, Any]

    def tokens(
        self, nonce: str, name: str = "alice", *, client: str = CLIENT, **parameters: str
    ) -> dict[str, str]:
        """Return the token response of a sign-in by the code flow with PKCE."""
        verifier = secrets.token_urlsafe(32)
        asked = {
            "client_id": client,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid email",
            "nonce": nonce,
            "state": "state",
            "code_challenge": base64url_encode(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        } | parameters
        url = f"{self.discovery['authorization_endpoint']}?{urlencode(asked)}"
        back = self.authorize(url, name)
        assert back["state"] == "state", back
        answer: dict[str, str] = self._redeem(client, back["code"], verifier)
        return answer

    def authorize(
        self, url: str, name: str, cookies: http.cookiejar.CookieJar | None = None
    ) -> dict[str, str]:
        """Return the parameters with which the provider sends the browser back to the dialog."""
        return Person(name, cookies).sign_in(url)

    def _redeem(self, client: str, code: str, verifier: str) -> Any:
        body = urlencode(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": CALLBACK,
                "code_verifier": verifier,
            }
        )
        request = urllib.request.Request(self.discovery["token_endpoint"], body.encode())
        credentials = base64.b64encode(f"{client}:{SECRET}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.load(response)


@contextlib.contextmanager
def npm_provider(*features: str) -> Iterator[RealProvider]:
    """Run the npm package `oidc-provider`; `claims` lets it accept the `claims` parameter."""
    install_packages(FOLDER / "node_modules" / "oidc-provider" / "package.json")
    node, port = shutil.which("node"), free_port()
    assert node is not None
    command = [node, str(FOLDER / "provider.mjs"), str(port), *features]
    with running(command, f"http://localhost:{port}") as provider:
        yield provider


@contextlib.contextmanager
def mock_provider() -> Iterator[RealProvider]:
    """Run the PyPI package `oidc-provider-mock`."""
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    with running(command, f"http://localhost:{port}") as provider:
        yield provider


def mock_person(provider: RealProvider, name: str, **claims: Any) -> None:
    """Give a person of `oidc-provider-mock` these claims, instead of an email that is the name."""
    url, body = f"{provider.issuer}/users/{name}", json.dumps(claims).encode()
    request = urllib.request.Request(url, body, method="PUT")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=SECONDS).close()


def read_discovery(issuer: str) -> Any:
    """Return the discovery document of a provider."""
    with urllib.request.urlopen(_discovery_url(issuer), timeout=SECONDS) as response:
        return json.load(response)


def _discovery_url(issuer: str) -> str:
    return f"{issuer.removesuffix('/')}/.well-known/openid-configuration"


@contextlib.contextmanager
def running(
    command: list[str],
    issuer: str,
    *,
    kind: type[RealProvider] = RealProvider,
    ready: str = "",
    set_up: Callable[[], None] = lambda: None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[RealProvider]:
    """Run a provider; `set_up` is called once the URL `ready` answers."""

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail(f"the provider ended: {command}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(ready or _discovery_url(issuer), timeout=SECONDS).close()
            return True
        return False

    own = {"NODE_NO_WARNINGS": "1", "AUTHLIB_INSECURE_TRANSPORT": "1"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdout=quiet, stderr=quiet, env={**os.environ, **own, **environment}
    ) as process:
        try:
            wait_for(answers, SECONDS)
            set_up()
            yield kind(issuer, read_discovery(issuer))
        finally:
            process.terminate()
