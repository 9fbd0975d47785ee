"""A worker: a process that renders an image or its preview, confined before it reads the first byte.

`fork_server` forks a new worker for each image.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import traceback
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, PictureOptions
from persona_profile.images.decoding import OpenedImage
from persona_profile.images.pipeline import (
    cut_squares,
    encode_squares,
    make_preview,
    open_image,
    open_whole,
)
from persona_profile.images.rejections import too_complex
from persona_profile.images.workers.channel import Channel, Message
from persona_profile.images.workers.confinement import Confinement
from persona_profile.runtime.dumps import PR_SET_PDEATHSIG, forbid_dumps, prctl

MAX_FILES: Final = 32
"""Descriptors of a worker, and of the process that forks it."""


def work(
    job: dict[str, Any],
    connection: socket.socket,
    file: int,
    confinement: Confinement,
    address_space_bytes: int,
    parent: int,
) -> NoReturn:
    """Do a job in a process that was forked for it, and end the process.

    Args:
        job: see `WorkerProcess.begin`.
        connection: to the service.
        file: descriptor of the upload.
        confinement: of this process.
        address_space_bytes: the limit until the header is read; then the fork server sets another.
        parent: the process id of the fork server; this process ends with it.
    """
    status = 1
    try:
        _detach(parent, {connection.fileno(), file})
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
        # The fork server can raise the soft limit later, but not the hard limit.
        _, hard = processor_limits(job["processor_seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (job["header_seconds"], hard))
        options = PictureOptions.from_json(job["options"])
        crop = Crop.from_json(job["crop"]) if job["crop"] else None
        output = _Preview(options) if job.get("preview") else _Renditions(crop, options)
        source = os.fdopen(file, "rb")  # makes system calls that the confinement forbids
        confinement.enter()
        _answer(Channel(connection), source, output)
        status = 0
    finally:
        os._exit(status)


def processor_limits(seconds: int) -> tuple[int, int]:
    """Return the soft limit, which sends SIGXCPU, and the hard limit, which kills."""
    return seconds, seconds + 1


def _detach(parent: int, kept: set[int]) -> None:
    """Close the inherited descriptors, except the standard ones, which lead nowhere."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent had ended already
        os._exit(1)
    forbid_dumps()
    for descriptor in range(3, MAX_FILES):
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)


class _Renditions(NamedTuple):
    """An output: squares in all sizes and formats."""

    crop: Crop | None
    options: PictureOptions

    def open(self, source: BinaryIO) -> OpenedImage:
        return open_image(source, self.crop, self.options)

    def make(self, opened: OpenedImage) -> Message:
        renditions = encode_squares(cut_squares(opened, self.crop, self.options), self.options.encoding)
        made = [[each.size, each.format] for each in renditions]
        return {"renditions": made}, [each.data for each in renditions]


class _Preview(NamedTuple):
    """An output: the whole image."""

    options: PictureOptions

    def open(self, source: BinaryIO) -> OpenedImage:
        return open_whole(source, self.options)

    def make(self, opened: OpenedImage) -> Message:
        preview = make_preview(opened, self.options)
        return {"preview": preview.format}, [preview.data]


def _answer(channel: Channel, source: BinaryIO, output: _Renditions | _Preview) -> None:
    """Report the header of a file; once the service has memory for the image, send the output."""
    try:
        source.seek(0)
        opened = output.open(source)
        needed, pixels = opened.bytes_needed, opened.pixels
        channel.send({"needs": needed, "format": opened.format, "pixels": pixels})
        channel.receive()
        answer = output.make(opened)
    except EOFError:  # the service rejects the upload
        return
    except (ServiceError, MemoryError) as error:
        rejection = error if isinstance(error, ServiceError) else too_complex()
        report = {"code": rejection.code, "detail": rejection.detail, "members": rejection.members}
        channel.send({"rejected": report})
    except Exception as error:  # noqa: BLE001 - a programming error fails one upload
        channel.send({"failed": _place_of(error)})
    else:
        channel.send(*answer)


def _place_of(error: Exception) -> str:
    """Return the place of an error: no values, and no lines of source files, which it can't open."""
    frames = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} at {' < '.join(reversed(frames[-6:]))}"
