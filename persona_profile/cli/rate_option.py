"""The option `--rate` of jobs over a whole store."""

from __future__ import annotations

import argparse
import math
from typing import Any, Final

from backends.copying.pace import UNLIMITED, Pace

_MIB: Final = 1024 * 1024


def add_rate_option(job: Any) -> None:
    """Add the option to the parser of a job."""
    job.add_argument(
        "--rate",
        metavar="MIB",
        type=_rate,
        default=math.inf,
        help="at most so many MiB of values a second, beside a running service (default: no limit)",
    )


def pace_of(options: argparse.Namespace) -> Pace:
    """Return the pace of a job."""
    return UNLIMITED if math.isinf(options.rate) else Pace(_MIB * options.rate)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.01 <= rate <= 1_000_000:
        raise argparse.ArgumentTypeError("must be a number of MiB from 0.01 to 1,000,000")
    return rate
