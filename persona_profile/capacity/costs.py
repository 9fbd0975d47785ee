"""The costs of each activity for a server, as `benchmarks/activity_cost.py` measures them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final, Self

MEASURED_ACTIVITIES: Final = ("dialog_open", "picture_read", "edit", "export", "erase")
"""Activities with a cost each; uploads have costs by the kind of picture."""

PICTURE_KINDS: Final = ("jpeg_12mp", "jpeg_24mp", "jpeg_48mp", "png_screenshot", "heic")

MAX_NUMBER: Final = 1e15
"""Larger numbers are mistakes in any unit."""


class InvalidCosts(ValueError):
    """A document has no valid costs; the message names the mistake and its place."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The costs of one request of an activity.

    Attributes:
        service_seconds: processor time of the server's own process.
        worker_seconds: processor time of its picture workers.
        database_seconds, statements: of the database.
        request_bytes, answer_bytes: of the bodies.
    """

    service_seconds: float
    worker_seconds: float
    database_seconds: float
    statements: float
    request_bytes: float
    answer_bytes: float

    @property
    def server_seconds(self) -> float:
        """Processor time of the server, its workers included, without the database's."""
        return self.service_seconds + self.worker_seconds

    @classmethod
    def mean(cls, weighted: Iterable[tuple[float, Cost]]) -> Cost:
        """Return the mean of costs, each with its share; shares have the sum 1."""
        pairs = list(weighted)
        names = (field.name for field in fields(cls))
        return cls(
            **{name: sum(share * getattr(cost, name) for share, cost in pairs) for name in names}
        )


@dataclass(frozen=True, slots=True)
class Costs:
    """The measured costs of a server.

    Attributes:
        measured_on: the machine, in words.
        activities: by name, each of `MEASURED_ACTIVITIES`.
        uploads: by kind of picture, each of `PICTURE_KINDS`.
        picture_set_bytes: sealed bytes of all renditions of a picture.
        profile_bytes: sealed bytes of an email's other items.
        database_factor: bytes of the database's files over sealed bytes.
    """

    measured_on: str
    activities: Mapping[str, Cost]
    uploads: Mapping[str, Cost]
    picture_set_bytes: float
    profile_bytes: float
    database_factor: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the output of `benchmarks/activity_cost.py`.

        Raises:
            InvalidCosts: it has another form.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidCosts("this is no JSON") from None
        whole = _members(document, "", ("measured_on", "activities", "uploads", "stored_bytes"))
        if not isinstance(whole["measured_on"], str) or not whole["measured_on"].isprintable():
            raise InvalidCosts("measured_on: must be a line of text")
        stored = ("picture_set", "profile", "database_factor")
        return cls(
            whole["measured_on"],
            _costs(whole["activities"], "activities", MEASURED_ACTIVITIES),
            _costs(whole["uploads"], "uploads", PICTURE_KINDS),
            *_numbers(whole["stored_bytes"], "stored_bytes", stored).values(),
        )

    @classmethod
    @cache
    def measured(cls) -> Costs:
        """Return the measurements in the package."""
        return cls.parse(resources.files(__package__).joinpath("costs.json").read_text("utf-8"))

    def of(self, activity: str, mix: Mapping[str, float]) -> Cost:
        """Return the costs of one request: of an activity, or the mean of the mix of uploads."""
        if activity in self.activities:
            return self.activities[activity]
        return Cost.mean((share, self.uploads[kind]) for kind, share in mix.items())


def _costs(document: Any, place: str, names: tuple[str, ...]) -> dict[str, Cost]:
    found = _members(document, place, names)
    members = tuple(field.name for field in fields(Cost))
    return {name: Cost(**_numbers(found[name], f"{place}.{name}", members)) for name in names}


def _numbers(document: Any, place: str, names: tuple[str, ...]) -> dict[str, float]:
    found = _members(document, place, names)
    return {name: _number(found[name], f"{place}.{name}") for name in names}


def _members(document: Any, place: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return an object that has exactly these members."""
    prefix = f"{place}: " if place else ""
    if not isinstance(document, dict):
        raise InvalidCosts(f"{prefix}must be an object")
    if missing := [name for name in names if name not in document]:
        raise InvalidCosts(f"{prefix}{', '.join(missing)} missing")
    if unknown := sorted(document.keys() - set(names)):
        raise InvalidCosts(f"{prefix}{', '.join(map(repr, unknown))} unknown")
    return document


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidCosts(f"{place}: must be a number")
    if not 0 <= value <= MAX_NUMBER:
        raise InvalidCosts(f"{place}: must be a number from 0 to {MAX_NUMBER:g}")
    return float(value)
