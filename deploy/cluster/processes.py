"""Processes of a cluster on one machine: started, remembered on disk, ended as a whole."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 10.0
"""How long a process may take to end; a node that is stopped as it joins never ends."""

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the script and all its processes."""

_TURN_SECONDS: Final = 0.05
_ENDED: Final = "ZX"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class NotStarted(Exception):
    """A program did not start; the message names it, with the reason or its log."""


class Kept:
    """A record of started processes in a file, by which a later run ends leftovers of a killed run.

    Each process begins a session (setsid), which ends as a whole: a killed nginx leaves workers that go
    on listening.

    Args:
        path: the file; its entries are in order of start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[int, str] = {}
        self._lock = threading.Lock()

    def start(self, command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
        """Start a process and record it.

        Args:
            command: command line.
            options: options of `subprocess.Popen`.

        Raises:
            OSError: the process can't be started, or the file can't be written.
        """
        with _undisturbed():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )
            try:
                with self._lock:
                    self._entries[process.pid] = _born(process.pid)
                    self._write()
            except OSError:
                self.end(process.pid)
                process.wait()
                raise
        return process

    def run(self, task: str, command: Sequence[str | Path], **options: Any) -> None:
        """Run a command to its end; its child processes end with it.

        Args:
            task: description of the command in the error.
            command: command line.
            options: options of `subprocess.Popen`.

        Raises:
            NotStarted: the command fails.
        """
        options |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with self.start(command, **options) as process:
            try:
                _, said = process.communicate()
            finally:
                self.end(process.pid)
        if process.returncode:
            raise NotStarted(f"{task}: {said.decode(errors='replace').strip()}")

    def end(self, pid: int) -> None:
        """End a process and its children: by SIGTERM, then by SIGKILL."""
        with self._lock:
            born = self._entries.get(pid, "")
        _end(pid, born)
        with self._lock:
            self._entries.pop(pid, None)
            # A disk may be full, but others are still to be ended; an entry too many does no harm.
            with suppress(OSError):
                self._write()

    def end_all(self) -> None:
        """End all processes, the last started first."""
        for pid in reversed(list(self._entries)):
            self.end(pid)

    def end_leftovers(self) -> list[int]:
        """End the processes that an earlier run left, the last first; return their ids."""
        if not self._path.exists():
            return []
        kept = {int(pid): born for pid, born in json.loads(self._path.read_text() or "{}").items()}
        left = [pid for pid, born in reversed(kept.items()) if _session(pid, born)]
        for pid in left:
            _end(pid, kept[pid])
        self._path.unlink()
        return left

    def _write(self) -> None:
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._entries))
        written.replace(self._path)


class Daemon:
    """A program that runs until it is stopped.

    Args:
        name: name in messages.
        command: command line.
        log: file of its output.
        kept: the record of processes.
        environment: additional environment variables.
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
        """Process id of the running or last process; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *more: str) -> None:
        """Start the program with further arguments; return before it is ready."""
        self.stop()  # what it has left
        with self.log.open("ab") as log:
            self._process = self._kept.start(
                [*self._command, *more],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )

    def wait_until(self, is_ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return when the program is ready.

        Raises:
            NotStarted: it has ended, or takes too long.
        """
        deadline = time.monotonic() + seconds
        while self.is_alive and not is_ready():
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} is not ready after {seconds:g} s; its log is {self.log}")
            time.sleep(_TURN_SECONDS)
        if not self.is_alive:
            raise NotStarted(f"{self.name} has ended; its log is {self.log}")

    def stop(self) -> None:
        """Stop the program and its child processes."""
        if self._process is not None:
            self._kept.end(self._process.pid)
            self._process.poll()


def answers(address: str, port: int) -> bool:
    """Return whether a server listens at an address."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def taken(addresses: Sequence[tuple[str, int]]) -> list[str]:
    """Return the addresses and ports where listening fails, with the reason."""
    found = []
    for address, port in addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                found.append(f"{address}:{port} ({error.strerror})")
    return found


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay signals that end the script: every started process must be recorded first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main one
        return
    arrived: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])


def _end(leader: int, born: str) -> None:
    steps = (
        (signal.SIGTERM, _first, STOP_SECONDS),  # in order, it ends the others
        (signal.SIGTERM, _session, 2.0),
        (signal.SIGKILL, _session, STOP_SECONDS),
    )
    for number, find, seconds in steps:
        for pid in find(leader, born):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # it may have been frozen, for trying
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while find(leader, born) and time.monotonic() < deadline:
            time.sleep(_TURN_SECONDS)


class _Seen(NamedTuple):
    state: str
    session: int
    born: str


def _seen(pid: int) -> _Seen | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return _Seen(fields[0], int(fields[3]), f"{_BOOT.read_text().strip()} {fields[19]}")


def _born(pid: int) -> str:
    """Return boot id and start time of a process; empty if there is no such process."""
    seen = _seen(pid)
    return seen.born if seen else ""


def _first(leader: int, born: str) -> list[int]:
    """Return the leader of a session, if it runs."""
    seen = _seen(leader)
    return [leader] if seen and seen.born == born and seen.state not in _ENDED else []


def _session(leader: int, born: str) -> list[int]:
    """Return the running processes of a session, by its leader."""
    boot = _BOOT.read_text().strip()
    # A process id is not reused while a process of its session is left.
    if not born.startswith(boot) or _born(leader) not in ("", born):
        return []
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    seen = {pid: _seen(pid) for pid in pids}
    return [
        pid for pid, one in seen.items() if one and one.session == leader and one.state not in _ENDED
    ]
