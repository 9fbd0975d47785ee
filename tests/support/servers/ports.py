"""Ports of loopback for servers that start later, in processes of their own."""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import Final

_MOST: Final = 200
"""Ports that are reserved at a time: descriptors are limited, and old ports have their servers."""

_reserved: deque[int] = deque()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens; nobody else gets it while tests run.

    A socket that is bound but doesn't listen keeps the port: the kernel gives it to no client and to
    no socket bound to port 0. A server with SO_REUSEADDR, which all servers set, listens beside it.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port = int(holder.getsockname()[1])
    _reserved.append(holder.detach())
    if len(_reserved) > _MOST:
        os.close(_reserved.popleft())
    return port
