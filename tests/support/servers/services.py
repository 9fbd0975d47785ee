"""The service as a process with a settings file, as operators run it, and its clients."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from persona_profile.development.identity_provider import DevelopmentIdentityProvider
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from support.clients.commands import Command, run_command
from support.clients.metrics import Exposition
from support.clients.recording import printed, received, recorder
from support.servers.ports import free_port

_COMMAND = Path(sys.executable).with_name("persona-profile")

_INI = """
[app:main]
use = egg:persona-profile-server
development = {development}
development.folder = %(here)s/var
development.provider_listen = {provider}
development.issuer_listen = {issuer}
keyring.path = %(here)s/keyring.json
backend = {backend}
backend.url = {url}
public_origins = {public}
{more}

[server:main]
use = egg:persona-profile-server
listen = {address}:{port}
"""


class Answer(NamedTuple):
    """An answer; `seconds` from the first byte sent to the last byte received."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def says_when_to_retry(self) -> bool:
        """Whether the answer is a 503 problem with Retry-After."""
        problem = self.headers.get_content_type() == "application/problem+json"
        return self.status == 503 and problem and int(self.headers.get("Retry-After", 0)) > 0


@contextlib.contextmanager
def development_server(folder: Path, **ports: int) -> Iterator[Service]:
    """Run a development server that stores in SQLite; `ports` are those of its providers."""
    started = Service(folder, **ports)
    started.start()
    try:
        yield started
    finally:
        started.close()


class Service:
    """A `persona-profile serve` process that a test starts, stops and kills.

    Args:
        folder: the folder of settings file, keys and log.
        backend: the backend's name.
        url: the backend's URL; by default that of `items.sqlite` in the folder.
        development: whether the service prepares its store itself and people can sign in.
        provider_port: the port of its OpenID provider; 0 for none.
        issuer_port: the port of its issuer of email verification tokens; 0 for none.
        more: further lines of the settings file; by default one format, because few tests need more.
        address: the address of loopback that it listens on.
        public: the origin that browsers use; by default its own.
    """

    def __init__(
        self,
        folder: Path,
        backend: str = "sqlite",
        url: str | None = None,
        *,
        development: bool = True,
        provider_port: int = 0,
        issuer_port: int = 0,
        more: str = "pictures.formats = jpeg",
        address: str = "127.0.0.1",
        public: str | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.address, self.port = address, free_port()
        self.public = public or self.origin
        self.folder = folder
        self.keyring = folder / "keyring.json"
        if not self.keyring.exists():
            KeyringFile(self.keyring).create(Keyring.generate())
        self._ini = folder / "test.ini"
        self.provider_port = provider_port
        self.issuer_port = issuer_port
        found = re.search(r"^metrics\.listen = .*:(\d+)$", more, re.MULTILINE)
        self.metrics_port = int(found[1]) if found else free_port()
        if not found:
            more += f"\nmetrics.listen = 127.0.0.1:{self.metrics_port}"
        values = {
            "development": str(development).lower(),
            "provider": f"127.0.0.1:{provider_port}" if provider_port else "off",
            "issuer": f"127.0.0.1:{issuer_port}" if issuer_port else "off",
            "address": address,
            "port": self.port,
            "public": self.public,
        }
        self.url = f"sqlite:///{folder}/items.sqlite" if url is None else url
        self._ini.write_text(_INI.format(backend=backend, url=self.url, more=more, **values))
        self._log = folder / "service.log"
        if kept := recorder():
            kept.log(self._log)
        self._process: Command | subprocess.Popen[bytes] | None = None
        self.clients: list[Client] = []

    def identity_provider(self) -> DevelopmentIdentityProvider:
        """Return the development identity provider; the service must have started."""
        return DevelopmentIdentityProvider.load(self.folder / "var")

    @property
    def origin(self) -> str:
        """The service's origin."""
        return f"http://{self.address}:{self.port}"

    @property
    def provider(self) -> str:
        """The origin of its OpenID provider."""
        return f"http://127.0.0.1:{self.provider_port}"

    @property
    def pid(self) -> int:
        """The process id of a running service."""
        assert self._process is not None
        return self._process.pid

    def processes(self) -> set[int]:
        """Return the ids of its child processes: with several that serve, those that do."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return set(map(int, path.read_text().split()))

    @property
    def log(self) -> str:
        """The log so far."""
        return self._log.read_text()

    def start(self, *arguments: str, prefix: Sequence[str] = ()) -> None:
        """Start `serve` with arguments, behind a prefix command; return once it accepts connections."""
        command = ["-c", self._ini, "serve", *arguments]
        with self._log.open("ab") as log, Path(os.devnull).open() as nothing:
            if prefix:
                self._process = subprocess.Popen([*prefix, _COMMAND, *command], stdout=log, stderr=log)
            else:
                files = [each.fileno() for each in (nothing, log, log)]
                self._process = Command(command, files)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection((self.address, self.port), timeout=5).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError(f"the service did not start: {self.log[-2000:]}")

    def kill(self) -> None:
        """Kill the service as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    def signal(self, number: int) -> None:
        """Send the service a signal."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self._record_metrics()
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for the service's end; return its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command with the same settings."""
        return printed(run_command("-c", self._ini, *arguments))

    def spawn(
        self, *arguments: str, stdin: int | None = None, is_text: bool = True
    ) -> subprocess.Popen[Any]:
        """Start another command with the same settings."""
        return subprocess.Popen(
            [_COMMAND, "-c", self._ini, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=is_text,
        )

    def close(self) -> None:
        """Stop a running service, and close its clients."""
        for client in self.clients:
            client.close()
        if self._process is not None and self._process.poll() is None:
            self._record_metrics()
            self._process.terminate()
            self._process.wait(30)

    def metrics(self) -> Exposition:
        """Scrape the metrics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            with connection.getresponse() as response:
                assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                return Exposition(response.read().decode())
        finally:
            connection.close()

    def _record_metrics(self) -> None:
        if kept := recorder():
            # The service may be frozen or stopping.
            with contextlib.suppress(OSError, http.client.HTTPException):
                kept.metrics(self.metrics().text)


class Client:
    """A client with one connection at a time and the session of an email.

    Args:
        service: the service.
        email: the session's email.
        timeout: the connection's timeout in seconds.
        address: the source address on loopback.
    """

    def __init__(
        self, service: Service, email: str, timeout: float = 60, address: str = "127.0.0.1"
    ) -> None:
        self.email = email
        self.profile = f"/v1/profiles/{email}"
        self.picture = f"{self.profile}/picture"
        self.token = ""
        self._connection = http.client.HTTPConnection(
            service.address, service.port, timeout=timeout, source_address=(address, 0)
        )
        self._service = service
        service.clients.append(self)

    def sign_in(self, profile_key: str | None = None) -> None:
        """Open a session of its own by a proof of the email, optionally with a profile key."""
        self.token = ""
        proof = self._service.identity_provider().bundle(self.email, self._service.public)
        body = json.dumps({"proofs": [{"assertion": proof}], "profile_key": profile_key}).encode()
        answer = self.call("POST", "/v1/sessions", body, "application/json")
        assert answer.status == 201, answer
        self.token = answer.json["token"]

    def call(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", **more: str
    ) -> Answer:
        """Send a request with additional headers (`If_Match="..."`); return its answer.

        Raises:
            OSError, http.client.HTTPException: the connection broke.
        """
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"Content-Type": kind} if kind else {}
        headers |= {name.replace("_", "-"): text for name, text in more.items()}
        received(body)
        try:
            self._connection.request(method, path, body, headers)
            with self._connection.getresponse() as response:
                content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        return Answer(response.status, response.headers, content, time.monotonic() - began)

    def set_name(self, name: str) -> Answer:
        """Change the name."""
        body = json.dumps({"name": name}).encode()
        return self.call("PATCH", self.profile, body, "application/merge-patch+json")

    def upload(self, picture: bytes) -> Answer:
        """Replace the picture."""
        return self.call("PUT", self.picture, picture, "image/jpeg")

    def protect(self, profile_key: str | None) -> Answer:
        """Change the profile key; continue with the new session."""
        body = json.dumps({"profile_key": profile_key}).encode()
        answer = self.call("PUT", f"{self.profile}/profile-key", body, "application/json")
        if answer.status == 200:
            self.token = answer.json["token"]
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class SlowUpload:
    """An upload of which a part was sent."""

    def __init__(self, service: Service, client: Client, body: bytes) -> None:
        self._rest = body[len(body) // 4 :]
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        self._connection.putrequest("PUT", client.picture)
        self._connection.putheader("Authorization", f"Bearer {client.token}")
        self._connection.putheader("Content-Type", "image/jpeg")
        self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body[: len(body) // 4])
        self.close = self._connection.close
        service.clients.append(self)

    def finish(self) -> http.client.HTTPResponse:
        """Send the rest; return the answer."""
        self._connection.send(self._rest)
        response = self._connection.getresponse()
        response.read()
        self._connection.close()
        return response
