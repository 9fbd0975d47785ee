"""The folder of an import: its files, and no other file of the machine."""

import os
import socket

import pytest

from persona_profile.importing import RowRejected
from persona_profile.importing.folder import Folder

LIMIT = 1000


@pytest.fixture
def folder(tmp_path):
    """A folder with a picture in it and in a folder below, and a secret beside it."""
    below = tmp_path / "pictures" / "below"
    below.mkdir(parents=True)
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"A")
    (below / "b.jpg").write_bytes(b"B")
    (tmp_path / "secret").write_bytes(b"secret")
    with Folder(tmp_path / "pictures", LIMIT) as opened:
        yield opened


def rejection(folder: Folder, name: str) -> str:
    """Return the code of a rejected file."""
    with pytest.raises(RowRejected) as caught, folder.opened(name):
        pytest.fail("was opened")
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "content"), [("a.jpg", b"A"), ("below/b.jpg", b"B"), ("./below//b.jpg", b"B")]
)
def test_files(folder, name, content):
    """Files in the folder and in folders of it are opened."""
    with folder.opened(name) as file:
        assert file.read() == content


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../secret", "file_outside_folder"),
        ("below/../a.jpg", "file_outside_folder"),
        ("below/..", "file_outside_folder"),
        ("/etc/passwd", "file_outside_folder"),
        ("a.jpg/", "file_outside_folder"),
        ("a.jpg/x", "file_outside_folder"),
        ("", "file_outside_folder"),
        (".", "file_not_regular"),
        ("below", "file_not_regular"),
        ("none.jpg", "file_missing"),
        ("below\\b.jpg", "file_missing"),
        ("below/none/b.jpg", "file_missing"),
        ("a\0.jpg", "file_unreadable"),
        ("a" * 300, "file_unreadable"),
        ("a/" * 3000 + "a", "file_missing"),
    ],
)
def test_names(folder, name, code):
    """A name that leads out of the folder, or to no file, is rejected."""
    assert rejection(folder, name) == code


@pytest.mark.parametrize("target", ["../secret", "a.jpg", "/etc/passwd", "/dev/zero", "nothing"])
def test_links(folder, tmp_path, target):
    """No symbolic link is followed, wherever it leads."""
    (tmp_path / "pictures" / "link").symlink_to(target)
    assert rejection(folder, "link") == "file_outside_folder"


def test_linked_folders(folder, tmp_path):
    """Neither is a link to a folder."""
    (tmp_path / "pictures" / "out").symlink_to(tmp_path)
    assert rejection(folder, "out/secret") == "file_outside_folder"


def test_no_files(folder, tmp_path):
    """FIFOs, sockets and devices are rejected without being opened, as that could wait for ever."""
    os.mkfifo(tmp_path / "pictures" / "fifo")
    assert rejection(folder, "fifo") == "file_not_regular"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "pictures" / "socket"))
        assert rejection(folder, "socket") == "file_not_regular"
    with Folder("/dev", LIMIT) as devices:
        assert rejection(devices, "zero") == "file_not_regular"


def test_size(folder, tmp_path):
    """The largest file is accepted, a larger one is not, without being read."""
    os.truncate(tmp_path / "pictures" / "a.jpg", LIMIT)
    with folder.opened("a.jpg") as file:
        assert len(file.read()) == LIMIT
    os.truncate(tmp_path / "pictures" / "a.jpg", 10**12)
    assert rejection(folder, "a.jpg") == "body_too_large"


@pytest.mark.parametrize("is_damaged", [False, True], ids=["whole", "damaged"])
def test_changed_meanwhile(folder, tmp_path, is_damaged):
    """A file that is written to while it is read is rejected for that, whatever was read."""

    def read():
        with folder.opened("a.jpg"):
            with (tmp_path / "pictures" / "a.jpg").open("ab") as file:
                file.write(b"more")
            if is_damaged:
                raise RowRejected("picture_broken", "damaged")

    with pytest.raises(RowRejected) as caught:
        read()
    assert caught.value.code == "file_changed"


def test_replaced_meanwhile(folder, tmp_path):
    """A file that is replaced after it was opened is read as it was opened, and rejected."""
    new = tmp_path / "pictures" / "new.jpg"
    new.write_bytes(b"N")

    def read():
        with folder.opened("a.jpg") as file:
            new.rename(tmp_path / "pictures" / "a.jpg")
            assert file.read() == b"A"

    with pytest.raises(RowRejected) as caught:
        read()
    assert caught.value.code == "file_changed"  # it has no name left


def test_no_folder(tmp_path):
    """A folder that is missing, or a file, is an error of the system."""
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(OSError, match=name):
            Folder(tmp_path / name, LIMIT)
