"""A storage that answers nothing once a process has begun: who uses it never becomes well."""

from __future__ import annotations

import signal

from backends import Unavailable
from backends.engines.memory import MemoryBackend


class UnwellBackend(MemoryBackend):
    """Has the right schema, and fails whenever it is asked whether it is there."""

    def ping(self) -> None:
        """Fail."""
        raise Unavailable


def unwell(_url: str | None) -> UnwellBackend:
    """Open one, while somebody sends signals to the process that begins.

    In a settings file: `backend = support.unwell:unwell`.
    """
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.raise_signal(number)
    return UnwellBackend()
