"""Spans of the request that a thread answers: parts of the service report them by `span`.

A span costs nothing to speak of while traces are off, or while the present request is not sampled.
`traces` records spans; this module knows no library.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Final, Protocol, Self

Value = str | int | float


class Span(Protocol):
    """A span under way."""

    def set(self, name: str, value: Value) -> None:
        """Set an attribute. It must not describe a person: no email, address, path or token."""


class Recorder(Protocol):
    """Records the spans of a request."""

    def span(self, name: str) -> AbstractContextManager[Span]:
        """Return a span below the present span; `with` begins and ends it."""


class _NoSpan:
    """A span that is not recorded."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        return

    def set(self, _name: str, _value: Value) -> None:
        """Ignore an attribute."""


NO_SPAN: Final = _NoSpan()

_RECORDER: ContextVar[Recorder | None] = ContextVar("spans_recorder", default=None)


def span(name: str) -> AbstractContextManager[Span]:
    """Return a span of the present request; `with` begins and ends it."""
    recorder = _RECORDER.get()
    return NO_SPAN if recorder is None else recorder.span(name)


@contextmanager
def recorded_by(recorder: Recorder) -> Iterator[None]:
    """Record the spans of this thread."""
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)
