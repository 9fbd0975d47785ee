"""Spans without a library: they go to the recorder of the present request alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from persona_profile.runtime.spans import NO_SPAN, Span, Value, recorded_by, span


class Recorded:
    """The names and attributes of spans."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.attributes: dict[str, Value] = {}

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """Record a name."""
        self.names.append(name)
        yield self

    def set(self, name: str, value: Value) -> None:
        """Record an attribute."""
        self.attributes[name] = value


def test_without_recorder():
    """Outside of a recorded request all spans are one object, which hides no error."""
    assert span("store.apply") is span("keys.open") is NO_SPAN
    with span("store.apply") as found:
        found.set("count", 1)
    with pytest.raises(ValueError, match="lost"), span("store.apply"):
        raise ValueError("lost")


def test_recorder_of_a_request():
    """A recorder gets the spans of its thread, until its request has ended."""
    recorded = Recorded()
    with recorded_by(recorded):
        with span("picture.open") as found:
            found.set("picture.pixels", 4)
        beside = threading.Thread(target=lambda: span("of another request"))
        beside.start()
        beside.join()
    assert span("later") is NO_SPAN
    assert (recorded.names, recorded.attributes) == (["picture.open"], {"picture.pixels": 4})
