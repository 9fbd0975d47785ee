"""The shapes of a run: numbers of active users over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

SMOKE_PARAMETERS: Final[Mapping[str, float]] = {
    "replacements": 60,
    "edits": 300,
    "exports": 150,
    "erases": 60,
}
"""Changes to the model for a smoke run, so that the short run has rare activities as well."""

LAUNCH_DAYS: Final = 7
"""Days in which all users upload in the shape `launch`, unless `--model-set launch_days` is given."""

SHARE_SOUGHT: Final = 0.1
"""Steps end when the knee is known to within this share."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A number of active users for some time; not measured in a warm-up or a change."""

    users: float
    seconds: float
    is_measured: bool = True


class Lengths(NamedTuple):
    """Seconds of each change of users, and of each measured step or the middle of another shape."""

    warm_up: float
    measured: float


LENGTHS: Final[Mapping[str, Lengths]] = {
    "smoke": Lengths(10, 50),
    "average": Lengths(60, 600),
    "steps": Lengths(15, 45),
    "spike": Lengths(30, 120),
    "soak": Lengths(60, 8 * 3600),
    "launch": Lengths(60, 1800),
}

Shape = Iterator[Stage]
Judge = Callable[[], bool]
"""Returns whether the last measured stage met the levels."""


def stages(
    shape: str, users: float, lengths: Lengths, *, max_steps: int, growth: float, met: Judge
) -> Shape:
    """Yield the stages of a shape, one after the other.

    The shape `steps` begins with `users` active users, calls `met` after each measured step, and
    multiplies users by `growth` until one breaks.
    """
    if shape == "steps":
        yield from _steps(users, lengths, max_steps, growth, met)
        return
    for times in (1, 2, 1) if shape == "spike" else (1,):
        yield from _step(users * times, lengths)


def _step(users: float, lengths: Lengths) -> Shape:
    yield Stage(users, lengths.warm_up, is_measured=False)
    yield Stage(users, lengths.measured)


def _steps(users: float, lengths: Lengths, max_steps: int, growth: float, met: Judge) -> Shape:
    """Grow until a step breaks, then halve the range until it is narrow."""
    carried, broken, at = 0.0, 0.0, users
    for _ in range(max_steps):
        yield from _step(at, lengths)
        if met():
            carried = at
        else:
            broken = at
            # Let the server finish its backlog before the next step.
            yield Stage(0, lengths.warm_up, is_measured=False)
        if broken and (broken - carried) <= SHARE_SOUGHT * broken:
            return
        at = (carried + broken) / 2 if broken else at * growth
