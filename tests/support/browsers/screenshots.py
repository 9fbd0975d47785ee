"""Screenshots for people to look at after a run; those of three engines are side by side."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from support.browsers.abilities import ENGINES
from support.browsers.engines import Engine

SCREENSHOTS = Path(__file__).parents[3] / "var" / "screenshots"


def save(engine: Engine, name: str) -> None:
    """Save a screenshot; once all engines have one of the name, put them side by side."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    _path(name, engine.name).write_bytes(engine.screenshot())
    paths = [_path(name, each) for each in ENGINES]
    if engine.name == ENGINES[0] or not all(path.exists() for path in paths):
        return
    shots = [Image.open(path).convert("RGB") for path in paths]
    width, height = sum(each.width for each in shots), max(each.height for each in shots)
    together = Image.new("RGB", (width, height), "grey")
    left = 0
    for each in shots:
        together.paste(each, (left, 0))
        left += each.width
    together.save(SCREENSHOTS / f"{name}-side-by-side.png")


def _path(name: str, engine: str) -> Path:
    suffix = "" if engine == ENGINES[0] else f"-{engine}"
    return SCREENSHOTS / f"{name}{suffix}.png"
