"""Whole numbers in arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a reader of an argument, which is a whole number of that range."""

    def read(text: str) -> int:
        with suppress(ValueError):
            if text.isascii() and text.isdecimal() and minimum <= int(text) <= maximum:
                return int(text)
        raise argparse.ArgumentTypeError(f"must be a whole number from {minimum:,} to {maximum:,}")

    return read
