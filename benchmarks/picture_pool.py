"""Our pool of workers beside `concurrent.futures` and Pebble: what a job costs, and what a crash costs.

Each pool has two workers that run the same pipeline, started by `spawn`. Prints the milliseconds of a
small picture and of a large file from call to result, as ratios to ours, in turns; then what becomes of
other pictures when a worker is killed, idle or at work.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.pictures import encode, photo, quadrants
from support.pictures.workers import SMALL_JPEG, picture_pids, renderer
from support.pictures.workers import render as render_by

from persona_profile.images.pipeline import render_picture

Render = Callable[[bytes], object]
SPAWN = multiprocessing.get_context("spawn")


def job(data: bytes) -> object:
    """Render a picture: what the workers of the other pools run."""
    return render_picture(io.BytesIO(data), None, SMALL_JPEG)


def wait(seconds: float) -> None:
    """Be a worker that is busy."""
    time.sleep(seconds)


def milliseconds(render: Render, data: bytes) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    render(data)
    return (time.perf_counter() - began) * 1000


def compare(pools: dict[str, Render], name: str, data: bytes, rounds: int) -> None:
    """Measure all pools in turns; print the ratios."""
    for render in pools.values():
        for _ in range(4):
            render(data)
    found = {pool: [] for pool in pools}
    for _ in range(rounds):
        for pool, render in pools.items():
            found[pool].append(milliseconds(render, data))
    base = statistics.median(found["ours"])
    cells = ", ".join(f"{pool} {statistics.median(each) / base:.2f}" for pool, each in found.items())
    print(f"{name}: {cells} (ours {base:.1f} ms)", flush=True)


class Pool(NamedTuple):
    """A pool with two workers: renders, keeps a worker busy, names its processes, ends."""

    render: Render
    be_busy: Callable[[], object]
    pids: Callable[[], set[int]]
    close: Callable[[], object]


def our_pool() -> Pool:
    """Return the pool of the service."""
    context = renderer()
    ours = context.__enter__()
    return Pool(
        lambda data: render_by(ours, io.BytesIO(data)),
        lambda: render_by(ours, io.BytesIO(photo()), None, "another"),
        picture_pids,
        lambda: context.__exit__(None, None, None),
    )


def standard_pool() -> Pool:
    """Return the pool of the standard library."""
    executor = ProcessPoolExecutor(2, mp_context=SPAWN)
    return Pool(
        lambda data: executor.submit(job, data).result(),
        lambda: executor.submit(wait, 2).result(),
        lambda: set(executor._processes or ()),
        lambda: executor.shutdown(wait=False, cancel_futures=True),
    )


def pebble_pool() -> Pool:
    """Return Pebble's pool."""
    try:
        from pebble import ProcessPool  # noqa: PLC0415 - to say how to get it
    except ImportError:
        sys.exit('needed: pip install ".[benchmark]"')
    pool = ProcessPool(2, context=SPAWN)
    return Pool(
        lambda data: pool.schedule(job, (data,)).result(),
        lambda: pool.schedule(wait, (2,)).result(),
        lambda: set(pool._pool_manager.worker_manager.workers),
        pool.stop,
    )


POOLS: dict[str, Callable[[], Pool]] = {
    "ours": our_pool,
    "concurrent.futures": standard_pool,
    "Pebble": pebble_pool,
}


def after_a_kill(name: str, *, busy: bool) -> None:
    """Kill the workers of a fresh pool; print what becomes of the next picture."""
    good = encode(quadrants(64, 64))
    pool = POOLS[name]()
    pool.render(good)
    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(pool.be_busy) if busy else None
        time.sleep(0.3)
        for pid in pool.pids():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        try:
            pool.render(good)
            outcome = "rendered"
        except Exception as error:  # noqa: BLE001 - whichever the pool raises
            outcome = f"lost: {type(error).__name__}"
        if work is not None:
            work.exception(30)
    what = "while one is busy" if busy else "while idle"
    print(f"  {name}, workers killed {what}: the next picture is {outcome}", flush=True)
    pool.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    pools = {name: make() for name, make in POOLS.items()}
    renders = {name: pool.render for name, pool in pools.items()}
    print("time from call to result, over ours")
    compare(renders, "  small picture", encode(quadrants(64, 64)), rounds)
    compare(renders, "  large file", photo(), rounds // 4)
    for pool in pools.values():
        pool.close()
    print("after a crash")
    for name in POOLS:
        for busy in (False, True):
            after_a_kill(name, busy=busy)


if __name__ == "__main__":
    main()
