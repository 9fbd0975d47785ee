"""The style and the output of all charts. The one module that imports matplotlib (extra `plot`)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from persona_profile.capacity.units import byte_count, short

# Apart for colour-blind eyes as well.
COLOURS: Final[Mapping[str, str]] = {
    "c1": "#0072b2",
    "c2": "#c97a00",
    "c3": "#c43c00",
    "c4": "#00795a",
    "c5": "#8a4a7c",
    "c6": "#6b7478",
    "card": "#ffffff",
    "ink": "#1d2326",
    "soft": "#5b666b",
    "line": "#dfe3e4",
    "band": "#eef1f2",
}
"""By the names of a page's CSS variables."""

INK: Final = COLOURS["ink"]
SOFT: Final = COLOURS["soft"]
DASHED: Final = (0, (4, 3))

_POINTS_PER_INCH: Final = 72
# Omitted in a page: headers, metadata, rules for other elements, names, references, digits.
_NOT_INLINE: Final = re.compile(
    r"^.*?<svg[^>]*>|<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<clipPath.*?</clipPath>"
    r'| clip-path="[^"]*"|(?<=<g) id="[^"]*"|(?<=\.\d\d)\d+',
    re.DOTALL,
)

mpl.rcParams.update(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": SOFT,
        "axes.prop_cycle": f"cycler(color={[COLOURS[f'c{number}'] for number in range(1, 7)]})",
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": "large",
        "axes.titleweight": "bold",
        "font.family": "DejaVu Sans",
        "font.size": 11,
        "grid.color": COLOURS["line"],
        "lines.scale_dashes": False,
        "savefig.dpi": 150,
        "svg.hashsalt": "persona-profile",
        "text.color": SOFT,
        "text.parse_math": False,  # names of a record are not formulas
        "xtick.color": SOFT,
        "xtick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.color": SOFT,
        "ytick.major.size": 0,
        "ytick.minor.size": 0,
    }
)


def new_figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure of a size in points, and its axes: one, or an array of so many rows."""
    figure = Figure((width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), **options)
    axes = figure.subplots(rows, 1)
    for each in figure.axes:
        each.grid(visible=True, axis="y")
    return figure, axes


def size_of(figure: Any) -> tuple[float, float]:
    """Return the width and height of a figure, in points."""
    width, height = figure.get_size_inches() * _POINTS_PER_INCH
    return width, height


def save(figure: Any, path: Path) -> None:
    """Write a figure as SVG or PNG; the path's ending decides.

    Raises:
        OSError: the file can't be written.
    """
    # No date inside: the same data give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, format=path.suffix[1:], metadata=metadata)


def inline_svg(figure: Any, label: str) -> str:
    """Return a figure, with a label in words, as SVG for a page of HTML, in the page's colours."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):  # the page has fonts of its own
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    drawing = _NOT_INLINE.sub("", file.getvalue())
    for name, colour in COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    width, height = size_of(figure)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">{drawing}'
    )


def count_on(axis: Any, *, is_integer: bool = False) -> None:
    """Label an axis with some round numbers, from 0 on if it is linear."""
    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10), integer=is_integer))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def count_bytes_on(axis: Any) -> None:
    """Label an axis with some round numbers of bytes."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: byte_count(value)))
