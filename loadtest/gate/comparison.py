"""The comparison of a run with the last accepted one: a real difference, or chance.

A metric of two runs differs if both hold:

- the 95 % ranges of both runs (from resampling pieces of the time, with a fixed seed) are apart;
- the ratio is beyond the noise of one build on one machine, `MIN_RATIO`, and latencies differ by more
  than `MIN_MILLISECONDS`.

The first alone would find a difference of any long runs; the second alone would trust few responses.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadtest.gate.summary import StepSummary
from loadtest.gate.verdict import SHARES
from loadtest.record import upper_bound

MIN_RATIO: Final[Mapping[str, float]] = {"p95": 1.25, "p99": 1.25, "seconds_per_request": 1.1}
MIN_MILLISECONDS: Final = 5.0
MIN_ANSWERS: Final[Mapping[str, int]] = {"p95": 100, "p99": 500}
"""Minimum of responses of each run to compare percentiles."""

_SEED: Final = 95
_RESAMPLES: Final = 200
_PIECES: Final = 20
_SAME_USERS: Final = 0.01


def estimates(step: StepSummary) -> dict[str, dict[str, dict[str, float]]]:
    """Return the percentiles of a step with their ranges, by endpoint."""
    pieces = _pieces(step)
    return {
        name: _percentiles(
            [
                [
                    step.seconds[second][name].latencies
                    for second in piece
                    if name in step.seconds[second]
                ]
                for piece in pieces
            ]
        )
        for name in step.endpoints
    }


def cost_estimate(step: StepSummary) -> dict[str, float] | None:
    """Return the server's processor seconds per request with their range; None if they are unknown."""
    if not step.seconds_per_request or step.seconds_per_request < 0:
        return None
    pairs = []
    for piece in _pieces(step):
        spent = _read(step.processor, piece[-1] + 1) - _read(step.processor, piece[0])
        seconds = range(piece[0], piece[-1] + 1)
        pairs.append((spent, sum(step.finished.get(second, 0) for second in seconds)))
    draw = random.Random(_SEED)  # noqa: S311 - no secret
    found = []
    for _ in range(_RESAMPLES):
        drawn = draw.choices(pairs, k=len(pairs))
        if answered := sum(count for _, count in drawn):
            found.append(sum(spent for spent, _ in drawn) / answered)
    cost = step.seconds_per_request
    return _estimate(cost, found or [cost], sum(count for _, count in pairs))


def compare(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the documents of this run and of the accepted one.

    Runs with other parameters of the model or another peak have no common step.
    """
    accepted = before["run"]
    rows, users = [], None
    if _load_of_a_user(now["run"]) == _load_of_a_user(accepted):
        rows = _carried(now["users_carried"], before["users_carried"])
        common = [
            (mine, theirs)
            for mine, theirs in itertools.product(now["steps"], before["steps"])
            if abs(mine["users"] - theirs["users"]) <= _SAME_USERS * theirs["users"]
        ]
        if common:
            mine, theirs = max(
                common,
                key=lambda pair: (pair[0]["outcome"] == pair[1]["outcome"] == "met", pair[1]["users"]),
            )
            users = theirs["users"]
            rows += _rows(mine, theirs)
    words = {each["word"] for each in rows}
    return {
        "word": next((word for word in ("slower", "faster", "same") if word in words), "unknown"),
        "users": users,
        "accepted_at": accepted["at"],
        "accepted_version": accepted["server_version"],
        "rows": rows,
    }


def _rows(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics that both steps have."""
    pairs = [("", "seconds_per_request", mine, theirs)]
    for name, endpoint in mine["endpoints"].items():
        pairs += [(name, figure, endpoint, theirs["endpoints"].get(name, {})) for figure in SHARES]
    return [
        _row(name, figure, one[figure], other[figure])
        for name, figure, one, other in pairs
        if one.get(figure) and other.get(figure)
    ]


def _load_of_a_user(run: Mapping[str, Any]) -> tuple[Any, Any]:
    return run["parameters"], run.get("peak", 1.0)


def _carried(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare the brackets of the knees: brackets that overlap may have the same knee."""
    mine, theirs = now["carried"], before["carried"]
    if not mine or not theirs:
        return []
    word = "same"
    if now["failed"] is not None and now["failed"] <= theirs:
        word = "slower"
    elif before["failed"] is not None and mine >= before["failed"]:
        word = "faster"
    return [_compared("", "users_carried", mine, theirs, word)]


def _compared(endpoint: str, figure: str, now: float, before: float, word: str) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "figure": figure,
        "now": now,
        "before": before,
        "ratio": now / before,
        "word": word,
    }


def _row(
    endpoint: str, figure: str, now: Mapping[str, Any], before: Mapping[str, Any]
) -> dict[str, Any]:
    small, large = sorted((now, before), key=lambda each: each["value"])
    ratio = MIN_RATIO[figure]
    word = "same"
    if min(now["answers"], before["answers"]) < MIN_ANSWERS.get(figure, 0):
        word = "few"
    elif large["low"] > small["high"] and large["value"] > ratio * small["value"]:
        is_latency = figure in SHARES
        if not is_latency or large["value"] - small["value"] > MIN_MILLISECONDS:
            word = "slower" if large is now else "faster"
    return _compared(endpoint, figure, now["value"], before["value"], word)


def _pieces(step: StepSummary) -> list[list[int]]:
    """Cut a step's time into up to `_PIECES` pieces: seconds within a piece are not independent."""
    seconds = sorted(step.seconds)
    count = min(_PIECES, len(seconds))
    edges = [round(number * len(seconds) / count) for number in range(count + 1)] if count else [0]
    return [seconds[start:end] for start, end in itertools.pairwise(edges)]


def _percentiles(pieces: Sequence[Sequence[Mapping[int, int]]]) -> dict[str, dict[str, float]]:
    numbers = sorted({number for piece in pieces for counts in piece for number in counts})
    if not numbers:
        return {}
    columns = [
        [sum(counts.get(number, 0) for counts in piece) for number in numbers] for piece in pieces
    ]
    whole = [sum(column) for column in zip(*columns, strict=True)]
    draw = random.Random(_SEED)  # noqa: S311 - no secret
    samples = []
    for _ in range(_RESAMPLES):
        drawn = draw.choices(columns, k=len(columns))
        samples.append([sum(column) for column in zip(*drawn, strict=True)])
    return {
        figure: _estimate(
            _rank(numbers, whole, share),
            [_rank(numbers, sample, share) for sample in samples if any(sample)],
            sum(whole),
        )
        for figure, share in SHARES.items()
    }


def _rank(numbers: Sequence[int], counts: Sequence[int], share: float) -> float:
    running = list(itertools.accumulate(counts))
    return upper_bound(numbers[bisect.bisect_left(running, share * running[-1] - 1e-9)])


def _estimate(value: float, resamples: list[float], answers: int) -> dict[str, float]:
    """Return a value with its 95 % range, and the number of responses."""
    ordered = sorted(resamples)
    cut = len(ordered) // 40
    return {"value": value, "low": ordered[cut], "high": ordered[-1 - cut], "answers": answers}


def _read(readings: Sequence[tuple[float, float]], at: float) -> float:
    """Return the processor seconds at an instant, interpolated between two readings."""
    place = bisect.bisect_left(readings, (at, 0.0))
    if place == 0:
        return readings[0][1]
    if place == len(readings):
        return readings[-1][1]
    (before, low), (after, high) = readings[place - 1], readings[place]
    return low + (high - low) * (at - before) / (after - before)
