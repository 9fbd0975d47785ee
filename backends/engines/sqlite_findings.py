"""Findings about the file of a SQLite database: its rights, and the room of its disk."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backends.findings import Finding, failed, ok, warning

FAILED_BYTES: Final = 64 * 1024 * 1024
"""Less free room than a few uploads and the write-ahead log need."""

WARNING_BYTES: Final = 1024 * 1024 * 1024


def of_file(path: Path) -> Iterator[Finding]:
    """Yield findings about an existing file and its folder."""
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        advice = "make its owner the service's user, or run this command as that user"
        yield failed("rights", "this user can't write the database file and its folder", advice)
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield warning("rights", "other users can read the database file", f"run chmod 600 {path}")
    else:
        yield ok("rights", "this user can write the file; its mode keeps other users out")
    free = shutil.disk_usage(path.parent).free
    message = f"{free / 2**30:,.1f} GiB are free for the database file"
    if free < FAILED_BYTES:
        yield failed("disk", message, "make room, or move the file")
    elif free < WARNING_BYTES:
        yield warning("disk", message, "make room soon: a full disk rejects all writes")
    else:
        yield ok("disk", message)
