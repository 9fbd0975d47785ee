"""A picture worker as the service sees it: its process, the conversation with it, what it has used."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Final

from persona_profile.images.channel import Channel, MalformedMessage

_REAP_SECONDS: Final = 5.0

# One arena, as each reserves address space, which is limited.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1"}

_SECRETIVE: Final = "PERSONA_"
"""What begins so in the environment are settings, with passwords among them: none of a worker's."""


class WorkerProcess:
    """A process that runs `images.worker`, and the conversation with it.

    Attributes:
        channel: to it.
        jobs: how many it has done, as its owner counts.
        new_processor_seconds: what `measure` found last.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "persona_profile.images.worker"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # native libraries write what they find in files
                    env=_environment(),
                )
            except OSError:
                ours.close()
                raise
        self.channel = Channel(ours)
        self.jobs = 0
        self.new_processor_seconds = 0.0
        self._measured = 0.0

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def ping(self, until: float) -> None:
        """Return if the process answers.

        Raises:
            OSError, TimeoutError, EOFError, MalformedMessage: it does not, by then.
        """
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.channel.send({"ping": True}, descriptor=nothing)
        finally:
            os.close(nothing)
        if self.channel.receive(until)[0] != {"pong": True}:
            raise MalformedMessage

    def measure(self) -> float:
        """Return the processor time in seconds that it had since the last time of asking."""
        is_collected = self._process.returncode is not None  # then its number may be another's
        used = None if is_collected else _processor_seconds(self._process.pid)
        if used is not None:
            self.new_processor_seconds = used - self._measured
            self._measured = used
        return self.new_processor_seconds

    def end(self) -> int:
        """End the process, if it has not ended by itself; return minus the signal, or its status."""
        self._process.kill()  # if it is exiting already, its status stays what it was
        self._await_exit()
        self.measure()
        status = self._process.poll()
        self.channel.close()
        return -signal.SIGKILL if status is None else status  # it may wait for the kernel; we don't

    def _await_exit(self) -> None:
        """Wait until the process has ended, and leave it to be collected: only so its time is final."""
        deadline = time.monotonic() + _REAP_SECONDS
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                    return
                time.sleep(0.001)


def _processor_seconds(pid: int) -> float | None:
    """Return the processor time that a process has had, also one that waits to be collected."""
    with contextlib.suppress(OSError):
        # What clock_getcpuclockid(3) returns: its processor time in nanoseconds, where /proc has ticks.
        return time.clock_gettime(~pid << 3 | 2)
    return None


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETIVE)}
    return kept | _ENVIRONMENT
