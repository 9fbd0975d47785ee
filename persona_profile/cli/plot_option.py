"""The option `--plot` of commands that draw a chart."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from persona_profile.cli.failures import CommandFailed, WrongUsage

PLOT_FORMATS: Final = (".png", ".svg")


def add_plot_option(parser: argparse.ArgumentParser, subject: str) -> None:
    """Add the option to a parser; its value is a path or None."""
    parser.add_argument(
        "--plot",
        metavar="FILE",
        type=_plot_path,
        help=f"draw {subject} into a file, .svg or .png; needs the extra `plot`",
    )


def drawing(module: str, path: Path | None) -> Callable[..., None]:
    """Return a function that draws its arguments into a file by a module; without a path, nothing."""
    if path is None:
        return lambda *_: None
    try:
        # Only plots need the library, which is larger than the service.
        draw: Callable[..., None] = importlib.import_module(module).draw
    except ImportError:
        message = "--plot needs matplotlib: pip install '.[plot]' in the release's folder"
        raise WrongUsage(message) from None

    def drawn(*arguments: Any) -> None:
        try:
            draw(*arguments, path)
        except OSError as error:
            raise CommandFailed(f"{path}: {error.strerror}") from None

    return drawn


def _plot_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in PLOT_FORMATS:
        raise argparse.ArgumentTypeError("the name must end in .svg or .png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError("there is no such folder")
    return path
