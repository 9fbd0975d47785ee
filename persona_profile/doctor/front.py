"""Checks of the service's process and of the reverse proxy in front, by requests to both."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

from backends.findings import Finding, failed, ok, warning
from persona_profile.auth.fetch import reason_of
from persona_profile.doctor import Check
from persona_profile.doctor.http import SECONDS, Address, Response, Server
from persona_profile.doctor.issuers import of_date
from persona_profile.runtime.build import PACKAGE
from persona_profile.settings import Settings

NAME: Final = "Persona Profile Server"
FORM_BYTES: Final = 64 * 1024
"""What a form around a picture may have besides, as in deploy/nginx.conf."""

MIN_CERTIFICATE_DAYS: Final = 14

_DAY: Final = 24 * 3600
_UPLOAD: Final = "/v1/profiles/doctor@example.invalid/picture"
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
_FAILURES: Final = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, slots=True)
class Way:
    """The way to the reverse proxy.

    Attributes:
        address: where to connect instead of the address of the origin's name.
        accepts_any_certificate: whether a wrong certificate is only a warning.
    """

    address: tuple[str, int] | None = None
    accepts_any_certificate: bool = False


def checks(settings: Settings, listening: Sequence[Address], way: Way) -> list[Check]:
    """Return the checks of the addresses of the service, and of all public origins."""
    return [
        *(Check(f"service {_shown(each)}", partial(_service, each)) for each in listening),
        *(
            Check(f"front {origin}", partial(_front, settings, origin, way))
            for origin in settings.public_origins
        ),
    ]


def _shown(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"


def _service(address: Address) -> Iterator[Finding]:
    """Ask the process itself, without a proxy, for its health and its build."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens here
    if not isinstance(address, str):
        address = (anywhere.get(address[0], address[0]), *address[1:])
    server = Server("127.0.0.1", address)
    try:
        health, build = server.ask("/__heartbeat__"), server.ask("/__version__")
    except _FAILURES as error:
        advice = "start it, or read its log: journalctl -u persona-profile"
        yield failed("process", f"it does not answer: {reason_of(error)}", advice)
        return
    if build.document.get("name") != NAME:
        yield failed("process", "another program answers here", "stop it, or change `listen`")
        return
    yield _of_version(build)
    states = health.document.get("checks")
    bad = (
        [f"{name}: {state}" for name, state in states.items() if state != "ok"]
        if isinstance(states, dict)
        else []
    )
    if health.status == 200:
        yield ok("health", "it can do its work")
    else:
        yield failed("health", ", ".join(sorted(bad)) or f"status {health.status}", "read its log")


def _of_version(build: Response) -> Finding:
    running, installed = build.document.get("version"), version(PACKAGE)
    if running != installed:
        message = f"version {running} runs, {installed} is installed"
        return warning("version", message, "restart the service")
    return ok("version", f"{running}, as installed")


def _front(settings: Settings, origin: str, way: Way) -> Iterator[Finding]:
    parts = urlsplit(origin)
    host = str(parts.hostname)
    default = 443 if parts.scheme == "https" else 80
    server = Server(parts.netloc, way.address or (host, parts.port or default), host)
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        server = replace(server, tls=tls)
        try:
            yield _certificate(server, tls)
        except ssl.SSLCertVerificationError as error:
            message, advice = reason_of(error), "install a valid certificate (certbot)"
            if not way.accepts_any_certificate:
                yield failed("TLS", message, advice)
                return
            yield warning("TLS", message, advice)
            server = replace(server, tls=_unverified())
        except OSError as error:
            yield failed("TLS", f"no answer: {reason_of(error)}", "start nginx; check DNS and firewall")
            return
    elif host not in _LOCAL and not settings.development:
        yield warning("TLS", "http: tokens travel in the clear", "use https")
    yield from _conversation(settings, server)


def _certificate(server: Server, tls: ssl.SSLContext) -> Finding:
    with closing(server.connect()) as plain:
        plain.settimeout(SECONDS)
        with tls.wrap_socket(plain, server_hostname=server.host) as secure:
            certificate = secure.getpeercert() or {}
    days = int((ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) // _DAY)
    message = f"the certificate is valid for {days} more days"
    if days < MIN_CERTIFICATE_DAYS:
        return warning("TLS", message, "renew it (certbot renew)")
    return ok("TLS", message)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _conversation(settings: Settings, server: Server) -> Iterator[Finding]:
    dialog = next(iter(settings.dialog_origins), None)
    try:
        root = server.ask("/v1/", {"Origin": dialog} if dialog else {})
        if root.status != 200 or root.document.get("name") != NAME:
            yield _of_failure(root)
            return
        yield ok("service", "the service is behind it")
        yield _of_version(root)
        yield _of_settings(settings, root)
        yield from of_date("clock", root.headers.get("Date", ""), root.at)
        yield from _headers(server, root, dialog)
        yield from _private_paths(server)
        yield from _sizes(settings, server)
    except _FAILURES as error:
        message = f"no answer: {reason_of(error)}"
        yield failed("service", message, "start nginx; check DNS and firewall")


def _of_failure(root: Response) -> Finding:
    if root.status in (502, 503, 504):
        advice = "start the service; compare `listen` with nginx's upstream"
        return failed("service", f"status {root.status}: it does not reach the service", advice)
    message = f"status {root.status}: /v1/ does not lead to the service"
    return failed("service", message, "forward /v1/ to it, as deploy/nginx.conf does")


def _of_settings(settings: Settings, root: Response) -> Finding:
    limits = root.document.get("limits")
    served = limits.get("picture_bytes") if isinstance(limits, dict) else None
    if served != settings.pictures_max_bytes:
        message = "the running service has another pictures.max_bytes than the settings"
        return warning("settings", message, "restart the service")
    return ok("settings", "the running service has them")


def _headers(server: Server, root: Response, dialog: str | None) -> Iterator[Finding]:
    faults = []
    if server.tls is not None and not root.headers.get("Strict-Transport-Security"):
        faults.append("Strict-Transport-Security is missing")
    if "/" in root.headers.get("Server", ""):
        faults.append("Server states a version")
    if len(root.headers.get_all("X-Request-Id", [])) != 1:
        faults.append("X-Request-Id is not there once")
    if faults:
        yield warning("headers", "; ".join(faults), "use the headers of deploy/nginx.conf")
    else:
        yield ok("headers", "they are as in deploy/nginx.conf")
    if dialog is not None:
        allowed = root.headers.get_all("Access-Control-Allow-Origin", [])
        if allowed != [dialog]:
            message = f"Access-Control-Allow-Origin is there {len(allowed)} times for {dialog}"
            yield failed("dialogs", message, "pass `Origin` on, and add no header of your own")
        else:
            yield ok("dialogs", f"{dialog} may read answers")


def _private_paths(server: Server) -> Iterator[Finding]:
    visible = [path for path in ("/__heartbeat__", "/metrics") if server.ask(path).status in (200, 503)]
    if visible:
        advice = "forward /v1/ alone"
        yield warning("paths", f"{' and '.join(visible)} can be read from outside", advice)
    else:
        yield ok("paths", "health and metrics stay inside")


def _sizes(settings: Settings, server: Server) -> Iterator[Finding]:
    """Announce the largest picture and a larger one, and send neither."""
    largest = settings.pictures_max_bytes
    if server.first_status("PUT", _UPLOAD, largest) == 413:
        message = f"it rejects pictures of pictures.max_bytes ({settings.pictures_max_bytes:,})"
        yield failed("sizes", message, "raise client_max_body_size of both picture locations")
    elif server.first_status("PUT", _UPLOAD, largest + FORM_BYTES + 1) == 100:
        message = "it reads uploads above pictures.max_bytes"
        yield warning("sizes", message, "set client_max_body_size of both picture locations")
    else:
        yield ok("sizes", "it accepts the largest picture, and nothing larger")
