"""The folder of pictures: the files in it, and no other file, whatever a CSV names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Self

from persona_profile.importing import RowRejected

_PART: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A folder, held open. A context manager that closes it.

    Args:
        path: the folder; it may be a link.
        max_bytes: of a picture.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._descriptor)

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open the file of a relative path for the `with` block, in which it must not change.

        Raises:
            RowRejected: there is no such regular file of up to `max_bytes`, a part of the path is `..`
                or a symbolic link, or the file was changed meanwhile.
        """
        with ExitStack() as held:
            try:
                handle = self._find(name, held)
                before = os.fstat(handle)
                self._check(before)
                # By the descriptor: only a regular file is opened, and the one that was checked.
                file = held.enter_context(open(f"/proc/self/fd/{handle}", "rb", buffering=0))  # noqa: PTH123
            except OSError as error:
                raise _unreadable(error) from None
            except ValueError:  # a NUL character
                raise RowRejected("file_unreadable", "the file's name can't be used") from None
            try:
                yield file
            finally:
                # Also after a rejection: half of a file looks like a damaged one.
                if _version(os.fstat(handle)) != _version(before):
                    raise RowRejected("file_changed", "the file was changed while it was read")

    def _find(self, name: str, held: ExitStack) -> int:
        """Return a descriptor (O_PATH) of a name, reached part by part without a link."""
        *folders, last = name.split("/")
        if not last or name.startswith("/") or ".." in (*folders, last):
            reason = "must be a path within the folder, without a / at its start or end, and without .."
            raise RowRejected("file_outside_folder", reason)
        parent = self._descriptor
        for part in folders:
            if part not in ("", "."):
                flags = _PART | os.O_DIRECTORY
                parent = _held(os.open(part, flags, dir_fd=parent), held)
        return _held(os.open(last, _PART, dir_fd=parent), held)

    def _check(self, found: os.stat_result) -> None:
        if stat.S_ISLNK(found.st_mode):
            raise RowRejected("file_outside_folder", "symbolic links are not followed")
        if not stat.S_ISREG(found.st_mode):
            raise RowRejected("file_not_regular", "must be a file: no folder, device, FIFO or socket")
        if found.st_size > self._max_bytes:
            reason = f"the file has over {self._max_bytes} bytes, the limit of pictures.max_bytes"
            raise RowRejected("body_too_large", reason)


def _held(descriptor: int, held: ExitStack) -> int:
    held.callback(os.close, descriptor)
    return descriptor


def _version(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _unreadable(error: OSError) -> RowRejected:
    if error.errno == errno.ENOENT:
        return RowRejected("file_missing", "there is no such file in the folder")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):  # a link with O_DIRECTORY is no directory
        reason = "a part of the path is no folder, or a symbolic link, which is not followed"
        return RowRejected("file_outside_folder", reason)
    return RowRejected("file_unreadable", f"the file can't be read: {error.strerror}")
