"""Outputs of commands: regular files atomically, everything else written through."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from persona_profile import files

WRITE = """
import sys
from pathlib import Path
from persona_profile import files
with files.output(Path(sys.argv[1])) as file:
    file.write(b"new")
"""


def write(path: Path | str, data: bytes = b"new") -> None:
    """Write an output."""
    with files.output(Path(path)) as file:
        file.write(data)


@pytest.mark.parametrize("before", [None, b"older and longer"])
def test_regular_file(tmp_path, before):
    """A regular file has its older content or none until the new one is complete."""
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)
    with files.output(path) as file:
        file.write(b"new")
        file.flush()
        assert (path.read_bytes() if path.exists() else None) == before
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(TypeError), files.output(path) as file:
        file.writelines([b"half", None])
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"new"]


@pytest.mark.parametrize("is_dangling", [False, True])
def test_links(tmp_path, is_dangling):
    """The target of a chain of links is written, and the links stay."""
    target = tmp_path / "disk" / "file"
    target.parent.mkdir()
    if not is_dangling:
        target.write_bytes(b"older")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to("disk/file")
    write(tmp_path / "first")
    assert target.read_bytes() == b"new"
    assert (tmp_path / "first").readlink() == Path("second")
    assert (tmp_path / "second").is_symlink()


def test_links_in_a_circle(tmp_path):
    """Links in a circle are an error."""
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="one") as failure:
        write(tmp_path / "one")
    assert failure.value.errno == errno.ELOOP


@pytest.mark.parametrize("is_link", [False, True])
def test_fifo(tmp_path, is_link):
    """A FIFO is written through and stays, also behind a link."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(path.read_bytes()))
    reader.start()
    write(link if is_link else path)
    reader.join()
    assert seen == [b"new"]
    assert path.is_fifo()
    assert link.is_symlink()


def test_devices(tmp_path):
    """Devices are written through: a null device stays one, a full one is an error with its name."""
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        path.open("wb").close()
    except OSError:
        path = Path(os.devnull)  # a container may not make devices
    write(path)
    assert path.is_char_device()
    with pytest.raises(OSError, match="No space left") as failure:
        write("/dev/full", bytes(100_000))
    assert failure.value.filename == "/dev/full"


@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", "link"])
def test_standard_output(tmp_path, name):
    """The standard output is written through at its position, wherever it leads."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    command = [sys.executable, "-c", WRITE, name]
    piped = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    assert piped.stdout == b"new"
    log = tmp_path / "log"
    log.write_bytes(b"older ")
    inode = log.stat().st_ino
    with log.open("ab") as file:
        subprocess.run(command, cwd=tmp_path, stdout=file, check=True)
    assert (log.read_bytes(), log.stat().st_ino) == (b"older new", inode)


def test_closed_standard_output():
    """A closed standard output is an error."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" /dev/stdout >&-', sys.executable, WRITE],
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 1
    assert b"Error: [Errno" in done.stderr


@pytest.mark.parametrize("path", ["absent/file", "/proc/absent", "."])
def test_where_nothing_can_be_written(tmp_path, monkeypatch, path):
    """A missing folder, a name in /proc and a folder are errors that name the file."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=r"Errno") as failure:
        write(path)
    assert failure.value.filename
    assert not list(tmp_path.parent.glob("*.partial"))


def test_input_of_a_descriptor(tmp_path):
    """The name of an own descriptor goes on where that is."""
    path = tmp_path / "file"
    path.write_bytes(b"first second")
    with path.open("rb", buffering=0) as opened:
        opened.read(6)
        with files.opened_input(Path(f"/proc/self/fd/{opened.fileno()}")) as file:
            assert file.read() == b"second"
    with files.opened_input(path) as file:
        assert file.read() == b"first second"
