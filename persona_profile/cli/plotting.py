"""The style of all charts, and that of `storage stats --plot`. Needs matplotlib, the extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from persona_profile.store.maintenance.statistics import Distribution, Statistics

_BINS: Final = 48
_LABEL_WIDTH: Final = 0.1
"""Share of the axis that a label of a percentile takes."""
INK: Final = "#333333"
PALE: Final = "#8a8a8a"
_BARS: Final = "#4477aa"
# Apart for colour-blind eyes as well (Paul Tol's bright scheme).
_FORMAT_COLOURS: Final = {"avif": "#4477aa", "webp": "#ccbb44", "jpeg": "#ee6677"}
STYLE: Final[Any] = {
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "large",
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.hashsalt": "persona-profile",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(statistics: Statistics, path: Path) -> None:
    """Write a chart of a store's sizes as SVG or PNG, told by the ending of the path.

    Raises:
        OSError: the file can't be written.
    """
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.15, w_pad=0.15)
        figure = Figure(figsize=(10, 8.5), layout=layout)
        profiles, renditions = figure.subplots(2, 1)
        _draw_profiles(profiles, statistics)
        _draw_renditions(renditions, statistics)
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, drawn under `STYLE`, as SVG or PNG, told by the ending of the path.

    Raises:
        OSError: the file can't be written.
    """
    # No date inside: the same figures give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, format=path.suffix[1:], dpi=150, metadata=metadata)


def _draw_profiles(axes: Any, statistics: Statistics) -> None:
    sizes = statistics.profile_bytes
    pictures = f"{statistics.with_picture:,} with a picture"
    axes.set_title(f"Bytes per profile: {sizes.count:,} profiles, {pictures}", pad=42)
    axes.set_xlabel("sealed bytes of all items of a profile")
    axes.set_ylabel("profiles")
    axes.xaxis.set_major_formatter(EngFormatter("B"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if not sizes.count:
        _draw_nothing(axes)
        return
    counts = sizes.counts()
    axes.hist(
        list(counts),
        bins=_BINS,
        range=(0, max(counts)),
        weights=list(counts.values()),
        color=_BARS,
        edgecolor="white",
        linewidth=0.5,
    )
    _mark_percentiles(axes, sizes)
    axes.set_xlim(left=0)


def _mark_percentiles(axes: Any, sizes: Distribution) -> None:
    """Draw a line at each percentile; those that fall close together share one label."""
    labels: list[tuple[int, list[str]]] = []
    for percent in (50, 95, 99):
        size = sizes.percentile(percent)
        axes.axvline(size, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        text = f"p{percent}: {EngFormatter('B', places=0)(size)}"
        if labels and size - labels[-1][0] < sizes.maximum * _LABEL_WIDTH:
            labels[-1][1].append(text)
        else:
            labels.append((size, [text]))
    for size, texts in labels:
        axes.annotate(
            "\n".join(texts),
            (size, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize="small",
        )


def _draw_renditions(axes: Any, statistics: Statistics) -> None:
    found = statistics.rendition_bytes
    axes.set_title("Bytes per rendition: bar and number the average, line up to the 95th percentile")
    axes.set_xlabel("size in pixels")
    axes.set_ylabel("sealed bytes")
    axes.yaxis.set_major_formatter(EngFormatter("B"))
    if not found:
        _draw_nothing(axes)
        return
    pixels = sorted({size for size, _ in found})
    known = [name for name in _FORMAT_COLOURS if any(name == each for _, each in found)]
    formats = known + sorted({name for _, name in found} - set(known))
    width = 0.8 / len(formats)
    for index, name in enumerate(formats):
        at = [place for place, size in enumerate(pixels) if (size, name) in found]
        sizes = [found[pixels[place], name] for place in at]
        averages = [each.average for each in sizes]
        places = [place + (index - (len(formats) - 1) / 2) * width for place in at]
        above = [max(0, each.percentile(95) - each.average) for each in sizes]
        bars = axes.bar(
            places,
            averages,
            width * 0.92,
            yerr=([0] * len(at), above),
            label=name,
            color=_FORMAT_COLOURS.get(name, PALE),
            error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 3},
        )
        tops = [EngFormatter(places=1, sep="")(average) for average in averages]
        axes.bar_label(bars, tops, padding=2, fontsize="small")
    axes.set_xticks(range(len(pixels)), [f"{size} x {size}" for size in pixels])
    axes.legend(frameon=False, loc="upper left")


def _draw_nothing(axes: Any) -> None:
    axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=PALE)
    axes.set_xticks([])
    axes.set_yticks([])
