"""`persona-profile model`: the capacity model on paper."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from persona_profile.capacity import page as capacity_page
from persona_profile.capacity.costs import MAX_NUMBER, Costs, InvalidCosts
from persona_profile.capacity.model import InvalidParameters, Parameters
from persona_profile.capacity.page import Page
from persona_profile.cli.failures import WrongUsage
from persona_profile.cli.plot_option import add_plot_option, drawing


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    model = commands.add_parser(
        "model", help="show the demand of a number of active users: requests, cores, bytes"
    )
    model.add_argument("--users", metavar="N", type=_number, default=1e6, help="default: 1000000")
    model.add_argument(
        "--launch-days",
        metavar="D",
        type=_number,
        help="days in which all users upload their first picture; 0: no launch (default: 28)",
    )
    model.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        type=_change,
        default=[],
        help="another value of a parameter; may be repeated",
    )
    model.add_argument(
        "--costs",
        metavar="FILE",
        type=Path,
        help="costs of requests on your machine: the output of benchmarks/activity_cost.py",
    )
    model.add_argument(
        "--cores", metavar="N", type=_number, help="also show how many users these cores carry"
    )
    model.add_argument("--json", action="store_true", help="for programs")
    add_plot_option(model, "rates and cores against users")
    model.set_defaults(run=_model)


def _model(options: argparse.Namespace) -> int:
    changes = dict(options.set)
    if options.launch_days is not None:
        changes["launch_days"] = options.launch_days
    try:
        costs = Costs.measured() if options.costs is None else _read(options.costs)
        parameters = Parameters().changed(changes)
        page = Page(options.users, parameters, costs, frozenset(changes), options.cores)
    except InvalidParameters as error:
        raise WrongUsage(str(error)) from None
    if options.plot is not None and options.users < 1:
        raise WrongUsage("--plot needs users")
    drawing("persona_profile.capacity.plot", options.plot)(parameters, costs, options.users)
    if options.json:
        print(json.dumps(capacity_page.document(page), indent=1))
    else:
        print(capacity_page.text(page))
    return 0


def _read(path: Path) -> Costs:
    """Return the costs of a file."""
    try:
        return Costs.parse(path.read_text("utf-8"))
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUsage(f"{path}: this is no UTF-8") from None
    except InvalidCosts as error:
        raise WrongUsage(f"{path}: {error}") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number") from None
    if not 0 <= value <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {MAX_NUMBER:g}")
    return value


def _change(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name.strip().replace("-", "_"), _number(value)
