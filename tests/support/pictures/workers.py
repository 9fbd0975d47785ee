"""Renderers with real worker processes, and observations of those processes."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import BinaryIO

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, Limits, PictureOptions, Preview, Rendition
from persona_profile.images.admission import Admission
from persona_profile.images.renderer import Renderer
from persona_profile.images.workers.pool import WorkerPool
from persona_profile.images.workers.worker_process import WorkerProcess

MIB = 1024 * 1024
LIMITS = Limits(100_000_000, 50_000_000, 864 * MIB)
_of_others: set[int] = set()
"""Fork servers of this process that are older than the last renderer."""

SMALL_JPEG = PictureOptions(LIMITS, Encoding(("jpeg",), effort="fast"), (32,))


@contextlib.contextmanager
def renderer(
    options: PictureOptions = SMALL_JPEG,
    *,
    workers: int = 2,
    queue: int = 64,
    processor_seconds: int = 10,
    deadline_seconds: float = 30,
    start_worker: Callable[[], WorkerProcess] = WorkerProcess,
) -> Iterator[Renderer]:
    """Yield a renderer with room for all uploads of a test."""
    _of_others.clear()
    _of_others.update(fork_server_pids())
    admission = Admission(workers, queue, 60, options.limits.memory)
    pool = WorkerPool(workers, start_worker)
    try:
        yield Renderer(options, admission, pool, processor_seconds, deadline_seconds)
    finally:
        pool.close()


class ConfinedPipeline:
    """`pipeline.render_picture` in workers."""

    def __init__(self) -> None:
        self._renderer: Renderer | None = None

    def render_picture(
        self, source: BinaryIO, crop: Crop | None, options: PictureOptions
    ) -> tuple[Rendition, ...]:
        """Return the renditions of a picture. See `pipeline.render_picture`."""
        if self._renderer is None or options != self._renderer.options:
            self.close()
            admission = Admission(1, 1, 60, options.limits.memory)
            self._renderer = Renderer(options, admission, WorkerPool(1), 60, 100)
        return render(self._renderer, source, crop)

    def close(self) -> None:
        """Stop the workers."""
        if self._renderer is not None:
            self._renderer.workers.close()


def render(
    renderer: Renderer, source: BinaryIO, crop: Crop | None = None, *claimants: Hashable
) -> tuple[Rendition, ...]:
    """Return the renditions of a file without charges."""
    with renderer.upload(source, crop, claimants) as upload:
        upload.open()
        return upload.render()


def preview(renderer: Renderer, data: bytes) -> Preview:
    """Return the preview of a file without charges."""
    with renderer.preview(io.BytesIO(data)) as upload:
        upload.open()
        return upload.render()


def outcome(renderer: Renderer, data: bytes, client: str = "", crop: Crop | None = None) -> str:
    """Return `accepted`, or the code of a rejected file."""
    try:
        render(renderer, io.BytesIO(data), crop, client)
    except ServiceError as error:
        return error.code
    return "accepted"


def fork_server_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of the fork servers of a process; by default of the last `renderer`."""
    found = {pid for pid in _children({parent or os.getpid()}) if _is_fork_server(pid)}
    return found if parent else found - _of_others


def worker_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of busy workers, the children of fork servers."""
    return _children(fork_server_pids(parent))


def picture_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of fork servers and workers."""
    servers = fork_server_pids(parent)
    return servers | _children(servers)


def family_pids(pid: int) -> set[int]:
    """Return the process ids of a process and its descendants."""
    found, fresh = {pid}, {pid}
    while fresh:
        fresh = _children(fresh)
        found |= fresh
    return found


def await_workers(is_so: Callable[[set[int]], bool], parent: int | None = None) -> set[int]:
    """Wait until the workers of a process fulfil a condition; return them."""
    deadline = time.monotonic() + 60
    while not is_so(found := worker_pids(parent)):
        assert time.monotonic() < deadline, found
        time.sleep(0.005)
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def processor_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    """Return a process's processor time, 0 once it is gone; by default without children's."""
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
