from __future__ import annotations

import gc
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from PIL import Image
from support.pictures.endless_fork_server import SIDE, start
from support.pictures.pictures import encode, png, quadrants
from support.pictures.profiles import RGB_PRIMARIES, code_points, rgb_profile
from support.pictures.workers import (
    LIMITS,
    MIB,
    SMALL_JPEG,
    await_workers,
    fork_server_pids,
    is_alive,
    outcome,
    picture_pids,
    processor_seconds,
    render,
    renderer,
    worker_pids,
)
from support.servers.applications import application
from support.servers.services import Client, Service

from persona_profile.errors import Overloaded, UnprocessablePicture
from persona_profile.images import Crop, Encoding, Limits, PictureOptions
from persona_profile.images.admission import Admission
from persona_profile.images.renderer import Renderer
from persona_profile.images.workers.pool import WorkerPool
from persona_profile.serving.server import make_server

GOOD = encode(quadrants(64, 64))
ENDLESS = encode(Image.new("RGB", (SIDE, SIDE)), "PNG")  # a size that no decoder reduces


@cache
def slow() -> bytes:
    """Return a small JPEG of many scans and pixels that takes seconds to decode."""
    scene = encode(Image.new("RGB", (9900, 9900), (90, 120, 40)), progressive=True)
    scan = scene[scene.rindex(b"\xff\xda") : -2]  # a refining scan, the slowest kind
    return scene[:-2] + scan * 38 + scene[-2:]


@pytest.fixture
def pool() -> ThreadPoolExecutor:
    """Threads that upload."""
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def service(tmp_path) -> Service:
    """The service in its own process."""
    with closing(Service(tmp_path / "service", "memory", "")) as made:
        made.start()
        yield made


def busy_worker() -> int:
    """Return the process id of the one worker, once it decodes."""
    [pid] = await_workers(lambda found: len(found) == 1 and processor_seconds(*found) > 0.1)
    return pid


def test_renditions():
    """A worker returns the renditions of the pipeline, by crop, sizes and formats."""
    options = PictureOptions(LIMITS, Encoding(("webp",)), (16, 64))
    with renderer(options) as ours:
        made = render(ours, io.BytesIO(GOOD), Crop(0, 0, 30))
    assert {(each.size, each.format) for each in made} >= {(16, "jpeg"), (64, "jpeg")}
    for each in made:
        picture = Image.open(io.BytesIO(each.data))
        assert picture.size == (min(each.size, 30),) * 2
        assert picture.convert("RGB").getpixel((5, 5)) == pytest.approx((220, 30, 30), abs=12)


def test_file_is_handed_over(tmp_path):
    """The worker reads a file on disk itself, at any position and with buffered bytes."""
    with renderer() as ours, (tmp_path / "picture").open("w+b") as file:
        file.write(GOOD)
        file.seek(0)
        for _ in range(3):
            assert render(ours, file)


def test_high_dynamic_range_in_a_worker():
    """A confined worker has everything that tone mapping needs."""
    profile = rgb_profile(RGB_PRIMARIES, cicp=code_points(9, 16))
    data = encode(Image.new("RGB", (64, 64), (126, 84, 68)), "PNG", icc_profile=profile)
    with renderer() as ours:
        [made] = render(ours, io.BytesIO(data))
    pixel = Image.open(io.BytesIO(made.data)).convert("RGB").getpixel((5, 5))
    assert pixel == pytest.approx((156, 31, 26), abs=3)  # Chromium 156


def test_workers_start_when_needed_and_end_with_the_renderer():
    """No process runs before the first picture, and none after the end."""
    with renderer() as ours:
        assert fork_server_pids() == set()
        assert outcome(ours, GOOD) == "accepted"
        [pid] = fork_server_pids()
    assert not is_alive(pid)
    assert outcome(ours, GOOD) == "overloaded"


def test_workers_go_behind_the_service():
    """A worker has a lower priority."""
    with renderer() as ours:
        assert outcome(ours, GOOD) == "accepted"
        [pid] = fork_server_pids()
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


def test_environment_of_workers(monkeypatch):
    """The environment of a worker has no settings of the service."""
    monkeypatch.setenv("PERSONA_BACKEND_URL", "mysql://persona:secret@db.example.com/persona")
    with renderer() as ours:
        assert outcome(ours, GOOD) == "accepted"
        [pid] = fork_server_pids()
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_forgotten_renderer():
    """The workers of a renderer that was not closed end when it is collected."""
    gc.collect()
    before = fork_server_pids()
    admission = Admission(2, 2, 60, LIMITS.memory)
    ours = Renderer(SMALL_JPEG, admission, WorkerPool(2), 10, 30)
    assert outcome(ours, GOOD) == "accepted"
    assert len(fork_server_pids() - before) == 1
    del ours
    gc.collect()
    assert fork_server_pids() <= before


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGSEGV, "picture_broken"),
        (signal.SIGABRT, "picture_broken"),
        (signal.SIGKILL, "overloaded"),
    ],
)
def test_crash(pool, number, expected):
    """A dead worker fails one upload: 422 for a fault of the file, 503 for a fault of the machine."""
    with renderer(workers=1, start_worker=start) as ours:
        upload: Future[str] = pool.submit(outcome, ours, ENDLESS)
        os.kill(busy_worker(), number)
        assert upload.result(60) == expected
        assert outcome(ours, GOOD) == "accepted"


def test_idle_worker_dies():
    """The death of an idle worker fails no upload."""
    with renderer(workers=1) as ours:
        assert outcome(ours, GOOD) == "accepted"
        [pid] = fork_server_pids()
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert outcome(ours, GOOD) == "accepted"


def test_processor_time():
    """A picture that takes more than the allowed processor time is rejected as too complex."""
    with renderer(workers=1, processor_seconds=1, deadline_seconds=100, start_worker=start) as ours:
        assert outcome(ours, ENDLESS) == "picture_too_complex"
        assert outcome(ours, GOOD) == "accepted"


def test_deadline(pool):
    """A stopped worker is ended at the deadline, and the upload may be retried."""
    with renderer(workers=1, deadline_seconds=5, start_worker=start) as ours:
        upload = pool.submit(outcome, ours, ENDLESS)
        pid = busy_worker()
        os.kill(pid, signal.SIGSTOP)
        assert upload.result(60) == "overloaded"
        assert not is_alive(pid)
        assert outcome(ours, GOOD) == "accepted"


def test_fork_server_that_stands_still(pool):
    """A fork server that does not answer is ended with its worker, and replaced."""
    with renderer(workers=1, deadline_seconds=5, start_worker=start) as ours:
        upload = pool.submit(outcome, ours, ENDLESS)
        worker = busy_worker()
        [server] = fork_server_pids()
        os.kill(server, signal.SIGSTOP)
        os.kill(worker, signal.SIGSTOP)
        assert upload.result(60) == "overloaded"
        assert not is_alive(server)
        await_workers(lambda _found: not is_alive(worker))
        assert outcome(ours, GOOD) == "accepted"


def test_close_amid_a_picture(pool):
    """Closing the renderer does not wait for an upload: it is rejected."""
    with renderer(workers=1, start_worker=start) as ours:
        upload = pool.submit(outcome, ours, ENDLESS)
        pid = busy_worker()
    assert upload.result(60) == "overloaded"
    await_workers(lambda _found: not is_alive(pid))


def test_limits_of_a_worker(pool):
    """Each worker is limited: memory, processor time, no core, no files to write, few to open."""
    with renderer(workers=1, start_worker=start) as ours:
        upload = pool.submit(outcome, ours, ENDLESS)
        pid = busy_worker()
        limits = Path(f"/proc/{pid}/limits").read_text()

        def both(name: str) -> tuple[str, ...]:
            return re.search(rf"^Max {name} +(\S+) +(\S+)", limits, re.MULTILINE).groups()

        assert both("core file size") == both("file size") == ("0", "0")
        assert both("cpu time") == ("3", "4")  # a part of ten seconds, for few pixels
        assert both("open files") == ("32", "32")
        assert len({int(each) for each in both("address space")}) == 1
        assert int(both("address space")[0]) < 1024 * MIB
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) > 0
        assert os.getsid(pid) != os.getsid(0)
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        os.kill(pid, signal.SIGKILL)
        assert upload.result(60) == "overloaded"


def test_picture_that_needs_more_than_there_is():
    """A picture that needs more memory than there is gets the possible number of pixels."""
    options = PictureOptions(Limits(10**8, 10**8, 4 * MIB), SMALL_JPEG.encoding, (32,))
    large = encode(Image.new("RGB", (2000, 2000)), "PNG")
    with renderer(options) as ours:
        with pytest.raises(UnprocessablePicture) as caught:
            render(ours, io.BytesIO(large))
        limit = caught.value.members["limit"]
        assert (caught.value.code, caught.value.members["pixels"]) == (
            "picture_too_many_pixels",
            4 * 10**6,
        )
        side = int(limit**0.5)
        assert outcome(ours, encode(Image.new("RGB", (side, side)), "PNG")) == "accepted"


def test_memory_is_shared(pool):
    """Pictures that together need more memory than there is are decoded in turn."""
    options = PictureOptions(Limits(10**8, 10**8, 100 * MIB), SMALL_JPEG.encoding, (32,))
    row = b"\0" + bytes(4000 * 3)
    large = png(4000, 4000, 8, 2, row * 4000)
    with renderer(options, workers=4) as ours:
        peak = Peak()
        uploads = [pool.submit(outcome, ours, large, str(number)) for number in range(8)]
        assert [upload.result(60) for upload in uploads] == ["accepted"] * 8
        # Four workers of 30 MiB, and one picture of 64 MB; four of those would be 256.
        assert peak.stop() < 4 * 45 + 110


class Peak:
    """Watches the resident memory of all workers, in MiB, until it is stopped."""

    def __init__(self) -> None:
        self._most = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """Return the highest sum."""
        self._stopped.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._stopped.wait(0.005):
            pages = 0
            for pid in picture_pids():
                try:
                    resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
                except OSError:
                    continue
                pages += int(resident) - int(shared)
            self._most = max(self._most, pages * os.sysconf("SC_PAGE_SIZE") / MIB)


def test_end_of_a_killed_service(service):
    """Workers end with the service, also if it is killed during an upload."""
    client = Client(service, "alice@example.com")
    client.sign_in()
    assert client.upload(GOOD).status == 200
    with ThreadPoolExecutor(1) as threads:
        upload = threads.submit(client.upload, slow())
        await_workers(lambda found: len(found) == 1, service.pid)
        pids = picture_pids(service.pid)
        service.kill()
        assert upload.exception(60) is not None
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


_ORPHAN = """
import io, os, sys
sys.path.insert(0, sys.argv[1])
from support.pictures.workers import fork_server_pids, outcome, renderer
from support.servers.applications import application
from support.pictures.endless_fork_server import SIDE, start
from support.pictures.pictures import encode, quadrants
context = renderer()
ours = context.__enter__()
assert outcome(ours, encode(quadrants(64, 64))) == "accepted"
print(*fork_server_pids())
"""


def test_end_of_a_careless_program(request):
    """A program that never closes its renderer leaves no process, and prints nothing."""
    command = [
        sys.executable,
        "-W",
        "error::ResourceWarning",
        "-c",
        _ORPHAN,
        str(request.config.rootpath / "tests"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_alive(int(done.stdout))


def test_no_decoder_in_the_service():
    """The service's own process loads no image library."""
    command = (
        "import sys, persona_profile.serving.server; print({'PIL', 'pillow_heif'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", command], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_overload_says_when_to_return(pool):
    """Rejected uploads get a time to retry, each a little later than the one before."""
    with renderer(workers=1, queue=0) as ours:
        upload = pool.submit(outcome, ours, slow())
        busy_worker()
        waits = []
        for number in range(20):
            with pytest.raises(Overloaded) as caught:
                render(ours, io.BytesIO(GOOD), None, number)
            waits.append(int(caught.value.headers["Retry-After"]))
        assert waits == sorted(waits)
        assert 2 <= waits[0] < waits[-1] <= 60
        [pid] = worker_pids()
        os.kill(pid, signal.SIGKILL)
        upload.result(10)


@pytest.mark.parametrize(("threads", "warns"), [(6, True), (7, False)])
def test_threads_for_others(development_folder, caplog, threads, warns):
    """The log warns if fewer threads may wait for pictures than uploads may be in progress."""
    server = make_server(application(development_folder), listen="127.0.0.1:0", threads=threads)
    server.close()
    server.task_dispatcher.shutdown()
    assert ("may wait for pictures" in caplog.text) is warns
