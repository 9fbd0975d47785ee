"""Worker processes, kept between uploads: a hostile file can kill its worker, not the service."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Final

from persona_profile.images.workers.channel import MalformedMessage
from persona_profile.images.workers.worker_process import WorkerProcess

CHECK_SECONDS: Final = 2.5
"""The time limit of a health check; a worker starts in some tenths of a second."""

START_SECONDS: Final = 20.0
"""The time limit of a start on a busy machine."""

logger = logging.getLogger(__name__)


class NoWorker(Exception):
    """No worker can be started; the log has the reason."""


class WorkerPool:
    """Starts workers when they are first needed, and keeps idle ones: `max_idle` of a health check."""

    def __init__(
        self, max_idle: int, start_worker: Callable[[], WorkerProcess] = WorkerProcess
    ) -> None:
        self._max_idle = max_idle
        self._start_worker = start_worker
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._closed = False
        self._confinement: Mapping[str, str] = {}
        # At exit, and for a program that forgets to close.
        self._finalizer = weakref.finalize(self, _end_all, self._all)

    @property
    def size(self) -> int:
        """The number of running workers."""
        with self._lock:
            return len(self._all)

    @property
    def confinement(self) -> Mapping[str, str]:
        """The result of the workers' `Confinement.enter`; empty until the first worker has started."""
        with self._lock:
            return self._confinement

    def check(self) -> None:
        """Return if a worker answers, or all are busy.

        Raises:
            NoWorker, OSError, TimeoutError, EOFError, MalformedMessage: no worker is available.
        """
        with self._lock:
            if self._all and not self._idle:
                return
        worker = self.take()
        try:
            self._note_confinement(worker.ping(time.monotonic() + CHECK_SECONDS))
        except BaseException:
            self._end(worker)
            raise
        with self._lock:
            if len(self._idle) < self._max_idle:
                self._idle.append(worker)
                return
        self._end(worker)

    def take(self) -> WorkerProcess:
        """Return an idle worker, or a new one; raise `NoWorker` if none can be started."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.end()
                self._all.discard(worker)
        return self._started()

    def give_back(self, worker: WorkerProcess) -> None:
        """Keep a worker for the next upload, if it is alive."""
        if not worker.is_alive():
            self._end(worker)
            return
        with self._lock:
            self._idle.append(worker)

    def close(self) -> None:
        """End all workers; uploads in progress are rejected."""
        with self._lock:
            self._closed = True
        self._finalizer()

    def _started(self) -> WorkerProcess:
        try:
            worker = self._start_worker()
        except OSError as error:
            logger.error(  # noqa: TRY400 - the reason is the system's
                "no picture worker could be started: %s", error.strerror
            )
            raise NoWorker from None
        with self._lock:
            is_late = self._closed
            if not is_late:
                self._all.add(worker)
        if is_late:
            worker.end()
            raise NoWorker
        try:
            self._note_confinement(worker.ping(time.monotonic() + START_SECONDS))
        except (EOFError, MalformedMessage, OSError) as error:
            logger.error("no picture worker could be started: %s", type(error).__name__)  # noqa: TRY400
            self._end(worker)
            raise NoWorker from None
        return worker

    def _end(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()

    def _note_confinement(self, found: Mapping[str, str]) -> None:
        """Keep the state of the workers' confinement; log a change for the worse."""
        with self._lock:
            is_known, self._confinement = found == self._confinement, found
        missing = [f"{part} ({state})" for part, state in found.items() if state != "ok"]
        if missing and not is_known:
            logger.warning("picture workers are confined without %s", " and without ".join(missing))


def _end_all(workers: set[WorkerProcess]) -> None:
    for worker in tuple(workers):
        worker.end()
