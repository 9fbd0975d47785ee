"""Paths in arguments; `-` is the standard input or output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO


def input_path(text: str) -> Path:
    """Return the path of an input."""
    return Path("/dev/stdin" if text == "-" else text)


def output_path(text: str) -> Path:
    """Return the path of an output."""
    return Path("/dev/stdout" if text == "-" else text)


def is_standard_output(file: BinaryIO) -> bool:
    """Return whether a file is the standard output, by whatever name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.fstat(sys.stdout.fileno()))
    except (AttributeError, OSError):  # the standard output is closed
        return False
