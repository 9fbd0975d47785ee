"""The output of `persona-profile model`: a page for a person, or a document for a program."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from persona_profile.capacity.costs import PICTURE_KINDS, Cost, Costs
from persona_profile.capacity.model import (
    ACTIVITIES,
    MEANINGS,
    UPLOADS,
    Cores,
    Demand,
    Parameters,
    demand,
    machines,
    users_carried,
)
from persona_profile.capacity.units import byte_count, rounded

SIZING_PAGE: Final = "docs/how-to/scale-out.md#size"

_GIVEN = "given"
_DIGITS = 4
"""Significant digits of a document: the model is not more accurate."""


class Page:
    """The content of the page.

    Args:
        users: active users.
        parameters: of the model.
        costs: of each activity.
        given: names of the parameters that the command's user has set.
        cores: also compute how many users they carry at the peak, without the database.

    Raises:
        InvalidParameters: the number of users or cores is invalid.
    """

    def __init__(
        self,
        users: float,
        parameters: Parameters,
        costs: Costs,
        given: frozenset[str],
        cores: float | None,
    ) -> None:
        self.users, self.parameters, self.costs, self.given = users, parameters, costs, given
        self.demand = demand(parameters, costs, users)
        self.after_launch = demand(parameters.changed({"launch_days": 0}), costs, users)
        self.machines = machines(parameters, self.demand.cores)
        self.cores = cores
        self.carried = None if cores is None else users_carried(cores, parameters, costs)

    def source(self, each: dataclasses.Field[Any]) -> str:
        """Return where a parameter's value comes from."""
        return _GIVEN if each.name in self.given else str(each.metadata["source"])


def document(page: Page) -> dict[str, Any]:
    """Return the page for programs; numbers, except of users, have four significant digits."""
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
        "machines": page.machines._asdict(),
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
        ("requests", [rounded(sum(each.peak_rates.values()), 3) for each in columns], "/s"),
        (
            "uploads",
            [rounded(sum(each.peak_rates[name] for name in UPLOADS)) for each in columns],
            "/s",
        ),
        ("cores of the server", [rounded(each.cores.service) for each in columns], ""),
        ("cores of picture workers", [rounded(each.cores.workers) for each in columns], ""),
        ("cores of the database", [rounded(each.cores.database) for each in columns], ""),
        ("statements", [rounded(each.statements) for each in columns], "/s"),
        ("ingress", [byte_count(each.ingress, 2) for each in columns], "/s"),
        ("egress", [byte_count(each.egress, 2) for each in columns], "/s"),
    ]
    for label, values, unit in rows:
        yield (
            f"  {label:26}"
            + "".join(f"{value:>{width}}" for value, width in zip(values, (12, 14), strict=False))
            + f" {unit}"
        )
    share = f"{parameters.target_utilisation:.0%}"
    yield f"Of these cores {share} are busy."
    yield ""
    sealed, stored = byte_count(found.sealed_bytes, 2), byte_count(found.stored_bytes, 2)
    yield f"Stored once everybody has uploaded: {sealed} sealed, {stored} in the database's files"
    yield (
        f"Machines of {parameters.machine_cores:g} cores, so that one may fail: "
        f"{page.machines.service} of the service, {page.machines.database} of the database"
    )
    yield f"Their memory and disks, and when to shard: {SIZING_PAGE}"
    if page.cores is not None and page.carried is not None:
        yield f"{page.cores:g} cores without the database carry {rounded(page.carried)} users"


def _rates(page: Page) -> Iterator[str]:
    found = page.demand
    yield f"{'REQUESTS PER SECOND':20}{'mean':>10}{'peak':>10}{'cores':>10}  meaning"
    for activity in ACTIVITIES:
        yield (
            f"{activity:20}{rounded(found.mean_rates[activity], 3):>10}"
            f"{rounded(found.peak_rates[activity], 3):>10}"
            f"{rounded(_all(found.cores_by_activity[activity])):>10}  {MEANINGS[activity]}"
        )
    yield (
        f"{'in all':20}{rounded(sum(found.mean_rates.values()), 3):>10}"
        f"{rounded(sum(found.peak_rates.values()), 3):>10}{rounded(_all(found.cores)):>10}"
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
        f"an email's profile is {byte_count(costs.profile_bytes, 2)}, its picture in all sizes and "
        f"formats {byte_count(costs.picture_set_bytes, 2)}, sealed; the database's files take "
        f"{rounded(costs.database_factor)} times that"
    )


def _cost_figures(cost: Cost) -> Iterable[str]:
    seconds = (cost.service_seconds, cost.worker_seconds, cost.database_seconds)
    for value in (*seconds, sum(seconds)):
        yield rounded(value * 1000)
    yield rounded(cost.statements)
    yield byte_count(cost.request_bytes, 2)
    yield byte_count(cost.answer_bytes, 2)


def _columns(values: Iterable[str]) -> str:
    widths: Sequence[int] = (10, 10, 10, 10, 12, 10, 10)
    return "".join(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))


def _parameters(page: Page) -> Iterator[str]:
    yield f"{'PARAMETER':22}{'value':>12}  {'unit':22}meaning [source]"
    for each in dataclasses.fields(page.parameters):
        value = f"{float(f'{getattr(page.parameters, each.name):.3g}'):,g}"
        meaning = f"{each.metadata['meaning']} [{page.source(each)}]"
        yield f"{each.name:22}{value:>12}  {each.metadata['unit']:22}{meaning}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        short = float(f"{value:.{_DIGITS - 1}e}")
        return int(short) if short.is_integer() else short
    return value
