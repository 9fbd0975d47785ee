"""The chart of `model --plot`. Needs matplotlib, the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FuncFormatter

from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import Parameters, demand
from persona_profile.cli.plotting import INK, PALE, STYLE, save

# Apart for colour-blind eyes as well (Paul Tol's bright scheme).
_COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", INK, PALE)
_APART: Final = 1.5
"""Ends of lines that are nearer, as a ratio, share one label."""


def draw(parameters: Parameters, costs: Costs, users: float, path: Path) -> None:
    """Write a chart of rates and cores from a hundredth to ten times a number of users, SVG or PNG.

    Raises:
        OSError: the file can't be written.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 8.5), layout=ConstrainedLayoutEngine(h_pad=0.15, w_pad=0.15))
        upper, lower = figure.subplots(2, 1, sharex=True)
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
        busy = f"{parameters.target_utilisation:.0%}"
        lower.set_title(f"Cores to have, so that {busy} of them are busy at the peak")
        lower.set_xlabel("active users")
        lower.xaxis.set_major_formatter(EngFormatter(sep=""))
        for axes in (upper, lower):
            axes.axvline(users, color=PALE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        save(figure, path)


def _draw_lines(axes: Any, users: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    """Draw lines on logarithmic axes, each labelled at its end; what never happens has none."""
    shown = {name: values for name, values in lines.items() if values[-1] > 0}
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(users[0], users[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    ends: list[tuple[float, list[str], str]] = []
    for (name, values), colour in zip(shown.items(), _COLOURS, strict=False):
        axes.plot(users, values, color=colour, linewidth=2)
        ends.append((values[-1], [name], colour))
    merged: list[tuple[float, list[str], str]] = []
    for value, names, colour in sorted(ends, reverse=True):
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
