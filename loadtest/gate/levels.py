"""The service levels that a build must meet: a small TOML file, checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from typing import Any, Final, Self

from persona_profile.capacity.model import ACTIVITIES

DEFAULT: Final = "default"
_LATENCIES: Final = ("p95", "p99")
_MAX_MILLISECONDS: Final = 3_600_000


class InvalidLevels(ValueError):
    """A file has no valid service levels; the message names the mistake and its place."""


@dataclass(frozen=True, slots=True)
class EndpointLevels:
    """The maxima of one endpoint: percentiles in milliseconds, and shares of planned requests."""

    p95: float
    p99: float
    error_share: float
    shed_share: float


@dataclass(frozen=True, slots=True)
class Levels:
    """The service levels of a step.

    Attributes:
        achieved: minimum of right responses over planned requests, of all endpoints together.
        default: levels of endpoints without an entry.
        endpoints: levels by endpoint.
    """

    achieved: float
    default: EndpointLevels
    endpoints: Mapping[str, EndpointLevels]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read levels.

        Raises:
            InvalidLevels: they are something else.
        """
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InvalidLevels(f"this is no TOML: {error}") from None
        _known(document, "", {"step", "endpoints"})
        step = _numbers(document.get("step"), "step", {"achieved"})
        tables = document.get("endpoints")
        if not isinstance(tables, dict):
            raise InvalidLevels("endpoints: must be a table of tables")
        _known(tables, "endpoints", {DEFAULT, *ACTIVITIES})
        names = {field.name for field in fields(EndpointLevels)}
        default = _numbers(tables.get(DEFAULT), f"endpoints.{DEFAULT}", names)
        if missing := sorted(names - default.keys()):
            raise InvalidLevels(f"endpoints.{DEFAULT}: {', '.join(missing)} missing")
        if "achieved" not in step:
            raise InvalidLevels("step: achieved missing")
        made = {
            name: EndpointLevels(**{**default, **_numbers(table, f"endpoints.{name}", names)})
            for name, table in tables.items()
        }
        for name, levels in made.items():
            if levels.p95 > levels.p99:
                raise InvalidLevels(f"endpoints.{name}: p95 must not be more than p99")
        return cls(step["achieved"], made.pop(DEFAULT), made)

    @classmethod
    def packaged(cls) -> Self:
        """Return the levels in the package."""
        return cls.parse(
            resources.files(__package__).joinpath("service-levels.toml").read_text("utf-8")
        )

    def of(self, endpoint: str) -> EndpointLevels:
        """Return the levels of an endpoint."""
        return self.endpoints.get(endpoint, self.default)

    def document(self) -> dict[str, Any]:
        """Return the levels for programs, each endpoint's in full."""
        named = {DEFAULT: self.default, **self.endpoints}
        return {"achieved": self.achieved, "endpoints": {name: asdict(named[name]) for name in named}}


def _numbers(table: Any, place: str, names: set[str]) -> dict[str, float]:
    if not isinstance(table, dict):
        raise InvalidLevels(f"{place}: must be a table")
    _known(table, place, names)
    for name, value in table.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        maximum = _MAX_MILLISECONDS if name in _LATENCIES else 1
        if not is_number or not 0 <= value <= maximum:
            raise InvalidLevels(f"{place}.{name}: must be a number from 0 to {maximum:g}")
        if name in _LATENCIES and not value:
            raise InvalidLevels(f"{place}.{name}: must be more than 0")
    return {name: float(value) for name, value in table.items()}


def _known(table: Mapping[str, Any], place: str, names: set[str]) -> None:
    if unknown := sorted(table.keys() - names):
        prefix = f"{place}: " if place else ""
        raise InvalidLevels(
            f"{prefix}{', '.join(map(repr, unknown))} unknown; there are {', '.join(sorted(names))}"
        )
