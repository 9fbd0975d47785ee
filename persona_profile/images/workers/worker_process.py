"""The service's side of workers: the fork server's process, and the channel to its present worker."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from persona_profile.images.workers import ALL_CORES
from persona_profile.images.workers.channel import Channel, MalformedMessage

COMMAND: Final = (sys.executable, "-P", "-m", "persona_profile.images.workers.fork_server")
ALL_CORES_COMMAND: Final = (*COMMAND, ALL_CORES)

_STOP_SECONDS: Final = 5.0
"""The longest wait for the end of a killed worker; inside the kernel it may take longer."""

_KEPT_VARIABLES: Final = frozenset(
    ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH")
)
"""The variables that Python may need to start. Others may hold secrets."""

# One arena of malloc(3): each reserves address space, which is limited.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1"}


class WorkerProcess:
    """A fork server, which `command` starts, and the worker that it has forked for the present image.

    Attributes:
        channel: to the worker.
        processor_seconds: processor time of the last worker, known after `finish`.
    """

    channel: Channel

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,  # native libraries write there about files
                    env=_environment(os.environ),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._control = Channel(ours)
        self._lock = threading.Lock()
        self._ended: int | None = 0
        self._has_all_cores = False
        self.processor_seconds = 0.0

    def is_alive(self) -> bool:
        """Whether the fork server runs."""
        return self._process.poll() is None

    def ping(self, until: float) -> Mapping[str, str]:
        """Try the confinement in a worker; return the result of its `Confinement.enter`.

        Raises the errors of `Channel.receive` if there is no answer in time.
        """
        with self._lock:
            self._control.send({"ping": True})
            answer, _ = self._control.receive(until)
        confinement: Mapping[str, str] = answer["confinement"]
        return confinement

    def use_all_cores(self, *, allowed: bool) -> None:
        """Allow the present worker and the next ones all cores, or leave one of several free."""
        if allowed != self._has_all_cores:
            self._has_all_cores = allowed
            with self._lock, contextlib.suppress(OSError):  # its end is found by those who need it
                self._control.send({"all_cores": allowed})

    def begin(self, job: dict[str, Any], file: int) -> None:
        """Fork a worker for a job; `channel` leads to it.

        Args:
            job: `options`, `crop`, `preview` (whether it is wanted, instead of renditions),
                `processor_seconds` (of the largest image) and `header_seconds` (until `limit` is
                called).
            file: descriptor of the upload.
        """
        self._ended, self.processor_seconds = 0, 0.0
        ours, theirs = socket.socketpair()
        self.channel, self._ended = Channel(ours), None
        with theirs, self._lock:
            self._control.send(job, descriptors=(theirs.fileno(), file))

    def limit(self, memory: int, processor_seconds: int, until: float) -> None:
        """Limit the worker to the bytes that its image needs, and to a processor time in all.

        Raises the errors of `Channel.receive` if worker or fork server has ended.
        """
        with self._lock:
            self._control.send({"memory": memory, "processor_seconds": processor_seconds})
            answer, _ = self._control.receive(until)
            if "ended" in answer:
                self._note_end(answer)
                self.channel.close()
                raise EOFError

    def finish(self) -> int:
        """End the worker; return minus the signal that ended it, or its exit status."""
        if self._ended is None:
            self.channel.close()
        with self._lock:
            deadline = time.monotonic() + _STOP_SECONDS
            try:
                while self._ended is None:
                    # A worker that has ended keeps its status.
                    self._control.send({"stop": True})
                    self._note_end(self._control.receive(deadline)[0])
            except (OSError, EOFError, MalformedMessage):
                pass
        if self._ended is None:
            self.end()
            self._ended = -signal.SIGKILL
        return self._ended

    def end(self) -> None:
        """End the fork server, and its worker with it."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel may need longer
            self._process.wait(_STOP_SECONDS)
        with self._lock:
            self._control.close()

    def _note_end(self, answer: dict[str, Any]) -> None:
        if "ended" in answer:
            self._ended, self.processor_seconds = answer["ended"], answer["processor_seconds"]


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    return {name: given[name] for name in _KEPT_VARIABLES & given.keys()} | _ENVIRONMENT
