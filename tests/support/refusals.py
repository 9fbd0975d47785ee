"""What a backend says when its database can't be used."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from backends import Unavailable


@contextlib.contextmanager
def refused(reason: str, within: float) -> Iterator[pytest.ExceptionInfo[Unavailable]]:
    """Expect that something is refused for a reason, in seconds, and says when to try again."""
    began = time.monotonic()
    with pytest.raises(Unavailable, match=reason) as raised:
        yield raised
    assert time.monotonic() - began < within
    assert raised.value.retry_after > 0
