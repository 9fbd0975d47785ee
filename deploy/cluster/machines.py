"""Redis, service machines and nginx, with the shipped configuration."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from filling import SHIPPED, fill, filled, write
from processes import Daemon, Kept, NotStarted, answers
from servers import Database

from persona_profile.development.identity_provider import DevelopmentIdentityProvider

REDIS_PORT: Final = 6379
SERVICE_PORTS: Final = (6543, 9464)
NGINX_PORTS: Final = (8443, 8080)
DIALOG: Final = "https://login.example.com"

_PROGRAM: Final = Path(sys.executable).with_name("persona-profile")
_SIGN_IN: Final = """\
# Makes proofs of the development identity provider, which the service machines trust: they have its key
# in issuers.json. No machine of the cluster uses this file.

[app:main]
use = egg:persona-profile-server
development = true
development.folder = %(here)s/identity
public_origins = {public}
"""


class Redis:
    """Redis, which counts for rate limits.

    Args:
        address: its loopback address.
        folder: folder of its configuration and log.
        password: password of its clients.
        kept: the record of processes.
    """

    def __init__(self, address: str, folder: Path, password: str, kept: Kept) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        fill("redis.conf", folder / "redis.conf", ADDRESS=address, PASSWORD=password)
        self.place = f"{address}:{REDIS_PORT}"
        self.url = f"redis://:{password}@{self.place}"
        command: list[str | Path] = ["redis-server", folder / "redis.conf", "--dir", folder]
        self.daemon = Daemon("redis", command, folder / "redis.log", kept)
        self._address = address

    def start(self) -> None:
        """Start the program; return when it answers."""
        self.daemon.start()
        self.daemon.wait_until(lambda: answers(self._address, REDIS_PORT))


class Service:
    """A service machine.

    Args:
        name: name in messages.
        address: its loopback address.
        folder: folder of its settings, keyring and log, with `ca.pem`.
        database: its database.
        redis: URL of Redis.
        kept: the record of processes.
    """

    def __init__(
        self, name: str, address: str, folder: Path, database: Database, redis: str, kept: Kept
    ) -> None:
        self.name, self.address = name, address
        self.settings = folder / "production.ini"
        self.keyring = folder / "keyring.json"
        self._folder, self._database, self._kept = folder, database, kept
        command: list[str | Path] = [_PROGRAM, "-c", self.settings, "serve"]
        log = folder / "service.log"
        variables = {"PERSONA_RATELIMIT_URL": redis}
        self.daemon = Daemon(name, command, log, kept, variables)

    @property
    def origin(self) -> str:
        """Its origin, without nginx."""
        return f"http://{self.address}:{SERVICE_PORTS[0]}"

    def configure(self, public: str, nginx: str, password: str, issuers: Path) -> None:
        """Write its settings.

        Args:
            public: the origin of nginx, for browsers.
            nginx: source address of nginx.
            password: password of the database user.
            issuers: file of trusted identity providers.
        """
        fill(
            "service.ini",
            self.settings,
            ADDRESS=self.address,
            NGINX=nginx,
            PUBLIC=public,
            DIALOG=DIALOG,
        )
        # In the file, so that every command of an operator finds it.
        text = self.settings.read_text()
        write(
            self.settings,
            text.replace("\nbackend = mysql\n", f"\nbackend = {self._database.backend}\n"),
        )
        for name, url in self._database.urls(f"persona:{password}", self._folder / "ca.pem").items():
            write(self._folder / f"{name}.url", url)
        shutil.copy(issuers, self._folder / "issuers.json")

    def run(self, *arguments: str, urls: Mapping[str, str] | None = None, backend: str = "") -> None:
        """Run another command of the service on its settings.

        Args:
            arguments: arguments of the command.
            urls: the URLs of the `DATABASES` for another user than the service's own, by name.
            backend: another backend than the service's own.

        Raises:
            NotStarted: the command fails.
        """
        variables = {"PERSONA_BACKEND": backend} if backend else {}
        for name, url in (urls or {}).items():
            variables |= {
                f"PERSONA_{name.upper()}_URL_FILE": "",
                f"PERSONA_{name.upper()}_URL": url,
            }
        command: list[str | Path] = [_PROGRAM, "-c", self.settings, *arguments]
        task = f"persona-profile {' '.join(arguments)}"
        self._kept.run(task, command, env={**os.environ, **variables})

    def wait(self) -> None:
        """Return when the machine answers."""
        self.daemon.wait_until(lambda: answers(self.address, SERVICE_PORTS[0]))


class Nginx:
    """nginx in front of the service machines.

    Args:
        address: its loopback address.
        folder: folder of its configuration and logs, with `cert.pem` and `key.pem`.
        services: the two machines behind it.
        kept: the record of processes.
    """

    def __init__(self, address: str, folder: Path, services: Sequence[Service], kept: Kept) -> None:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        configuration = folder / "nginx.conf"
        command: list[str | Path] = [program, "-p", folder, "-c", configuration, "-g", "daemon off;"]
        self.daemon = Daemon("nginx", command, folder / "nginx.log", kept)
        self.public = f"https://{address}:{NGINX_PORTS[0]}"
        self._address, self._folder = address, folder
        places = {
            f"SERVICE{number}": f"{each.address}:{SERVICE_PORTS[0]}"
            for number, each in enumerate(services, 1)
        }
        upstream = filled((SHIPPED / "upstream.conf").read_text(), **places)
        write(configuration, self._rendered((SHIPPED.parent / "nginx.conf").read_text(), upstream))

    def start(self) -> None:
        """Start the program; return when it answers."""
        self.daemon.start()
        self.daemon.wait_until(lambda: answers(self._address, NGINX_PORTS[0]))

    def _rendered(self, text: str, upstream: str) -> str:
        """Return the shipped configuration, changed for two machines, this folder and address."""
        # A function, since backslashes in a replacement text are escapes.
        text = re.sub(r"(?ms)^    upstream persona_profile \{.*?^    \}\n", lambda _: upstream, text)
        for old, new in _changes(self._folder, self._address).items():
            if old not in text:
                raise ValueError(f"deploy/nginx.conf has no {old!r}")
            text = text.replace(old, new)
        return text


def _changes(folder: Path, address: str) -> Mapping[str, str]:
    """Return replacements in the configuration for a folder and an address."""
    tls, plain = NGINX_PORTS
    kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    spools = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return {
        "user www-data;": "user root;" if os.getuid() == 0 else "",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;",
        "/var/log/nginx/": f"{folder}/",
        "/etc/ssl/persona-profile/fullchain.pem": f"{folder}/cert.pem",
        "/etc/ssl/persona-profile/privkey.pem": f"{folder}/key.pem",
        "profiles.example.com": address,
        "listen 80 ": f"listen {address}:{plain} ",
        "listen 443 ": f"listen {address}:{tls} ",
        "        listen [::]:80 backlog=4096;\n": "",
        "        listen [::]:443 ssl http2 backlog=4096;\n": "",
        "http {\n": f"http {{\n{spools}",
    }


def make_identity_provider(folder: Path, public: str) -> Path:
    """Make the development identity provider; return the file that pins it.

    `sign-in.ini` in the folder is for `persona-profile -c ... assertion`.

    Raises:
        NotStarted: it can't be made.
    """
    write(folder / "sign-in.ini", _SIGN_IN.format(public=public))
    try:
        provider = DevelopmentIdentityProvider.load(folder / "identity")
    except (OSError, ValueError) as error:
        raise NotStarted(f"the identity provider can't be made: {error}") from None
    issuers = folder / "issuers.json"
    write(issuers, json.dumps(provider.support_documents()))
    return issuers
