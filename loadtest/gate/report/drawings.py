"""Drawings of a report: lines over time or users, and the spread of latencies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from persona_profile.capacity.charts import COLOURS, INK, count_on, inline_svg, new_figure, size_of

_LEFT: Final = 52
_RIGHT: Final = 12
_TOP: Final = 14
_BOTTOM: Final = 36
_DIGIT_WIDTH: Final = 6
_DASHES: Final = {
    "": "-",
    "dashed": (0, (6, 4)),
    "dotted": (0, (1.5, 3)),
    "dash-dotted": (0, (7, 3, 1.5, 3)),
}
_LIMIT: Final[Any] = {"color": INK, "linewidth": 1.4, "linestyle": (0, (2, 3))}


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one line.

    Attributes:
        name: for the legend.
        points: pairs of x and y; None as y breaks the line.
        style: classes of the page's style sheet: colour, then dashes.
        is_area: filled down to 0.
        has_dots: each point is marked.
    """

    name: str
    points: list[tuple[float, float | None]]
    style: str
    is_area: bool = False
    has_dots: bool = False

    def draw(self, axes: Any) -> None:
        """Draw the line."""
        colour, _, dashes = self.style.partition(" ")
        xs = [x for x, _ in self.points]
        ys = [math.nan if y is None else y for _, y in self.points]
        if self.is_area:
            axes.fill_between(xs, ys, color=COLOURS[colour], alpha=0.25, linewidth=0)
        dots: dict[str, Any] = {}
        if self.has_dots or len(xs) == 1:
            dots = {"marker": "o", "markersize": 6, "markeredgecolor": COLOURS["card"]}
        width = 1.2 if self.is_area else 1.8
        axes.plot(xs, ys, color=COLOURS[colour], linewidth=width, linestyle=_DASHES[dashes], **dots)


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one x axis.

    Attributes:
        description: the chart in words.
        x_label, y_label: with their units.
        series: the first is drawn lowest.
        bands: start, end and name of shaded parts of the x axis; named if there is room.
        limit: a level, drawn across; None for none.
        is_logarithmic: the y axis.
        width, height: of the drawing, in units of its own.
        top: the y axis reaches to it at least.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    bands: Sequence[tuple[float, float, str]] = ()
    limit: float | None = None
    is_logarithmic: bool = False
    width: int = 560
    height: int = 240
    top: float = 0.0

    def svg(self) -> str:
        """Return the drawing, without its legend."""
        figure, axes = new_figure(self.width, self.height)
        _place(figure, axes, _LEFT, _TOP)
        for series in self.series:
            series.draw(axes)
        for start, end, _ in self.bands:
            axes.axvspan(start, end, color=COLOURS["band"], linewidth=0, zorder=0)
        if self.limit is not None:
            axes.axhline(self.limit, **_LIMIT)
        axes.margins(x=0)
        self._set_range(axes)
        low, high = axes.get_xlim()
        for start, end, name in self.bands:
            room = (end - start) / (high - low) * (self.width - _LEFT - _RIGHT)
            if room > _DIGIT_WIDTH * len(name):
                axes.annotate(
                    name,
                    ((start + end) / 2, 1),
                    (0, 4),
                    xycoords=("data", "axes fraction"),
                    textcoords="offset points",
                    ha="center",
                    fontsize=10,
                )
        count_on(axes.xaxis)
        count_on(axes.yaxis)
        axes.set_xlabel(self.x_label)
        axes.set_ylabel(self.y_label)
        return inline_svg(figure, f"{self.title}. {self.description}")

    def _set_range(self, axes: Any) -> None:
        values = [y for series in self.series for _, y in series.points if y is not None]
        values += [] if self.limit is None else [self.limit]
        if self.is_logarithmic:
            low = max(min(values, default=1.0), 0.1)
            axes.set_yscale("log")
            axes.set_ylim(low / 1.4, max(*values, low) * 1.4)
        else:
            axes.set_ylim(0, max([*values, self.top]) * 1.08 or 1.0)


Spread = tuple[str, Mapping[str, float], Sequence[float]]
"""Name, percentiles by class of the style sheet, and levels of one endpoint."""


def spread(title: str, description: str, rows: Sequence[Spread]) -> str:
    """Return a drawing with a line for each row: milliseconds as dots, levels as marks."""
    figure, axes = new_figure(1100, 26 * max(1, len(rows)) + _BOTTOM)
    _place(figure, axes, 120, 2)
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    axes.spines.bottom.set_visible(False)
    for place, (_, values, limits) in enumerate(rows):
        axes.hlines(
            place, min(values.values()), max(values.values()), color=COLOURS["line"], linewidth=4
        )
        for limit in limits:
            axes.plot(limit, place, "|", color=INK, markersize=14, markeredgewidth=2)
        for style, value in values.items():
            colours = {"color": COLOURS[style], "markeredgecolor": COLOURS["card"]}
            axes.plot(value, place, "o", markersize=9, **colours)
    shown = [value for _, values, limits in rows for value in (*limits, *values.values())]
    axes.set_xscale("log")
    axes.set_xlim(min(shown, default=1.0) / 1.4, max(shown, default=10.0) * 1.4)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    count_on(axes.xaxis)
    axes.set_xlabel("milliseconds")
    return inline_svg(figure, f"{title}. {description}")


def _place(figure: Any, axes: Any, left: float, top: float) -> None:
    """Leave room around the axes, the same for all drawings."""
    width, height = size_of(figure)
    figure.subplots_adjust(
        left=left / width, right=1 - _RIGHT / width, bottom=_BOTTOM / height, top=1 - top / height
    )
    axes.tick_params(axis="x", pad=6)
    across, up = (left + width - _RIGHT) / 2, (_BOTTOM + height - top) / 2
    axes.xaxis.set_label_coords(across / width, 12 / height, figure.transFigure)
    axes.yaxis.set_label_coords(14 / width, up / height, figure.transFigure)
