"""A process that looks after those that serve: `persona-profile serve --processes N`.

It holds the listening sockets, starts the processes on them, replaces one that dies, and all of them
one after the other at SIGUSR2: each starts anew from what is installed and configured by then. It
serves no request itself and imports the standard library alone.

    SIGTERM, SIGINT  stop all, as each would stop by itself; once more: at once
    SIGHUP           to each process
    SIGUSR2          replace all; nobody's request fails
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from persona_profile.runtime import logs
from persona_profile.runtime.control import FIGURES, RETIRE, STOP, WELL, ControlChannel, Messages
from persona_profile.runtime.dumps import forbid_dumps
from persona_profile.runtime.exposition import ExpositionServer, Sum
from persona_profile.runtime.lifecycle import LATER_SIGNALS
from persona_profile.runtime.systemd import READY, STOPPING, notify

WELL_SECONDS: Final = 60.0
"""How long a process may take until it can do its work, before it is given up."""

LEAST_PAUSE_SECONDS: Final = 0.5
MOST_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A process that lived for so long is replaced without a pause."""

FIGURES_SECONDS: Final = 2.0
"""How long a scrape waits for the figures of a process; then its last ones are taken."""

SPARE_SECONDS: Final = 10.0
"""How long a process may take to stop beyond its own limits, before it is killed."""

_TURN_SECONDS: Final = 0.25
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to look after.

    Attributes:
        command: starts one process, with `--supervised` and descriptors behind it.
        processes: how many of them.
        sockets: descriptors of the listening sockets.
        figures: descriptor of the socket where Prometheus asks, if it does.
        stop_seconds: how long a process may take to stop.
        log_format, log_level: see `logs.configure`.
    """

    command: Sequence[str]
    processes: int
    sockets: Sequence[int]
    figures: int | None
    stop_seconds: float
    log_format: str
    log_level: str

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `as_json` made."""
        return cls(**document)


class _Process:
    """A process that serves.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, plan: Plan) -> None:
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno(), *plan.sockets]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                    [*plan.command, "--supervised", ",".join(map(str, passed))],
                    pass_fds=passed,
                    process_group=0,  # what a terminal sends goes to the supervisor alone
                )
            except OSError:
                ours.close()
                raise
        self.control = ControlChannel(ours)
        self.messages = Messages()
        self.began = time.monotonic()
        self.is_well = False
        self.missed_hangup = False
        self.kill_at: float | None = None
        self.figures = ""
        self.owes_figures = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, once it has ended."""
        return self._process.poll()

    @property
    def age(self) -> float:
        """How long ago it began, in seconds."""
        return time.monotonic() - self.began

    def stop(self, kind: bytes, seconds: float) -> None:
        """Have it stop within its limits."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + seconds + SPARE_SECONDS
            self.control.send(kind)

    def ask_for_figures(self) -> None:
        """Ask once: what a process that has fallen silent does not read would fill its socket."""
        if not self.owes_figures:
            self.owes_figures = True
            self.control.send(FIGURES)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)


class Supervisor:
    """Looks after processes until it is told to stop.

    Args:
        plan: what to look after.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes: list[_Process] = []
        self._to_replace: deque[_Process] = deque()
        self._replacing: tuple[_Process, _Process] | None = None
        self._starts_at = 0.0
        self._pause = 0.0
        self._was_well = False
        self._is_stopping = False
        self._status = 0
        self._departed = Sum()
        self._ended_by_themselves = 0
        self._changed = threading.Condition()
        self._signals: deque[int] = deque()
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Look after them; return the exit status: 1 if none ever could do its work."""
        waker, wakes = socket.socketpair()
        for end in (waker, wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LATER_SIGNALS)
        self._selector.register(wakes, selectors.EVENT_READ)
        figures = None
        if self._plan.figures is not None:
            listener = socket.socket(fileno=self._plan.figures)
            figures = ExpositionServer(listener, self.exposition)
            figures.start()
        while not self._is_stopping or self._processes:
            self._turn(wakes)
        if figures is not None:
            figures.close()
        return self._status

    def exposition(self) -> str:
        """Return the figures of all processes together; those of the ended go on counting."""
        with self._changed:
            asked = list(self._processes)
            for each in asked:
                each.ask_for_figures()
            self._changed.wait_for(
                lambda: not any(each.owes_figures and each in self._processes for each in asked),
                FIGURES_SECONDS,
            )
            total = self._departed.copy()
            for each in self._processes:
                total.add(each.figures)
            well = sum(each.is_well for each in self._processes)
            return total.text() + own_figures(well, self._ended_by_themselves)

    def _turn(self, wakes: socket.socket) -> None:
        for key, _ in self._selector.select(_TURN_SECONDS):
            if key.fileobj is wakes:
                with contextlib.suppress(BlockingIOError):
                    wakes.recv(4096)
            else:
                self._hear(key.data)
        while self._signals:
            self._obey(self._signals.popleft())
        for each in list(self._processes):
            if each.kill_at is not None and time.monotonic() > each.kill_at:
                each.signal(signal.SIGKILL)
            if each.status is not None:
                self._bury(each)
        if not self._is_stopping:
            self._replace()
            self._fill_up()

    def _hear(self, process: _Process) -> None:
        data = process.control.receive()
        if not data:
            self._selector.unregister(process.control)
            return
        with self._changed:
            for kind, text in process.messages.feed(data):
                if kind == WELL:
                    if not self._was_well:
                        notify(READY)
                    process.is_well = self._was_well = True
                    if process.missed_hangup:
                        process.signal(signal.SIGHUP)
                elif kind == FIGURES:
                    process.figures = text
                    process.owes_figures = False
                    self._changed.notify_all()

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_stopping:
                self._status = 1
                for each in self._processes:
                    each.signal(signal.SIGKILL)
            self._stop(STOP)
        elif number == signal.SIGHUP:
            for each in self._processes:
                if each.is_well:
                    each.signal(number)
                else:
                    each.missed_hangup = True  # now it would end by it
        elif number == signal.SIGUSR2 and not self._is_stopping:
            logger.warning("replacing all processes")
            # Those that a replacement under way has not reached stand in line already.
            self._to_replace = deque(each for each in self._processes if each.kill_at is None)

    def _stop(self, kind: bytes) -> None:
        if not self._is_stopping:
            notify(STOPPING)
            for descriptor in self._plan.sockets:
                os.close(descriptor)
        self._is_stopping = True
        for each in self._processes:
            each.stop(kind, self._plan.stop_seconds)

    def _start(self) -> _Process | None:
        """Start a process; after one that could not be started, the next try waits."""
        try:
            process = _Process(self._plan)
        except OSError as error:  # no memory, or too many processes: those that there are go on
            logger.error("no process could be started: %s", error.strerror)  # noqa: TRY400
            self._wait_before_the_next(2 * self._pause)
            return None
        self._selector.register(process.control, selectors.EVENT_READ, process)
        with self._changed:
            self._processes.append(process)
        return process

    def _wait_before_the_next(self, seconds: float) -> None:
        self._pause = min(max(LEAST_PAUSE_SECONDS, seconds), MOST_PAUSE_SECONDS)
        self._starts_at = time.monotonic() + self._pause

    def _bury(self, process: _Process) -> None:
        """Take leave of a process that has ended, and decide what follows."""
        with contextlib.suppress(KeyError):
            while data := process.control.receive():
                with self._changed:
                    for kind, text in process.messages.feed(data):
                        process.figures = text if kind == FIGURES else process.figures
            self._selector.unregister(process.control)
        process.control.close()
        with self._changed:
            self._processes.remove(process)
            self._departed.add(process.figures, cumulative_only=True)
            self._changed.notify_all()
        if process.kill_at is not None or self._is_stopping:
            return
        self._ended_by_themselves += 1
        logger.error("process %d ended by itself: status=%d", process.pid, process.status)
        if not self._was_well:
            logger.error("no process can do its work: given up")
            self._status = 1
            self._stop(STOP)
            return
        if process.is_well and process.age > STEADY_SECONDS:
            self._pause = 0.0
        else:
            self._wait_before_the_next(LEAST_PAUSE_SECONDS if process.is_well else 2 * self._pause)

    def _fill_up(self) -> None:
        """Start what is missing, and give up what is not well in time."""
        for each in self._processes:
            if not each.is_well and each.kill_at is None and each.age > WELL_SECONDS:
                logger.error("process %d is not well after %d s", each.pid, WELL_SECONDS)
                each.signal(signal.SIGKILL)
        staying = [each for each in self._processes if each.kill_at is None]
        extra = self._replacing is not None and self._replacing[0] in staying
        if len(staying) < self._plan.processes + extra and time.monotonic() >= self._starts_at:
            self._start()

    def _replace(self) -> None:
        """Take the next step of replacing one process after the other."""
        if self._replacing is None:
            while self._to_replace and self._to_replace[0] not in self._processes:
                self._to_replace.popleft()
            if self._to_replace and time.monotonic() >= self._starts_at:
                new = self._start()
                if new is not None:
                    self._replacing = self._to_replace.popleft(), new
            return
        old, new = self._replacing
        if new not in self._processes:
            logger.error("a new process could not do its work: the old ones stay")
            self._to_replace.clear()
            self._replacing = None
        elif new.is_well:
            old.stop(RETIRE, self._plan.stop_seconds)
            if old not in self._processes:
                self._replacing = None


def own_figures(well: int, deaths: int) -> str:
    """Return the figures that the supervisor has itself."""
    return (
        "# HELP persona_processes Processes that can do their work.\n"
        "# TYPE persona_processes gauge\n"
        f"persona_processes {well}\n"
        "# HELP persona_process_deaths_total Processes that ended by themselves.\n"
        "# TYPE persona_process_deaths_total counter\n"
        f"persona_process_deaths_total {deaths}\n"
    )


def main() -> int:
    """Look after what the first argument describes; return the exit status."""
    forbid_dumps()  # its environment holds settings
    plan = Plan.from_json(json.loads(sys.argv[1]))
    logs.configure(plan.log_format, plan.log_level)
    for descriptor in plan.sockets:
        os.set_inheritable(descriptor, False)
    return Supervisor(plan).run()


if __name__ == "__main__":
    sys.exit(main())
