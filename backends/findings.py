"""Findings about a running installation, for `persona-profile doctor`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

MAX_CLOCK_SECONDS: Final = 5.0
"""A larger difference of two clocks is a warning."""

MAX_SKEW_SECONDS: Final = 60.0
"""A larger difference of two clocks is a failure: proofs and sessions seem expired, or too early."""


class Level(enum.StrEnum):
    """The weight of a finding; only FAILED keeps people from their profiles."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact about a part of an installation. It holds no secret, no email and no stored value.

    Attributes:
        subject: the examined part, a word or two.
        level: the weight.
        message: the fact.
        advice: the remedy; empty if there is nothing to do.
    """

    subject: str
    level: Level
    message: str
    advice: str = ""


def ok(subject: str, message: str) -> Finding:
    """Return a good finding."""
    return Finding(subject, Level.OK, message)


def warning(subject: str, message: str, advice: str) -> Finding:
    """Return a warning."""
    return Finding(subject, Level.WARNING, message, advice)


def failed(subject: str, message: str, advice: str) -> Finding:
    """Return a failure."""
    return Finding(subject, Level.FAILED, message, advice)


def of_clock(subject: str, seconds: float) -> Finding:
    """Return the finding about another machine's clock, which is ahead of ours by some seconds."""
    message = (
        f"its clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    )
    advice = "synchronize both clocks (chrony, systemd-timesyncd)"
    if abs(seconds) > MAX_SKEW_SECONDS:
        return failed(subject, message, advice)
    if abs(seconds) > MAX_CLOCK_SECONDS:
        return warning(subject, message, advice)
    return ok(subject, "its clock agrees with this machine's")
