"""`persona-profile doctor`: a line for each finding about the installation, with its remedy."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from backends.findings import Level
from persona_profile.cli.config import SERVER, loader
from persona_profile.cli.parts import reporting_all_faults
from persona_profile.cli.serve import check_settings, listening
from persona_profile.doctor import Result, examine, front, issuers, parts
from persona_profile.setting_values import MAX_PORT

_COLOURS: Final = {Level.OK: 32, Level.WARNING: 33, Level.FAILED: 31}
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):([1-9][0-9]{0,4})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    job = commands.add_parser("doctor", help="examine the installation; exit status 0, 1 (failures)")
    job.add_argument("--json", action="store_true", help="for programs")
    job.add_argument(
        "--front",
        metavar="HOST:PORT",
        type=_address,
        help="where the reverse proxy listens (default: where the names of public_origins lead)",
    )
    job.add_argument(
        "--insecure", action="store_true", help="only warn of a certificate that is not valid"
    )
    job.set_defaults(run=_doctor)


def _address(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    with suppress(UnicodeError):
        if match is not None and int(match[2]) <= MAX_PORT:
            match[1].encode("idna")  # as a connection does
            return match[1].strip("[]"), int(match[2])
    raise argparse.ArgumentTypeError(f"must be HOST:PORT, with a port up to {MAX_PORT}")


def _doctor(options: argparse.Namespace) -> int:
    logging.disable()  # parts log what they raise
    try:
        found = []
        for result in _results(options):
            found.append(result)
            if not options.json:
                print(_line(result, is_coloured=sys.stdout.isatty()), flush=True)
    finally:
        logging.disable(logging.NOTSET)
    worst = _worst(found)
    if options.json:
        print(json.dumps(_document(worst, found), indent=1))
    else:
        print(_summary(found))
    return 1 if worst is Level.FAILED else 0


def _results(options: argparse.Namespace) -> Iterator[Result]:
    ini = loader(options.config, SERVER)
    with reporting_all_faults(ini):
        settings = check_settings(ini)
    way = front.Way(options.front, options.insecure)
    return examine(
        [
            *parts.checks(settings),
            *issuers.checks(settings),
            *front.checks(settings, listening(ini), way),
        ]
    )


def _worst(found: list[Result]) -> Level:
    levels = {each.finding.level for each in found}
    return next((each for each in (Level.FAILED, Level.WARNING) if each in levels), Level.OK)


def _line(result: Result, *, is_coloured: bool) -> str:
    part, finding = result
    level = f"{finding.level:8}"
    if is_coloured:
        level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
    advice = f" -> {finding.advice}" if finding.advice else ""
    # A message may have a path or a version of a server: neither may begin a line.
    text = f"{part}: {finding.subject}: {finding.message}{advice}"
    return level + _CONTROL.sub(" ", text)


def _summary(found: list[Result]) -> str:
    count = {level: sum(each.finding.level is level for each in found) for level in Level}
    return f"{count[Level.OK]} ok, {count[Level.WARNING]} warnings, {count[Level.FAILED]} failed."


def _document(worst: Level, found: list[Result]) -> dict[str, Any]:
    return {
        "status": worst,
        "findings": [
            {
                "part": part,
                "subject": finding.subject,
                "level": finding.level,
                "message": finding.message,
                "advice": finding.advice,
            }
            for part, finding in found
        ],
    }
