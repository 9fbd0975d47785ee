"""`persona-profile export` and `erase`: the data of one person, at their request."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from persona_profile import files
from persona_profile.cli.config import load_settings
from persona_profile.cli.failures import CommandFailed, WrongUsage
from persona_profile.cli.opening import opened_store_with_keys
from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.errors import ProfileKeyRequired, ServiceError, UnreadableProfile
from persona_profile.profiles.export import export_zip
from persona_profile.profiles.pictures import PictureService
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.homes import Homes
from persona_profile.store.profile import BLANK_STATE, PROFILE_KEY_REQUIRED, StoredProfile

_EMAIL_HELP: Final = (
    "of the person; `-` reads it from the standard input, as all users of a machine can see arguments"
)


def add_to(commands: Any) -> None:
    """Add the commands to a parser's."""
    export = commands.add_parser("export", help="write all data of an email into a zip")
    export.add_argument("email", metavar="EMAIL", help=_EMAIL_HELP)
    export.add_argument("--out", metavar="FILE", type=Path, required=True, help="a new file, mode 0600")
    export.set_defaults(run=_export)

    erase = commands.add_parser("erase", help="erase all data of an email")
    erase.add_argument("email", metavar="EMAIL", help=_EMAIL_HELP)
    erase.add_argument("--yes", action="store_true", help="don't ask; required without a terminal")
    erase.set_defaults(run=_erase)


def _export(options: argparse.Namespace) -> int:
    with _services(options) as (email, profiles, pictures):
        session, [found] = profiles.open_session([Vouched(email, "operator")])
        if _is_blank(found):
            raise CommandFailed("nothing is stored for this email")
        archive = export_zip(profiles, pictures, session, email)
        try:
            files.create(options.out, archive)
        except OSError as error:
            raise CommandFailed(f"{options.out}: {error.strerror}") from None
    print(f"Written: {options.out}, {len(archive):,} bytes.")
    return 0


def _erase(options: argparse.Namespace) -> int:
    with _services(options) as (email, profiles, _):
        if not options.yes:
            _ask()
        session, [found] = profiles.open_session([Vouched(email, "operator")])
        profiles.erase(session, email)
    print("Nothing was stored for this email." if _is_blank(found) else "Erased.")
    return 0


def _is_blank(profile: StoredProfile) -> bool:
    return profile.state == BLANK_STATE and profile.problem is None


def _ask() -> None:
    if not sys.stdin.isatty():
        raise CommandFailed("--yes is required without a terminal")
    print("This erases all data of this email for good. Type yes: ", end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise CommandFailed("nothing was erased")


@contextmanager
def _services(options: argparse.Namespace) -> Iterator[tuple[str, ProfileService, PictureService]]:
    """Open the services of the settings file; their errors end the command."""
    settings = load_settings(options.config)
    try:
        email = canonical_email(sys.stdin.readline().strip() if options.email == "-" else options.email)
        with opened_store_with_keys(settings) as (backend, keys):
            homes = Homes(backend, keys, settings.forward_seconds)
            lifetime, window = settings.sessions_lifetime, settings.pictures_url_window_seconds
            profiles = ProfileService(backend, homes, keys, session_lifetime=lifetime)
            yield email, profiles, PictureService(backend, homes, keys, url_window=window)
    except InvalidEmail as error:
        raise WrongUsage(f"EMAIL: not an accepted address: {error}") from None
    except UnreadableProfile:
        message = "the profile does not open: see `storage verify`; erase works nevertheless"
        raise CommandFailed(message) from None
    except ServiceError as error:
        message = str(error)
        if isinstance(error, ProfileKeyRequired) and error.code == PROFILE_KEY_REQUIRED:
            message = (
                "this profile is protected by the person's own key, which is not stored: "
                "only they can export it, in the dialog; erase works without the key"
            )
        raise CommandFailed(message) from None
