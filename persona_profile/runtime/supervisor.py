"""The supervisor of server processes: `persona-profile serve --processes N`.

It holds the listening sockets, starts the processes and restarts a process that dies. At SIGUSR2 it
replaces the processes one by one; each new process has the present installation and configuration. It
serves no request itself and imports the standard library alone.

    SIGTERM, SIGINT  stop all, as each would stop by itself; a second one kills them
    SIGHUP           forwarded to each process
    SIGUSR2          replace all; no request fails
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from persona_profile.runtime import logs
from persona_profile.runtime.control import (
    FAULTS,
    HEALTHY,
    METRICS,
    RETIRE,
    STOP,
    ControlChannel,
    Messages,
)
from persona_profile.runtime.dumps import forbid_dumps
from persona_profile.runtime.exposition import ExpositionServer, Sum
from persona_profile.runtime.lifecycle import LATER_SIGNALS
from persona_profile.runtime.systemd import READY, STOPPING, notify

HEALTHY_SECONDS: Final = 60.0
"""A process that is not healthy after this time is killed."""

MIN_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
"""A process that dies at this age or later is replaced without a pause."""

METRICS_SECONDS: Final = 2.0
"""The longest wait of a scrape for the metrics of a process; after it, its previous metrics count."""

SPARE_SECONDS: Final = 10.0
"""The time that a process has to stop beyond its own limits; after it, it is killed."""

_TURN_SECONDS: Final = 0.25
_WRONG_SETTINGS: Final = 2  # the status of the `serve` command
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes to supervise.

    Attributes:
        command: the command of one process; `--supervised` and descriptors are appended.
        sockets: descriptors of the listening sockets.
        metrics: descriptor of the listening socket for scrapes, if metrics are served.
        stop_seconds: the time that a process may take to stop.
        log_format, log_level: see `logs.configure`.
    """

    command: Sequence[str]
    processes: int
    sockets: Sequence[int]
    metrics: int | None
    stop_seconds: float
    log_format: str
    log_level: str

    def to_json(self) -> str:
        """Return the plan as text, the argument of `main`."""
        return json.dumps(asdict(self))


class _Process:
    """A server process; raises OSError if it could not be started."""

    def __init__(self, plan: Plan) -> None:
        ours, theirs = socket.socketpair()
        passed = [theirs.fileno(), *plan.sockets]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                    [*plan.command, "--supervised", ",".join(map(str, passed))],
                    pass_fds=passed,
                    process_group=0,  # signals of a terminal go to the supervisor alone
                )
            except OSError:
                ours.close()
                raise
        self.control = ControlChannel(ours)
        self.messages = Messages()
        self.began = time.monotonic()
        self.is_healthy = False
        self.missed_hangup = False
        self.kill_at: float | None = None
        self.metrics = ""
        self.owes_metrics = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, once the process has ended."""
        return self._process.poll()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def stop(self, kind: bytes, seconds: float) -> None:
        """Ask the process to stop; set the time of its kill."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + seconds + SPARE_SECONDS
            self.control.send(kind)

    def ask_for_metrics(self) -> None:
        """Ask for metrics, unless an earlier question is open: a hanging process reads nothing."""
        if not self.owes_metrics:
            self.owes_metrics = True
            self.control.send(METRICS)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)


class Supervisor:
    """Supervises the processes of a plan until it is stopped."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes: list[_Process] = []
        self._to_replace: deque[_Process] = deque()
        self._replacing: tuple[_Process, _Process] | None = None
        self._starts_at = 0.0
        self._pause = 0.0
        self._was_healthy = False
        self._is_stopping = False
        self._status = 0
        self._departed = Sum()
        self._deaths = 0
        self._faults = ""
        self._changed = threading.Condition()
        self._signals: deque[int] = deque()
        self._selector = selectors.DefaultSelector()

    def run(self) -> int:
        """Supervise; return the exit status: 1 if none ever was healthy, 2 if by wrong settings."""
        waker, wakes = socket.socketpair()
        for end in (waker, wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, LATER_SIGNALS)
        self._selector.register(wakes, selectors.EVENT_READ)
        exposition = None
        if self._plan.metrics is not None:
            listener = socket.socket(fileno=self._plan.metrics)
            exposition = ExpositionServer(listener, self.exposition)
            exposition.start()
        while not self._is_stopping or self._processes:
            self._turn(wakes)
        if exposition is not None:
            exposition.close()
        return self._status

    def exposition(self) -> str:
        """Return the metrics of all processes, summed; counters of ended processes still count."""
        with self._changed:
            asked = list(self._processes)
            for each in asked:
                each.ask_for_metrics()
            self._changed.wait_for(
                lambda: not any(each.owes_metrics and each in self._processes for each in asked),
                METRICS_SECONDS,
            )
            total = Sum()
            for text in (self._departed.text(), *(each.metrics for each in self._processes)):
                total.add(text)
            healthy = sum(each.is_healthy for each in self._processes)
            return total.text() + own_metrics(healthy, self._deaths)

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
                self._remove(each)
        if not self._is_stopping:
            self._replace()
            self._fill_up()

    def _hear(self, process: _Process) -> None:
        """Handle received messages of a process; unregister it at the end of its channel."""
        data = process.control.receive()
        if not data:
            self._selector.unregister(process.control)
            return
        with self._changed:
            for kind, text in process.messages.feed(data):
                if kind == HEALTHY:
                    if not self._was_healthy:
                        notify(READY)
                    process.is_healthy = self._was_healthy = True
                    if process.missed_hangup:
                        process.signal(signal.SIGHUP)
                elif kind == FAULTS and text != self._faults:  # all processes have the same
                    self._faults = text
                    sys.stderr.write(f"{text}\n")
                    sys.stderr.flush()
                elif kind == METRICS:
                    process.metrics = text
                    process.owes_metrics = False
                    self._changed.notify_all()

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._is_stopping:
                self._status = 1
                for each in self._processes:
                    each.signal(signal.SIGKILL)
            self._stop()
        elif number == signal.SIGHUP:
            for each in self._processes:
                if each.is_healthy:
                    each.signal(number)
                else:
                    each.missed_hangup = True  # the process has no handler yet
        elif number == signal.SIGUSR2 and not self._is_stopping:
            logger.warning("replacing all processes")
            self._faults = ""
            # This includes the processes that a replacement in progress has not reached.
            self._to_replace = deque(each for each in self._processes if each.kill_at is None)

    def _stop(self) -> None:
        if not self._is_stopping:
            notify(STOPPING)
            for descriptor in self._plan.sockets:
                os.close(descriptor)
        self._is_stopping = True
        for each in self._processes:
            each.stop(STOP, self._plan.stop_seconds)

    def _start(self) -> _Process | None:
        """Start a process; after a failure, pause before the next attempt."""
        try:
            process = _Process(self._plan)
        except OSError as error:  # no memory, or too many processes
            logger.error("no process could be started: %s", error.strerror)  # noqa: TRY400
            self._pause_starts(2 * self._pause)
            return None
        self._selector.register(process.control, selectors.EVENT_READ, process)
        with self._changed:
            self._processes.append(process)
        return process

    def _pause_starts(self, seconds: float) -> None:
        self._pause = min(max(MIN_PAUSE_SECONDS, seconds), MAX_PAUSE_SECONDS)
        self._starts_at = time.monotonic() + self._pause

    def _remove(self, process: _Process) -> None:
        """Remove an ended process; decide on a replacement, or give up."""
        while process.control in self._selector.get_map():
            self._hear(process)
        process.control.close()
        with self._changed:
            self._processes.remove(process)
            self._departed.add(process.metrics, cumulative_only=True)
            self._changed.notify_all()
        if process.kill_at is not None or self._is_stopping:
            return
        self._deaths += 1
        logger.error("process %d ended unexpectedly: status=%d", process.pid, process.status)
        if not self._was_healthy:
            logger.error("no process is healthy: given up")
            # 2: its settings are wrong, and a repetition won't help.
            self._status = max(self._status, 2 if process.status == _WRONG_SETTINGS else 1)
            self._stop()
            return
        if process.is_healthy and process.age > STEADY_SECONDS:
            self._pause = 0.0
        else:
            self._pause_starts(MIN_PAUSE_SECONDS if process.is_healthy else 2 * self._pause)

    def _fill_up(self) -> None:
        """Start missing processes; kill a process that is not healthy in time."""
        for each in self._processes:
            if not each.is_healthy and each.kill_at is None and each.age > HEALTHY_SECONDS:
                logger.error("process %d is not healthy after %d s", each.pid, HEALTHY_SECONDS)
                each.signal(signal.SIGKILL)
        staying = [each for each in self._processes if each.kill_at is None]
        extra = self._replacing is not None and self._replacing[0] in staying
        if len(staying) < self._plan.processes + extra and time.monotonic() >= self._starts_at:
            self._start()

    def _replace(self) -> None:
        """Take the next step of a replacement of all processes, one by one."""
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
            logger.error("a new process was not healthy: the old ones stay")
            self._to_replace.clear()
            self._replacing = None
        elif new.is_healthy:
            old.stop(RETIRE, self._plan.stop_seconds)
            if old not in self._processes:
                self._replacing = None


def own_metrics(healthy: int, deaths: int) -> str:
    """Return the metrics of the supervisor itself."""
    return (
        "# HELP persona_processes Healthy processes.\n"
        "# TYPE persona_processes gauge\n"
        f"persona_processes {healthy}\n"
        "# HELP persona_process_deaths_total Processes that ended unexpectedly.\n"
        "# TYPE persona_process_deaths_total counter\n"
        f"persona_process_deaths_total {deaths}\n"
    )


def main() -> int:
    """Supervise the processes of the plan in the first argument; return the exit status."""
    forbid_dumps()  # the environment has settings
    plan = Plan(**json.loads(sys.argv[1]))
    logs.configure(plan.log_format, plan.log_level)
    for descriptor in plan.sockets:
        os.set_inheritable(descriptor, False)
    return Supervisor(plan).run()


if __name__ == "__main__":
    sys.exit(main())
