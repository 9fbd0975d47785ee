"""Options of a run, in addition to Locust's; all are checked before the first request."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.generator.stages import LAUNCH_DAYS, LENGTHS, SMOKE_PARAMETERS, Lengths
from persona_profile.capacity.costs import MAX_NUMBER
from persona_profile.capacity.model import InvalidParameters, Parameters

DEFAULT_FOLDER = Path("var/loadtest")


class InvalidOptions(ValueError):
    """Options that can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """The checked options of a run; see `add_arguments`.

    Attributes:
        shape: a key of `stages.LENGTHS`.
        users: active users; in `steps`, of the first step.
        peak: factor of the mean rates: 1, or the model's parameter `peak`.
        growth: of users, from a carried step to the next.
    """

    shape: str
    users: float
    host: str
    audience: str
    seed: int
    folder: Path
    identities: Path
    pictures: Path
    metrics: str | None
    server_pid: int | None
    parameters: Parameters
    peak: float
    lengths: Lengths
    max_steps: int
    growth: float

    @property
    def changed_parameters(self) -> dict[str, float]:
        """Parameters that differ from the model's defaults."""
        defaults = Parameters()
        return {
            each.name: getattr(self.parameters, each.name)
            for each in dataclasses.fields(Parameters)
            if getattr(self.parameters, each.name) != getattr(defaults, each.name)
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the load test's arguments to Locust's."""
    group = parser.add_argument_group("Load test of the profile service")
    add = group.add_argument
    add("--shape", choices=sorted(LENGTHS), default="smoke", help="default: %(default)s")
    add("--users-active", type=float, default=100_000, metavar="U", help="default: %(default)g")
    add(
        "--at-peak",
        action="store_true",
        help="rates of these users' busiest hour (`peak` of the model), not of the mean of a day",
    )
    add("--seed", type=int, default=1, help="of users and pictures; default: %(default)s")
    # Text, as Locust sends these to its workers.
    add("--folder", help="of the record; default: var/loadtest/TIME")
    add("--identities", default=str(DEFAULT_FOLDER / "identities"), help="default: %(default)s")
    add("--pictures", default=str(DEFAULT_FOLDER / "pictures"), help="default: %(default)s")
    add("--audience", help="origin that the server calls its own; default: that of --host")
    add("--metrics", metavar="URL", help="of the server's /metrics; default: metrics are not read")
    add("--server-pid", type=int, metavar="PID", help="of a server on this machine, to observe it")
    add(
        "--model-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another parameter of the capacity model; may be repeated",
    )
    add("--warm-up", type=float, metavar="SECONDS", help="of each change, not measured")
    add("--measured", type=float, metavar="SECONDS", help="of each step, or of the whole run")
    add("--max-steps", type=int, default=12, help="of the shape steps; default: %(default)s")
    add(
        "--growth",
        type=float,
        default=2.0,
        metavar="FACTOR",
        help="from a step that was carried to the next; default: %(default)g",
    )
    add(
        "--small-pictures",
        action="store_true",
        help="of 0.4 megapixels alone: to try the load test itself, not a server",
    )
    add("--i-own-this-host", action="store_true", help="allow load on a host that is not this machine")


def checked(given: argparse.Namespace) -> Options:
    """Return the options of a run.

    Raises:
        InvalidOptions: they can't be used, or the host must not be loaded.
    """
    host = _origin("--host", given.host or "")
    if not given.i_own_this_host and not is_loopback(urlsplit(host).hostname or ""):
        raise InvalidOptions(
            f"{host} is not this machine: a load test may put a service out of action. "
            "Give --i-own-this-host if it is yours and no user depends on it now."
        )
    warm_up, measured = LENGTHS[given.shape]
    warm_up = warm_up if given.warm_up is None else given.warm_up
    measured = measured if given.measured is None else given.measured
    for name, value, minimum in (
        ("--users-active", given.users_active, 1),
        ("--warm-up", warm_up, 0),
        ("--measured", measured, 1),
        ("--max-steps", given.max_steps, 1),
        ("--growth", given.growth, 1.01),
    ):
        if not minimum <= value <= MAX_NUMBER:
            raise InvalidOptions(f"{name}: must be a number from {minimum} to {MAX_NUMBER:g}")
    parameters = _parameters(given.shape, given.model_set)
    return Options(
        given.shape,
        given.users_active,
        host,
        _origin("--audience", given.audience) if given.audience else host,
        given.seed,
        Path(given.folder) if given.folder else DEFAULT_FOLDER / new_name(),
        Path(given.identities),
        Path(given.pictures),
        given.metrics,
        given.server_pid,
        parameters,
        parameters.peak if given.at_peak else 1.0,
        Lengths(warm_up, measured),
        given.max_steps,
        given.growth,
    )


def new_name() -> str:
    """Return a name for the folder of a record: the time now, UTC."""
    return time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())


def is_loopback(host: str) -> bool:
    """Return whether a name or address leads to this machine only."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(each).is_loopback for each in found)


def _origin(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_place = parts.scheme in {"http", "https"} and parts.hostname and port != 0
    more = parts.path.removesuffix("/") or parts.query or parts.fragment
    if not is_place or more or parts.username is not None:
        raise InvalidOptions(f"{name}: must be an origin, as https://profiles.example.com")
    return f"{parts.scheme}://{parts.netloc}"


def _parameters(shape: str, assignments: list[str]) -> Parameters:
    changes: dict[str, float] = {}
    if shape == "smoke":
        changes |= SMOKE_PARAMETERS
    if shape == "launch":
        changes["launch_days"] = LAUNCH_DAYS
    for each in assignments:
        name, _, value = each.partition("=")
        try:
            changes[name] = float(value)
        except ValueError:
            raise InvalidOptions(f"--model-set {each!r}: must be NAME=VALUE, a number") from None
    try:
        return Parameters().changed(changes)
    except InvalidParameters as error:
        raise InvalidOptions(f"--model-set {error}") from None
