"""What one process knows of each of its users: their session, and what they last wrote."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from gevent.lock import BoundedSemaphore

SESSION_RESERVE: Final = 60
"""Seconds before its end from which a session is not used any more."""

UNKNOWN: Final = object()
"""Of a claim or picture: nothing was written in this run, or nobody knows whether a write was done."""


@dataclass(slots=True)
class Card:
    """What is known of one email.

    Attributes:
        name: last written, or None if there is none, or UNKNOWN.
        picture: mark of the last uploaded picture, or None if there is none, or UNKNOWN.
        paths: of the picture's sizes, as last told.
        writes: how often a write began or ended: whoever sees two values saw no one state.
        is_written: while a write is under way.
        is_lost: a write was never answered: the server may do it at any time, even after later ones.
    """

    name: Any = UNKNOWN
    picture: Any = UNKNOWN
    paths: Mapping[int, str] = field(default_factory=dict)
    writes: int = 0
    is_written: bool = False
    is_lost: bool = False

    def begin(self) -> None:
        """Note that a write begins: until it ends well, nobody knows what stands there."""
        self.writes += 1
        self.is_written = True
        self.name = self.picture = UNKNOWN

    def end(self, *, has_answer: bool) -> None:
        """Note that a write has ended."""
        self.writes += 1
        self.is_written = False
        self.is_lost = self.is_lost or not has_answer

    def know(self, name: Any, picture: Any) -> None:
        """Note what stands there."""
        if not self.is_lost:
            self.name, self.picture = name, picture

    def learn(self, profile: Mapping[str, Any]) -> None:
        """Take in the URLs that the server tells."""
        picture = profile.get("picture") or {}
        urls = picture.get("urls", {})
        self.paths = {int(size): urlsplit(url).path for size, url in urls.items()}


@dataclass(slots=True)
class Person:
    """A user and their browser.

    Attributes:
        cards: by email, in order.
        turn: held by whoever writes: one change at a time, as people do.
        token: of the session, empty if there is none.
        ends_at: when the session does, seconds since 1970.
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
