"""The settings of waitress: its defaults here, their checks, and the limit of open connections."""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping
from typing import Any, Final

from waitress.adjustments import Adjustments

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

logger = logging.getLogger(__name__)


def adjustments(settings: Mapping[str, Any]) -> Adjustments:
    """Return settings as waitress reads them.

    Raises:
        InvalidSettings: waitress rejects a setting, or there are too few threads to leave one free.
    """
    try:
        read = Adjustments(**({"threads": DEFAULT_THREADS} | dict(settings)))
    except ValueError as error:
        raise InvalidSettings(f"[server:main]: {error}") from None
    if read.threads < MIN_THREADS:
        raise InvalidSettings(
            f"[server:main]: threads: must be at least {MIN_THREADS}, as most may wait for others"
        )
    return read


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
