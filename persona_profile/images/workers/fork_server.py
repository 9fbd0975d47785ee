"""The fork server: forks a worker for each image, one after the other, and reports its end.

`worker_process` starts it as a module, with one end of a socket as its standard input. It has loaded
everything that a worker needs, has nothing of the service in memory, and reads no file. It ends, and
its worker with it, when the other end of the socket is closed: also when the service is killed.

Messages from the service, with their answers:

    {"ping": true}           {"confinement": {part: state}}    after a trial of the confinement
    job, two descriptors     {"ended": status, "processor_seconds": seconds}   at the worker's end
    {"memory": bytes, "processor_seconds": seconds}
                             {"limited": true}    once the limits of the worker are set
    {"all_cores": whether}   none: the worker and its successors use all cores, or leave one free
    {"stop": true}           none: the worker, if there is one, is killed
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
import sys
from pathlib import Path
from typing import Any, Final

import pillow_heif
from PIL import AvifImagePlugin, Image

from persona_profile.images.workers import ALL_CORES
from persona_profile.images.workers.channel import Channel
from persona_profile.images.workers.confinement import Confinement
from persona_profile.images.workers.worker import MAX_FILES, processor_limits, work
from persona_profile.runtime.dumps import forbid_dumps

NICENESS: Final = 10
"""Other processes of the machine, above all the service, go first; yet no worker starves."""

_KILLED_FIRST: Final = "500"
"""`oom_score_adj`: if memory is short, the kernel kills a worker rather than the service."""

_SPARE_BYTES: Final = 192 * 1024 * 1024
"""Address space beyond the need of an image: for encoders and the allocator's reserves."""

_SPARE_PART: Final = 0.3
"""Additional address space, as decoders reserve more than they touch."""

_IMPORTED_LATE: Final = ("ImageColor", "ImageFilter", "ImagePalette", "TiffImagePlugin")
"""Modules that the library imports when it first needs them. A worker can open no file then."""

_FILE_COPIES: Final = 2
"""Copies of the file in a library's memory while it decodes."""


def main() -> None:
    """Run until the service closes the socket."""
    control = Channel(socket.socket(fileno=os.dup(0)))
    _settle()
    _prepare_library()
    server = _ForkServer(control, Confinement())
    gc.collect()
    gc.freeze()  # workers share the pages of objects that they do not change
    with contextlib.suppress(EOFError):
        server.run()


class _Cores:
    """The cores of this process and of its worker.

    While there are requests, one core of several is the service's: by priority alone, sign-ins wait
    for milliseconds. A process may move between cores without privileges, also a confined one; a
    priority, once lowered, could not be raised again.
    """

    def __init__(self) -> None:
        self._all = sorted(os.sched_getaffinity(0))
        self._is_fixed = ALL_CORES in sys.argv[1:] or len(self._all) == 1
        self.use(os.getpid(), all_cores=False)

    def use(self, *pids: int, all_cores: bool) -> None:
        """Allow processes, which have a single thread, all cores or all but the first."""
        for pid in () if self._is_fixed else pids:
            with contextlib.suppress(OSError):  # where it is forbidden, the priority must suffice
                os.sched_setaffinity(pid, self._all if all_cores else self._all[1:])


class _ForkServer:
    def __init__(self, control: Channel, confinement: Confinement) -> None:
        self._control = control
        self._confinement = confinement
        self._cores = _Cores()
        # A worker begins with a copy of this process.
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        self._own_bytes = pages * resource.getpagesize()

    def run(self) -> None:
        """Process messages of the service, until EOFError shows that it is gone."""
        while True:
            message, descriptors = self._control.receive_with_descriptors(2)
            if "ping" in message:
                self._control.send({"confinement": self._try_confinement()})
            elif "options" in message:
                status, seconds = self._work(message, *descriptors)
                self._control.send({"ended": status, "processor_seconds": seconds})
            elif "all_cores" in message:
                self._cores.use(os.getpid(), all_cores=message["all_cores"])

    def _work(self, job: dict[str, Any], connection: int, file: int) -> tuple[int, float]:
        """Fork a worker and wait for its end; return its status and its processor time."""
        file_bytes = os.fstat(file).st_size
        address_space = self._address_space(job["options"]["limits"]["memory"], file_bytes)
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            work(job, socket.socket(fileno=connection), file, self._confinement, address_space, parent)
        os.close(connection)
        os.close(file)
        self._attend(pid, file_bytes)
        _, status, usage = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime

    def _attend(self, pid: int, file_bytes: int) -> None:
        """Process messages of the service until a worker has ended."""
        end = os.pidfd_open(pid)
        try:
            events = select.poll()
            events.register(end, select.POLLIN)
            events.register(self._control.fileno(), select.POLLIN)
            while end not in (ready := [number for number, _ in events.poll()]):
                assert ready
                self._process(pid, file_bytes)
        finally:
            os.close(end)

    def _process(self, pid: int, file_bytes: int) -> None:
        message, _ = self._control.receive()
        if "memory" in message:
            limit = self._address_space(message["memory"], file_bytes)
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
            resource.prlimit(pid, resource.RLIMIT_CPU, processor_limits(message["processor_seconds"]))
            self._control.send({"limited": True})
        elif "all_cores" in message:
            self._cores.use(os.getpid(), pid, all_cores=message["all_cores"])
        elif "stop" in message:
            os.kill(pid, signal.SIGKILL)

    def _address_space(self, needed: int, file_bytes: int) -> int:
        """Return the limit of a worker's address space for an image that needs some memory."""
        room = needed + round(needed * _SPARE_PART) + _FILE_COPIES * file_bytes + _SPARE_BYTES
        return self._own_bytes + room

    def _try_confinement(self) -> dict[str, str]:
        """Confine a process that does nothing; return the result of its `Confinement.enter`."""
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
    """Limit this process and its workers, and lower their priority."""
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),  # a core would contain somebody's picture
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, MAX_FILES),
    ):
        resource.setrlimit(kind, (limit, limit))
    # The service ends its workers itself: a signal to its process group must not end an upload.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.chdir("/")
    os.nice(NICENESS)
    # By system calls, as RLIMIT_FSIZE already forbids a buffered file.
    adjustment = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(adjustment, _KILLED_FIRST.encode())
    os.close(adjustment)
    forbid_dumps()  # last: it gives the files above to root


def _prepare_library() -> None:
    """Remove the decoders that a file could choose by its content; import everything else."""
    for name in _IMPORTED_LATE:
        importlib.import_module(f"PIL.{name}")
    Image.preinit()
    Image.OPEN.clear()
    Image.ID.clear()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1


if __name__ == "__main__":
    main()
