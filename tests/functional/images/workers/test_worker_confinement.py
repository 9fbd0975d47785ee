"""The reach of code that has taken over a real worker."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import webtest
from PIL import Image
from support.pictures.pictures import encode, in_format, quadrants
from support.pictures.workers import (
    LIMITS,
    SMALL_JPEG,
    await_workers,
    family_pids,
    fork_server_pids,
    is_alive,
    outcome,
    preview,
    renderer,
    worker_pids,
)
from support.servers.applications import application
from support.servers.services import Client, Service

from persona_profile import app as app_module
from persona_profile.errors import Overloaded
from persona_profile.images import Preview
from persona_profile.images.workers.pool import WorkerPool
from persona_profile.images.workers.worker_process import WorkerProcess

GOOD = encode(quadrants(64, 64))
HOSTILE = Path(__file__).parent / "hostile_fork_server.py"
JOB = {"options": SMALL_JPEG.as_json(), "crop": None, "processor_seconds": 10, "header_seconds": 3}


def hostile(*arguments: str, prefix: Sequence[str] = ()) -> WorkerProcess:
    """Start a fork server whose workers run an attack. See `hostile_fork_server`."""
    return WorkerProcess([*prefix, sys.executable, "-P", str(HOSTILE), *arguments])


@contextlib.contextmanager
def taken_over(attack: str, *, prefix: Sequence[str] = (), **job: Any) -> Iterator[WorkerProcess]:
    """Yield a worker that runs an attack instead of reading its file."""
    worker = hostile(attack, prefix=prefix)
    picture = os.memfd_create("picture")
    try:
        worker.begin(JOB | job, picture)
        yield worker
    finally:
        worker.finish()
        worker.end()
        os.close(picture)


def result(attack: str) -> Any:
    """Return the findings of an attack."""
    with taken_over(attack) as worker:
        document, _ = worker.channel.receive(time.monotonic() + 60)
    return document["result"]


def test_every_other_system_call():
    """Every call that a worker does not need fails; one of them with ENOSYS."""
    assert set(result("every_call").values()) == {"ENOSYS"}
    assert len(result("every_call")) == 1  # clone3: C libraries then use clone, which can be checked


def test_ways_out():
    """Code in a worker gets no file, no socket, no signal, no process, no limit, no new code."""
    found = result("calls")
    assert found.pop("read a limit of its own") == "done"
    assert found.pop("fork by another call") == "ENOSYS"
    assert found.pop("use more memory") == "ENOMEM"
    assert found == dict.fromkeys(found, "EPERM")
    assert len(found) > 40


def test_threads():
    """A thread that code in a worker starts is confined too."""
    assert result("threads") == {"file": "EPERM"}


def test_secrets(tmp_path, monkeypatch):
    """A worker has nothing of the service in memory, environment or descriptors."""
    marker = "MARKER-" + secrets.token_hex(16)
    (tmp_path / "keyring.json").write_text(marker)
    monkeypatch.setenv("PERSONA_BACKEND_URL", f"mysql://persona:{marker}@db.example.com/persona")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", marker)
    with (tmp_path / "keyring.json").open() as keyring:
        os.set_inheritable(keyring.fileno(), True)
        found = result("secrets")
    assert found["memory"] == ["MARKER-" + "0" * 32]  # the decoy, as a proof of the search
    assert not {"PERSONA_BACKEND_URL", "AWS_SECRET_ACCESS_KEY"} & set(found["environment"])
    assert set(found["environment"]) <= {
        *("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "PATH"),
        *("PYTHONHOME", "PYTHONPATH"),
    }
    assert len(found["descriptors"]) == 5  # three that lead nowhere, the channel, the file


@pytest.mark.parametrize("attack", ["foreign_calls", "old_calls"])
def test_calls_of_another_architecture(attack):
    """A call by another architecture's numbers ends the worker."""
    with taken_over(attack) as worker:
        with pytest.raises(EOFError):
            worker.channel.receive(time.monotonic() + 60)
        assert worker.finish() in (-signal.SIGSYS, -signal.SIGSEGV)


def test_processor_time_can_not_be_ignored():
    """Code that ignores the signal for too much processor time is killed a second later."""
    with taken_over("endless", processor_seconds=1, header_seconds=1) as worker:
        with pytest.raises(EOFError):
            worker.channel.receive(time.monotonic() + 100)
        assert worker.finish() == -signal.SIGKILL
        assert worker.processor_seconds > 0.5


def test_nothing_outlives_its_picture():
    """Each picture has its own process, which is ended after the answer and leaves nothing."""
    worker = hostile("identity")
    picture = os.memfd_create("picture")
    seen = []
    for _ in range(3):
        worker.begin(JOB, picture)
        document, _ = worker.channel.receive(time.monotonic() + 60)
        worker.finish()
        seen.append(document["result"])
    worker.end()
    os.close(picture)
    assert [each["was_here"] for each in seen] == [False] * 3
    assert len({each["pid"] for each in seen}) == 3
    assert not any(is_alive(each["pid"]) for each in seen)


def test_worker_that_goes_on():
    """A worker that does not end after its answer is ended before the upload is answered."""
    with renderer(start_worker=lambda: hostile("lingering")) as ours:
        assert outcome(ours, GOOD) == "picture_broken"
        assert len(fork_server_pids()) == 1
        assert worker_pids() == set()


def framed(document: Any, *blobs: bytes) -> bytes:
    """Return a message as it is on the wire."""
    head = json.dumps({**document, "blobs": [len(each) for each in blobs]}).encode()
    return struct.pack(">I", len(head)) + head + b"".join(blobs)


HEADER = {"needs": 1000, "format": "jpeg", "pixels": 4096}
REFUSAL = {"code": "picture_broken", "detail": "No.", "members": {}}
SMALL = encode(quadrants(32, 32))
MADE = [[32, "jpeg"]]

LIES = {
    "junk": os.urandom(1000),
    "a huge head": b"\xff\xff\xff\xff",
    "half a message": b"\0\0\0\x10{",
    "no answer": framed({}),
    "nested": struct.pack(">I", 60_000) + b"[" * 60_000,
    "more memory than there is": framed({**HEADER, "needs": LIMITS.memory + 1}),
    "less than no memory": framed({**HEADER, "needs": -1}),
    "memory of another type": framed({**HEADER, "needs": True}),
    "too many pixels": framed({**HEADER, "pixels": 100_000_001}),
    "no pixels": framed({**HEADER, "pixels": 0}),
    "another format": framed({**HEADER, "format": "svg"}),
    "a list of formats": framed({**HEADER, "format": ["jpeg"]}),
    "renditions without a header": framed({"renditions": MADE}, SMALL),
    "an unknown rejection": framed({"rejected": {**REFUSAL, "code": "unauthorized"}}),
    "a rejection of another shape": framed({"rejected": "picture_broken"}),
    "a list as code": framed({"rejected": {**REFUSAL, "code": []}}),
    "control characters": framed({"rejected": {**REFUSAL, "detail": "a\x1b[2J\nb"}}),
    "a long detail": framed({"rejected": {**REFUSAL, "detail": "a" * 1000}}),
    "unknown members": framed({"rejected": {**REFUSAL, "members": {"status": 200}}}),
    "members of text": framed({"rejected": {**REFUSAL, "members": {"width": "1"}}}),
    "a mistake that is none": framed({"failed": "ValueError at a.py:1\nalice@example.com"}),
    "no renditions": framed(HEADER) + framed({"renditions": []}),
    "no list of renditions": framed(HEADER) + framed({"renditions": 5}, SMALL),
    "a rendition without bytes": framed(HEADER) + framed({"renditions": MADE}),
    "bytes without a rendition": framed(HEADER) + framed({"renditions": []}, SMALL),
    "a rendition twice": framed(HEADER) + framed({"renditions": MADE * 2}, SMALL, SMALL),
    "another size": framed(HEADER) + framed({"renditions": [[16, "jpeg"]]}, SMALL),
    "a size of another type": framed(HEADER) + framed({"renditions": [[32.0, "jpeg"]]}, SMALL),
    "a format not asked for": framed(HEADER)
    + framed({"renditions": [[32, "avif"]]}, in_format("AVIF", quadrants(32, 32))),
    "another format's bytes": framed(HEADER)
    + framed({"renditions": MADE}, encode(quadrants(32, 32), "PNG")),
    "a page": framed(HEADER) + framed({"renditions": MADE}, b"<html><script>"),
    "a larger picture": framed(HEADER) + framed({"renditions": MADE}, encode(quadrants(33, 33))),
    "no square": framed(HEADER) + framed({"renditions": MADE}, encode(quadrants(32, 16))),
    "too many bytes": framed(HEADER) + framed({"renditions": MADE}, SMALL + bytes(200_000)),
    "endless bytes": framed(HEADER)
    + struct.pack(">I", 50)
    + b'{"renditions": [[32, "jpeg"]], "blobs": [99999999]}'[:50],
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie, tmp_path, caplog):
    """An invalid answer of a worker becomes an overload, and is not passed on."""
    (tmp_path / "lie").write_bytes(LIES[lie])
    start = lambda: hostile(str(tmp_path / "lie"))  # noqa: E731
    with renderer(start_worker=start, deadline_seconds=3) as ours:
        assert outcome(ours, GOOD) == "overloaded"
    assert "alice@example.com" not in caplog.text


@pytest.mark.parametrize("made", [SMALL, encode(quadrants(20, 20))])
def test_the_truth(tmp_path, made):
    """A valid answer passes, by the same way."""
    (tmp_path / "truth").write_bytes(framed(HEADER) + framed({"renditions": MADE}, made))
    with renderer(start_worker=lambda: hostile(str(tmp_path / "truth"))) as ours:
        assert outcome(ours, GOOD) == "accepted"


LIES_ABOUT_PREVIEWS = {
    "renditions": framed({"renditions": MADE}, SMALL),
    "no preview": framed({"preview": "jpeg"}),
    "two previews": framed({"preview": "jpeg"}, SMALL, SMALL),
    "a list of formats": framed({"preview": ["jpeg"]}, SMALL),
    "another format": framed({"preview": "avif"}, in_format("AVIF", quadrants(32, 32))),
    "another format's bytes": framed({"preview": "webp"}, SMALL),
    "a page": framed({"preview": "jpeg"}, b"<html><script>"),
    "a wide picture": framed({"preview": "jpeg"}, encode(Image.new("RGB", (1025, 8)))),
    "a high picture": framed({"preview": "webp"}, encode(Image.new("RGB", (8, 1025)), "WEBP")),
    "too many bytes": framed({"preview": "jpeg"}, SMALL + bytes(5_000_000)),
}


@pytest.mark.parametrize("lie", LIES_ABOUT_PREVIEWS)
def test_lies_about_previews(lie, tmp_path):
    """An invalid preview of a worker becomes an overload, and is not passed on."""
    (tmp_path / "lie").write_bytes(framed(HEADER) + LIES_ABOUT_PREVIEWS[lie])
    start = lambda: hostile(str(tmp_path / "lie"))  # noqa: E731
    with renderer(start_worker=start, deadline_seconds=3) as ours, pytest.raises(Overloaded):
        preview(ours, GOOD)


def test_the_truth_about_a_preview(tmp_path):
    """A valid preview passes, by the same way; it need be no square."""
    made = encode(Image.new("RGB", (1024, 8)))
    (tmp_path / "truth").write_bytes(framed(HEADER) + framed({"preview": "jpeg"}, made))
    with renderer(start_worker=lambda: hostile(str(tmp_path / "truth"))) as ours:
        assert preview(ours, GOOD) == Preview("jpeg", made)


MISSING = {
    "library": ("seccomp", "libseccomp-that-is-missing.so.2 is not installed"),
    "landlock": ("landlock", "Function not implemented"),
    "seccomp": ("seccomp", "Invalid argument"),
}


@pytest.mark.parametrize("lack", MISSING)
def test_system_that_lacks_a_part(lack, development_folder, monkeypatch, caplog):
    """If a part of the confinement is missing, pictures are rendered and operators are informed."""
    part, reason = MISSING[lack]
    other = ({"landlock", "seccomp"} - {part}).pop()
    command = [sys.executable, "-P", str(HOSTILE), "nothing", lack]
    monkeypatch.setattr(
        app_module,
        "WorkerPool",
        lambda size: WorkerPool(size, lambda: WorkerProcess(command)),
    )
    made = application(development_folder)
    try:
        client = webtest.TestApp(made, extra_environ={"HTTP_HOST": "localhost"})
        for _ in range(2):
            health = client.get("/__heartbeat__", status=200).json
            assert health["details"] == {"pictures": {part: reason, other: "ok"}}
        assert outcome(made.services.renderer, GOOD) == "accepted"
    finally:
        made.close()
    lines = [each for each in caplog.messages if "confined without" in each]
    assert lines == [f"picture workers are confined without {part} ({reason})"]


PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}

_LOOK = """
import ctypes, os, sys
from pathlib import Path
pid = int(sys.argv[1])
libc = ctypes.CDLL(None)
found = []
for name in ("environ", "maps", "mem", "fd", "io"):
    try:
        path = Path(f"/proc/{pid}/{name}")
        (path / "0").readlink() if name == "fd" else path.open("rb").read(0 if name == "mem" else 1)
        found.append(name)
    except OSError:
        pass
if libc.ptrace(16, pid, 0, 0) == 0:
    found.append("ptrace")
print(*found)
"""


# As a user without root's capabilities, which allow to read everything.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


def seen_by_its_user(pid: int) -> set[str]:
    """Return the parts of a process that another process of its user can read."""
    command = [*UNPRIVILEGED, sys.executable, "-c", _LOOK, str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def readable(pids: set[int]) -> dict[int, set[str]]:
    """Return what can be read of processes; one that still loads its program has a while for it."""
    deadline = time.monotonic() + 30
    while found := {pid: seen for pid in pids if (seen := seen_by_its_user(pid))}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return found


def test_other_processes_are_seen():
    """An ordinary process can be read by its user, so the next tests can fail."""
    process = subprocess.Popen([*UNPRIVILEGED, sys.executable, "-c", "print(); input()"], **PIPES)
    try:
        process.stdout.read(1)
        assert seen_by_its_user(process.pid) == {"environ", "maps", "mem", "fd", "io", "ptrace"}
    finally:
        process.kill()  # tracing has stopped it
        process.communicate()


@pytest.mark.parametrize("processes", [None, 2])
def test_service_can_not_be_read(tmp_path, processes):
    """Other processes of its user can read no process of the service, single or several."""
    with contextlib.closing(Service(tmp_path / "service")) as service:
        count = ["--processes", str(processes)] if processes else []
        service.start(*count, prefix=UNPRIVILEGED)
        client = Client(service, "alice@example.com")
        client.sign_in()
        assert client.upload(GOOD).status == 200
        pids = family_pids(service.pid)
        assert len(pids) >= (2 + processes if processes else 2)
        assert readable(pids) == {}


def test_worker_can_not_be_read():
    """Other processes of its user can read neither the fork server nor a worker."""
    before = fork_server_pids()
    with taken_over("endless", prefix=UNPRIVILEGED):
        workers = await_workers(lambda found: len(found) == 1)  # the server runs by then
        pids = (fork_server_pids() - before) | workers
        assert len(pids) == 2
        assert readable(pids) == {}


_COMMAND = """
import ctypes, sys
from persona_profile import cli
before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
status = cli.main(["-c", sys.argv[1], "keys", "status"])
print(before, status, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_commands_can_not_be_read(tmp_path):
    """A command that opens the keyring is not dumpable either."""
    service = Service(tmp_path / "service")
    assert service.run("storage", "init").returncode == 0
    command = [sys.executable, "-W", "ignore", "-c", _COMMAND, tmp_path / "service" / "test.ini"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "1 0 0"
