"""Arguments of the command that can't be used."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from persona_profile.cli import _parser


def checks(parser: argparse.ArgumentParser) -> Iterator[tuple[str, Callable[[str], object]]]:
    """Yield name and reader of each argument of all commands that a function of ours reads."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from checks(command)
        elif getattr(action.type, "__module__", "").startswith("persona_profile"):
            yield f"{parser.prog} {action.dest}", action.type


CHECKS = dict(checks(_parser()))


@pytest.mark.parametrize("read", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("text", ["", "?", "-1", "\udcff", "9" * 5000, "\u0663", "1e999", "nan", "."])
def test_reasons(read, text):
    """A wrong argument has a reason in words, not the name of the function that has read it."""
    with suppress(argparse.ArgumentTypeError):
        read(text)
