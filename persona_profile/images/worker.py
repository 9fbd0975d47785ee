"""A worker: a process that renders one picture, confined before it reads the first byte of the file.

`fork_server` forks it for the picture; nothing of it is left when the next one is rendered.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import traceback
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, PictureOptions
from persona_profile.images.channel import Channel
from persona_profile.images.confinement import Confinement
from persona_profile.images.pipeline import cut_squares, encode_squares, open_picture
from persona_profile.images.rejections import too_complex
from persona_profile.runtime.dumps import PR_SET_PDEATHSIG, forbid_dumps, prctl

MAX_FILES: Final = 32
"""Descriptors of a worker, and of the process that forks it."""


def work(
    job: dict[str, Any],
    connection: socket.socket,
    picture: int,
    confinement: Confinement,
    address_space_bytes: int,
    parent: int,
) -> NoReturn:
    """Do a job in a process that was forked for it, and end the process.

    Args:
        job: `options`, `crop`, `processor_seconds` and `header_seconds`, as the service sent it.
        connection: to the service.
        picture: descriptor of the file.
        confinement: to be entered.
        address_space_bytes: the limit until the header is read; the fork server then sets another.
        parent: the process id of the fork server, with which this process ends.
    """
    status = 1
    try:
        _leave(parent, {connection.fileno(), picture})
        resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
        # The fork server can raise the soft limit later, and the hard one never.
        _, most = processor_limits(job["processor_seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (job["header_seconds"], most))
        options = PictureOptions.from_json(job["options"])
        crop = Crop(*job["crop"]) if job["crop"] else None
        source = os.fdopen(picture, "rb")  # looks at the descriptor, which is not possible later
        confinement.enter()
        _answer(Channel(connection), source, crop, options)
        status = 0
    finally:
        os._exit(status)


def processor_limits(seconds: int) -> tuple[int, int]:
    """Return limits: at the first a worker ends by SIGXCPU; if it catches that, at the second."""
    return seconds, seconds + 1


def _leave(parent: int, kept: set[int]) -> None:
    """Give up what was inherited, but for the standard descriptors, which lead nowhere."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
    forbid_dumps()
    for descriptor in range(3, MAX_FILES):
        if descriptor not in kept:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _answer(channel: Channel, source: BinaryIO, crop: Crop | None, options: PictureOptions) -> None:
    """Report the header of a file; once the service has memory for the image, send the renditions."""
    try:
        source.seek(0)
        opened = open_picture(source, crop, options)
        needed, pixels = opened.bytes_needed, opened.pixels
        channel.send({"needs": needed, "format": opened.format, "pixels": pixels})
        channel.receive()
        renditions = encode_squares(cut_squares(opened, crop, options), options.encoding)
    except EOFError:  # the service rejects the upload
        return
    except (ServiceError, MemoryError) as error:
        rejection = error if isinstance(error, ServiceError) else too_complex()
        report = {"code": rejection.code, "detail": rejection.detail, "members": rejection.members}
        channel.send({"rejected": report})
    except Exception as error:  # noqa: BLE001 - a mistake of ours costs this upload alone
        channel.send({"failed": _place_of(error)})
    else:
        made = [[each.size, each.format] for each in renditions]
        channel.send({"renditions": made}, [each.data for each in renditions])


def _place_of(error: Exception) -> str:
    """Return where a mistake happened, without any value and without a look at source files."""
    frames = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} at {' < '.join(reversed(frames[-6:]))}"
