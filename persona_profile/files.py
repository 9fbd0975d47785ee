"""Files that are there whole or not at all, and what is configured in some."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from persona_profile.encoding import Json, json_decode

Parsed = TypeVar("Parsed")


def read_json(path: Path, parse: Callable[[Json], Parsed]) -> Parsed:
    """Return what `parse` makes of a JSON file.

    Raises:
        ValueError: the file can't be read, or `parse` does not take what it holds; the message begins
            with the path.
    """
    try:
        return parse(json_decode(path.read_bytes(), max_values=None))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def create(path: Path, data: bytes) -> None:
    """Write a new file, mode 0600: on disk when this returns; a crash leaves no part of it.

    A symbolic link that leads to no file yet is followed. While it is written the file has no name, so
    that a crash leaves nothing behind; only file systems without such files (`O_TMPFILE`) give it one.

    Raises:
        FileExistsError: there is a file already, which stays as it is.
        OSError: it can't be written.
    """
    path = real_path(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _nameless(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # With a folder's descriptor, as Python follows the link of /proc only then.
            os.link(f"/proc/self/fd/{file.fileno()}", path.name, dst_dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)


def replace(path: Path, data: bytes) -> None:
    """Write over a file, which keeps its owner; on disk when this returns, as the old or the new one.

    What a symbolic link leads to is replaced, not the link: else the old content would stay there. The
    caller keeps others from replacing it meanwhile: until the new file takes its place it is called
    `PATH.new`, and one that a crash has left is removed first.

    Raises:
        OtherNames: the file has other names (hard links), which would keep the old content.
        OSError: it can't be written, and is as it was.
    """
    path = real_path(path)
    written = Path(f"{path}.new")
    written.unlink(missing_ok=True)
    before = path.stat()
    if before.st_nlink > 1:
        raise OtherNames(errno.EMLINK, "the file has other names (hard links): remove them", str(path))
    try:
        with open(written, "xb", opener=_for_owner_only) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                # Else the service, which is another user than the operator, could not read it.
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    _sync_folder(path.parent)


class OtherNames(OSError):
    """A file that was to be replaced has more than one name."""


def real_path(path: Path) -> Path:
    """Return the path of what symbolic links lead to, whether or not it exists."""
    return Path(os.path.realpath(path))


@contextmanager
def _nameless(path: Path) -> Iterator[BinaryIO]:
    """Open a new file without a name, in the folder of a path."""
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as file:
            yield cast(BinaryIO, file)
    else:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            yield file


def _for_owner_only(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
