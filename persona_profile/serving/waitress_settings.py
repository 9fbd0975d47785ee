"""The settings of waitress: its defaults here, their checks, and the limit of open connections."""

from __future__ import annotations

import logging
import re
import resource
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

from waitress.adjustments import Adjustments, aslist

from persona_profile.runtime.waiting import DEFAULT_THREADS, MIN_THREADS
from persona_profile.settings import InvalidSettings

DEFAULT_ADDRESS: Final = "127.0.0.1:6543"
ADDRESSES: Final = {"listen", "host", "port", "unix_socket", "sockets"}

CONNECTIONS: Final = 4096
"""Connections that may be open at once. With waitress' default of 100, a client with 100 idle
connections would lock out all others."""

SPARE_FILES: Final = 256
"""File descriptors that a process may need besides its connections."""

MIN_CONNECTIONS: Final = 100
"""Lower bound of the limit of connections, however few descriptors the process may have."""

DEFAULTS: Final[dict[str, Any]] = {
    "threads": DEFAULT_THREADS,
    "connection_limit": CONNECTIONS,
    "ident": None,  # no Server header: only attackers use it
    "max_request_header_size": 32 * 1024,  # a token of 20 emails has 8 KiB; waitress accepts 256 KiB
    "channel_timeout": 60,
    "recv_bytes": 64 * 1024,  # with waitress' 8 KiB a picture takes 2,500 turns of its loop
    "expose_tracebacks": False,
    "asyncore_use_poll": True,  # select() is limited to 1024 descriptors
}
"""The defaults that differ from those of waitress; the settings file may override each."""

MINIMA: Final = {
    "threads": MIN_THREADS,  # most may wait for others
    "max_request_header_size": 1024,
    "max_request_body_size": 1024,
    "unix_socket_perms": 0,
    "channel_request_lookahead": 0,
    "backlog": 1,
    "recv_bytes": 1,
    "send_bytes": 1,
    "outbuf_overflow": 1,
    "outbuf_high_watermark": 1,
    "inbuf_overflow": 1,
    "connection_limit": 1,
    "cleanup_interval": 1,
    "channel_timeout": 1,
    "asyncore_loop_timeout": 1,
    "trusted_proxy_count": 1,
}
"""The least value of each number."""

MAX_PORT: Final = 65535

_NAMES: Final = frozenset(name for name, _ in Adjustments._params)  # noqa: SLF001 - it has no other list

_PROXIES: Final = re.compile(r"[\s,]+")

logger = logging.getLogger(__name__)


def adjustments(settings: Mapping[str, Any]) -> Adjustments:
    """Return settings as waitress reads them.

    Raises:
        InvalidSettings: there is no such setting, or waitress could not serve with one.
    """
    given = {"threads": DEFAULT_THREADS} | dict(settings)
    faults = {name: fault for name, value in given.items() if (fault := _fault(name, value))}
    if not faults:
        try:
            return Adjustments(**given)
        except (ValueError, OSError) as error:
            quotes = any(str(value) in str(error) for value in given.values() if value)
            faults[""] = "these can't be used together" if quotes else str(error)
    lines = (f"  {name}: {fault}" if name else f"  {fault}" for name, fault in sorted(faults.items()))
    raise InvalidSettings("\n".join(["[server:main] can't be used:", *lines]))


def _fault(name: str, value: Any) -> str | None:
    """Return why a setting can't be used; waitress starts with some of them, and answers nobody."""
    if name not in _NAMES:
        return "there is no such setting"
    if name in MINIMA:
        least = MINIMA[name]
        wanted = f"must be a whole number of at least {least}"
        return None if _is_whole(value, least) else wanted
    if name == "port" and not _is_whole(value, 0, MAX_PORT):
        return f"must be a port from 0 to {MAX_PORT}"
    if name == "listen" and not all(
        _is_whole(each.rpartition(":")[2], 0, MAX_PORT) for each in aslist(value)
    ):
        return f"must be addresses such as 127.0.0.1:6543 or [::1]:6543, with ports up to {MAX_PORT}"
    if name == "trusted_proxy" and not all(_is_proxy(each) for each in _PROXIES.split(str(value))):
        return "must be IP addresses or networks such as 10.0.0.0/24, localhost for a Unix socket, or *"
    return None


def _is_proxy(text: str) -> bool:
    if text in ("", "*", "localhost"):
        return True
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_whole(value: Any, least: int, most: int = 10**12) -> bool:
    return re.fullmatch("[0-9]{1,12}", str(value)) is not None and least <= int(value) <= most


def connection_limit(wanted: int) -> int:
    """Return the limit of connections, after raising the process' limit of descriptors for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + SPARE_FILES
    if resource.RLIM_INFINITY not in (soft, hard):
        files = min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    possible = max(files - SPARE_FILES, MIN_CONNECTIONS)
    if possible < wanted:
        logger.warning(
            "connection_limit: %d instead of %d, as the process may open %d files",
            possible,
            wanted,
            files,
        )
    return possible
