"""Processes of a cluster on one machine: started, remembered on disk, ended by process id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 60.0
_TURN_SECONDS: Final = 0.1
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class NotStarted(Exception):
    """Something did not start; the message says what, and where its log is."""


class Kept:
    """The processes that were started, in a file: a later run ends what a killed one has left.

    Args:
        path: of the file; the order of its entries is that of their start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[int, str] = {}

    def add(self, pid: int) -> None:
        """Remember a process that has just been started."""
        self._entries[pid] = _born(pid)
        self._write()

    def remove(self, pid: int) -> None:
        """Forget a process that has ended."""
        self._entries.pop(pid, None)
        self._write()

    def end_leftovers(self) -> list[int]:
        """End what an earlier run has left, the last first; return their process ids."""
        if not self._path.exists():
            return []
        kept = {int(pid): born for pid, born in json.loads(self._path.read_text() or "{}").items()}
        # Another process may have got the number since.
        left = [pid for pid, born in reversed(kept.items()) if born and _born(pid) == born]
        for pid in left:
            _end(pid, lambda pid=pid: _born(pid) != kept[pid])  # type: ignore[misc]
        self._path.unlink()
        return left

    def _write(self) -> None:
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._entries))
        written.replace(self._path)


class Daemon:
    """A program that runs until it is ended.

    Args:
        name: by which it is spoken of.
        command: that starts it.
        log: file of what it prints.
        kept: where it is remembered.
        environment: variables besides those of this process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        kept: Kept,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._kept = kept
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id, the last one if it has ended; 0 before it was started."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *more: str) -> None:
        """Start it, with arguments for this time; does not wait until it is ready."""
        if self._process is not None:
            self._kept.remove(self._process.pid)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                process_group=0,  # what a terminal sends is for the script alone
            )
        self._kept.add(self._process.pid)

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return when it is ready.

        Raises:
            NotStarted: it has ended before, or takes too long.
        """
        deadline = time.monotonic() + seconds
        while not is_ready():
            if not self.is_alive:
                raise NotStarted(f"{self.name} has ended; its log is {self.log}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} is not ready after {seconds:g} s; its log is {self.log}")
            time.sleep(_TURN_SECONDS)

    def stop(self) -> None:
        """End it: in order, or after STOP_SECONDS without mercy."""
        process = self._process
        if process is not None:
            _end(process.pid, lambda: process.poll() is not None)
            self._kept.remove(process.pid)


def answers(address: str, port: int) -> bool:
    """Tell whether somebody listens there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def taken(addresses: Sequence[tuple[str, int]]) -> list[str]:
    """Return those addresses and ports of this machine where somebody listens already."""
    found = []
    for address, port in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                found.append(f"{address}:{port} ({error.strerror})")
    return found


def _end(pid: int, has_ended: Callable[[], bool]) -> None:
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        if has_ended():
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)  # it may have been frozen, for trying
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while not has_ended() and time.monotonic() < deadline:
            time.sleep(_TURN_SECONDS)


def _born(pid: int) -> str:
    """Return which boot and instant a process began at; nothing if there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else f"{_BOOT.read_text().strip()} {fields[19]}"
