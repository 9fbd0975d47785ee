"""The capacity model: from active users to requests, cores and bytes, and back.

    parameters = Parameters(launch_days=0)
    rates(parameters, 1_000_000)["dialog_open"]            # 95.5 a second, the mean of a day
    demand(parameters, Costs.measured(), 1_000_000).cores   # at the peak, at the target utilisation
    users_carried(2, parameters, Costs.measured())          # the inverse
    knee(2, parameters, Costs.measured(), processes=1)      # where a load test breaks

It descends from "Scaling to 1M" (mozilla/persona wiki, 2011) and its `bin/load_gen`, whose published
rates `original_rates` reproduces, and departs from it:

- An active user was 40 activities a day, 31 of them the fetch of a script that a browser caches. Here
  they are omitted: this service has no such script.
- "20% growth a month" became 1 / (40 * 28 * 0.2): the 0.2 divides where it must multiply, and the rate
  is 25 times too high. Here it is `growth * users / 28 days`.
- An email was added every two weeks, by people who have two. The rate is kept, as it opens a dialog;
  only emails of new users are new and get a first picture.
- The load was a mean over 24 hours. Here a `peak` multiplies it.
- The original had no pictures. Here they are the most expensive requests.
- The users achieved were multiplied by the time that the run had taken. That is not repeated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from persona_profile.capacity.costs import MAX_NUMBER, PICTURE_KINDS, Cost, Costs

DAY_SECONDS: Final = 86_400
YEAR_DAYS: Final = 365
MONTH_DAYS: Final = 28

UPLOADS: Final = ("first_upload", "replacement", "launch_upload")
MEANINGS: Final[Mapping[str, str]] = {
    "dialog_open": "POST /v1/sessions: proves all emails, answers all cards",
    "first_upload": "PUT picture of an email of a new user",
    "replacement": "PUT picture where there was one",
    "launch_upload": "first PUT picture of users older than the service",
    "picture_read": "GET of a picture's URL that is not in the browser's cache",
    "edit": "PATCH of a profile",
    "export": "GET of a profile's export",
    "erase": "DELETE of a profile",
}
ACTIVITIES: Final = tuple(MEANINGS)

DATABASE_COPIES: Final = 3
"""Machines of a cluster, which outvote one that is gone."""

MIN_NUMBER: Final = 1e-9
"""Smaller numbers, except 0, are mistakes: divisors must not be that small."""

ASSUMED: Final = "assumed"
_WIKI: Final = "Scaling to 1M (2011)"


class InvalidParameters(ValueError):
    """Invalid parameters; the message names them."""


def _parameter(default: float, unit: str, meaning: str, source: str = ASSUMED) -> Any:
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "source": source})


@dataclass(frozen=True, slots=True)
class Parameters:
    """The assumptions about users, their pictures and the use of machines.

    Each field's metadata hold its `unit`, `meaning`, and `source` (or `ASSUMED`).

    Raises:
        InvalidParameters: a value is outside of its range, or the shares of the kinds of pictures don't
            have the sum 1.
    """

    emails: float = _parameter(2, "per user", "emails that a dialog shows", _WIKI)
    devices: float = _parameter(2, "per user", "browsers with a cache of their own", _WIKI)
    sign_ins: float = _parameter(8, "per user and day", "sign-ins: every 6 h on each device", _WIKI)
    reauthentications: float = _parameter(1 / 7, "per user and day", "dialogs to reauthenticate", _WIKI)
    added_emails: float = _parameter(1 / 14, "per user and day", "dialogs to add an email", _WIKI)
    resets: float = _parameter(1 / 28, "per user and day", "dialogs to reset a password", _WIKI)
    growth: float = _parameter(0.2, "per 28 days", "new users, as a share of all", _WIKI)
    picture_share: float = _parameter(1, "share", "emails with a picture: everybody uploads")
    replacements: float = _parameter(1, "per picture and year", "pictures replaced")
    launch_days: float = _parameter(28, "days", "in which all existing users upload; 0: no launch")
    url_window: float = _parameter(
        1, "days", "for which a picture's URL stays the same", "default of pictures.url_window_seconds"
    )
    edits: float = _parameter(2, "per email and year", "changes of claims")
    exports: float = _parameter(0.1, "per email and year", "exports")
    erases: float = _parameter(0.1, "per email and year", "profiles erased")
    jpeg_12mp_share: float = _parameter(0.60, "share of uploads", "phone JPEGs of 12 megapixels")
    jpeg_24mp_share: float = _parameter(0.20, "share of uploads", "JPEGs of 24 megapixels")
    jpeg_48mp_share: float = _parameter(0.10, "share of uploads", "JPEGs of 48 to 50 megapixels")
    png_screenshot_share: float = _parameter(0.05, "share of uploads", "PNG screenshots")
    heic_share: float = _parameter(0.05, "share of uploads", "HEIC of 12 megapixels")
    jpeg_12mp_bytes: float = _parameter(4.2e6, "bytes", "length of a JPEG of 12 megapixels")
    jpeg_24mp_bytes: float = _parameter(8.4e6, "bytes", "length of a JPEG of 24 megapixels")
    jpeg_48mp_bytes: float = _parameter(12e6, "bytes", "length of a JPEG of 48 to 50 megapixels")
    png_screenshot_bytes: float = _parameter(3e6, "bytes", "length of a PNG screenshot")
    heic_bytes: float = _parameter(3e6, "bytes", "length of a HEIC")
    overhead_bytes: float = _parameter(1000, "bytes", "headers and TLS, of a request and of an answer")
    peak: float = _parameter(3, "times the mean", "the busiest hour")
    target_utilisation: float = _parameter(0.6, "share", "of cores at the peak: room for bursts")
    machine_cores: float = _parameter(4, "cores", "of each machine")

    def __post_init__(self) -> None:
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        for name, value in values.items():
            minimum = MIN_NUMBER if name in _POSITIVE else 0
            if not minimum <= value <= MAX_NUMBER or 0 < value < MIN_NUMBER:
                raise InvalidParameters(f"{name}: must be {_range(minimum)}")
            if (name.endswith("_share") or name == "target_utilisation") and value > 1:
                raise InvalidParameters(f"{name}: must be at most 1")
        if abs(sum(self.mix.values()) - 1) > 1e-6:
            names = ", ".join(f"{kind}_share" for kind in PICTURE_KINDS)
            raise InvalidParameters(f"{names}: must have the sum 1")

    @property
    def mix(self) -> dict[str, float]:
        """The share of each kind of picture among uploads."""
        return {kind: getattr(self, f"{kind}_share") for kind in PICTURE_KINDS}

    @property
    def upload_bytes(self) -> float:
        """The mean length of an uploaded picture."""
        return math.fsum(share * getattr(self, f"{kind}_bytes") for kind, share in self.mix.items())

    def changed(self, changes: Mapping[str, float]) -> Self:
        """Return parameters with some changes.

        Raises:
            InvalidParameters: a name or value is invalid.
        """
        known = {each.name for each in dataclasses.fields(self)}
        if unknown := sorted(changes.keys() - known):
            raise InvalidParameters(f"{', '.join(map(repr, unknown))}: there is no such parameter")
        return dataclasses.replace(self, **changes)


_POSITIVE: Final = frozenset({"url_window", "peak", "target_utilisation", "machine_cores"})


class Cores(NamedTuple):
    """Processor time per second: of the server's processes, of picture workers, of the database."""

    service: float
    workers: float
    database: float

    @property
    def server(self) -> float:
        """Of the server, its workers included, without the database."""
        return self.service + self.workers


class Machines(NamedTuple):
    """The least number of machines: one more than the service needs, three for each database."""

    service: int
    database: int


class Demand(NamedTuple):
    """The demand of users on a deployment.

    Attributes:
        mean_rates: requests per second by activity, the mean of a day.
        peak_rates: the same in the busiest hour.
        cores, cores_by_activity: needed so that the peak meets the target utilisation.
        statements: of the database, per second at the peak.
        ingress, egress: bytes per second at the peak.
        sealed_bytes: of all profiles and pictures, after all users have uploaded.
        stored_bytes: of the database's files for them.
    """

    mean_rates: Mapping[str, float]
    peak_rates: Mapping[str, float]
    cores: Cores
    cores_by_activity: Mapping[str, Cores]
    statements: float
    ingress: float
    egress: float
    sealed_bytes: float
    stored_bytes: float


def rates(parameters: Parameters, users: float) -> dict[str, float]:
    """Return requests per second by activity, each of `ACTIVITIES`, the mean of a day.

    Uploads of a launch last `launch_days`; 0 means no launch.

    Raises:
        InvalidParameters: the number of users is invalid.
    """
    if not 0 <= users <= MAX_NUMBER:
        raise InvalidParameters(f"users: must be from 0 to {MAX_NUMBER:g}")
    p = parameters
    dialogs = p.sign_ins + p.reauthentications + p.added_emails + p.resets
    pictures = p.emails * p.picture_share
    daily = {
        "dialog_open": dialogs,
        "first_upload": p.growth / MONTH_DAYS * pictures,
        "replacement": p.replacements / YEAR_DAYS * pictures,
        "launch_upload": pictures / p.launch_days if p.launch_days else 0.0,
        "picture_read": pictures * p.devices / p.url_window,
        "edit": p.edits / YEAR_DAYS * p.emails,
        "export": p.exports / YEAR_DAYS * p.emails,
        "erase": p.erases / YEAR_DAYS * p.emails,
    }
    return {activity: users * daily[activity] / DAY_SECONDS for activity in ACTIVITIES}


def demand(parameters: Parameters, costs: Costs, users: float) -> Demand:
    """Return the demand of so many users, which is linear in their number.

    Raises:
        InvalidParameters: the number of users is invalid.
    """
    mean = rates(parameters, users)
    peak = {activity: rate * parameters.peak for activity, rate in mean.items()}
    of = {activity: costs.of(activity, parameters.mix) for activity in ACTIVITIES}
    cores = {
        activity: _scaled(of[activity], rate / parameters.target_utilisation)
        for activity, rate in peak.items()
    }
    sizes = {
        activity: parameters.upload_bytes if activity in UPLOADS else cost.request_bytes
        for activity, cost in of.items()
    }
    sealed = costs.profile_bytes + parameters.picture_share * costs.picture_set_bytes
    sealed *= users * parameters.emails
    return Demand(
        mean,
        peak,
        Cores(*(sum(part) for part in zip(*cores.values(), strict=True))),
        cores,
        sum(rate * of[activity].statements for activity, rate in peak.items()),
        sum(rate * (sizes[activity] + parameters.overhead_bytes) for activity, rate in peak.items()),
        sum(
            rate * (of[activity].answer_bytes + parameters.overhead_bytes)
            for activity, rate in peak.items()
        ),
        sealed,
        sealed * costs.database_factor,
    )


def machines(parameters: Parameters, cores: Cores) -> Machines:
    """Return the machines for the cores of a demand, so that any one of them may fail.

    Each of a cluster's three machines carries the whole load of its database, or of its shard.
    """
    shards = max(1, math.ceil(cores.database / parameters.machine_cores))
    return Machines(
        max(1, math.ceil(cores.server / parameters.machine_cores)) + 1, DATABASE_COPIES * shards
    )


def users_carried(
    cores: float,
    parameters: Parameters,
    costs: Costs,
    *,
    processes: int | None = None,
    with_database: bool = False,
) -> float:
    """Return the users that the server's cores carry at the peak and the target utilisation.

    Each interpreter runs one thread at a time, so work outside of picture workers gets no more cores
    than processes; None for no limit. The number is infinite if users cost nothing.

    Raises:
        InvalidParameters: the number of cores or processes is invalid.
    """
    for name, value in (("cores", cores), ("processes", processes)):
        if value is not None and not MIN_NUMBER <= value <= MAX_NUMBER:
            raise InvalidParameters(f"{name}: must be {_range(MIN_NUMBER)}")
    # A million, as the demand of one user may be below the precision.
    million = demand(parameters, costs, 1e6).cores
    limits = [_ratio(cores, million.server + (million.database if with_database else 0))]
    if processes is not None:
        limits.append(_ratio(min(processes, cores), million.service))
    return 1e6 * min(limits)


def knee(
    cores: float,
    parameters: Parameters,
    costs: Costs,
    *,
    processes: int | None = None,
    with_database: bool = False,
    upload_seconds: float = math.inf,
) -> float:
    """Return the users at which a load test of rising steps breaks, at the mean rates.

    Without peak and headroom all cores are in use at `users_carried`. Uploads break earlier: picture
    workers get what the rest leaves, and the queue for it grows. It counts as M/M/1, in which 95 of 100
    uploads end within ln 20 times the mean; the knee is where that takes `upload_seconds`.

    Raises:
        InvalidParameters: a number is invalid.
    """
    if not upload_seconds >= MIN_NUMBER:
        raise InvalidParameters(f"upload_seconds: must be at least {MIN_NUMBER:g}")
    steady = parameters.changed({"peak": 1, "target_utilisation": 1})
    full = users_carried(cores, steady, costs, processes=processes, with_database=with_database)
    uploads = math.fsum(rates(steady, 1)[each] for each in UPLOADS)
    if not uploads or math.isinf(full) or math.isinf(upload_seconds):
        return full
    million = demand(steady, costs, 1e6).cores
    rest = (million.service + (million.database if with_database else 0)) / 1e6
    work = costs.of(UPLOADS[0], steady.mix).worker_seconds

    def is_late(users: float) -> bool:
        left = max(MIN_NUMBER, cores - rest * users)
        # One upload uses one core at most; all together use what is left.
        alone, load = work / min(1, left), uploads * users * work / left
        return load >= 1 or math.log(20) * alone / (1 - load) > upload_seconds

    return _last(full, is_late)


def original_rates(users: float) -> dict[str, float]:
    """Return the rates per second that "Scaling to 1M" published: 462.96 in all for a million users."""
    activities_a_day = 40
    shares = {
        "signup": 1 / (activities_a_day * 28 * 0.2),
        "reset_pass": 1 / (activities_a_day * 28),
        "add_email": 1 / (activities_a_day * 14),
        "reauth": 1 / (activities_a_day * 7),
        "signin": 8 / activities_a_day,
        "include_only": 31 / activities_a_day,
    }
    whole = math.fsum(shares.values())
    rate = users * activities_a_day / DAY_SECONDS
    return {name: rate * share / whole for name, share in shares.items()}


def _last(most: float, is_over: Callable[[float], bool]) -> float:
    """Return the largest number up to a limit that is not over, for a condition that stays so."""
    low, high = 0.0, most
    if not is_over(high):
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_over(middle) else (middle, high)
    return low


def _range(minimum: float) -> str:
    return ("" if minimum else "0, or ") + f"from {MIN_NUMBER:g} to {MAX_NUMBER:g}"


def _scaled(cost: Cost, rate: float) -> Cores:
    return Cores(cost.service_seconds * rate, cost.worker_seconds * rate, cost.database_seconds * rate)


def _ratio(cores: float, needed: float) -> float:
    return cores / needed if needed else math.inf
