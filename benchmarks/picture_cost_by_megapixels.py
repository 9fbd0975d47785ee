"""Processor time of the whole pipeline against megapixels, over that of a JPEG of 12 megapixels.

From the file to all renditions at the default settings, in turns; the result is the median of the
ratios of the rounds. HEIC, which has no reduced decoding, beside JPEG.

    python benchmarks/picture_cost_by_megapixels.py [--photo PHOTO.jpg] [--plot FILE.svg] [--rounds N]
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from camera_pictures import camera_jpeg, pixels, use
from support.pictures.pictures import heic
from support.pictures.workers import LIMITS

from persona_profile.images import PictureOptions
from persona_profile.images.pipeline import render_picture

OF_JPEG = (1, 2, 5, 8, 12, 24, 48, 100)
OF_HEIC = (5, 12, 24, 48)
UNIT = ("JPEG", 12)
OPTIONS = PictureOptions(LIMITS)
COLOURS = {"JPEG": "#4477aa", "HEIC": "#ee6677"}  # Paul Tol's bright scheme

Ratios = dict[tuple[str, int], float]


def processor_seconds(data: bytes) -> float:
    """Return the processor time from a file to its renditions."""
    began = time.process_time()
    render_picture(io.BytesIO(data), None, OPTIONS)
    return time.process_time() - began


def measure(files: dict[tuple[str, int], bytes], rounds: int) -> tuple[float, Ratios]:
    """Return the median seconds of the unit, and the median ratio to it of each file, all in turns."""
    for data in files.values():
        processor_seconds(data)
    bases: list[float] = []
    ratios: dict[tuple[str, int], list[float]] = {name: [] for name in files}
    for _ in range(rounds):
        seconds = {name: processor_seconds(data) for name, data in files.items()}
        bases.append(seconds[UNIT])
        for name, each in seconds.items():
            ratios[name].append(each / seconds[UNIT])
    return statistics.median(bases), {name: statistics.median(each) for name, each in ratios.items()}


def plot(path: Path, ratios: Ratios) -> None:
    """Draw the ratios against megapixels."""
    from persona_profile.capacity.charts import DASHED, SOFT, new_figure, save  # noqa: PLC0415 - for this

    figure, axes = new_figure(648, 360, layout="constrained")
    for kind, colour in COLOURS.items():
        points = {size: ratio for (name, size), ratio in ratios.items() if name == kind}
        axes.plot(list(points), list(points.values()), color=colour, marker="o", linewidth=2)
        for size, ratio in points.items():
            axes.annotate(
                f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
                (size, ratio),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
        last = max(points)
        axes.annotate(
            kind,
            (last, points[last]),
            xytext=(14, -3),
            textcoords="offset points",
            color=colour,
            weight="bold",
        )
    axes.axhline(1, color=SOFT, linewidth=1, linestyle=DASHED)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(OF_JPEG, [str(size) for size in OF_JPEG])
    axes.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.margins(x=0.1, y=0.15)
    axes.set_xlabel("megapixels")
    axes.set_title("Processor time of an upload's pipeline, over that of a JPEG of 12 megapixels")
    save(figure, path)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="of 12 megapixels; default: one that is made")
    parser.add_argument("--plot", type=Path, help="draw the ratios into this file, .svg or .png")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    use(options.photo)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    files = {("JPEG", size): camera_jpeg(size) for size in OF_JPEG}
    files |= {("HEIC", size): heic(pixels(size), quality=60) for size in OF_HEIC}
    seconds, ratios = measure(files, options.rounds)
    print(f"processor time of the pipeline; a JPEG of 12 megapixels took {seconds * 1000:.0f} ms")
    print("        MP     MB   ratio")
    for (kind, size), ratio in ratios.items():
        print(f"  {kind} {size:3} {len(files[kind, size]) / 1e6:6.1f}  {ratio:6.2f}")
    if options.plot:
        plot(options.plot, ratios)


if __name__ == "__main__":
    main()
