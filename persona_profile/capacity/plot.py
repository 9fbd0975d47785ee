"""The chart of `model --plot`. Needs matplotlib, the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from persona_profile.capacity.charts import COLOURS, DASHED, INK, SOFT, count_on, new_figure, save
from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import Parameters, demand

_COLOURS: Final = (*(COLOURS[f"c{number}"] for number in range(1, 7)), INK, SOFT)
_APART: Final = 1.5
"""Ends of lines that are nearer, as a ratio, share one label."""


def draw(parameters: Parameters, costs: Costs, users: float, path: Path) -> None:
    """Write a chart of rates and cores from a hundredth to ten times a number of users, SVG or PNG.

    Raises:
        OSError: the file can't be written.
    """
    figure, (upper, lower) = new_figure(720, 612, rows=2, layout="constrained")
    shown = [users / 100, users, users * 10]
    found = [demand(parameters, costs, each) for each in shown]
    at_peak = [each.peak_rates for each in found]
    rates = {name.replace("_", " "): [each[name] for each in at_peak] for name in at_peak[0]}
    _draw_lines(upper, shown, rates)
    upper.set_title("Requests per second at the peak")
    parts = {
        "server": [each.cores.service for each in found],
        "picture workers": [each.cores.workers for each in found],
        "database": [each.cores.database for each in found],
        "all": [sum(each.cores) for each in found],
    }
    _draw_lines(lower, shown, parts)
    lower.set_title(f"Cores to have, so that {parameters.target_utilisation:.0%} are busy at the peak")
    lower.set_xlabel("active users")
    save(figure, path)


def _draw_lines(axes: Any, users: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    """Draw lines on logarithmic axes, labelled at their ends, for activities that occur."""
    shown = {name: values for name, values in lines.items() if values[-1] > 0}
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(users[0], users[-1])
    axes.grid(visible=True, axis="x")
    axes.axvline(users[1], color=SOFT, linewidth=1, linestyle=DASHED, zorder=0)
    labels: list[tuple[float, list[str], str]] = []
    for (name, values), colour in zip(shown.items(), _COLOURS, strict=False):
        axes.plot(users, values, color=colour, linewidth=2)
        labels.append((values[-1], [name], colour))
    merged: list[tuple[float, list[str], str]] = []
    for value, names, colour in sorted(labels, reverse=True):
        if merged and merged[-1][0] / value < _APART:
            merged[-1][1].extend(names)
        else:
            merged.append((value, names, colour))
    for value, names, colour in merged:
        axes.annotate(
            ", ".join(names),
            (users[-1], value),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour if len(names) == 1 else INK,
            annotation_clip=False,
        )
    count_on(axes.xaxis)
    count_on(axes.yaxis)
