"""The emails of a command's argument or standard input, and a job for each of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final, TextIO

from backends import BackendError
from persona_profile import files
from persona_profile.cli.failures import CommandFailed, WrongUsage
from persona_profile.cli.paths import input_path
from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.errors import ProfileKeyRequired, ServiceError, UnreadableProfile
from persona_profile.keys.service import KeysUnavailable
from persona_profile.profiles.claims import InvalidClaim, text
from persona_profile.store.profile import PROFILE_KEY_REQUIRED
from persona_profile.store.removals import MAX_REASON_CHARACTERS

EMAIL_HELP: Final = (
    "of the person; `-` reads one or more, one a line, from the standard input, as all users of a "
    "machine can see arguments"
)


def add_reason_to(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Add the option `--reason` to a command on people's data."""
    parser.add_argument("--reason", metavar="TEXT", type=_visible_text, default="", help=purpose)


def _visible_text(value: str) -> str:
    try:
        return text(value, MAX_REASON_CHARACTERS)
    except (InvalidClaim, UnicodeEncodeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def emails_of(argument: str) -> Mapping[int, str]:
    """Return the canonical emails of an argument, or of the standard input by the numbers of lines.

    Blank lines are left out.

    Raises:
        WrongUsage: an email is not accepted, or there is none. The message does not repeat it.
    """
    if argument != "-":
        return {1: _canonical("EMAIL", argument.encode("utf-8", "surrogateescape"))}
    with closing(files.opened_input(input_path("-"))) as file:
        lines = {number: line.strip() for number, line in enumerate(file, 1)}
    emails = {number: _canonical(f"line {number}", line) for number, line in lines.items() if line}
    if not emails:
        raise WrongUsage("there is no email in the standard input")
    return emails


def _canonical(where: str, text: bytes) -> str:
    try:
        return canonical_email(text.decode())
    except UnicodeDecodeError:
        raise WrongUsage(f"{where}: not UTF-8") from None
    except InvalidEmail as error:
        raise WrongUsage(f"{where}: not an accepted address: {error}") from None


def for_each(
    emails: Mapping[int, str], do: Callable[[int, str], str], output: TextIO, *, is_numbered: bool
) -> int:
    """Do a job for each email and report its result; return the exit status.

    The first failure of the store or of a key service ends the command.
    """
    status = 0
    for number, email in emails.items():
        prefix = f"line {number}: " if is_numbered else ""
        try:
            print(f"{prefix}{do(number, email)}", file=output, flush=True)
        except (CommandFailed, ServiceError) as error:
            print(f"persona-profile: {prefix}{_reason(error)}", file=sys.stderr, flush=True)
            status = 1
        except (BackendError, KeysUnavailable):
            if is_numbered:
                print(f"{prefix}failed, and nothing was done for later lines", file=sys.stderr)
            raise
    return status


def _reason(error: CommandFailed | ServiceError) -> str:
    if isinstance(error, UnreadableProfile):
        return "the profile does not open: see `storage verify`; erase works nevertheless"
    if isinstance(error, ProfileKeyRequired) and error.code == PROFILE_KEY_REQUIRED:
        return (
            "this profile is protected by the person's own key, which is not stored: "
            "only they can export it, in the dialog; erase works without the key"
        )
    return str(error)
