"""Each file of folders as the pipeline makes it, beside what Chromium shows of it.

Both make the largest square in the centre, as large as the largest rendition and never enlarged. The
difference is the root mean square (RMS) over the pixels, 0 to 255: on black or on white, whichever
differs more. Files of more than the tolerance are listed, and drawn on sheets: Chromium, the pipeline,
and the difference. `at 1/8` is the difference that remains at an eighth of the size: if it is small,
detail differs (a filter, a block, a line); if not, colours, geometry or transparency.

    python benchmarks/browser_truth.py FOLDER... [--out DIR] [--json] [--encoded] [--tolerance RMS]

Exit status: 0 if all files that both accept agree, 1 if some differ, 2 if nothing was compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from squares_chromium import ChromiumSquares, Shown
from squares_pipeline import SIZE, PipelineSquares
from truth_sheet import Row, draw

TOLERANCE = 8.0
OUTCOMES = {
    "alike": "both accept it, and it looks alike",
    "differs": "both accept it, and it looks different",
    "only browser": "Chromium shows it, and the pipeline rejects it",
    "only pipeline": "the pipeline accepts it, and Chromium does not show it",
    "neither": "no picture to either",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A file and what became of it, without its pixels: corpora have many files.

    Attributes:
        format: of the file, as the pipeline read it.
        code: of the pipeline's rejection.
        error: of the browser.
        width, height: as the browser shows the file.
        side: of the pipeline's square.
        rms: of the difference.
        coarse_rms: of the difference at an eighth of the size.
        alpha_rms: of the difference of alpha alone.
    """

    path: Path
    tolerance: float
    format: str
    code: str
    error: str
    width: int
    height: int
    side: int
    rms: float = 0.0
    coarse_rms: float = 0.0
    alpha_rms: float = 0.0

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`."""
        if self.side and self.width:
            return "differs" if self.rms > self.tolerance else "alike"
        if self.width:
            return "only browser"
        return "only pipeline" if self.side else "neither"

    @property
    def remark(self) -> str:
        """The code of a rejection, and the size in the browser or its error."""
        size = f"{self.width} x {self.height}" if self.width else self.error
        return ", ".join(each for each in (self.code, size) if each)

    def document(self) -> dict[str, object]:
        """Return the JSON object of the file."""
        return {
            "file": str(self.path),
            "outcome": self.outcome,
            "format": self.format,
            "code": self.code or None,
            "browser_error": self.error or None,
            "width": self.width,
            "height": self.height,
            "side": self.side,
            "rms": round(self.rms, 2),
            "rms_at_an_eighth": round(self.coarse_rms, 2),
            "rms_of_alpha": round(self.alpha_rms, 2),
        }


def difference(first: Image.Image, second: Image.Image) -> tuple[float, float]:
    """Return the RMS of two RGBA squares of one size, on the ground that shows more; and of alpha."""
    ours, theirs = (np.asarray(each, dtype=np.float64) for each in (first, second))
    alpha = ours[..., 3:] - theirs[..., 3:]
    on_black = ours[..., :3] * ours[..., 3:] / 255 - theirs[..., :3] * theirs[..., 3:] / 255
    grounds = (on_black, on_black - alpha)
    return max(_rms(each) for each in grounds), _rms(alpha)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def compare(
    path: Path, pipeline: PipelineSquares, browser: ChromiumSquares, tolerance: float
) -> tuple[Comparison, Row]:
    """Return the comparison of a file, and its row on a sheet."""
    made = pipeline.make(path)
    shown = browser.draw(path, made.square.width if made.square else None)
    if not made.square and shown.square and not shown.square.getchannel("A").getbbox():
        shown = Shown(None, error="nothing but transparency")  # of a file that was cut off early
    side = made.square.width if made.square else 0
    facts = (path, tolerance, made.format, made.code, shown.error, shown.width, shown.height, side)
    measured: tuple[float, ...] = ()
    if made.square and shown.square:
        rms, alpha_rms = difference(made.square, shown.square)
        coarse_rms, _ = difference(_coarse(made.square), _coarse(shown.square))
        measured = (rms, coarse_rms, alpha_rms)
    found = Comparison(*facts, *measured)
    title = f"{path.name}: {found.outcome}, RMS {found.rms:.1f}. {found.remark}"
    return found, Row(title, shown.square, made.square)


def _coarse(square: Image.Image) -> Image.Image:
    side = max(1, square.width // 8)
    return square.resize((side, side), Image.Resampling.BOX)


def files_of(folders: Sequence[Path]) -> Iterator[Path]:
    """Yield files, and those of folders and their folders, in the order of their names."""
    for folder in folders:
        if folder.is_dir():
            yield from sorted(each for each in folder.rglob("*") if each.is_file())
        else:
            yield folder


def compare_all(options: argparse.Namespace) -> Iterator[Comparison]:
    """Yield the comparison of each file; draw a sheet whenever one is full."""
    rows: list[Row] = []
    sheet = 1
    with (
        PipelineSquares(encoded=options.encoded) as pipeline,
        ChromiumSquares(SIZE) as browser,
    ):
        for number, path in enumerate(files_of(options.folders), 1):
            try:
                found, row = compare(path, pipeline, browser, options.tolerance)
            except OSError as error:
                print(f"{path}: {error.strerror}", file=sys.stderr)
                continue
            yield found
            if number % 100 == 0:
                print(f"{number} files", file=sys.stderr)
            if found.outcome == "differs" or (options.all and found.outcome != "neither"):
                rows.append(row)
            if len(rows) == options.rows:
                draw(rows, options.out / f"sheet-{sheet}.png")
                rows, sheet = [], sheet + 1
    if rows:
        draw(rows, options.out / f"sheet-{sheet}.png")


def print_table(found: Sequence[Comparison], *, everything: bool) -> None:
    """Print the files that differ or that one side alone accepts, and the summary."""
    listed = set(OUTCOMES) if everything else {"differs", "only browser", "only pipeline"}
    rows = sorted((each for each in found if each.outcome in listed), key=lambda each: -each.rms)
    if rows:
        print(f"{'outcome':14} {'RMS':>6} {'at 1/8':>6} {'alpha':>6} {'format':7} file")
    for each in rows:
        columns = f"{each.rms:6.1f} {each.coarse_rms:6.1f} {each.alpha_rms:6.1f}"
        print(f"{each.outcome:14} {columns} {each.format:7} {each.path} ({each.remark})")
    print(f"{len(found)} files")
    counts = Counter(each.outcome for each in found)
    for outcome, words in OUTCOMES.items():
        print(f"{counts[outcome]:6} {outcome:14} {words}")


def main() -> int:
    """Compare, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders or files")
    parser.add_argument("--out", type=Path, default=Path("var/browser-truth"), help="for the sheets")
    parser.add_argument("--rows", type=int, default=40, help="files on a sheet")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="RMS of 255, default 8")
    parser.add_argument("--encoded", action="store_true", help="compare the best largest rendition")
    parser.add_argument("--all", action="store_true", help="list and draw files that look alike, too")
    parser.add_argument("--json", action="store_true", help="print every file and the summary as JSON")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = list(compare_all(options))
    if options.json:
        counts = Counter(each.outcome for each in found)
        summary = {"files": len(found)} | {outcome: counts[outcome] for outcome in OUTCOMES}
        files = [each.document() for each in found]
        print(json.dumps({"summary": summary, "files": files}, indent=2))
    else:
        print_table(found, everything=options.all)
    outcomes = {each.outcome for each in found}
    if not outcomes & {"alike", "differs"}:
        return 2
    return int("differs" in outcomes)


if __name__ == "__main__":
    sys.exit(main())
