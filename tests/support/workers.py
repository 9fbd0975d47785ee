"""Renderers with real worker processes, and a look at those from outside."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from persona_profile.errors import ServiceError, UnprocessablePicture, UnsupportedMediaType
from persona_profile.images import (
    Crop,
    Encoding,
    FreeAccount,
    Limits,
    PictureOptions,
    PictureRefused,
    Rendition,
)
from persona_profile.images.admission import Admission
from persona_profile.images.pool import WorkerRenderer

MIB = 1024 * 1024
LIMITS = Limits(100_000_000, 50_000_000, 864 * MIB)
_of_others: set[int] = set()
"""Fork servers of this process that were there before the last renderer was made."""

SMALL_JPEG = PictureOptions(LIMITS, Encoding(("jpeg",), effort="fast"), (32,))


@contextlib.contextmanager
def renderer(
    options: PictureOptions = SMALL_JPEG,
    *,
    workers: int = 2,
    queue: int = 64,
    processor_seconds: int = 10,
    deadline_seconds: float = 30,
    **more: Any,
) -> Iterator[WorkerRenderer]:
    """Yield a renderer whose queue refuses none of a test's own uploads."""
    _of_others.clear()
    _of_others.update(fork_server_pids())
    admission = Admission(workers, queue, 60, options.limits.memory)
    made = WorkerRenderer(
        options,
        admission,
        processor_seconds=processor_seconds,
        deadline_seconds=deadline_seconds,
        **more,
    )
    try:
        yield made
    finally:
        made.close()


class ConfinedPipeline:
    """`pipeline.render_picture`, by workers."""

    def __init__(self) -> None:
        self._options: PictureOptions | None = None
        self._renderer: WorkerRenderer | None = None

    def render_picture(
        self, source: BinaryIO, crop: Crop | None, options: PictureOptions
    ) -> tuple[Rendition, ...]:
        """Return the renditions of a picture. See `pipeline.render_picture`."""
        if self._renderer is None or options != self._options:
            self.close()
            admission = Admission(1, 1, 60, options.limits.memory)
            self._options = options
            self._renderer = WorkerRenderer(
                options, admission, processor_seconds=60, deadline_seconds=100
            )
        try:
            return self._renderer.render(source, crop, FreeAccount())
        except (UnsupportedMediaType, UnprocessablePicture) as error:
            members = getattr(error, "members", {})
            raise PictureRefused(error.code, str(error), **members) from None

    def close(self) -> None:
        """End the workers."""
        if self._renderer is not None:
            self._renderer.close()


def outcome(render: WorkerRenderer, data: bytes, client: str = "", crop: Crop | None = None) -> str:
    """Return `taken` or the code with which a file is refused."""
    try:
        render.render(io.BytesIO(data), crop, FreeAccount((client,)))
    except ServiceError as error:
        return error.code
    return "taken"


def fork_server_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of the fork servers of a process; by default of the last `renderer`."""
    found = {pid for pid in _children({parent or os.getpid()}) if _is_fork_server(pid)}
    return found if parent else found - _of_others


def worker_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of the workers at work, each of which a fork server has forked."""
    return _children(fork_server_pids(parent))


def picture_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of fork servers and workers."""
    servers = fork_server_pids(parent)
    return servers | _children(servers)


def family_pids(pid: int) -> set[int]:
    """Return the process ids of a process and of all below it."""
    found, fresh = {pid}, {pid}
    while fresh:
        fresh = _children(fresh)
        found |= fresh
    return found


def await_workers(is_so: Callable[[set[int]], bool], parent: int | None = None) -> set[int]:
    """Wait until the workers of a process are as they should be; return them."""
    deadline = time.monotonic() + 60
    while not is_so(found := worker_pids(parent)):
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def processor_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    """Return the processor time of a process, 0 if it is gone; by default without its children's."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    counted = fields[11:15] if with_ended_children else fields[11:13]
    return sum(map(int, counted)) / os.sysconf("SC_CLK_TCK")


def _children(parents: set[int]) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) in parents and fields[0] not in "ZX":
                    found.add(int(entry.name))
    return found


def _is_fork_server(pid: int) -> bool:
    try:
        return b"fork_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
