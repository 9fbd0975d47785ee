"""`persona-profile pictures`: pictures of people, and the pipeline on files, to try its settings."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

from persona_profile.cli import removals
from persona_profile.cli.config import load_settings
from persona_profile.images import Crop, PictureOptions
from persona_profile.images.formats import EFFORTS, FORMATS


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    pictures = commands.add_parser("pictures", help="remove a picture, or try the pipeline")
    jobs = pictures.add_subparsers(title="jobs", required=True, metavar="JOB")
    removals.add_to(jobs)
    process = jobs.add_parser(
        "process",
        help="make the renditions of files and a contact sheet; exit status 1 if a file was rejected",
    )
    process.add_argument("files", metavar="FILE", nargs="+", type=Path)
    process.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="where renditions and the sheet go"
    )
    process.add_argument(
        "--crop", metavar="X,Y,SIDE", type=_crop, help="a square of the upright picture, in its pixels"
    )
    process.add_argument("--effort", choices=EFFORTS, help="instead of the setting")
    process.add_argument(
        "--quality",
        metavar="FORMAT=1..100",
        action="append",
        type=_quality,
        default=[],
        help="instead of the setting; may be given for each of " + ", ".join(FORMATS),
    )
    process.add_argument("--json", action="store_true", help="for programs")
    process.set_defaults(run=_process)


def _process(options: argparse.Namespace) -> int:
    # Here alone, so that no picture library is loaded into the service.
    pictures_process = importlib.import_module("persona_profile.cli.pictures_process")
    status: int = pictures_process.process(
        options.files, options.out, options.crop, _options(options), as_json=options.json
    )
    return status


def _options(options: argparse.Namespace) -> PictureOptions:
    found = load_settings(options.config).picture_options
    encoding = dataclasses.replace(
        found.encoding,
        qualities={**found.encoding.qualities, **dict(options.quality)},
        effort=options.effort or found.encoding.effort,
    )
    return dataclasses.replace(found, encoding=encoding)


def _crop(text: str) -> Crop:
    match = re.fullmatch(r"([0-9]+),([0-9]+),([1-9][0-9]*)", text)
    if match is None:
        raise argparse.ArgumentTypeError("must be x,y,side in whole pixels")
    return Crop(int(match[1]), int(match[2]), int(match[3]))


def _quality(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if name not in FORMATS or not re.fullmatch(r"[0-9]{1,3}", value) or not 1 <= int(value) <= 100:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(FORMATS)}, then =1 to =100")
    return name, int(value)
