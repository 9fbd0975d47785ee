"""`python -m loadtest.gate RUN_FOLDER`: the verdict on a run, its report and the exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from loadtest.gate.comparison import compare
from loadtest.gate.document import InvalidReport, document, dump, parse
from loadtest.gate.levels import InvalidLevels, Levels
from loadtest.gate.report.page import hour, page
from loadtest.gate.summary import Summary, summarize
from loadtest.gate.verdict import Outcome, Verdict, judge, predict
from loadtest.record import InvalidRecord, read
from persona_profile.capacity.costs import MAX_NUMBER, Costs, InvalidCosts
from persona_profile.capacity.model import MIN_NUMBER, InvalidParameters

ACCEPTED: Final = Path("var/loadtest/accepted.json")
"""Where the report of the last accepted run is kept by default."""
MISUSED: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge a run of the load test: 0 promote, 1 do not, 3 the run is void, 2 it can't be judged."""
    options = _options(arguments)
    try:
        return _judge(options)
    except (InvalidRecord, InvalidParameters, InvalidReport, InvalidLevels, InvalidCosts) as error:
        print(f"gate: {error}", file=sys.stderr)
    except (OSError, UnicodeDecodeError) as error:
        print(f"gate: {getattr(error, 'filename', None) or 'a file'}: {error}", file=sys.stderr)
    return MISUSED


def _judge(options: argparse.Namespace) -> int:
    levels = _parsed(options.levels, Levels.parse) if options.levels else Levels.packaged()
    costs = _parsed(options.costs, Costs.parse) if options.costs else Costs.measured()
    baseline = options.baseline or (options.accepted if options.accepted.exists() else None)
    accepted = None if baseline is None else _parsed(baseline, parse)
    summary = summarize(read(options.folder))
    prediction = predict(
        summary,
        costs,
        levels,
        cores=options.cores,
        processes=options.processes,
        with_database=options.with_database,
    )
    verdict = judge(summary, levels, options.users, prediction)
    made = document(summary, levels, verdict)
    comparison = None if accepted is None else compare(made, accepted)
    text = dump({**made, "comparison": comparison})
    _write(options.json or options.folder / "report.json", text)
    target = options.html or options.folder / "report.html"
    _write(target, page(summary, levels, verdict, comparison, costs.measured_on))
    _print(summary, verdict, comparison, target)
    if options.accept:
        if verdict.outcome is not Outcome.PROMOTE:
            print("gate: not accepted: only a run that promotes its build can be", file=sys.stderr)
        else:
            _write(options.accepted, text)
            print(f"Accepted: {options.accepted}")
    return verdict.outcome.value


def _print(summary: Summary, verdict: Verdict, comparison: Any, path: Path) -> None:
    print(f"{verdict.outcome.headline}.")
    for reason in verdict.reasons:
        print(f"  {_printable(reason)}")
    if verdict.outcome is not Outcome.VOID and verdict.carried is not None:
        print(f"Users carried: {verdict.carried.step.users:,.0f}, at rates {hour(summary.run)}")
    if verdict.knee is not None and verdict.prediction is not None and verdict.agreement is not None:
        print(
            f"Knee: measured {verdict.knee:,.0f}, by the model {verdict.prediction.users:,.0f} "
            f"({verdict.agreement - 1:+.0%})"
        )
    if comparison is not None:
        print(f"Beside the accepted run: {comparison['word']}")
    print(f"Report: {path}")


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _parsed(path: Path, parse_text: Any) -> Any:
    """Parse a file; errors begin with its path."""
    try:
        return parse_text(path.read_text("utf-8"))
    except (InvalidLevels, InvalidCosts, InvalidReport) as error:
        raise type(error)(f"{path}: {error}") from None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    # Names from a hostile server may be invalid text.
    part.write_bytes(text.encode("utf-8", "xmlcharrefreplace"))
    part.replace(path)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not MIN_NUMBER <= value <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"must be from {MIN_NUMBER:g} to {MAX_NUMBER:g}")
    return value


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.gate", description=main.__doc__)
    add = parser.add_argument
    add("folder", metavar="RUN_FOLDER", type=Path, help="the record of a run")
    add(
        "--users",
        type=_number,
        help="users that must be carried; without it, every step must meet its levels",
    )
    add("--levels", metavar="FILE", type=Path, help="service levels; default: the package's")
    add(
        "--baseline",
        metavar="REPORT.json",
        type=Path,
        help="report to compare with; default: the accepted run",
    )
    add("--accept", action="store_true", help="keep this run as the accepted run, if it promotes")
    add("--accepted", metavar="FILE", type=Path, default=ACCEPTED, help="where; default: %(default)s")
    add("--costs", metavar="FILE", type=Path, help="output of benchmarks/activity_cost.py")
    add("--cores", type=_number, help="of the server; default: as recorded")
    add("--processes", type=int, default=1, help="of the server, for the model; default: %(default)s")
    add("--with-database", action="store_true", help="the database runs on the server's cores")
    add("--html", metavar="FILE", type=Path, help="default: report.html in the run's folder")
    add("--json", metavar="FILE", type=Path, help="default: report.json in the run's folder")
    return parser.parse_args(arguments)
