"""Archives in files, by path, as the commands use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends import Backend
from backends.copying import archive
from backends.copying.archive import Contents, Restored
from persona_profile import files


def backup(source: Backend, path: Path, **options: Any) -> Contents:
    """Write a store into an archive."""
    with files.output(path) as file:
        return archive.backup(source, file, **options)


def check(path: Path, **options: Any) -> Contents:
    """Check an archive."""
    with path.open("rb") as file:
        return archive.check(file, **options)


def restore(path: Path, destination: Backend, **options: Any) -> Restored:
    """Write an archive into a store."""
    with path.open("rb") as file:
        return archive.restore(file, destination, **options)
