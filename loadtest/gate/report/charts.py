"""The charts of a report, as HTML with their legends."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from html import escape
from typing import Any

from loadtest.gate.levels import Levels
from loadtest.gate.report.drawings import Chart, Series, spread
from loadtest.gate.summary import Summary
from loadtest.gate.verdict import MIN_ANSWERS, Judged
from loadtest.record import Traffic, percentile
from persona_profile.capacity.units import short

_POINTS = 240
"""Maximum of points in a line."""
_LARGEST_ERRORS = 4
_MINUTES = 300
"""Length in seconds from which a time axis has minutes."""
_PERCENTILES = ((0.5, "p50", "c1"), (0.95, "p95", "c2"), (0.99, "p99", "c3"))
MEGABYTE = 1e6


def latency_spread(judged: Judged, levels: Levels) -> str:
    """Return the percentiles and levels of each endpoint of a step."""
    rows = []
    for name, traffic in judged.step.endpoints.items():
        if traffic.right < MIN_ANSWERS["p95"]:
            continue
        values = {style: percentile(traffic.latencies, share) or 0 for share, _, style in _PERCENTILES}
        rows.append((name, values, (levels.of(name).p95, levels.of(name).p99)))
    title = f"Latency by endpoint at {judged.step.users:,.0f} users"
    described = "; ".join(f"{name} p95 {values['c2']:,.0f} ms" for name, values, _ in rows)
    legend = _legend(
        [(style, name) for _, name, style in _PERCENTILES] + [("mark", "levels of p95 and p99")]
    )
    note = "" if rows else "No endpoint had enough answers."
    return _figure(title, spread(title, described, rows), legend, note)


def latency_by_users(steps: Sequence[Judged], levels: Levels) -> list[str]:
    """Return a chart of latency over users for each endpoint, if there are several numbers of users."""
    users = sorted({each.step.users for each in steps})
    if len(users) < 2:
        return []
    made = []
    for name in sorted({name for each in steps for name in each.step.endpoints}):
        series = [Series(label, [], style, has_dots=True) for _, label, style in _PERCENTILES]
        for count in users:
            # A spike has two steps of the same users.
            traffic = Traffic.of(
                each.step.endpoints[name]
                for each in steps
                if each.step.users == count and name in each.step.endpoints
            )
            if traffic.right >= MIN_ANSWERS["p95"]:
                for line, (share, _, _) in zip(series, _PERCENTILES, strict=True):
                    line.points.append((count, percentile(traffic.latencies, share)))
        if len(series[0].points) < 2:
            continue
        limit = levels.of(name).p95
        first, last = series[1].points[0], series[1].points[-1]
        described = f"p95 goes from {first[1]:,.0f} to {last[1]:,.0f} ms; its level is {limit:,.0f} ms"
        chart = Chart(
            name,
            described,
            "users",
            "ms",
            series,
            limit=limit,
            is_logarithmic=True,
            width=360,
            height=220,
        )
        made.append(_figure(name, chart.svg(), ""))
    return made


def latency_legend() -> str:
    """Return the legend of all charts of latency by users."""
    return _legend([(style, name) for _, name, style in _PERCENTILES] + [("limit", "level of p95")])


def requests_over_time(summary: Summary) -> str:
    """Return planned requests and right responses over time."""
    axis = _Axis(summary)
    planned = axis.rate([(second, each.planned) for second, each in summary.seconds.items()])
    right = axis.rate([(second, each.right) for second, each in summary.seconds.items()])
    whole = Traffic.of(summary.seconds.values())
    chart = axis.chart(
        "Requests planned and answered",
        f"{whole.planned:,} planned, {whole.right:,} answered right",
        "requests per second",
        [Series("planned", planned, "c1"), Series("answered right", right, "c4 dashed")],
    )
    return _drawn(chart, "By the second in which they were planned to start. The lines should be one.")


def errors_over_time(summary: Summary) -> str:
    """Return errors by code and shed requests over time."""
    axis = _Axis(summary)
    whole = Traffic.of(summary.seconds.values())
    codes = sorted(whole.errors, key=lambda code: (-whole.errors[code], code))
    shown, others = codes[:_LARGEST_ERRORS], set(codes[_LARGEST_ERRORS:])
    shed = [(second, each.shed) for second, each in summary.seconds.items()]
    series = [Series("shed: 503 or 429 with Retry-After", axis.rate(shed), "c2", is_area=True)]
    styles = ("c3", "c5 dashed", "c1 dotted", "c4 dash-dotted")
    for code, style in zip(shown, styles, strict=False):
        found = [(second, each.errors.get(code, 0)) for second, each in summary.seconds.items()]
        series.append(Series(code, axis.rate(found), style))
    if others:
        found = [
            (second, sum(each.errors.get(code, 0) for code in others))
            for second, each in summary.seconds.items()
        ]
        series.append(Series(f"{len(others)} other codes", axis.rate(found), "c6"))
    totals = [f"{whole.shed:,} shed"] + [f"{whole.errors[code]:,} {code}" for code in codes]
    chart = axis.chart(
        "Errors by code, and shedding",
        ", ".join(totals) if whole.shed or codes else "There were none",
        "requests per second",
        series,
        top=1.0,
    )
    note = "None." if not whole.shed and not codes else "Total: " + ", ".join(totals) + "."
    return _drawn(chart, note)


def processor_over_time(summary: Summary) -> str:
    """Return the used and available cores of the server over time."""
    axis = _Axis(summary)
    readings = [(each.at, each.cpu_seconds) for each in summary.servers if each.cpu_seconds is not None]
    points: list[tuple[float, float | None]] = []
    for (before, low), (after, high) in itertools.pairwise(axis.thinned(readings)):
        if after > before:
            points.append((axis(after), max(0.0, (high - low) / (after - before))))
    cores = [each.cores for each in summary.servers if each.cores]
    limit = f"; it may use {short(cores[-1])}" if cores else ""
    highest = max((y for _, y in points if y is not None), default=0.0)
    chart = axis.chart(
        "Processor of the server",
        f"At most {highest:.2f} cores{limit}" if points else "Unknown",
        "cores used",
        [Series("cores used", points, "c1", is_area=True)],
        limit=cores[-1] if cores else None,
    )
    return _drawn(chart, chart.description + ".", [("limit", "cores that it may use")] if cores else [])


def memory_over_time(summary: Summary) -> str:
    """Return the memory of the server over time."""
    axis = _Axis(summary)
    readings = [
        (each.at, each.resident_bytes) for each in summary.servers if each.resident_bytes is not None
    ]
    points = [(axis(at), size / MEGABYTE) for at, size in axis.thinned(readings)]
    described = "Unknown"
    if points:
        described = f"From {points[0][1]:,.0f} to {points[-1][1]:,.0f} MB"
        described += f", at most {max(size for _, size in readings) / MEGABYTE:,.0f} MB"
    series = [Series("resident", [*points], "c5", is_area=True)]
    return _drawn(axis.chart("Memory of the server", described, "MB", series), described + ".")


class _Axis:
    """The time axis of a run, from its first step on."""

    def __init__(self, summary: Summary) -> None:
        instants = [*summary.seconds, *(each.at for each in summary.servers)]
        self._start = summary.steps[0].start if summary.steps else min(instants, default=0)
        end = max([*instants, *(each.end for each in summary.steps)], default=1)
        self._length = max(1.0, end - self._start)
        is_long = self._length >= _MINUTES
        self._unit = 60 if is_long else 1
        self._label = "minutes" if is_long else "seconds"
        self._bands = [
            (self(each.start), self(each.end), short(each.users)) for each in summary.measured
        ]

    def chart(
        self, title: str, description: str, y_label: str, series: Sequence[Series], **more: Any
    ) -> Chart:
        """Return a chart over time."""
        return Chart(title, description, self._label, y_label, series, self._bands, **more)

    def __call__(self, at: float) -> float:
        """Return the place of an instant."""
        return (at - self._start) / self._unit

    def rate(self, counts: Sequence[tuple[int, int]]) -> list[tuple[float, float | None]]:
        """Return counts per second, for at most `_POINTS` pieces of time."""
        width = max(1, -(-int(self._length) // _POINTS))
        pieces: dict[int, int] = {}
        for second, count in counts:
            place = (second - int(self._start)) // width
            pieces[place] = pieces.get(place, 0) + count
        if not pieces:
            return []
        whole = range(min(pieces), max(pieces) + 1)
        return [(self(self._start + place * width), pieces.get(place, 0) / width) for place in whole]

    def thinned(self, readings: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return at most about `_POINTS` readings."""
        every = max(1, -(-len(readings) // _POINTS))
        return [each for each in readings[::every] if each[0] >= self._start]


def _drawn(chart: Chart, note: str, more: Sequence[tuple[str, str]] = ()) -> str:
    legend = [(each.style, each.name) for each in chart.series] if len(chart.series) > 1 else []
    return _figure(chart.title, chart.svg(), _legend([*legend, *more]), note)


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    keys = []
    for style, name in entries:
        x = 'x1="9" x2="9" y1="1" y2="11"' if style == "mark" else 'x1="0" x2="18" y1="6" y2="6"'
        kind = style if style in {"mark", "limit"} else f"line {style}"
        keys.append(
            f'<li><svg viewBox="0 0 18 12" aria-hidden="true"><line class="{kind}" {x}/></svg>'
            f"{escape(name)}</li>"
        )
    return f'<ul class="legend">{"".join(keys)}</ul>' if keys else ""


def _figure(title: str, drawing: str, legend: str, note: str = "") -> str:
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<figure><figcaption><h3>{escape(title)}</h3>{below}</figcaption>{drawing}{legend}</figure>"
