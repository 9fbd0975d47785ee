"""Renderers with real worker processes, and a look at those from outside."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, FreeAccount, Limits, PictureOptions
from persona_profile.images.admission import Admission
from persona_profile.images.pool import WorkerRenderer

MIB = 1024 * 1024
LIMITS = Limits(100_000_000, 50_000_000, 864 * MIB)
_of_others: set[int] = set()
"""Workers of this process that were there before the last renderer was made."""

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
    _of_others.update(worker_pids())
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


def outcome(render: WorkerRenderer, data: bytes, client: str = "", crop: Crop | None = None) -> str:
    """Return `taken` or the code with which a file is refused."""
    try:
        render.render(io.BytesIO(data), crop, FreeAccount((client,)))
    except ServiceError as error:
        return error.code
    return "taken"


def worker_pids(parent: int | None = None) -> set[int]:
    """Return the process ids of the workers of a process; by default of the last `renderer`."""
    found = {pid for pid in _children(parent or os.getpid()) if _runs_a_worker(pid)}
    return found if parent else found - _of_others


def await_workers(is_so: Callable[[set[int]], bool], parent: int | None = None) -> set[int]:
    """Wait until the workers of a process are as they should be; return them."""
    deadline = time.monotonic() + 10
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


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(parent: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent and fields[0] not in "ZX":
                    found.add(int(entry.name))
    return found


def _runs_a_worker(pid: int) -> bool:
    try:
        return b"persona_profile.images.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
