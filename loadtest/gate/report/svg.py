"""Charts as SVG to stand in a page, in its colours, light or dark. Standard library alone.

matplotlib would be one more thing to install where load is made, and its charts know one background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_LEFT: Final = 52
_RIGHT: Final = 12
_TOP: Final = 14
_BOTTOM: Final = 36
_TICKS: Final = 5


@dataclass(frozen=True, slots=True)
class Series:
    """Points to be joined.

    Attributes:
        name: for the legend and for those who can't see it.
        points: pairs of x and y; y may be None, which breaks the line.
        style: class of the page's style sheet: colour and dashes.
        is_area: filled down to 0.
        has_dots: each point is marked.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    style: str
    is_area: bool = False
    has_dots: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A part of the x axis that is shaded, and named if there is room."""

    start: float
    end: float
    name: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one x axis.

    Attributes:
        title: what it shows.
        description: what there is to see, in words.
        x_label: of the x axis, with its unit.
        y_label: of the y axis, with its unit.
        series: to be drawn, the first lowest.
        bands: to be shaded.
        limit: a level, drawn across; None for none.
        is_logarithmic: the y axis.
        width: of the drawing's own units.
        height: of them.
        most: the least that the y axis reaches to.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    bands: Sequence[Band] = ()
    limit: float | None = None
    is_logarithmic: bool = False
    width: int = 560
    height: int = 240
    most: float = 0.0

    def svg(self) -> str:
        """Return the drawing, without its legend."""
        x_low, x_high, y_low, y_high = self._ranges()
        across = _Scale(x_low, x_high, _LEFT, self.width - _RIGHT)
        up = _Scale(y_low, y_high, self.height - _BOTTOM, _TOP, is_logarithmic=self.is_logarithmic)
        parts = [self._bands(across), self._axes(across, up)]
        parts += [self._line(each, across, up) for each in self.series]
        if self.limit is not None:
            y = up(self.limit)
            parts.append(
                f'<line class="limit" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y}" y2="{y}"/>'
            )
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.title)}. {escape(self.description)}">'
            + "".join(parts)
            + "</svg>"
        )

    def _ranges(self) -> tuple[float, float, float, float]:
        xs = [x for each in self.series for x, _ in each.points]
        xs += [edge for band in self.bands for edge in (band.start, band.end)]
        ys = [y for each in self.series for _, y in each.points if y is not None]
        ys += [] if self.limit is None else [self.limit]
        x_low, x_high = min(xs, default=0.0), max(xs, default=1.0)
        if x_low == x_high:
            x_low, x_high = x_low - 0.5, x_high + 0.5
        if self.is_logarithmic:
            low, high = max(min(ys, default=1.0), 0.1), max(ys, default=10.0)
            return x_low, x_high, low / 1.4, max(high, low) * 1.4
        return x_low, x_high, 0.0, max([*ys, self.most]) * 1.08 or 1.0

    def _bands(self, across: _Scale) -> str:
        made = []
        for band in self.bands:
            left, right = across(band.start), across(band.end)
            height = self.height - _BOTTOM - _TOP
            made.append(
                f'<rect class="band" x="{left}" y="{_TOP}" width="{max(0.0, right - left):.1f}" '
                f'height="{height}"/>'
            )
            # A digit is some 6 units wide.
            if right - left > 6 * len(band.name):
                middle = (left + right) / 2
                made.append(
                    f'<text class="band-name" x="{middle:.1f}" y="{_TOP - 4}" '
                    f'text-anchor="middle">{escape(band.name)}</text>'
                )
        return "".join(made)

    def _axes(self, across: _Scale, up: _Scale) -> str:
        made = []
        for value in up.ticks():
            y = up(value)
            made.append(
                f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y}" y2="{y}"/>'
                f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{number(value)}</text>'
            )
        base = self.height - _BOTTOM
        made += [
            f'<text x="{across(value)}" y="{base + 14}" text-anchor="middle">{number(value)}</text>'
            for value in across.ticks()
        ]
        made.append(
            f'<line class="axis" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{base}" y2="{base}"/>'
        )
        middle = (_LEFT + self.width - _RIGHT) / 2
        made.append(
            f'<text class="label" x="{middle}" y="{self.height - 4}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>"
            f'<text class="label" transform="translate(11 {(base + _TOP) / 2}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y_label)}</text>'
        )
        return "".join(made)

    def _line(self, series: Series, across: _Scale, up: _Scale) -> str:
        runs: list[list[tuple[float, float]]] = [[]]
        for x, y in series.points:
            if y is None:
                runs.append([])
            else:
                runs[-1].append((across(x), up(y)))
        made = []
        for run in filter(None, runs):
            path = "M" + "L".join(f"{x} {y}" for x, y in run)
            if series.is_area:
                base = self.height - _BOTTOM
                closed = f"{path}L{run[-1][0]} {base}L{run[0][0]} {base}Z"
                made.append(f'<path class="area {series.style}" d="{closed}"/>')
            else:
                made.append(f'<path class="line {series.style}" d="{path}"/>')
            if series.has_dots or len(run) == 1:
                made += [
                    f'<circle class="dot {series.style}" cx="{x}" cy="{y}" r="3"/>' for x, y in run
                ]
        return "".join(made)


class _Scale:
    """From figures to places of a drawing."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, is_logarithmic: bool = False
    ) -> None:
        self._low, self._high = low, high
        self._start, self._end = start, end
        self._is_logarithmic = is_logarithmic

    def __call__(self, value: float) -> float:
        """Return the place of a figure."""
        if self._is_logarithmic:
            share = math.log(max(value, self._low) / self._low) / math.log(self._high / self._low)
        else:
            share = (value - self._low) / (self._high - self._low)
        return round(self._start + (self._end - self._start) * share, 1)

    def ticks(self) -> list[float]:
        """Return round figures within the scale."""
        if self._is_logarithmic:
            lowest, highest = math.floor(math.log10(self._low)), math.ceil(math.log10(self._high))
            marks = (1, 2, 5) if highest - lowest < 3 else (1,)
            found = [mark * 10.0**power for power in range(lowest, highest + 1) for mark in marks]
            return [each for each in found if self._low <= each <= self._high]
        span = (self._high - self._low) / _TICKS
        power = 10.0 ** math.floor(math.log10(span))
        step = next(mark * power for mark in (1, 2, 5, 10) if mark * power >= span * 0.999)
        first = math.ceil(self._low / step)
        return [count * step for count in range(first, math.floor(self._high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """Write a figure shortly: thousands as k, millions as M."""
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.4g}\N{THIN SPACE}{unit}"
    return f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class Row:
    """What one line of a `spread` shows: percentiles by class of the style sheet, and limits."""

    name: str
    values: Sequence[tuple[str, float]]
    limits: Sequence[float]


def spread(title: str, description: str, rows: Sequence[Row], width: int = 1100) -> str:
    """Return a drawing with a line for each row: values in milliseconds as dots, limits as marks."""
    line, left, right = 26, 120, 14
    height = line * len(rows) + _BOTTOM
    figures = [each for row in rows for _, each in row.values]
    figures += [limit for row in rows for limit in row.limits]
    low, high = min(figures, default=1.0) / 1.4, max(figures, default=10.0) * 1.4
    across = _Scale(low, high, left, width - right, is_logarithmic=True)
    base = line * len(rows) + 2
    made = []
    for value in across.ticks():
        x = across(value)
        made.append(
            f'<line class="grid" x1="{x}" x2="{x}" y1="2" y2="{base}"/>'
            f'<text x="{x}" y="{base + 14}" text-anchor="middle">{number(value)}</text>'
        )
    for place, row in enumerate(rows):
        y = line * place + line / 2
        made.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(row.name)}</text>')
        xs = [across(value) for _, value in row.values]
        made.append(f'<line class="span" x1="{min(xs)}" x2="{max(xs)}" y1="{y}" y2="{y}"/>')
        for limit in row.limits:
            x = across(limit)
            made.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>')
        for (style, _), x in zip(row.values, xs, strict=True):
            made.append(f'<circle class="dot {style}" cx="{x}" cy="{y}" r="4.5"/>')
    middle = (left + width - right) / 2
    made.append(
        f'<text class="label" x="{middle}" y="{height - 4}" text-anchor="middle">milliseconds</text>'
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}">' + "".join(made) + "</svg>"
    )
