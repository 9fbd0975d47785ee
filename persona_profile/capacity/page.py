"""What `persona-profile model` prints: a page for a person, or a document for a program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from persona_profile.capacity.costs import PICTURE_KINDS, Cost, Costs
from persona_profile.capacity.model import (
    ACTIVITIES,
    MEANINGS,
    UPLOADS,
    Cores,
    Demand,
    Parameters,
    demand,
    users_carried,
)

_GIVEN = "given"
_DIGITS = 4
"""Significant digits of a document: no figure of the model is better."""


@dataclass(frozen=True, slots=True)
class Page:
    """All that is told.

    Attributes:
        users: active users.
        parameters: of the model.
        costs: of each activity.
        given: names of parameters that are the user's own.
        demand: what the users ask for.
        after_launch: the same once the launch is over.
        cores: how many are asked about, or none.
        carried: the users that those carry at the peak, without the database.
    """

    users: float
    parameters: Parameters
    costs: Costs
    given: frozenset[str]
    demand: Demand
    after_launch: Demand
    cores: float | None
    carried: float | None

    @classmethod
    def of(
        cls,
        users: float,
        parameters: Parameters,
        costs: Costs,
        given: frozenset[str],
        cores: float | None,
    ) -> Self:
        """Compute a page.

        Raises:
            InvalidParameters: the number of users or cores can't be.
        """
        return cls(
            users,
            parameters,
            costs,
            given,
            demand(parameters, costs, users),
            demand(parameters.changed({"launch_days": 0}), costs, users),
            cores,
            None if cores is None else users_carried(cores, parameters, costs),
        )

    def source(self, each: dataclasses.Field[Any]) -> str:
        """Return where a parameter's value comes from."""
        return _GIVEN if each.name in self.given else str(each.metadata["source"])


def document(page: Page) -> dict[str, Any]:
    """Return the page for programs; numbers, but that of users, have four significant digits."""
    found = page.demand
    made = {
        "parameters": {
            each.name: {
                "value": getattr(page.parameters, each.name),
                "unit": each.metadata["unit"],
                "meaning": each.metadata["meaning"],
                "source": page.source(each),
            }
            for each in dataclasses.fields(page.parameters)
        },
        "rates_per_second": {
            activity: {"mean": found.mean_rates[activity], "peak": found.peak_rates[activity]}
            for activity in ACTIVITIES
        },
        "cores": found.cores._asdict(),
        "cores_by_activity": {name: each._asdict() for name, each in found.cores_by_activity.items()},
        "cores_after_launch": page.after_launch.cores._asdict(),
        "statements_per_second": found.statements,
        "ingress_bytes_per_second": found.ingress,
        "egress_bytes_per_second": found.egress,
        "sealed_bytes": found.sealed_bytes,
        "stored_bytes": found.stored_bytes,
        "costs": dataclasses.asdict(page.costs),
    }
    if page.carried is not None:
        made["users_carried"] = page.carried if math.isfinite(page.carried) else None
    return {"users": page.users, **_rounded(made)}


def text(page: Page) -> str:
    """Return the page for a person."""
    return "\n".join(
        line.rstrip()
        for part in (_summary(page), _rates(page), _costs(page), _parameters(page))
        for line in (*part, "")
    ).rstrip("\n")


def figure(value: float, digits: int = 2) -> str:
    """Write a number with so many significant digits, as a person says it."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "any number of"
    if not 1e-5 <= value < 1e15:
        return f"{value:.{digits - 1}e}"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(rounded)))
    return f"{rounded:,.{decimals}f}"


def _summary(page: Page) -> Iterator[str]:
    found, after = page.demand, page.after_launch
    parameters = page.parameters
    yield f"{page.users:,.0f} active users"
    yield ""
    yield f"At the peak, {parameters.peak:g} times the mean of a day:"
    if parameters.launch_days:
        yield f"{'':28}{'launch':>12}{'afterwards':>14}"
        columns: tuple[Demand, ...] = (found, after)
    else:
        columns = (found,)
    rows: list[tuple[str, list[str], str]] = [
        ("requests", [figure(sum(each.peak_rates.values()), 3) for each in columns], "/s"),
        ("uploads", [figure(sum(each.peak_rates[name] for name in UPLOADS)) for each in columns], "/s"),
        ("cores of the server", [figure(each.cores.service) for each in columns], ""),
        ("cores of picture workers", [figure(each.cores.workers) for each in columns], ""),
        ("cores of the database", [figure(each.cores.database) for each in columns], ""),
        ("statements", [figure(each.statements) for each in columns], "/s"),
        ("ingress", [_bytes(each.ingress) for each in columns], "/s"),
        ("egress", [_bytes(each.egress) for each in columns], "/s"),
    ]
    for label, values, unit in rows:
        yield (
            f"  {label:26}"
            + "".join(f"{value:>{width}}" for value, width in zip(values, (12, 14), strict=False))
            + f" {unit}"
        )
    share = f"{parameters.target_utilisation:.0%}"
    yield f"Cores are those to have, so that {share} of them are busy."
    yield ""
    sealed, stored = _bytes(found.sealed_bytes), _bytes(found.stored_bytes)
    yield f"Stored once everybody has uploaded: {sealed} sealed, {stored} in the database's files"
    if page.cores is not None and page.carried is not None:
        yield f"{page.cores:g} cores without the database carry {figure(page.carried)} users"


def _rates(page: Page) -> Iterator[str]:
    found = page.demand
    yield f"{'REQUESTS PER SECOND':20}{'mean':>10}{'peak':>10}{'cores':>10}  meaning"
    for activity in ACTIVITIES:
        yield (
            f"{activity:20}{figure(found.mean_rates[activity], 3):>10}"
            f"{figure(found.peak_rates[activity], 3):>10}"
            f"{figure(_all(found.cores_by_activity[activity])):>10}  {MEANINGS[activity]}"
        )
    yield (
        f"{'in all':20}{figure(sum(found.mean_rates.values()), 3):>10}"
        f"{figure(sum(found.peak_rates.values()), 3):>10}{figure(_all(found.cores)):>10}"
    )


def _all(cores: Cores) -> float:
    return sum(cores)


def _costs(page: Page) -> Iterator[str]:
    costs = page.costs
    yield f"MEASURED on {costs.measured_on}"
    yield f"{'':20}{'ms of processor time per request':^40}{'database':>12}{'bytes of bodies':>20}"
    titles = ("server", "workers", "database", "in all", "statements", "in", "out")
    yield f"{'':20}" + _columns(titles)
    named = [
        *costs.activities.items(),
        *((f"PUT {kind}", costs.uploads[kind]) for kind in PICTURE_KINDS),
    ]
    for name, cost in named:
        yield f"{name:20}" + _columns(_cost_figures(cost))
    yield (
        f"an email's profile is {_bytes(costs.profile_bytes)}, its picture in all sizes and formats "
        f"{_bytes(costs.picture_set_bytes)}, sealed; the database's files take "
        f"{figure(costs.database_factor)} times that"
    )


def _cost_figures(cost: Cost) -> Iterable[str]:
    seconds = (cost.service_seconds, cost.worker_seconds, cost.database_seconds)
    for value in (*seconds, sum(seconds)):
        yield figure(value * 1000)
    yield figure(cost.statements)
    yield _bytes(cost.request_bytes)
    yield _bytes(cost.answer_bytes)


def _columns(values: Iterable[str]) -> str:
    widths: Sequence[int] = (10, 10, 10, 10, 12, 10, 10)
    return "".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))


def _parameters(page: Page) -> Iterator[str]:
    yield f"{'PARAMETER':22}{'value':>12}  {'unit':22}meaning [source]"
    for each in dataclasses.fields(page.parameters):
        value = f"{float(f'{getattr(page.parameters, each.name):.3g}'):,g}"
        meaning = f"{each.metadata['meaning']} [{page.source(each)}]"
        yield f"{each.name:22}{value:>12}  {each.metadata['unit']:22}{meaning}"


def _bytes(count: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{figure(count / size)} {unit}"
    return f"{figure(count)} B"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        short = float(f"{value:.{_DIGITS - 1}e}")
        return int(short) if short.is_integer() else short
    return value
