"""Reports the state of the service to systemd: sd_notify(3), for units of `Type=notify`."""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

READY: Final = "READY=1"
"""The service is healthy."""

STOPPING: Final = "STOPPING=1"
"""The service is stopping."""

logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state to the socket that `NOTIFY_SOCKET` names, if it is set; log a failure."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(1)
            sender.sendto(state.encode(), address.replace("@", "\0", 1))
    except OSError as error:
        logger.warning("systemd was not notified of %s: %s", state, error.strerror)
