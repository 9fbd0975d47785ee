"""Failures of a backend whose database can't be used."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from backends import Unavailable

PATIENCE_SECONDS = 60
"""Far more than all time limits of the tests' backends together, on any machine."""


@contextlib.contextmanager
def fails(reason: str) -> Iterator[pytest.ExceptionInfo[Unavailable]]:
    """Expect that an operation fails for a reason, within its time limits, with `retry_after`."""
    began = time.monotonic()
    with pytest.raises(Unavailable, match=reason) as raised:
        yield raised
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert raised.value.retry_after > 0
