"""Tells systemd how the service is: sd_notify(3), for units of `Type=notify`."""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

READY: Final = "READY=1"
"""It can do its work."""

STOPPING: Final = "STOPPING=1"
"""It is on its way out."""

logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Tell a state to who asked by `NOTIFY_SOCKET`, if somebody did; a failure is logged alone."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1)
            sender.sendto(state.encode(), address.replace("@", "\0", 1))
    except OSError as error:
        logger.warning("systemd was not told %s: %s", state, error.strerror)
