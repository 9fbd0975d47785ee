"""The verdict for programs: one JSON document, which `docs/reference/load-report.md` describes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from loadtest.gate.comparison import cost_estimate, estimates
from loadtest.gate.levels import Levels
from loadtest.gate.summary import Summary
from loadtest.gate.verdict import SHARES, Doubt, Judged, Verdict, headroom
from loadtest.record import Traffic, percentile

VERSION: Final = 1
"""Changes if a member goes or gets another meaning."""


class InvalidReport(ValueError):
    """A file has no report to compare with; the message says why."""


def document(summary: Summary, levels: Levels, verdict: Verdict) -> dict[str, Any]:
    """Return the document of a run, without its comparison."""
    run, carried, failed = summary.run, verdict.carried, verdict.failed
    prediction = None if verdict.prediction is None else asdict(verdict.prediction)
    if prediction is not None and not math.isfinite(prediction["users"]):
        prediction["users"] = None
    return {
        "version": VERSION,
        "outcome": verdict.outcome.code,
        "exit_status": verdict.outcome.value,
        "reasons": list(verdict.reasons),
        "doubts": _doubts(verdict.doubts),
        "run": {
            **asdict(run),
            "ended_at": summary.ended_at,
            "server_version": {name: str(value) for name, value in run.server_version.items()},
        },
        "users_carried": {
            "target": verdict.target,
            "carried": None if carried is None else carried.step.users,
            "failed": None if failed is None else failed.step.users,
            "knee": verdict.knee,
            "predicted_knee": prediction and prediction["users"],
            "predicted_over_measured": verdict.agreement,
            "prediction": prediction,
        },
        "levels": levels.document(),
        "steps": [_step(each, levels) for each in verdict.steps],
        "server_metrics": summary.metrics,
        "wrong_content": summary.wrong_content,
    }


def dump(made: Mapping[str, Any]) -> str:
    """Return a document as JSON."""
    return json.dumps(made, indent=2, allow_nan=False) + "\n"


def parse(text: str) -> dict[str, Any]:
    """Return the document in a report, to compare with it.

    Raises:
        InvalidReport: it is no report, or of another version.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidReport("this is no JSON") from None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise InvalidReport(f"this is no report of version {VERSION}")
    try:
        _check(found)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InvalidReport("members are missing, or are something else") from None
    return found


def _check(found: dict[str, Any]) -> None:
    """Raise one of `parse`'s errors if a member that a comparison reads is invalid."""
    dict(found["run"]["server_version"])
    dict(found["run"]["parameters"])
    numbers = [found["run"]["at"]]
    numbers += [found["users_carried"][name] or 0 for name in ("carried", "failed")]
    for step in found["steps"]:
        str(step["outcome"])
        numbers.append(step["users"])
        ranges = [step["seconds_per_request"]]
        for endpoint in step["endpoints"].values():
            ranges += [endpoint["p95"], endpoint["p99"]]
        for each in ranges:
            if each is not None:
                numbers += [each[name] for name in ("value", "low", "high", "answers")]
                if not each["value"] > 0:
                    raise ValueError("no positive value")
    if not all(type(each) in {int, float} and math.isfinite(each) for each in numbers):
        raise TypeError("no number")


def _step(judged: Judged, levels: Levels) -> dict[str, Any]:
    step = judged.step
    found = estimates(step)
    return {
        "users": step.users,
        "start": step.start,
        "seconds": step.duration,
        "outcome": judged.outcome,
        "breaches": [asdict(each) for each in judged.breaches],
        "doubts": _doubts(judged.doubts),
        "target": step.target,
        **_counts(step.whole),
        "cores_used": step.cores,
        "resident_bytes": step.resident_bytes,
        "seconds_per_request": cost_estimate(step),
        "generators": [asdict(each) for each in step.processes],
        "endpoints": {
            name: {
                **_counts(traffic),
                "p50": percentile(traffic.latencies, 0.5),
                **{figure: found[name].get(figure) for figure in SHARES},
                "headroom": headroom(traffic, levels, name),
            }
            for name, traffic in step.endpoints.items()
        },
    }


def _counts(traffic: Traffic) -> dict[str, Any]:
    names = "planned right achieved errors error_share shed shed_share withdrawn repeated"
    return {name: getattr(traffic, name) for name in names.split()}


def _doubts(doubts: Sequence[Doubt]) -> list[dict[str, str]]:
    return [{"code": each.code, "text": each.text} for each in doubts]
