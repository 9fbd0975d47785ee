"""The option `--plot` of commands that draw a chart."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

PLOT_FORMATS: Final = (".png", ".svg")


def add_plot_option(parser: argparse.ArgumentParser, subject: str) -> None:
    """Add the option to a parser; its value is a path or None."""
    parser.add_argument(
        "--plot",
        metavar="FILE",
        type=_plot_path,
        help=f"draw {subject} into a file, .svg or .png; needs the extra `plot`",
    )


def drawing(module: str) -> Callable[..., None] | None:
    """Return `draw` of a module; without matplotlib report that and return None."""
    try:
        # Only plots need the library, which is larger than the service.
        draw: Callable[..., None] = importlib.import_module(module).draw
    except ImportError:
        message = "--plot needs matplotlib: pip install '.[plot]' in the release's folder"
        print(f"persona-profile: {message}", file=sys.stderr)
        return None
    return draw


def draws(draw: Callable[..., None], path: Path, *arguments: Any) -> bool:
    """Draw into a file; report an error of the file and return whether there was none."""
    try:
        draw(*arguments, path)
    except OSError as error:
        print(f"persona-profile: {path}: {error.strerror}", file=sys.stderr)
        return False
    return True


def _plot_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in PLOT_FORMATS:
        raise argparse.ArgumentTypeError("the name must end in .svg or .png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError("there is no such folder")
    return path
