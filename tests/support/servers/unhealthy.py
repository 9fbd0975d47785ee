"""A storage whose ping always fails: its service never becomes healthy."""

from __future__ import annotations

import signal

from backends import Unavailable
from backends.engines.memory import MemoryBackend


class UnhealthyBackend(MemoryBackend):
    """Has the right schema; its ping fails."""

    def ping(self) -> None:
        """Fail."""
        raise Unavailable


def unhealthy(_url: str | None) -> UnhealthyBackend:
    """Open the storage, and send signals to the starting process meanwhile.

    In a settings file: `backend = unhealthy:unhealthy`.
    """
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.raise_signal(number)
    return UnhealthyBackend()
