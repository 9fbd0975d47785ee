"""A worker process: renders one picture after the other, within limits that are set before the first.

Started by `pool` as `python -m persona_profile.images.worker` with one end of a socket as its standard
input. It ends when the other end is closed, so also when the service was killed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Any, Final

import pillow_heif
from PIL import AvifImagePlugin, Image

from persona_profile.images import Crop, PictureOptions, PictureRefused
from persona_profile.images.channel import Channel
from persona_profile.images.decoding import OpenedPicture
from persona_profile.images.pipeline import render_picture
from persona_profile.images.refusals import too_complex

NICENESS: Final = 10
"""Others on the machine, the service above all, go first; yet no worker starves."""

_MOST_FILES: Final = 32
_KILLED_FIRST: Final = "500"
"""Where memory is short in spite of all, the kernel takes a worker rather than the service."""

_SPARE_BYTES: Final = 192 * 1024 * 1024
"""Address space beyond a picture's own need: encoders, the allocator's reserves."""

_SPARE_PART: Final = 0.3
"""Decoders reserve more than they touch."""


def main() -> None:
    """Serve until the other side hangs up."""
    connection = socket.socket(fileno=os.dup(0))
    _confine()
    _end_with(connection)
    _close_decoders()
    channel = Channel(connection)
    while True:
        try:
            job, descriptor = channel.receive_with_descriptor()
        except EOFError:
            return
        _answer(channel, job, descriptor)


def _confine() -> None:
    for what, most in (
        (resource.RLIMIT_CORE, 0),  # a core would hold somebody's picture
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        resource.setrlimit(what, (most, most))
    # The service ends its workers itself; a signal to the group would cost an upload under way.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    _leave_a_core()
    # Not through a buffer of Python's, as files of any length are already forbidden.
    adjustment = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(adjustment, _KILLED_FIRST.encode())
    os.close(adjustment)


def _leave_a_core() -> None:
    """Keep off one core, if there are several: priorities alone let sign-in wait for milliseconds."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        with contextlib.suppress(OSError):  # where it is forbidden, the priority must do
            os.sched_setaffinity(0, cores[1:])


def _end_with(connection: socket.socket) -> None:
    """End the process when the other side is gone, even amid a picture."""

    def watch() -> None:
        hangup = select.poll()
        hangup.register(connection, 0)  # no event but the one that is always reported
        hangup.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _close_decoders() -> None:
    """Leave no decoder that a file could choose by its content, and no threads to the others."""
    Image.preinit()
    Image.OPEN.clear()
    Image.ID.clear()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1


def _answer(channel: Channel, job: dict[str, Any], descriptor: int) -> None:
    """Render the picture of a file and send what came of it, or just answer."""
    if "ping" in job:
        os.close(descriptor)
        channel.send({"pong": True})
        return
    options = PictureOptions.from_json(job["options"])
    crop = Crop(*job["crop"]) if job["crop"] else None

    def admit(opened: OpenedPicture) -> None:
        needed = opened.bytes_needed
        channel.send({"needs": needed, "format": opened.format, "pixels": opened.pixels})
        answer, _ = channel.receive()
        if not answer["go"]:
            raise _Withdrawn
        _limit_processor_time(answer["processor_seconds"])
        _limit_memory(needed)

    _limit_processor_time(job["processor_seconds"])
    _limit_memory(options.limits.memory)
    try:
        with os.fdopen(descriptor, "rb") as source:
            source.seek(0)
            renditions = render_picture(source, crop, options, admit)
    except _Withdrawn:
        return
    except (PictureRefused, MemoryError) as error:
        refusal = error if isinstance(error, PictureRefused) else too_complex()
        told = {"code": refusal.code, "detail": refusal.detail, "members": refusal.members}
        channel.send({"refused": told})
    except Exception as error:  # noqa: BLE001 - a mistake of ours costs this upload, not the worker
        channel.send({"failed": _place_of(error)})
    else:
        made = [[each.size, each.format] for each in renditions]
        channel.send({"renditions": made}, [each.data for each in renditions])


class _Withdrawn(Exception):
    """The service has no room for the picture after all."""


def _limit_processor_time(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _limit_memory(needed: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    room = needed + round(needed * _SPARE_PART) + _SPARE_BYTES
    soft = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))


def _place_of(error: Exception) -> str:
    """Return where a mistake happened, without any value."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(each.filename).name}:{each.lineno}" for each in reversed(frames[-6:]))
    return f"{type(error).__name__} at {where}"


if __name__ == "__main__":
    main()
