"""Forks a worker for each picture, one after the other, and reports how it ended.

`worker_process` starts it as `python -m persona_profile.images.fork_server`, with one end of a socket
as its standard input. It has loaded all that a worker needs, holds nothing of the service, and reads no
byte of any file. When the other end is closed it ends, and a worker with it: also when the service was
killed.

Messages from the service, with their answers:

    {"ping": true}           {"confinement": {part: state}}    after a trial of the confinement
    job, two descriptors     {"ended": status, "processor_seconds": seconds}   at the worker's end
    {"memory": bytes, "processor_seconds": seconds}
                             {"limited": true}    from then on the worker may use no more
    {"stop": true}           none: the worker is killed, if there is one
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import select
import signal
import socket
from pathlib import Path
from typing import Any, Final

import pillow_heif
from PIL import AvifImagePlugin, Image

from persona_profile.images.channel import Channel
from persona_profile.images.confinement import Confinement
from persona_profile.images.worker import MAX_FILES, processor_limits, work
from persona_profile.runtime.dumps import forbid_dumps

NICENESS: Final = 10
"""Others on the machine, the service above all, go first; yet no worker starves."""

_KILLED_FIRST: Final = "500"
"""Where memory is short in spite of all, the kernel takes a worker rather than the service."""

_SPARE_BYTES: Final = 192 * 1024 * 1024
"""Address space beyond a picture's own need: encoders, the allocator's reserves."""

_SPARE_PART: Final = 0.3
"""Decoders reserve more than they touch."""

_IMPORTED_LATE: Final = (
    "PIL.ImageColor",
    "PIL.ImageFilter",
    "PIL.ImagePalette",
    "PIL.TiffImagePlugin",
)
"""What the library imports when it first needs it. A worker can open no file any more."""

_FILE_COPIES: Final = 2
"""Of the file's bytes, in a library's memory while it decodes them."""


def main() -> None:
    """Serve until the other side hangs up."""
    control = Channel(socket.socket(fileno=os.dup(0)))
    _settle()
    _prepare_library()
    server = _ForkServer(control, Confinement())
    gc.collect()
    gc.freeze()  # so that workers need not copy what they do not change
    with contextlib.suppress(EOFError):
        server.run()


class _ForkServer:
    def __init__(self, control: Channel, confinement: Confinement) -> None:
        self._control = control
        self._confinement = confinement
        # A worker begins with a copy of this process.
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        self._own_bytes = pages * resource.getpagesize()

    def run(self) -> None:
        """Obey the service.

        Raises:
            EOFError: it is gone.
        """
        while True:
            message, descriptors = self._control.receive_with_descriptors(2)
            if "ping" in message:
                self._control.send({"confinement": self._try_confinement()})
            elif "options" in message:
                status, seconds = self._work(message, *descriptors)
                self._control.send({"ended": status, "processor_seconds": seconds})

    def _work(self, job: dict[str, Any], connection: int, picture: int) -> tuple[int, float]:
        """Fork a worker and wait for its end; return its status and its processor time."""
        file_bytes = os.fstat(picture).st_size
        most = job["options"]["limits"]["memory"]
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            address_space = self._address_space(most, file_bytes)
            work(
                job, socket.socket(fileno=connection), picture, self._confinement, address_space, parent
            )
        os.close(connection)
        os.close(picture)
        self._attend(pid, file_bytes)
        _, status, usage = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime

    def _attend(self, pid: int, file_bytes: int) -> None:
        """Obey the service until a worker has ended."""
        end = os.pidfd_open(pid)
        try:
            events = select.poll()
            events.register(end, select.POLLIN)
            events.register(self._control.fileno(), select.POLLIN)
            while end not in (ready := [number for number, _ in events.poll()]):
                assert ready
                self._obey(pid, file_bytes)
        finally:
            os.close(end)

    def _obey(self, pid: int, file_bytes: int) -> None:
        message, _ = self._control.receive()
        if "memory" in message:
            limit = self._address_space(message["memory"], file_bytes)
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
            resource.prlimit(pid, resource.RLIMIT_CPU, processor_limits(message["processor_seconds"]))
            self._control.send({"limited": True})
        elif "stop" in message:
            os.kill(pid, signal.SIGKILL)

    def _address_space(self, needed: int, file_bytes: int) -> int:
        """Return the limit of a worker's address space, for a picture that needs some memory."""
        room = needed + round(needed * _SPARE_PART) + _FILE_COPIES * file_bytes + _SPARE_BYTES
        return self._own_bytes + room

    def _try_confinement(self) -> dict[str, str]:
        """Confine a process that does nothing; return what `Confinement.enter` returned there."""
        ours, theirs = socket.socketpair()
        with ours:
            pid = os.fork()
            if not pid:
                try:
                    Channel(theirs).send(self._confinement.enter())
                finally:
                    os._exit(0)
            theirs.close()
            report, _ = Channel(ours).receive()
        os.waitpid(pid, 0)
        return report


def _settle() -> None:
    """Bound what this process and its workers use, and go behind others."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),  # a core would hold somebody's picture
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_FILES),
    ):
        resource.setrlimit(kind, (most, most))
    # The service ends its workers itself; a signal to the whole service would cost an upload under way.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.chdir("/")
    os.nice(NICENESS)
    _leave_a_core()
    # Not through a buffer of Python's, as files of any length are already forbidden.
    adjustment = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(adjustment, _KILLED_FIRST.encode())
    os.close(adjustment)
    forbid_dumps()  # last, as these files are root's then


def _leave_a_core() -> None:
    """Keep off one core, if there are several: priorities alone let sign-in wait for milliseconds."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        with contextlib.suppress(OSError):  # where it is forbidden, the priority must do
            os.sched_setaffinity(0, cores[1:])


def _prepare_library() -> None:
    """Leave no decoder that a file could choose by its content, and nothing to import later."""
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    Image.preinit()
    Image.OPEN.clear()
    Image.ID.clear()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1


if __name__ == "__main__":
    main()
