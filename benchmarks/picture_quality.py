"""Bytes at equal visual quality: the curve from which the settings' defaults were chosen.

Scores are SSIMULACRA 2 (90: no difference to be seen, 70: high quality, 50: medium), of a rendition
against the lossless square that its encoder got; averages over the photos. Beside our encoders, by
quality and effort, stand `cwebp`, `avifenc`, and `cjpeg` with `jpegoptim`, at their defaults.

    python benchmarks/picture_quality.py [PHOTO...] [--size 512] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.pictures import photo
from support.pictures.workers import LIMITS

from persona_profile.images import Encoding, PictureOptions
from persona_profile.images.encoding import encode
from persona_profile.images.formats import DEFAULT_EFFORT, DEFAULT_QUALITIES, EFFORTS
from persona_profile.images.pipeline import squares_of

QUALITIES = {
    "jpeg": (50, 60, 70, 75, 80, 85, 90),
    "webp": (50, 60, 70, 75, 82, 88, 93),
    "avif": (40, 50, 58, 66, 72, 78, 84),
}
TOOLS = {
    "cwebp": "webp",
    "avifenc": "libavif-bin",
    "cjpeg": "libjpeg-turbo-progs",
    "jpegoptim": "jpegoptim",
}
COLOURS = {"jpeg": "#ee6677", "webp": "#ccbb44", "avif": "#4477aa"}


class Point(NamedTuple):
    """Averages over the photos."""

    size: float
    score: float


def score_of(reference: Path, data: bytes, folder: Path) -> float:
    """Return the SSIMULACRA 2 score of an encoded picture."""
    try:
        from ssimulacra2 import compute_ssimulacra2  # noqa: PLC0415 - to say how to get it
    except ImportError:
        sys.exit('needed: pip install ".[benchmark]"')
    decoded = folder / "decoded.png"
    Image.open(io.BytesIO(data)).convert("RGB").save(decoded)
    return float(compute_ssimulacra2(str(reference), str(decoded)))


def ours(square: Image.Image, name: str, quality: int, effort: str) -> bytes:
    """Encode as the service does, whichever format would be smaller."""
    qualities = {**DEFAULT_QUALITIES, "jpeg": 100, name: quality}
    return encode(square, Encoding((name,), qualities, effort), graphic=False)[name]


def run(*command: object) -> None:
    """Run a tool."""
    subprocess.run([str(each) for each in command], check=True, capture_output=True)


def of_cwebp(reference: Path, folder: Path) -> bytes:
    """Encode with cwebp."""
    run("cwebp", reference, "-o", folder / "out.webp")
    return (folder / "out.webp").read_bytes()


def of_avifenc(reference: Path, folder: Path) -> bytes:
    """Encode with avifenc."""
    run("avifenc", reference, folder / "out.avif")
    return (folder / "out.avif").read_bytes()


def of_jpegoptim(reference: Path, folder: Path) -> bytes:
    """Encode with cjpeg, optimise with jpegoptim."""
    Image.open(reference).save(folder / "in.ppm")
    run("cjpeg", "-outfile", folder / "out.jpg", folder / "in.ppm")
    run("jpegoptim", folder / "out.jpg")
    return (folder / "out.jpg").read_bytes()


def average(references: list[Path], make: Callable[[Path], bytes], folder: Path) -> Point:
    """Return the average of bytes and score of an encoder over all photos."""
    made = [(reference, make(reference)) for reference in references]
    return Point(
        float(np.mean([len(data) for _, data in made])),
        float(np.mean([score_of(reference, data, folder) for reference, data in made])),
    )


def curves(references: list[Path], folder: Path) -> dict[tuple[str, str], dict[int, Point]]:
    """Return for each format and effort the points by quality."""
    found = {}
    for name, qualities in QUALITIES.items():
        for effort in EFFORTS:
            found[name, effort] = {
                quality: average(
                    references,
                    lambda path, name=name, quality=quality, effort=effort: ours(
                        Image.open(path).convert("RGB"), name, quality, effort
                    ),
                    folder,
                )
                for quality in qualities
            }
    return found


def bytes_at(points: dict[int, Point], score: float) -> float:
    """Return the bytes that an encoder needs for a score, between its points."""
    scores, sizes = [each.score for each in points.values()], [each.size for each in points.values()]
    return float(np.exp(np.interp(score, scores, np.log(sizes))))


def report(curve: dict, tools: dict[str, tuple[str, Point]]) -> None:
    """Print both tables."""
    print("kB and score by quality (the default is marked)")
    for (name, effort), points in curve.items():
        cells = "  ".join(
            f"{quality}{'*' if quality == DEFAULT_QUALITIES[name] else ''}: "
            f"{point.size / 1000:.1f} {point.score:.1f}"
            for quality, point in points.items()
        )
        print(f"  {name:4} {effort:8}  {cells}")
    print("other programs at their defaults, and our bytes over theirs at the same score")
    for tool, (name, point) in tools.items():
        ratios = "  ".join(
            f"{effort} {bytes_at(curve[name, effort], point.score) / point.size:.2f}"
            for effort in EFFORTS
        )
        print(f"  {tool:18} {point.size / 1000:5.1f} kB, score {point.score:.1f}; {ratios}")
    jpeg = curve["jpeg", DEFAULT_EFFORT][DEFAULT_QUALITIES["jpeg"]]
    print(
        f"at the score of JPEG {DEFAULT_QUALITIES['jpeg']} ({jpeg.score:.1f}), bytes over those of JPEG"
    )
    for name in ("webp", "avif"):
        for effort in EFFORTS:
            print(f"  {name} {effort:8} {bytes_at(curve[name, effort], jpeg.score) / jpeg.size:.2f}")


def plot(path: str, curve: dict, tools: dict[str, tuple[str, Point]], size: int) -> None:
    """Draw score over bytes."""
    from persona_profile.capacity.charts import new_figure, save  # noqa: PLC0415 - for this alone

    figure, axes = new_figure(648, 432, layout="constrained")
    styles = {"fast": ":", "balanced": "-", "max": "--"}
    for (name, effort), points in curve.items():
        sizes = [point.size / 1000 for point in points.values()]
        scores = [point.score for point in points.values()]
        label = f"{name}, {effort}"
        axes.plot(sizes, scores, styles[effort], color=COLOURS[name], label=label, linewidth=1.6)
        if effort == DEFAULT_EFFORT:
            chosen = points[DEFAULT_QUALITIES[name]]
            axes.plot(chosen.size / 1000, chosen.score, "o", color=COLOURS[name], markersize=9)
            axes.annotate(
                f"{name} {DEFAULT_QUALITIES[name]}",
                (chosen.size / 1000, chosen.score),
                xytext=(10, -8) if name == "jpeg" else (-9, 6),
                textcoords="offset points",
                horizontalalignment="left" if name == "jpeg" else "right",
            )
    for tool, (name, point) in tools.items():
        axes.plot(point.size / 1000, point.score, "x", color=COLOURS[name], markersize=9)
        axes.annotate(
            tool, (point.size / 1000, point.score), xytext=(8, -5), textcoords="offset points"
        )
    axes.set_xscale("log")
    axes.set_xticks(ticks := [10, 15, 20, 30, 40, 60, 80, 120], [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("kB, average of the photos")
    axes.set_ylabel("SSIMULACRA 2")
    axes.set_title(f"Quality over bytes at {size} pixels; dots: the defaults", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(figure, Path(path))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="*", type=Path, help="default: one that is made")
    parser.add_argument("--size", type=int, default=512, help="pixels")
    parser.add_argument("--plot", help="draw the curve into this file")
    options = parser.parse_args()
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"needed: apt-get install {' '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        references = []
        for number, data in enumerate([path.read_bytes() for path in options.photos] or [photo()]):
            square = squares_of(io.BytesIO(data), None, PictureOptions(LIMITS, sizes=(options.size,)))
            references.append(folder / f"{number}.png")
            square[options.size].save(references[-1])
        curve = curves(references, folder)
        made = {
            "cwebp": ("webp", of_cwebp),
            "avifenc": ("avif", of_avifenc),
            "cjpeg + jpegoptim": ("jpeg", of_jpegoptim),
        }
        tools = {
            tool: (kind, average(references, lambda path, make=make: make(path, folder), folder))
            for tool, (kind, make) in made.items()
        }
    report(curve, tools)
    if options.plot:
        plot(options.plot, curve, tools, options.size)


if __name__ == "__main__":
    main()
