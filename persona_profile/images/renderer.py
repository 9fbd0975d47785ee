"""The way of an upload through the service: a place, a worker, its pixels, its output."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Final, Self, TypeVar

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, PictureOptions, Preview, Rendition, rejections
from persona_profile.images.admission import Admission
from persona_profile.images.workers.answers import (
    max_preview_bytes,
    max_rendition_bytes,
    max_renditions,
    read_failure,
    read_header,
    read_preview,
    read_rejection,
    read_renditions,
)
from persona_profile.images.workers.channel import MalformedMessage, Message
from persona_profile.images.workers.pool import NoWorker, WorkerPool
from persona_profile.images.workers.worker_process import WorkerProcess
from persona_profile.runtime.demand import Demand
from persona_profile.runtime.spans import span
from persona_profile.runtime.stats import EventCounter, PictureStats

# The decoder stumbled over the file. Any other end, as by the kernel for want of memory, is not the
# fault of the file.
_CRASHES: Final = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}

_MIN_PART: Final = 0.25
"""The part of the processor time that a header and the encoding of the smallest image may take."""

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders uploads and previews in worker processes, and counts them.

    Attributes:
        processor_seconds: processor time for an image of the most pixels; less for smaller images.
        deadline_seconds: time that a worker may take for one upload, from its start to the last byte.
        demand: of requests other than uploads; while it is quiet, workers use all cores.
        uploads: by format and outcome; see `Upload`.
        pixels: decoded pixels by format, including tiles and alpha planes.
        processor_time: processor seconds of workers.
    """

    options: PictureOptions
    admission: Admission
    workers: WorkerPool
    processor_seconds: int
    deadline_seconds: float
    demand: Demand = field(default_factory=Demand)
    uploads: EventCounter = field(default_factory=EventCounter)
    pixels: EventCounter = field(default_factory=EventCounter)
    processor_time: EventCounter = field(default_factory=lambda: EventCounter([()]))

    @property
    def max_concurrent(self) -> int:
        """The number of uploads that are rendered or wait; each holds a thread of the server."""
        return self.admission.max_concurrent

    def stats(self) -> PictureStats:
        """Return the present work."""
        return PictureStats(self.workers.size, *self.admission.stats())

    def upload(
        self, source: BinaryIO, crop: Crop | None = None, claimants: Sequence[Hashable] = ()
    ) -> Upload:
        """Return an upload that has not begun. Places are shared fairly between claimants."""
        return Upload(self, source, claimants, crop)

    def preview(self, source: BinaryIO, claimants: Sequence[Hashable] = ()) -> PreviewUpload:
        """Return an upload for a preview, which has not begun. It costs and counts like others."""
        return PreviewUpload(self, source, claimants)


class _Job:
    """The work for one upload; `with` gives back its place, its memory and its worker.

        with upload:
            pixels = upload.open()
            renditions = upload.render()

    The attributes are complete after the `with` block, however that ends.

    Attributes:
        format: one of `formats.FORMATS_IN`, or `unknown` until the header is read.
        outcome: `accepted` (of a preview `previewed`), the problem code of the rejection, or `failed`.
        processor_seconds: processor time of the worker.
    """

    _success: ClassVar[str]
    _worker: WorkerProcess
    _deadline: float
    _needed_bytes: int
    _pixels: int

    def __init__(
        self,
        renderer: Renderer,
        source: BinaryIO,
        claimants: Sequence[Hashable],
        crop: Crop | None = None,
    ) -> None:
        self.format = "unknown"
        self.outcome = "failed"
        self.processor_seconds = 0.0
        self._renderer = renderer
        self._source = source
        self._crop = crop
        self._claimants = claimants
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._held.close()
        if error is None:
            self.outcome = self._success
        elif isinstance(error, ServiceError):
            self.outcome = error.code
        self._renderer.uploads.count(self.format, self.outcome)
        self._renderer.processor_time.count(amount=self.processor_seconds)

    def open(self) -> int:
        """Wait for a place, have the header read, wait for memory; return the pixels to decode.

        Raises:
            UnsupportedMediaType, UnprocessablePicture: the file is rejected; see `rejections`.
            Overloaded: too many uploads are in progress.
        """
        with span("picture.open") as found:
            self._open()
            found.set("picture.format", self.format)
            found.set("picture.pixels", self._pixels)
        return self._pixels

    def _open(self) -> None:
        admission, options = self._renderer.admission, self._renderer.options
        until = self._held.enter_context(admission.place(self._claimants))
        descriptor = self._held.enter_context(_descriptor(self._source))
        self._begin(descriptor)
        with self._failures_explained():
            document, _ = self._receive()
            if "needs" not in document:
                raise self._rejection(document)
            self.format, self._needed_bytes, self._pixels = read_header(document, options.limits)
        self._held.enter_context(admission.memory(self._needed_bytes, until))

    def _rendered(
        self,
        member: str,
        read: Callable[[Any, Sequence[bytes]], _T],
        *,
        max_blobs: int,
        max_blob_bytes: int,
    ) -> _T:
        """Return the output that `read` makes of a member of the worker's answer, and of its blobs."""
        limits = self._renderer.options.limits
        most = limits.max_pixels_jpeg if self.format == "jpeg" else limits.max_pixels_other
        self._renderer.pixels.count(self.format, amount=self._pixels)
        with span("picture.render"), self._failures_explained():
            seconds = self._seconds_for(self._pixels / most)
            self._worker.limit(self._needed_bytes, seconds, self._deadline)
            self._worker.channel.send({"go": True})
            document, blobs = self._receive(max_blobs, max_blob_bytes)
            if member not in document:
                raise self._rejection(document)
            return read(document[member], blobs)

    def _begin(self, descriptor: int) -> None:
        """Have a worker read the header of a file."""
        try:
            self._worker = self._renderer.workers.take()
        except NoWorker:
            raise self._renderer.admission.overload() from None
        self._held.callback(self._end)
        self._deadline = time.monotonic() + self._renderer.deadline_seconds
        job = {
            "options": self._renderer.options.as_json(),
            "preview": isinstance(self, PreviewUpload),
            "crop": self._crop and self._crop.as_json(),
            "processor_seconds": self._renderer.processor_seconds,
            "header_seconds": self._seconds_for(0),
        }
        self._follow_demand()
        with self._failures_explained():
            self._worker.begin(job, descriptor)

    def _receive(self, max_blobs: int = 0, max_blob_bytes: int = 0) -> Message:
        """Return the worker's next message. Meanwhile its cores follow the demand."""
        return self._worker.channel.receive(
            self._deadline,
            max_blobs=max_blobs,
            max_blob_bytes=max_blob_bytes,
            meanwhile=self._follow_demand,
        )

    def _follow_demand(self) -> None:
        """Let the worker use all cores exactly while there are no other requests."""
        self._worker.use_all_cores(allowed=self._renderer.demand.is_quiet)

    def _end(self) -> None:
        self._worker.finish()
        self.processor_seconds = self._worker.processor_seconds
        self._renderer.workers.give_back(self._worker)

    def _seconds_for(self, part: float) -> int:
        """Return the processor time for a part of the most pixels."""
        return math.ceil(
            self._renderer.processor_seconds * (_MIN_PART + (1 - _MIN_PART) * min(1.0, part))
        )

    def _rejection(self, document: dict[str, Any]) -> ServiceError:
        """Return the error that a worker has reported."""
        if "failed" not in document:
            return read_rejection(document)
        logger.error("mistake in a picture worker: %s", read_failure(document))
        return self._renderer.admission.overload()

    @contextlib.contextmanager
    def _failures_explained(self) -> Iterator[None]:
        """Turn the failure of a worker into the error of its upload, by the way in which it ended."""
        try:
            yield
        except (EOFError, ConnectionError):  # the worker ended by itself
            status = self._worker.finish()
            logger.warning("a picture worker ended: status=%d", status)
            if -status == signal.SIGXCPU:
                raise rejections.too_complex() from None
            if -status in _CRASHES:
                raise rejections.broken() from None
            raise self._renderer.admission.overload() from None
        except (MalformedMessage, OSError) as failure:
            self._worker.finish()
            logger.warning("a picture worker was ended: %s", type(failure).__name__)
            raise self._renderer.admission.overload() from None


class Upload(_Job):
    """The rendering of one upload."""

    _success = "accepted"

    def render(self) -> tuple[Rendition, ...]:
        """Return the renditions; raise the errors of `open`."""
        options = self._renderer.options
        return self._rendered(
            "renditions",
            lambda made, blobs: read_renditions(made, blobs, options),
            max_blobs=max_renditions(options),
            max_blob_bytes=max_rendition_bytes(options),
        )


class PreviewUpload(_Job):
    """The rendering of a preview."""

    _success = "previewed"

    def render(self) -> Preview:
        """Return the preview; raise the errors of `open`."""
        return self._rendered("preview", read_preview, max_blobs=1, max_blob_bytes=max_preview_bytes())


@contextlib.contextmanager
def _descriptor(source: BinaryIO) -> Iterator[int]:
    """Yield the descriptor of a file. A file in Python's memory is copied to one in the kernel's."""
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
