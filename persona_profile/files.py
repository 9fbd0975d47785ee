"""Files that are written whole or not at all, and JSON files of the operator."""

from __future__ import annotations

import codecs
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar, cast

from persona_profile.encoding import Json, json_decode

Parsed = TypeVar("Parsed")

_MAX_LINKS: Final = 40


def read_json(path: Path, parse: Callable[[Json], Parsed]) -> Parsed:
    """Return the result of `parse` for the content of a JSON file.

    Raises:
        ValueError: the file can't be read, or `parse` rejects its content. The message begins with
            the path.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if data.startswith(codecs.BOM_UTF8):
        raise ValueError(f"{path}: begins with a byte order mark: save the file as UTF-8 without one")
    try:
        return parse(json_decode(data, max_values=None))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def create(path: Path, data: bytes) -> None:
    """Write a new file with mode 0600, and sync it to disk.

    A dangling symbolic link is followed. The file gets its name when it is complete (`O_TMPFILE`), so a
    crash leaves nothing behind. File systems without `O_TMPFILE` use a temporary name.

    Raises:
        FileExistsError: the file exists already; it stays unchanged.
        OSError: the file can't be written.
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
    """Replace the content of a file atomically, keep its owner, and sync it to disk.

    A symbolic link is followed, since the old content would survive in its target. The new content is
    written to `PATH.new` first; a leftover of a crash under that name is removed. The caller serialises
    replacements of the same file.

    Raises:
        OtherNames: the file has other hard links, which would keep the old content.
        OSError: the file can't be written; it stays unchanged.
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
                # The service may run as another user than the operator.
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextmanager
def output(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing; a regular file is replaced as a whole, atomically.

    It gets its name, with mode 0600, when the block has ended and the content is on disk; until then
    there is the older file or none. The target of a symbolic link is replaced, not the link. Devices,
    FIFOs and open descriptors such as `/dev/stdout` are written through (`is_written_through`).

    Raises:
        OSError: the file can't be written. Its `filename` is the path, also for an error of a write.
    """
    try:
        target = _target(path)
        if is_written_through(target):
            with _opened(target, os.O_WRONLY | os.O_NOCTTY, "wb") as file:
                yield file
                _sync(file)
        else:
            with _replaced(target) as file:
                yield file
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def opened_input(path: Path) -> BinaryIO:
    """Open a file for reading; the name of an own descriptor, such as `/dev/stdin`, opens a copy of it.

    Raises:
        OSError: the file can't be opened.
    """
    return _opened(_target(path), os.O_RDONLY | os.O_NOCTTY, "rb")


def is_written_through(path: Path) -> bool:
    """Return whether `output` writes into the existing file instead of replacing it."""
    target = _target(path)
    if target.is_relative_to("/proc"):
        return True
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


class OtherNames(OSError):
    """The file to replace has more than one hard link."""


def real_path(path: Path) -> Path:
    """Return a path with all symbolic links resolved; the target need not exist."""
    return Path(os.path.realpath(path))


@contextmanager
def _nameless(path: Path) -> Iterator[BinaryIO]:
    """Open a new nameless file in the folder of a path."""
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


def _target(path: Path) -> Path:
    """Return a path without symbolic links, except for the descriptors of processes in `/proc`.

    Those look like links: to a name that a redirected file may have, or to no name at all.
    """
    for _ in range(_MAX_LINKS):
        path = real_path(path.parent) / path.name
        if path.is_relative_to("/proc") or not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _opened(target: Path, flags: int, mode: str) -> BinaryIO:
    if target.parent == Path(f"/proc/{os.getpid()}/fd") and target.name.isdigit():
        # A copy of the descriptor goes on at its position; an opened file would begin at byte 0.
        handle = os.dup(int(target.name))
    else:
        handle = os.open(target, flags | os.O_CLOEXEC)
    return cast(BinaryIO, os.fdopen(handle, mode))


@contextmanager
def _replaced(target: Path) -> Iterator[BinaryIO]:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            _sync(file)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
    _sync_folder(target.parent)


def _sync(file: BinaryIO) -> None:
    """Write everything to the disk, if there is one."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # pipes, terminals, /dev/null
            raise
