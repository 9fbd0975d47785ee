"""The question before a command does something that can't be undone."""

from __future__ import annotations

import sys

from persona_profile.cli.failures import CommandFailed


def confirm(question: str, if_not: str) -> None:
    """Return if the operator answers `yes` at a terminal.

    Raises:
        CommandFailed: with `if_not`, or as there is no terminal.
    """
    if not sys.stdin.isatty():
        raise CommandFailed("--yes is required without a terminal")
    print(f"{question} Type yes: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise CommandFailed(if_not)
