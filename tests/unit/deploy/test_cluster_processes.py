"""Processes of `make cluster`: the script stops its own processes in every case, and no others."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.pictures.workers import is_alive
from support.servers.applications import wait_for

_PATH = ROOT / "deploy" / "cluster" / "processes.py"
_SPEC = importlib.util.spec_from_file_location("cluster_processes", _PATH)
processes = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(processes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of recorded processes."""
    return tmp_path / "processes.json"


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """An unrelated process."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def family(kept: processes.Kept, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a process with a child; return both."""
    pid_file = folder / "child"
    started = kept.start(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"])
    wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    return started, int(pid_file.read_text())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_leftovers(file, tmp_path, number):
    """A later run ends the leftovers of a killed run: children of dead processes, and frozen ones."""
    parent, child = family(processes.Kept(file), tmp_path)
    parent.send_signal(number)
    if number == signal.SIGKILL:
        parent.wait(30)
    assert is_alive(child)
    assert processes.Kept(file).end_leftovers() == [parent.pid]
    parent.wait(30)
    assert not is_alive(child)
    assert processes.Kept(file).end_leftovers() == []


def test_number_of_another_process(file, stranger):
    """A process with the reused id of an ended one is left alone."""
    kept = processes.Kept(file)
    ended = kept.start(["true"])
    ended.wait(30)
    file.write_text(file.read_text().replace(str(ended.pid), str(stranger.pid)))
    assert processes.Kept(file).end_leftovers() == []
    assert stranger.poll() is None


def test_nobody_can_write(file):
    """A process that can't be recorded is not started; running ones are ended anyway."""
    kept = processes.Kept(file)
    running = kept.start(["sleep", "60"])
    file.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match=r"processes\.new"):
        kept.start(["sleep", "60"])
    kept.end_all()
    running.wait(30)
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not any(is_alive(int(child)) for child in children if _is_sleep(child))


def _is_sleep(pid: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


def test_command_that_fails(file):
    """The error has the purpose of the command and its message."""
    command = ["sh", "-c", "echo no room left >&2; exit 3"]
    with pytest.raises(processes.NotStarted, match="a folder can't be made: no room left"):
        processes.Kept(file).run("a folder can't be made", command)
    assert processes.Kept(file).end_leftovers() == []


def test_interrupted(file, tmp_path):
    """A running command ends with the interrupted script."""
    pid_file = tmp_path / "pid"

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    kept = processes.Kept(file)
    before = signal.signal(signal.SIGTERM, stop)
    # Half a second after it is recorded, the script waits for it.
    until_recorded = f"until grep -q $$ {file}; do sleep 0.02; done; sleep 0.5"
    command = f"echo $$ > {pid_file}; {until_recorded}; kill -TERM {os.getpid()}; sleep 60"
    try:
        with pytest.raises(KeyboardInterrupt):
            kept.run("it", ["sh", "-c", command])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not is_alive(int(pid_file.read_text()))
