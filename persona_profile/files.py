"""Files that are there whole or not at all, and what is configured in some."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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

    Raises:
        FileExistsError: there is a file already, which stays as it is.
        OSError: it can't be written.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.link(file.name, path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on disk when this returns.

    Raises:
        OSError: it can't be done.
    """
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
