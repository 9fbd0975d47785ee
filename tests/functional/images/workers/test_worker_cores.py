"""The cores that picture workers use: all while nobody else asks, all but one otherwise."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from support.pictures.endless_fork_server import SIDE, start
from support.pictures.pictures import encode, quadrants
from support.pictures.workers import (
    await_workers,
    fork_server_pids,
    outcome,
    renderer,
)
from support.servers.services import Client, Service

from persona_profile.images.renderer import Renderer
from persona_profile.images.workers.worker_process import (
    ALL_CORES_COMMAND,
    COMMAND,
    WorkerProcess,
)

GOOD = encode(quadrants(64, 64))
ENDLESS = encode(Image.new("RGB", (SIDE, SIDE)), "PNG")
LARGE = encode(Image.new("RGB", (9900, 9900), (90, 120, 40)), progressive=True)
CORES = os.sched_getaffinity(0)
OTHERS = set(sorted(CORES)[1:])
"""All cores but the service's."""

# Without root's capabilities, as in production.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()

_WITHOUT_THE_CALL = """
import ctypes, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
allow, forbid = ctypes.c_uint32(0x7FFF0000), ctypes.c_uint32(0x00050001)
rules = ctypes.c_void_p(library.seccomp_init(allow))
number = library.seccomp_syscall_resolve_name(b"sched_setaffinity")
assert library.seccomp_rule_add_array(rules, forbid, number, 0, None) == 0
assert library.seccomp_load(rules) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

several_cores = pytest.mark.skipif(not OTHERS, reason="one core")


def await_cores(pid: int, expected: set[int], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Return once a process may use exactly these cores; do something again and again until then."""
    deadline = time.monotonic() + 60
    while (found := os.sched_getaffinity(pid)) != expected:
        assert time.monotonic() < deadline, found
        meanwhile()
        time.sleep(0.01)


def accepted(ours: Renderer) -> int:
    """Upload a picture; return the process id of the only fork server."""
    assert outcome(ours, GOOD) == "accepted"
    [pid] = fork_server_pids()
    return pid


@several_cores
def test_cores_follow_demand():
    """A running worker leaves a core when there are requests, and has it back when they have ended."""
    with (
        ThreadPoolExecutor(1) as threads,
        renderer(workers=1, processor_seconds=400, deadline_seconds=120, start_worker=start) as ours,
    ):
        accepted(ours)  # the first worker of a fork server tries the confinement
        upload = threads.submit(outcome, ours, ENDLESS)
        [pid] = await_workers(lambda found: len(found) == 1)
        await_cores(pid, CORES)
        await_cores(pid, OTHERS, ours.demand.note)
        await_cores(pid, CORES)
        os.kill(pid, signal.SIGKILL)
        assert upload.result(60) == "overloaded"


@several_cores
def test_cores_of_the_next_worker():
    """A worker begins with the cores that the demand at that time allows, without privileges."""
    command = [*UNPRIVILEGED, *COMMAND]
    with renderer(start_worker=lambda: WorkerProcess(command)) as ours:
        pid = accepted(ours)
        assert os.sched_getaffinity(pid) == CORES

        def upload_amid_requests() -> None:
            ours.demand.note()
            assert accepted(ours) == pid

        await_cores(pid, OTHERS, upload_amid_requests)


@several_cores
def test_cores_of_a_service(tmp_path):
    """Requests other than uploads and probes take a core from a worker, while they go on."""
    service = Service(
        tmp_path / "service",
        "memory",
        "",
        more="pictures.formats = jpeg\npictures.deadline_seconds = 300",
    )
    service.start()
    try:
        uploader, other = (Client(service, f"{name}@example.com") for name in ("alice", "bob"))
        uploader.sign_in()

        def upload_a_small_one() -> None:
            assert uploader.upload(GOOD).status == 200
            time.sleep(0.3)  # fewer than a person may upload in a minute

        upload_a_small_one()
        [fork_server] = fork_server_pids(service.pid)
        await_cores(fork_server, CORES, upload_a_small_one)
        with ThreadPoolExecutor(1) as threads:
            upload = threads.submit(uploader.upload, LARGE)
            [pid] = await_workers(lambda found: len(found) == 1, service.pid)
            os.kill(pid, signal.SIGSTOP)  # it lasts as long as the test
            await_cores(pid, CORES, lambda: other.call("GET", "/__heartbeat__"))
            await_cores(pid, OTHERS, other.sign_in)
            await_cores(pid, CORES)
            os.kill(pid, signal.SIGKILL)
            assert upload.result(60).status == 503
    finally:
        service.close()


def test_all_cores():
    """A fork server without a service uses all cores whatever is asked."""
    with renderer(start_worker=lambda: WorkerProcess(ALL_CORES_COMMAND)) as ours:
        ours.demand.note()
        assert os.sched_getaffinity(accepted(ours)) == CORES


def test_one_core():
    """A service with one core shares it with its workers."""
    one = {min(CORES)}
    os.sched_setaffinity(0, one)
    try:
        with renderer() as ours:
            ours.demand.note()
            assert os.sched_getaffinity(accepted(ours)) == one
            assert accepted(ours)
    finally:
        os.sched_setaffinity(0, CORES)


def test_system_that_forbids_the_choice():
    """Where processes can't choose their cores, workers use all."""
    command = [sys.executable, "-c", _WITHOUT_THE_CALL, *COMMAND]
    with renderer(start_worker=lambda: WorkerProcess(command)) as ours:
        ours.demand.note()
        assert os.sched_getaffinity(accepted(ours)) == CORES
