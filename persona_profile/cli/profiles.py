"""`persona-profile export` and `erase`: the data of one person, at their request."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TextIO

from backends import Backend, BackendError
from persona_profile import files
from persona_profile.cli.config import load_settings
from persona_profile.cli.confirmation import confirm
from persona_profile.cli.failures import CommandFailed, WrongUsage
from persona_profile.cli.opening import opened_ledger, opened_store_with_keys
from persona_profile.cli.paths import input_path, output_path
from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.errors import ProfileKeyRequired, ServiceError, UnreadableProfile
from persona_profile.keys.service import KeysUnavailable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.export import export_zip
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.settings import Settings
from persona_profile.store.homes import Homes
from persona_profile.store.ledger import Ledger
from persona_profile.store.profile import BLANK_STATE, PROFILE_KEY_REQUIRED, StoredProfile

_EMAIL_HELP: Final = (
    "of the person; `-` reads one or more, one a line, from the standard input, as all users of a "
    "machine can see arguments"
)


def add_to(commands: Any) -> None:
    """Add the commands to a parser's."""
    export = commands.add_parser("export", help="write all data of an email into a zip")
    export.add_argument("email", metavar="EMAIL", help=_EMAIL_HELP)
    export.add_argument(
        "--out",
        metavar="FILE",
        type=output_path,
        required=True,
        help="a new file, mode 0600; a folder for several emails; `-` is the standard output",
    )
    export.set_defaults(run=_export)

    erase = commands.add_parser("erase", help="erase all data of an email")
    erase.add_argument("email", metavar="EMAIL", help=_EMAIL_HELP)
    erase.add_argument("--yes", action="store_true", help="don't ask; required without a terminal")
    erase.set_defaults(run=_erase)


def _export(options: argparse.Namespace) -> int:
    emails = _emails(options.email)
    files_of = _export_files(options.out, emails)
    settings = load_settings(options.config)
    with opened_store_with_keys(settings) as opened:
        profiles, pictures = _services(settings, *opened, None)

        def export(number: int, email: str) -> str:
            session, [found] = profiles.open_session([Vouched(email, "operator")])
            if _is_blank(found):
                raise CommandFailed("nothing is stored for this email")
            archive = export_zip(profiles, pictures, session, email)
            _write(files_of[number], archive)
            return f"Written: {files_of[number]}, {len(archive):,} bytes."

        output = sys.stderr if files.is_written_through(options.out) else sys.stdout
        return _for_each(emails, export, output, is_numbered=options.email == "-")


def _export_files(out: Path, emails: Mapping[int, str]) -> Mapping[int, Path]:
    """Return the file for each email, by the number of its line.

    Raises:
        CommandFailed: a file exists.
        WrongUsage: one file is named for several emails.
    """
    if not out.is_dir():
        if len(emails) > 1:
            raise WrongUsage(f"{out}: must be a folder, as there are several emails")
        named = dict.fromkeys(emails, out)
    else:
        named = {number: out / f"{number}.zip" for number in emails}
    for path in named.values():
        if not files.is_written_through(path) and path.exists():
            raise CommandFailed(f"{path}: {os.strerror(errno.EEXIST)}")
    return named


def _write(path: Path, archive: bytes) -> None:
    try:
        if not files.is_written_through(path):
            files.create(path, archive)
            return
        with files.output(path) as file:
            if file.isatty():
                raise WrongUsage(f"{path}: a zip can't be written to a terminal")
            file.write(archive)
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None


def _erase(options: argparse.Namespace) -> int:
    emails = _emails(options.email)
    settings = load_settings(options.config)
    with opened_store_with_keys(settings) as opened, opened_ledger(settings, opened[1]) as ledger:
        profiles, _ = _services(settings, *opened, ledger)
        if not options.yes:
            noun = "this email" if len(emails) == 1 else f"{len(emails):,} emails"
            confirm(f"This erases all data of {noun} for good.", "nothing was erased")

        def erase(_: int, email: str) -> str:
            session, [found] = profiles.open_session([Vouched(email, "operator")])
            profiles.erase(session, email)
            return "Nothing was stored for this email." if _is_blank(found) else "Erased."

        return _for_each(emails, erase, sys.stdout, is_numbered=options.email == "-")


def _emails(argument: str) -> Mapping[int, str]:
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


def _for_each(
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


def _is_blank(profile: StoredProfile) -> bool:
    return profile.state == BLANK_STATE and profile.problem is None


def _services(
    settings: Settings, backend: Backend, keys: KeyWrapper, ledger: Ledger | None
) -> tuple[ProfileService, PictureService]:
    homes = Homes(backend, keys, settings.forward_seconds)
    lifetime, window = settings.sessions_lifetime, settings.pictures_url_window_seconds
    profiles = ProfileService(backend, homes, keys, ledger=ledger, session_lifetime=lifetime)
    return profiles, PictureService(backend, homes, keys, url_window=window)
