"""`persona-profile pictures remove` and `unlock`: a picture that must go, and a lock of its email."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from persona_profile.cli.config import load_settings
from persona_profile.cli.confirmation import confirm
from persona_profile.cli.emails import EMAIL_HELP, add_reason_to, emails_of, for_each
from persona_profile.cli.opening import opened_ledger, opened_store_with_keys
from persona_profile.cli.parts import STORE_WITH_LEDGER, set_parts
from persona_profile.encoding import timestamp
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.store.homes import Homes
from persona_profile.store.operator_acts import OperatorAct, OperatorActs
from persona_profile.store.removals import PictureRemoval

MAX_LOCK_DAYS: Final = 3650
_UNITS: Final = {"h": 3600, "d": 24 * 3600}


def add_to(jobs: Any) -> None:
    """Add the jobs to the parser of `pictures`."""
    remove = jobs.add_parser(
        "remove", help="remove the picture of an email; lock the email for pictures"
    )
    remove.add_argument("email", metavar="EMAIL", help=EMAIL_HELP)
    remove.add_argument(
        "--lock", metavar="TIME", type=_lock_seconds, help="accept no other picture for 12h, 30d, ..."
    )
    add_reason_to(remove, "shown to the owner, and kept in the record of operators' acts")
    remove.add_argument("--yes", action="store_true", help="don't ask; required without a terminal")
    remove.set_defaults(run=_remove)
    set_parts(remove, *STORE_WITH_LEDGER)

    unlock = jobs.add_parser("unlock", help="end the lock of an email, and forget the reason")
    unlock.add_argument("email", metavar="EMAIL", help=EMAIL_HELP)
    add_reason_to(unlock, "kept in the record of operators' acts")
    unlock.set_defaults(run=_unlock)
    set_parts(unlock, *STORE_WITH_LEDGER)


def _remove(options: argparse.Namespace) -> int:
    emails = emails_of(options.email)
    with _opened(options) as (removals, acts):
        if not options.yes:
            noun = "this email" if len(emails) == 1 else f"{len(emails):,} emails"
            confirm(f"This removes the picture of {noun} for good.", "nothing was removed")

        def remove(_: int, email: str) -> str:
            acts.append(email, OperatorAct.PICTURE_REMOVED, options.reason)
            now = time.time()
            if options.lock:
                acts.append(email, OperatorAct.LOCKED, options.reason, int(now) + options.lock)
            removal, had_picture = removals.remove(email, options.lock, options.reason, now)
            return f"{'Removed.' if had_picture else 'There was no picture.'}{_lock(removal)}"

        return for_each(emails, remove, sys.stdout, is_numbered=options.email == "-")


def _unlock(options: argparse.Namespace) -> int:
    emails = emails_of(options.email)
    with _opened(options) as (removals, acts):

        def unlock(_: int, email: str) -> str:
            if not removals.is_locked(email):
                return "This email was not locked."
            acts.append(email, OperatorAct.UNLOCKED, options.reason)
            removals.unlock(email)
            return "Unlocked."

        return for_each(emails, unlock, sys.stdout, is_numbered=options.email == "-")


def _lock(removal: PictureRemoval) -> str:
    return f" Locked until {timestamp(1000 * removal.expires_at)}." if removal.is_locked else ""


def _lock_seconds(value: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([hd])", value)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= MAX_LOCK_DAYS * _UNITS["d"]:
        raise argparse.ArgumentTypeError(f"must be hours or days, from 1h to {MAX_LOCK_DAYS}d")
    return seconds


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[tuple[PictureRemovals, OperatorActs]]:
    """Open the removals of the settings file's store, and the record of acts."""
    settings = load_settings(options.config)
    with (
        opened_store_with_keys(settings) as (backend, keys),
        opened_ledger(settings, keys) as ledger,
    ):
        homes = Homes(backend, keys, settings.forward_seconds)
        acts = OperatorActs(ledger, settings.ledger_keep_acts_seconds)
        yield PictureRemovals(backend, homes, keys, ledger=ledger), acts
