"""The benchmark that compares pictures in the pipeline with pictures in Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.pictures.pictures import encode, quadrants

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "browser_truth.py"


def compare(folder: Path, out: Path, *options: str) -> tuple[int, str]:
    """Run the benchmark; return its exit status and its output."""
    command = [sys.executable, BENCHMARK, folder, "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of pictures, and of files that are none or that one side alone shows."""
    folder = tmp_path / "corpus"
    (folder / "within").mkdir(parents=True)
    picture = quadrants(300, 200)
    (folder / "alike.png").write_bytes(encode(picture, "PNG"))
    (folder / "within" / "alike.jpg").write_bytes(encode(picture, quality=95))
    transparent = picture.convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(picture.size))
    (folder / "transparent.png").write_bytes(encode(transparent, "PNG"))
    (folder / "browser.bmp").write_bytes(encode(picture, "BMP"))
    (folder / "cut.png").write_bytes(encode(picture, "PNG")[:60])
    (folder / "none.txt").write_text("no picture")
    (folder / "empty.jpg").write_bytes(b"")
    return folder


def test_each_file_has_an_outcome(corpus, tmp_path):
    """Files that look alike and files that one side alone shows are counted and listed."""
    status, output = compare(corpus, tmp_path / "out", "--json")
    document = json.loads(output)
    outcomes = {Path(each["file"]).name: each["outcome"] for each in document["files"]}
    assert outcomes == {
        "alike.png": "alike",
        "alike.jpg": "alike",
        "transparent.png": "alike",
        "browser.bmp": "only browser",
        "cut.png": "neither",
        "none.txt": "neither",
        "empty.jpg": "neither",
    }
    assert document["summary"]["files"] == 7
    assert document["summary"]["alike"] == 3
    assert status == 0
    codes = {Path(each["file"]).name: each["code"] for each in document["files"]}
    assert codes["browser.bmp"] == "unsupported_media_type"


def test_what_differs_is_on_a_sheet(corpus, tmp_path):
    """A file beyond the tolerance is in the table and on a sheet, and the exit status is 1."""
    (corpus / "within" / "scaled.png").write_bytes(encode(quadrants(1301, 1203), "PNG"))
    status, output = compare(corpus / "within", tmp_path / "out", "--tolerance", "0.01")
    assert status == 1
    assert "differs" in output.splitlines()[1]
    assert "scaled.png" in output.splitlines()[1]
    sheet = Image.open(tmp_path / "out" / "sheet-1.png")
    # The red quarter of Chromium's picture, and black in the middle of the difference.
    assert sheet.getpixel((60, 100))[0] > 200
    assert max(sheet.getpixel((600, 100))) < 60


def test_nothing_to_compare(corpus, tmp_path):
    """A folder without pictures has its own exit status."""
    (corpus / "bare").mkdir()
    (corpus / "bare" / "none.txt").write_text("no picture")
    assert compare(corpus / "bare", tmp_path / "out")[0] == 2
