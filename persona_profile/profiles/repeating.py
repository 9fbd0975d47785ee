"""Writes by compare-and-set, repeated while other processes write to the same profile."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from backends import Conflict
from persona_profile.errors import WriteConflict

WRITE_PATIENCE_SECONDS: Final = 5.0


class Patient(Protocol):
    """A service with a `write_patience`, the seconds during which a write is repeated."""

    write_patience: float


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Patient)


def repeated(
    attempt: Callable[Concatenate[_S, _P], _T],
) -> Callable[Concatenate[_S, _P], _T]:
    """Repeat a method of a service after each `Conflict`, for its `write_patience`.

    Raises:
        WriteConflict: others kept writing.
    """

    @wraps(attempt)
    def attempts(service: _S, /, *args: _P.args, **options: _P.kwargs) -> _T:
        deadline = None  # since the first conflict: a slow first attempt is repeated too
        pause = 0.001
        while True:
            try:
                return attempt(service, *args, **options)
            except Conflict:
                deadline = deadline or time.monotonic() + service.write_patience
                if time.monotonic() > deadline:
                    raise WriteConflict("Others are writing to this profile; try again.") from None
                time.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
                pause = min(2 * pause, 0.1)

    return attempts
