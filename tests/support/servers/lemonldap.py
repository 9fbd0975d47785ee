"""Debian's LemonLDAP::NG: its portal as the package installs it, with its demonstration accounts."""

from __future__ import annotations

import contextlib
import json
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
from support.servers.real_providers import CLIENT, RealProvider, running

_TEMPLATES = "/usr/share/lemonldap-ng/portal/templates"
_PORTAL = "use Lemonldap::NG::Portal::Main; Lemonldap::NG::Portal::Main->run({})"
_STORAGE = {"generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256"}

WITHOUT_EMAIL, SIGNED_BY_SECRET = "without-email", "signed-by-secret"
"""Clients with the defaults of the manager for claims and for the signature."""

IN_USERINFO, IN_ID_TOKEN = "in-userinfo", "in-id-token"
"""The clients of the page of LemonLDAP::NG."""


@contextlib.contextmanager
def lemonldap(folder: Path) -> Iterator[RealProvider]:
    """Run the portal as its page configures it, and as the package does where the page is silent."""
    port = free_port()
    # Its cookies name a domain, which a jar of Python accepts of an address, not of localhost.
    issuer = f"http://127.0.0.1:{port}/"
    for name in ("conf", "sessions/lock", "psessions/lock", "cache"):
        (folder / name).mkdir(parents=True)
    configuration = _configuration(folder, issuer) | _documented()
    (folder / "conf" / "lmConf-1.json").write_text(json.dumps(configuration))
    ini = folder / "lemonldap-ng.ini"
    ini.write_text(_ini(folder))
    command = [
        "plackup",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--env",
        "deployment",
        "-e",
        _PORTAL,
    ]
    with running(command, issuer, environment={"LLNG_DEFAULTCONFFILE": str(ini)}) as provider:
        yield provider


def _configuration(folder: Path, issuer: str) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "cfgNum": 1,
        "cfgDate": 1,
        "portal": issuer,
        "domain": "127.0.0.1",
        "locationRules": {"127.0.0.1": {"default": "accept"}},
        "globalStorageOptions": _STORAGE | _folders(folder / "sessions"),
        "persistentStorage": "Apache::Session::File",
        "persistentStorageOptions": _folders(folder / "psessions"),
        "localSessionStorageOptions": {"cache_root": str(folder / "cache"), "namespace": "sessions"},
        "oidcServicePrivateKeySig": private.decode(),
        "oidcServicePublicKeySig": public.decode(),
        "oidcServiceKeyIdSig": "signing-key",
    }


def _documented() -> dict[str, Any]:
    """Return the settings of the page, with a copy of its relying party for each client."""
    settings, further = objects("lemonldap-ng.md")
    without = settings | {"oidcRPMetaDataExportedVars": {CLIENT: {}}}
    by_secret = {"oidcRPMetaDataOptions": {CLIENT: {"oidcRPMetaDataOptionsIDTokenSignAlg": "HS512"}}}
    clients = {
        WITHOUT_EMAIL: (without,),
        SIGNED_BY_SECRET: (settings, by_secret),
        IN_USERINFO: (settings,),
        IN_ID_TOKEN: (settings, further),
    }
    merged: dict[str, Any] = {}
    for client, parts in clients.items():
        for name, value in [item for part in parts for item in part.items()]:
            if isinstance(value, dict):
                merged.setdefault(name, {}).setdefault(client, {}).update(value[CLIENT])
            else:
                merged[name] = value
        merged["oidcRPMetaDataOptions"][client]["oidcRPMetaDataOptionsClientID"] = client
    return merged


def _folders(folder: Path) -> dict[str, str]:
    return {"Directory": str(folder), "LockDirectory": str(folder / "lock")}


def _ini(folder: Path) -> str:
    return f"""
[all]
logLevel = error
[configuration]
type = File
dirName = {folder}/conf
localStorage = Cache::FileCache
localStorageOptions = {{'namespace' => 'conf', 'cache_root' => '{folder}/cache'}}
[portal]
staticPrefix = /static
templateDir = {_TEMPLATES}
languages = en
"""
