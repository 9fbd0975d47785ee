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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from persona_profile.errors import (
    Overloaded,
    RateLimited,
    ServiceError,
    UnprocessablePicture,
    UnsupportedMediaType,
)
from persona_profile.formats import FORMATS_IN
from persona_profile.images import (
    FORMATS,
    Account,
    Crop,
    PictureFigures,
    PictureOptions,
    Rendition,
    UploadFigures,
)
from persona_profile.images.admission import Admission
from persona_profile.images.channel import MalformedMessage
from persona_profile.images.worker_process import WorkerProcess

CHECK_SECONDS: Final = 2.5
"""How long a worker may take to say that it is there; to start one takes some tenths of a second."""

# The decoder stumbled over the file; any other end, such as the kernel's for want of memory, is not the
# file's fault.
_CRASHES: Final = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}

_LEAST_PART: Final = 0.25
"""Of the processor time of the largest picture, for a header and for encoding the smallest picture."""

_REFUSALS: Final = {
    "picture_broken",
    "picture_too_many_pixels",
    "picture_too_complex",
    "crop_outside_picture",
}

logger = logging.getLogger(__name__)


class WorkerRenderer:
    """Renders in worker processes, which are started when they are first needed.

    Args:
        options: what is decoded and made.
        admission: which uploads may begin; it has as many places as there are workers at most.
        processor_seconds: processor time that a picture of the most pixels may take; less for others.
        deadline_seconds: time that one picture may take, from the place to the last byte.
        jobs_of_a_worker: after so many it is replaced: what native libraries leak stays small.
        observe: is told of each upload.
    """

    def __init__(
        self,
        options: PictureOptions,
        admission: Admission,
        *,
        processor_seconds: int,
        deadline_seconds: float,
        jobs_of_a_worker: int = 200,
        observe: Callable[[UploadFigures], None] = lambda _figures: None,
    ) -> None:
        self._options = options
        self._admission = admission
        self._processor_seconds = processor_seconds
        self._deadline = deadline_seconds
        self._jobs_of_a_worker = jobs_of_a_worker
        self._observe = observe
        self._start_seconds = 0.0
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._closed = False
        # For those who forget to close, and at exit.
        self._finalizer = weakref.finalize(self, _end_all, self._all)

    @property
    def most_at_once(self) -> int:
        """How many uploads are worked on or wait."""
        return self._admission.most_at_once

    def figures(self) -> PictureFigures:
        """Return what is under way now."""
        with self._lock:
            workers = len(self._all)
        return PictureFigures(workers, *self._admission.figures())

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
            worker.ping(time.monotonic() + CHECK_SECONDS)
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
            self._observe(upload.figures())
            account.charge_time(upload.processor_seconds)
        return renditions

    def _render(self, source: BinaryIO, crop: Crop | None, upload: _Upload) -> tuple[Rendition, ...]:
        claimants = upload.account.claimants
        with self._admission.place(claimants) as until, _descriptor(source) as descriptor:
            worker = self._take()
            try:
                answer = self._converse(worker, descriptor, crop, until, upload)
            except BaseException as error:
                ended = self._end(worker)
                # The start of its successor is the work of this upload too.
                upload.processor_seconds = worker.new_processor_seconds + self._start_seconds
                if isinstance(error, EOFError):
                    raise self._explained(ended) from None
                if isinstance(error, (TimeoutError, MalformedMessage, OSError)):
                    logger.warning("a picture worker was ended: %s", type(error).__name__)
                    raise self._admission.refusal() from None
                raise
            upload.processor_seconds = worker.measure()
            self._give_back(worker)
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
        if not worker.jobs:
            worker.ping(deadline)
            self._start_seconds = worker.measure()  # nobody is charged for it
        job = {
            "options": self._options.as_json(),
            "crop": crop and [crop.x, crop.y, crop.side],
            "processor_seconds": self._seconds_for(0, 1),
        }
        worker.channel.send(job, descriptor=descriptor)
        document, blobs = worker.channel.receive(deadline)
        if "needs" not in document:
            return self._outcome(document, blobs)
        needed, pixels = upload.read(document)
        try:
            with self._admission.memory(needed, until):
                limits = self._options.limits
                most = limits.max_pixels_jpeg if upload.format == "jpeg" else limits.max_pixels_other
                # Last, so that nobody pays for pixels that are not decoded.
                upload.account.charge_pixels(min(pixels, most))
                upload.pixels = pixels
                seconds = self._seconds_for(pixels, most)
                worker.channel.send({"go": True, "processor_seconds": seconds})
                return self._outcome(*worker.channel.receive(deadline))
        except (Overloaded, RateLimited) as refusal:
            worker.channel.send({"go": False})
            return refusal

    def _seconds_for(self, pixels: int, most: int) -> int:
        """Return the processor time that so many pixels may take, of as many as are decoded at most."""
        part = _LEAST_PART + (1 - _LEAST_PART) * min(1.0, pixels / most)
        return math.ceil(self._processor_seconds * part)

    def _outcome(
        self, document: dict[str, Any], blobs: list[bytes]
    ) -> tuple[Rendition, ...] | Exception:
        """Read a worker's last word on a picture.

        Raises:
            MalformedMessage: it is none.
        """
        try:
            if "renditions" in document:
                return self._renditions(document["renditions"], blobs)
            if "failed" in document:
                logger.error("mistake in a picture worker: %.500s", document["failed"])
                return self._admission.refusal()
            refused = document["refused"]
            code, detail = str(refused["code"]), str(refused["detail"])
            members = {str(name): int(value) for name, value in refused["members"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise MalformedMessage from None
        if code == "unsupported_media_type":
            return UnsupportedMediaType(detail)
        if code not in _REFUSALS:
            raise MalformedMessage
        return UnprocessablePicture(code, detail, **members)

    def _renditions(self, made: Any, blobs: list[bytes]) -> tuple[Rendition, ...]:
        renditions = tuple(
            Rendition(size, name, data) for (size, name), data in zip(made, blobs, strict=True)
        )
        for each in renditions:
            if each.size not in self._options.sizes or each.format not in FORMATS:
                raise MalformedMessage
        return renditions

    def _take(self) -> WorkerProcess:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.end()
                self._all.discard(worker)
        try:
            worker = WorkerProcess()
        except OSError as error:
            logger.error(  # noqa: TRY400 - the reason is the system's
                "no picture worker could be started: %s", error.strerror
            )
            raise self._admission.refusal() from None
        with self._lock:
            if not self._closed:
                self._all.add(worker)
                return worker
        worker.end()
        raise self._admission.refusal()

    def _give_back(self, worker: WorkerProcess) -> None:
        worker.jobs += 1
        if worker.jobs >= self._jobs_of_a_worker:
            self._end(worker)
            return
        with self._lock:
            self._idle.append(worker)

    def _end(self, worker: WorkerProcess) -> int:
        with self._lock:
            self._all.discard(worker)
        return worker.end()

    def _explained(self, status: int) -> Exception:
        """Return the error for a worker that ended by itself; minus the signal, or its exit status."""
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
    """What becomes known of an upload while it is worked on. See `UploadFigures`."""

    account: Account
    format: str = "unknown"
    outcome: str = "failed"
    pixels: int = 0
    processor_seconds: float = 0.0

    def read(self, document: dict[str, Any]) -> tuple[int, int]:
        """Take what a worker found out from the header; return bytes of memory needed, and pixels.

        Raises:
            MalformedMessage: it is nothing that a worker says.
        """
        needed, pixels = document["needs"], document.get("pixels")
        if type(needed) is not int or type(pixels) is not int or needed < 0 or pixels < 1:
            raise MalformedMessage
        if document.get("format") not in FORMATS_IN:
            raise MalformedMessage
        self.format = document["format"]
        return needed, pixels

    def figures(self) -> UploadFigures:
        """Return what is known at last."""
        return UploadFigures(self.format, self.outcome, self.pixels, self.processor_seconds)


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
