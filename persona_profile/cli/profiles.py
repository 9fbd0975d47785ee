"""`persona-profile export` and `erase`: the data of one person, at their request."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends import Backend
from persona_profile import files
from persona_profile.cli.config import load_settings
from persona_profile.cli.confirmation import confirm
from persona_profile.cli.emails import EMAIL_HELP, add_reason_to, emails_of, for_each
from persona_profile.cli.failures import CommandFailed, WrongUsage
from persona_profile.cli.opening import opened_ledger, opened_store_with_keys
from persona_profile.cli.parts import STORE_WITH_LEDGER, set_parts
from persona_profile.cli.paths import output_path
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.export import export_zip
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.settings import Settings
from persona_profile.store.homes import Homes
from persona_profile.store.ledger import Ledger
from persona_profile.store.operator_acts import OperatorAct, OperatorActs
from persona_profile.store.profile import BLANK_STATE, StoredProfile


def add_to(commands: Any) -> None:
    """Add the commands to a parser's."""
    export = commands.add_parser("export", help="write all data of an email into a zip")
    export.add_argument("email", metavar="EMAIL", help=EMAIL_HELP)
    export.add_argument(
        "--out",
        metavar="FILE",
        type=output_path,
        required=True,
        help="a new file, mode 0600; a folder for several emails; `-` is the standard output",
    )
    add_reason_to(export, "kept in the record of operators' acts, which the person's export has")
    export.set_defaults(run=_export)
    set_parts(export, *STORE_WITH_LEDGER)

    erase = commands.add_parser("erase", help="erase all data of an email")
    erase.add_argument("email", metavar="EMAIL", help=EMAIL_HELP)
    erase.add_argument("--yes", action="store_true", help="don't ask; required without a terminal")
    add_reason_to(erase, "kept in the record of operators' acts, which the person's export has")
    erase.set_defaults(run=_erase)
    set_parts(erase, *STORE_WITH_LEDGER)


def _export(options: argparse.Namespace) -> int:
    emails = emails_of(options.email)
    files_of = _export_files(options.out, emails)
    settings = load_settings(options.config)
    with opened_store_with_keys(settings) as opened, opened_ledger(settings, opened[1]) as ledger:
        profiles, pictures = _services(settings, *opened, None)
        acts = OperatorActs(ledger, settings.ledger_keep_acts_seconds)

        def export(number: int, email: str) -> str:
            session, [found] = profiles.open_session([Vouched(email, "operator")])
            if _is_blank(found) and not acts.of(email):
                raise CommandFailed("nothing is stored for this email")
            profiles.profile(session, email)  # it opens
            acts.append(email, OperatorAct.EXPORTED, options.reason)
            archive = export_zip(profiles, pictures, acts, session, email)
            _write(files_of[number], archive)
            return f"Written: {files_of[number]}, {len(archive):,} bytes."

        output = sys.stderr if files.is_written_through(options.out) else sys.stdout
        return for_each(emails, export, output, is_numbered=options.email == "-")


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
    emails = emails_of(options.email)
    settings = load_settings(options.config)
    with opened_store_with_keys(settings) as opened, opened_ledger(settings, opened[1]) as ledger:
        profiles, _ = _services(settings, *opened, ledger)
        acts = OperatorActs(ledger, settings.ledger_keep_acts_seconds)
        if not options.yes:
            noun = "this email" if len(emails) == 1 else f"{len(emails):,} emails"
            confirm(f"This erases all data of {noun} for good.", "nothing was erased")

        def erase(_: int, email: str) -> str:
            session, [found] = profiles.open_session([Vouched(email, "operator")])
            if not _is_blank(found):
                acts.append(email, OperatorAct.ERASED, options.reason)
            profiles.erase(session, email)
            return "Nothing was stored for this email." if _is_blank(found) else "Erased."

        return for_each(emails, erase, sys.stdout, is_numbered=options.email == "-")


def _is_blank(profile: StoredProfile) -> bool:
    return profile.state == BLANK_STATE and profile.problem is None


def _services(
    settings: Settings, backend: Backend, keys: KeyWrapper, ledger: Ledger | None
) -> tuple[ProfileService, PictureService]:
    homes = Homes(backend, keys, settings.forward_seconds)
    lifetime, window = settings.sessions_lifetime, settings.pictures_url_window_seconds
    profiles = ProfileService(backend, homes, keys, ledger=ledger, session_lifetime=lifetime)
    return profiles, PictureService(backend, homes, keys, url_window=window)
