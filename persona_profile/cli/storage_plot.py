"""The chart of `storage stats --plot`. Needs matplotlib, the extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from persona_profile.capacity.charts import (
    COLOURS,
    DASHED,
    INK,
    SOFT,
    count_bytes_on,
    count_on,
    new_figure,
    save,
)
from persona_profile.capacity.units import byte_count
from persona_profile.store.maintenance.statistics import Distribution, Statistics

_BINS: Final = 48
_LABEL_WIDTH: Final = 0.1
"""Share of the axis for the label of a percentile."""

_FORMAT_COLOURS: Final = {"avif": COLOURS["c1"], "webp": COLOURS["c2"], "jpeg": COLOURS["c3"]}


def draw(statistics: Statistics, path: Path) -> None:
    """Write a chart of a store's sizes as SVG or PNG; the path's ending decides.

    Raises:
        OSError: the file can't be written.
    """
    figure, (profiles, renditions) = new_figure(720, 612, rows=2, layout="constrained")
    _draw_profiles(profiles, statistics)
    _draw_renditions(renditions, statistics)
    save(figure, path)


def _draw_profiles(axes: Any, statistics: Statistics) -> None:
    sizes = statistics.profile_bytes
    pictures = f"{statistics.with_picture:,} with a picture"
    axes.set_title(f"Bytes per profile: {sizes.count:,} profiles, {pictures}", pad=42)
    axes.set_xlabel("sealed bytes of all items of a profile")
    axes.set_ylabel("profiles")
    count_on(axes.yaxis, is_integer=True)
    count_bytes_on(axes.xaxis)
    if not sizes.count:
        _draw_nothing(axes)
        return
    counts = sizes.counts()
    axes.hist(
        list(counts),
        bins=_BINS,
        range=(0, max(counts)),
        weights=list(counts.values()),
        color=COLOURS["c1"],
        edgecolor="white",
        linewidth=0.5,
    )
    _mark_percentiles(axes, sizes)
    axes.set_xlim(left=0)


def _mark_percentiles(axes: Any, sizes: Distribution) -> None:
    """Draw a line at each percentile; close percentiles share a label."""
    labels: list[tuple[int, list[str]]] = []
    for percent in (50, 95, 99):
        size = sizes.percentile(percent)
        axes.axvline(size, color=INK, linewidth=1, linestyle=DASHED)
        text = f"p{percent}: {byte_count(size)}"
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
    count_bytes_on(axes.yaxis)
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
            color=_FORMAT_COLOURS.get(name, SOFT),
            error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 3},
        )
        tops = [byte_count(average) for average in averages]
        axes.bar_label(bars, tops, padding=2, fontsize="small")
    axes.set_xticks(range(len(pixels)), [f"{size} x {size}" for size in pixels])
    axes.legend(frameon=False, loc="upper left")


def _draw_nothing(axes: Any) -> None:
    axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=SOFT)
    axes.set_xticks([])
    axes.set_yticks([])
