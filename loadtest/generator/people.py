"""The users of one process: their sessions, and what the server should have of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from gevent.lock import BoundedSemaphore

SESSION_RESERVE: Final = 60
"""Seconds before its end in which a session is not used."""

UNKNOWN: Final = object()
"""A claim or picture that was not written in this run, or whose write has no known result."""


@dataclass(slots=True)
class Card:
    """The expected profile of one email.

    Attributes:
        name: the last one written, None if there is none, or UNKNOWN.
        picture: mark of the last upload, None if there is none, or UNKNOWN.
        paths: of the picture's sizes, from the last response.
        writes: count of begins and ends of writes: if it changes, a reader saw two states.
        is_written: while a write is under way.
        is_lost: a write had no answer: the server may do it at any time, even after later writes.
    """

    name: Any = UNKNOWN
    picture: Any = UNKNOWN
    paths: Mapping[int, str] = field(default_factory=dict)
    writes: int = 0
    is_written: bool = False
    is_lost: bool = False

    def begin(self) -> None:
        """Note that a write begins: the profile is unknown until it succeeds."""
        self.writes += 1
        self.is_written = True
        self.name = self.picture = UNKNOWN

    def end(self, *, has_answer: bool) -> None:
        """Note that a write has ended."""
        self.writes += 1
        self.is_written = False
        self.is_lost = self.is_lost or not has_answer

    def expect(self, name: Any, picture: Any) -> None:
        """Note the expected profile."""
        if not self.is_lost:
            self.name, self.picture = name, picture

    def keep_urls(self, profile: Mapping[str, Any]) -> None:
        """Keep the URLs of a profile."""
        picture = profile.get("picture") or {}
        urls = picture.get("urls", {})
        self.paths = {int(size): urlsplit(url).path for size, url in urls.items()}


@dataclass(slots=True)
class Person:
    """A user and their browser.

    Attributes:
        cards: by email, in order.
        turn: lock for writes: a person makes one change at a time.
        token, ends_at: of the session; empty without one.
    """

    cards: list[Card]
    turn: BoundedSemaphore = field(default_factory=BoundedSemaphore)
    token: str = ""
    ends_at: float = 0.0

    @property
    def has_session(self) -> bool:
        """Whether the session can be used."""
        return bool(self.token) and time.time() < self.ends_at - SESSION_RESERVE

    def take_session(self, document: Mapping[str, Any]) -> None:
        """Keep a session that the server has opened."""
        self.token = document["token"]
        self.ends_at = datetime.fromisoformat(document["expires_at"]).timestamp()
