"""Renders pictures in worker processes: a hostile file can kill its worker, not the service."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from persona_profile.errors import (
    Overloaded,
    RateLimited,
    ServiceError,
    UnprocessablePicture,
    UnsupportedMediaType,
)
from persona_profile.images import (
    Account,
    Crop,
    PictureOptions,
    Rendition,
)
from persona_profile.images.admission import Admission
from persona_profile.images.answers import (
    max_rendition_bytes,
    max_renditions,
    read_failure,
    read_header,
    read_refusal,
    read_renditions,
)
from persona_profile.images.channel import MalformedMessage
from persona_profile.images.worker_process import WorkerProcess
from persona_profile.runtime.stats import EventCounter, PictureStats

CHECK_SECONDS: Final = 2.5
"""How long a worker may take to say that it is there; to start one takes some tenths of a second."""

START_SECONDS: Final = 20.0
"""How long one may take to start on a machine that is busy with other things."""

# The decoder stumbled over the file; any other end, such as the kernel's for want of memory, is not the
# file's fault.
_CRASHES: Final = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}

_MIN_PART: Final = 0.25
"""Of the processor time of the largest picture, for a header and for encoding the smallest picture."""

logger = logging.getLogger(__name__)


class WorkerRenderer:
    """Renders in worker processes, which are started when they are first needed.

    Args:
        options: what is decoded and made.
        admission: which uploads may begin; it has as many places as there are workers at most.
        processor_seconds: processor time that a picture of the most pixels may take; less for others.
        deadline_seconds: time that one picture may take, from the place to the last byte.
        start_worker: starts a process that forks workers.

    Attributes:
        uploads: counts uploads by format and outcome. The format is one of `formats.FORMATS_IN`, or
            `unknown`; the outcome is `taken`, or the problem code of the rejection.
        pixels: counts decoded pixels by format, including tiles and alpha planes.
        processor_time: counts the processor seconds of workers.
    """

    def __init__(
        self,
        options: PictureOptions,
        admission: Admission,
        *,
        processor_seconds: int,
        deadline_seconds: float,
        start_worker: Callable[[], WorkerProcess] = WorkerProcess,
    ) -> None:
        self._options = options
        self._admission = admission
        self._processor_seconds = processor_seconds
        self._deadline = deadline_seconds
        self._start_worker = start_worker
        self.uploads, self.pixels = EventCounter(), EventCounter()
        self.processor_time = EventCounter([()])
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._closed = False
        self._confinement: Mapping[str, str] = {}
        # For those who forget to close, and at exit.
        self._finalizer = weakref.finalize(self, _end_all, self._all)

    @property
    def most_at_once(self) -> int:
        """How many uploads are worked on or wait."""
        return self._admission.most_at_once

    def figures(self) -> PictureStats:
        """Return what is under way now."""
        with self._lock:
            workers = len(self._all)
        return PictureStats(workers, *self._admission.figures())

    def confinement(self) -> Mapping[str, str]:
        """Return which parts of the workers' confinement the system has. See `images.Renderer`."""
        with self._lock:
            return self._confinement

    def check(self) -> None:
        """Return if a worker answers, or all are at work.

        Raises:
            Overloaded, OSError, TimeoutError, EOFError, MalformedMessage: no worker can be had.
        """
        with self._lock:
            if self._all and not self._idle:
                return
        worker = self._take()
        try:
            self._note_confinement(worker.ping(time.monotonic() + CHECK_SECONDS))
        except BaseException:
            self._end(worker)
            raise
        with self._lock:
            if len(self._idle) < self._admission.places:
                self._idle.append(worker)
                return
        self._end(worker)

    def render(self, source: BinaryIO, crop: Crop | None, account: Account) -> tuple[Rendition, ...]:
        """Return the renditions of a picture. See `images.Renderer`."""
        upload = _Upload(account)
        try:
            renditions = self._render(source, crop, upload)
            upload.outcome = "taken"
        except ServiceError as error:
            upload.outcome = error.code
            raise
        finally:
            self.uploads.count(upload.format, upload.outcome)
            self.pixels.count(upload.format, amount=upload.pixels)
            self.processor_time.count(amount=upload.processor_seconds)
            account.charge_time(upload.processor_seconds)
        return renditions

    def _render(self, source: BinaryIO, crop: Crop | None, upload: _Upload) -> tuple[Rendition, ...]:
        claimants = upload.account.claimants
        with self._admission.place(claimants) as until, _descriptor(source) as descriptor:
            worker = self._take()
            failure = None
            try:
                answer = self._converse(worker, descriptor, crop, until, upload)
            except (EOFError, MalformedMessage, OSError) as error:
                failure = error
            finally:
                status = worker.finish()
                upload.processor_seconds = worker.processor_seconds
                self._give_back(worker)
            if failure is not None:
                raise self._explained(failure, status)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End all workers; what they are at is refused."""
        with self._lock:
            self._closed = True
        self._finalizer()

    def _converse(
        self, worker: WorkerProcess, descriptor: int, crop: Crop | None, until: float, upload: _Upload
    ) -> tuple[Rendition, ...] | Exception:
        """Have a worker render a picture; return the renditions, or why there are none."""
        deadline = time.monotonic() + self._deadline
        job = {
            "options": self._options.as_json(),
            "crop": crop and [crop.x, crop.y, crop.side],
            "processor_seconds": self._processor_seconds,
            "header_seconds": self._seconds_for(0, 1),
        }
        worker.begin(job, descriptor)
        document, _ = worker.channel.receive(deadline)
        if "needs" not in document:
            return self._outcome(document, [])
        upload.format, needed, pixels = read_header(document, self._options.limits)
        try:
            with self._admission.memory(needed, until):
                limits = self._options.limits
                most = limits.max_pixels_jpeg if upload.format == "jpeg" else limits.max_pixels_other
                upload.account.charge_pixels(pixels)  # last: nobody pays for what is not decoded
                upload.pixels = pixels
                worker.limit(needed, self._seconds_for(pixels, most), deadline)
                worker.channel.send({"go": True})
                return self._outcome(
                    *worker.channel.receive(
                        deadline,
                        max_blobs=max_renditions(self._options),
                        max_blob_bytes=max_rendition_bytes(self._options),
                    )
                )
        except (Overloaded, RateLimited) as refusal:
            return refusal

    def _seconds_for(self, pixels: int, most: int) -> int:
        """Return the processor time that so many pixels may take, of as many as are decoded at most."""
        part = _MIN_PART + (1 - _MIN_PART) * min(1.0, pixels / most)
        return math.ceil(self._processor_seconds * part)

    def _outcome(
        self, document: dict[str, Any], blobs: list[bytes]
    ) -> tuple[Rendition, ...] | Exception:
        """Read a worker's last word on a picture.

        Raises:
            MalformedMessage: it is none.
        """
        if "renditions" in document:
            return read_renditions(document["renditions"], blobs, self._options)
        if "failed" in document:
            logger.error("mistake in a picture worker: %s", read_failure(document))
            return self._admission.refusal()
        refused = read_refusal(document)
        if refused.code == "unsupported_media_type":
            return UnsupportedMediaType(refused.detail)
        return UnprocessablePicture(refused.code, refused.detail, **refused.members)

    def _take(self) -> WorkerProcess:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.end()
                self._all.discard(worker)
        try:
            worker = self._start_worker()
        except OSError as error:
            logger.error(  # noqa: TRY400 - the reason is the system's
                "no picture worker could be started: %s", error.strerror
            )
            raise self._admission.refusal() from None
        with self._lock:
            is_late = self._closed
            if not is_late:
                self._all.add(worker)
        if is_late:
            worker.end()
            raise self._admission.refusal()
        try:
            self._note_confinement(worker.ping(time.monotonic() + START_SECONDS))
        except (EOFError, MalformedMessage, OSError) as error:
            logger.error("no picture worker could be started: %s", type(error).__name__)  # noqa: TRY400
            self._end(worker)
            raise self._admission.refusal() from None
        return worker

    def _give_back(self, worker: WorkerProcess) -> None:
        if not worker.is_alive():
            self._end(worker)
            return
        with self._lock:
            self._idle.append(worker)

    def _end(self, worker: WorkerProcess) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()

    def _note_confinement(self, found: Mapping[str, str]) -> None:
        """Keep which parts of the workers' confinement the system has; log a change for the worse."""
        with self._lock:
            is_known, self._confinement = found == self._confinement, found
        missing = [f"{part} ({state})" for part, state in found.items() if state != "ok"]
        if missing and not is_known:
            logger.warning("picture workers are confined without %s", " and without ".join(missing))

    def _explained(self, failure: Exception, status: int) -> Exception:
        """Return the error for an upload, from why the conversation broke and how the worker ended.

        Args:
            failure: `EOFError` or `ConnectionError` if the worker ended by itself.
            status: minus the signal, or the exit status.
        """
        if not isinstance(failure, (EOFError, ConnectionError)):
            logger.warning("a picture worker was ended: %s", type(failure).__name__)
            return self._admission.refusal()
        logger.warning("a picture worker ended: status=%d", status)
        if -status == signal.SIGXCPU:
            return UnprocessablePicture(
                "picture_too_complex", "The picture takes too much time to decode."
            )
        if -status in _CRASHES:
            return UnprocessablePicture("picture_broken", "The file is damaged or not complete.")
        return self._admission.refusal()


@dataclass(slots=True)
class _Upload:
    """What becomes known of an upload while it is worked on."""

    account: Account
    format: str = "unknown"
    outcome: str = "failed"
    pixels: int = 0
    processor_seconds: float = 0.0


def _end_all(workers: set[WorkerProcess]) -> None:
    for worker in tuple(workers):
        worker.end()


@contextlib.contextmanager
def _descriptor(source: BinaryIO) -> Iterator[int]:
    """Yield a descriptor of a file; one in memory is copied to a file that is in memory too."""
    try:
        number = source.fileno()
    except (AttributeError, io.UnsupportedOperation):
        number = os.memfd_create("picture", os.MFD_CLOEXEC)
        with os.fdopen(number, "wb") as copy:
            copy.write(source.read())
            copy.flush()
            yield number
    else:
        source.flush()
        yield number
