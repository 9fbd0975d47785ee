"""Debian's glewlwyd with the database that the package ships, and its OpenID Connect plugin."""

from __future__ import annotations

import contextlib
import http.cookiejar
import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from support.servers.ports import free_port
from support.servers.provider_pages import objects
from support.servers.real_providers import (
    CLIENT,
    SECONDS,
    RealProvider,
    read_discovery,
    running,
)

_SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
_LIBRARIES = "/usr/lib/glewlwyd"
_PASSWORD = "password"  # the package's own, of its administrator


class _Glewlwyd(RealProvider):
    """Its pages are programs for browsers; a person's steps are calls of its API here."""

    def authorize(self, url: str, name: str) -> dict[str, str]:
        """Return the parameters with which the provider sends the browser back."""
        session = _Session(self.issuer.rpartition("/")[0])
        session.send("POST", "/auth/", username=name, password=_PASSWORD)
        session.send("PUT", f"/auth/grant/{CLIENT}", scope="openid email")
        return super().authorize(f"{url}&g_continue=1", name, session.cookies)


class _Session:
    def __init__(self, api: str) -> None:
        self._api = api
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def send(self, method: str, path: str, **body: Any) -> None:
        """Send a JSON document."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self._api + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        self._opener.open(request, timeout=SECONDS).close()


def on_demand(provider: RealProvider) -> RealProvider:
    """Return the issuer of a server that sends an email only by the `claims` parameter."""
    issuer = provider.issuer.removesuffix("oidc") + "asked"
    return _Glewlwyd(issuer, read_discovery(issuer))


@contextlib.contextmanager
def glewlwyd(folder: Path) -> Iterator[RealProvider]:
    """Run glewlwyd as its page configures it, with a person, alice."""
    port = free_port()
    with sqlite3.connect(folder / "database") as database:
        database.executescript(_SCHEMA.read_text())
    database.close()
    (folder / "glewlwyd.conf").write_text(_configuration(folder, port))
    origin = f"http://localhost:{port}"
    command = ["glewlwyd", f"--config-file={folder / 'glewlwyd.conf'}"]

    def set_up() -> None:
        session = _Session(f"{origin}/api")
        session.send("POST", "/auth/", username="admin", password=_PASSWORD)
        parameters, client = objects("glewlwyd.md")
        session.send("POST", "/mod/plugin/", **_plugin("oidc", f"{origin}/api/oidc", parameters))
        del parameters["email-claim-scope"]
        session.send("POST", "/mod/plugin/", **_plugin("asked", f"{origin}/api/asked", parameters))
        session.send("POST", "/scope/", name="email", display_name="email", scheme={})
        person = {"username": "alice", "email": "alice@mail.test", "password": _PASSWORD}
        scope = ["openid", "email"]
        session.send("POST", "/user/", name="Alice", enabled=True, scope=scope, **person)
        session.send("POST", "/client/", **client)

    issuer = f"{origin}/api/oidc"
    with running(command, issuer, kind=_Glewlwyd, ready=f"{origin}/config", set_up=set_up) as provider:
        yield provider


def _configuration(folder: Path, port: int) -> str:
    return f"""
port = {port}
bind_address = "127.0.0.1"
external_url = "http://localhost:{port}"
login_url = "login.html"
api_prefix = "api"
allow_origin = "*"
log_mode = "file"
log_level = "ERROR"
log_file = "{folder}/log"
cookie_secure = 0
session_expiration = 2419200
session_key = "GLEWLWYD2_SESSION_ID"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "{_LIBRARIES}/user"
client_module_path = "{_LIBRARIES}/client"
user_auth_scheme_module_path = "{_LIBRARIES}/scheme"
plugin_module_path = "{_LIBRARIES}/plugin"
use_secure_connection = false
secure_connection_key_file = "unused"
secure_connection_pem_file = "unused"
hash_algorithm = "SHA512"
database = {{ type = "sqlite3"; path = "{folder}/database"; }};
"""


def _plugin(name: str, issuer: str, documented: dict[str, Any]) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parameters = {"iss": issuer, "key": private.decode(), "cert": public.decode()} | documented
    return {"module": "oidc", "name": name, "display_name": name, "parameters": parameters}
