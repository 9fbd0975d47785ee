"""nginx with the shipped configuration; only paths, ports, names and the user differ."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from support import ROOT
from support.clients.recording import recorder
from support.servers.ports import free_port

SHIPPED = ROOT / "deploy" / "nginx.conf"
UPSTREAM = SHIPPED.parent / "cluster" / "upstream.conf"
DOMAIN = "profiles.example.com"
DIALOG = "https://login.example.com"


class Nginx:
    """An nginx process in front of a port of loopback.

    Args:
        folder: the folder of configuration, certificate, logs and spooled bodies.
        service_port: the port of the service, which may start later.
        domain: the domain of the certificate.
        changed: replacements for lines of the configuration, beyond paths, ports and names.
    """

    def __init__(
        self,
        folder: Path,
        service_port: int,
        domain: str = DOMAIN,
        changed: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.configuration = folder / "nginx.conf"
        self._domain, self._service_port = domain, service_port
        self._changed = dict(changed or {})
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert(domain, "127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "privkey.pem")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(folder / "fullchain.pem", append=True)
        self.tls = ssl.create_default_context(cafile=folder / "ca.pem")
        text = SHIPPED.read_text().replace("/etc/ssl/persona-profile/", f"{folder}/")
        self.configuration.write_text(self._rendered(text))
        self._process: subprocess.Popen[bytes] | None = None
        if kept := recorder():
            for name in ("access.log", "error.log", "output"):
                kept.log(folder / name)

    def use(self, configuration: Path, tls: Path) -> None:
        """Load a configuration derived from the shipped one, and its self-signed certificate."""
        self.configuration.write_text(self._rendered(configuration.read_text()))
        self.tls = ssl.create_default_context(cafile=tls / "fullchain.pem")

    def put_before(self, *services: str) -> None:
        """Balance over several service machines at `address:port`, as in a cluster."""
        block = UPSTREAM.read_text()
        for number, service in enumerate(services, 1):
            assert f"@SERVICE{number}@" in block
            block = block.replace(f"@SERVICE{number}@", service)
        text = self.configuration.read_text()
        changed = re.sub(r"(?ms)^    upstream persona_profile \{.*?^    \}\n", lambda _: block, text)
        assert changed != text
        self.configuration.write_text(changed)

    def _rendered(self, text: str) -> str:
        replaced = {
            "user www-data;": "user root;" if os.getuid() == 0 else "",
            "pid /run/nginx.pid;": f"pid {self.folder}/nginx.pid;",
            "/var/log/nginx/": f"{self.folder}/",
            "server 127.0.0.1:6543;": f"server 127.0.0.1:{self._service_port};",
            "listen 80 ": f"listen 127.0.0.1:{self.plain_port} ",
            "    listen [::]:80 backlog=4096;\n": "",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "    listen [::]:443 ssl http2 backlog=4096;\n": "",
            # Temporary paths: Debian's nginx has others compiled in.
            "http {\n": "http {\n"
            + "".join(
                f"    {kind}_temp_path {self.folder}/{kind};\n"
                for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
            ),
        } | self._changed
        for old, new in replaced.items():
            assert old in text, old
            text = text.replace(old, new)
        return text

    @property
    def origin(self) -> str:
        """The server's HTTPS origin."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def logs(self) -> str:
        """The access log and the error log."""
        return "".join((self.folder / name).read_text() for name in ("access.log", "error.log"))

    def command(self, *arguments: str) -> list[str]:
        """Return a command line with this configuration."""
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if program is None:
            raise RuntimeError(
                "these tests need nginx: apt-get install --no-install-recommends nginx-light"
            )
        return [program, "-p", str(self.folder), "-c", str(self.configuration), *arguments]

    def start(self) -> None:
        """Start nginx; return once it accepts connections."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command("-g", "daemon off;"), stdout=output, stderr=output
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"nginx did not start: {(self.folder / 'output').read_text()[-2000:]}")

    def close(self) -> None:
        """Stop nginx."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """Return a TLS connection from an address of loopback, its handshake done."""
        connection = socket.create_connection(
            ("127.0.0.1", self.port), timeout=30, source_address=(source, 0)
        )
        try:
            return self.tls.wrap_socket(connection, server_hostname=self._domain)
        except BaseException:
            connection.close()
            raise

    def ask(self, method: str, path: str, body: bytes = b"", token: str = "") -> tuple[int, Any]:
        """Send JSON over a new connection; return status and JSON."""
        with self.connect() as connection:
            lines = [
                f"{method} {path} HTTP/1.1",
                f"Host: {self._domain}",
                *([f"Authorization: Bearer {token}"] if token else []),
                "Content-Type: application/json",
                f"Content-Length: {len(body)}",
            ]
            connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)
            response = http.client.HTTPResponse(connection, method=method)
            response.begin()
            return response.status, json.loads(response.read())
