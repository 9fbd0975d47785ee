"""The file with the progress of an import."""

import sqlite3
import stat

import pytest
from support.servers.disks import leave_free, small_disk

from persona_profile.importing.progress_file import InvalidProgressFile, ProgressFile

A, B, C = (bytes([1]) + letter * 32 for letter in (b"a", b"b", b"c"))


def test_outcomes(tmp_path):
    """Intended and imported emails are known to the next run, rejected ones are not."""
    path = tmp_path / "people.progress"
    with ProgressFile(path) as file:
        file.intend({A: "0", B: "state", C: "0"})
        file.settle([A], [C])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with ProgressFile(path) as file:
        assert [list(file.known([each])) for each in (A, B, C)] == [[None], ["state"], []]
        assert set(file.known([A, B, C])) == {None, "state"}


def test_first_line(tmp_path):
    """An email that comes again in one run has the line of the first; another run begins again."""
    for _ in range(2):
        with ProgressFile(tmp_path / "people.progress") as file:
            assert [file.first_line(each, line) for line, each in enumerate([A, B, A, A], 2)] == [
                2,
                3,
                2,
                2,
            ]


def test_dry_run(tmp_path):
    """Without a file, a run that keeps nothing makes none; with one, it reads it."""
    path = tmp_path / "people.progress"
    with ProgressFile(path, is_kept=False) as file:
        assert list(file.known([A])) == []
    assert not path.exists()
    with ProgressFile(path) as file:
        file.settle([A], [])
    with ProgressFile(path, is_kept=False) as file:
        assert list(file.known([A])) == [None]


def test_one_at_a_time(tmp_path):
    """Two imports can't use one file."""
    path = tmp_path / "people.progress"
    with ProgressFile(path), pytest.raises(InvalidProgressFile, match="another import"):
        ProgressFile(path)
    ProgressFile(path).__exit__()


def test_other_files(tmp_path):
    """A file with other content, another database and a missing folder are rejected, and stay."""
    text = tmp_path / "text"
    text.write_text("a@b.example,A\n" * 1000)
    other = tmp_path / "other"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE emails (partition)")
    database.commit()
    database.close()
    before = other.read_bytes()
    for path in (text, other):
        with pytest.raises(InvalidProgressFile, match="is not the progress of an import"):
            ProgressFile(path)
    assert (other.read_bytes(), text.stat().st_size) == (before, 14_000)
    with pytest.raises(InvalidProgressFile, match="No such file"):
        ProgressFile(tmp_path / "none" / "people.progress")


def test_full_disk(tmp_path):
    """A full disk is reported, and what was stored before stays."""
    with small_disk(tmp_path / "disk", 1) as folder:
        path = folder / "people.progress"
        with ProgressFile(path) as file:
            file.settle([A], [])
            leave_free(folder, 4096)
            with pytest.raises(InvalidProgressFile, match="disk is full"):
                file.intend({bytes([1]) + number.to_bytes(32): "0" * 16 for number in range(10_000)})
        (folder / "ballast").unlink()
        with ProgressFile(path) as file:
            assert list(file.known([A])) == [None]
