"""`persona-profile storage erase-again`, and the same at the end of `storage restore`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from backends import Backend, BackendError
from backends.findings import Level
from persona_profile.cli.config import load_settings
from persona_profile.cli.failures import CommandFailed
from persona_profile.cli.opening import opened_store
from persona_profile.cli.parts import STORE_WITH_LEDGER, set_parts
from persona_profile.cli.progress import WalkProgress, shown
from persona_profile.errors import ServiceError
from persona_profile.keys.configured import make_key_wrapper, open_keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.erasing_again import CLOCK_SECONDS, ErasedAgain, ErasingAgain
from persona_profile.settings import InvalidSettings, Settings
from persona_profile.store.configured import open_ledger, open_ledger_store
from persona_profile.store.ledger import Ledger

WITHOUT: Final = "--without-ledger"


def add_to(jobs: Any) -> None:
    """Add the job to a parser's."""
    job = jobs.add_parser(
        "erase-again", help="apply the ledger, after a restore by other means than `storage restore`"
    )
    job.add_argument(
        "--since",
        metavar="TIME",
        type=_time,
        required=True,
        help="when the restored backup began, such as 2026-11-29T02:00:00Z",
    )
    job.add_argument("--json", action="store_true", help="for programs")
    job.set_defaults(run=_erase_again)
    set_parts(job, *STORE_WITH_LEDGER)


def _time(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a time such as 2026-11-29T02:00:00Z") from None
    if instant.tzinfo is None:
        raise argparse.ArgumentTypeError("needs a time zone, such as Z")
    return instant


def _erase_again(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    with opened_store(settings) as backend, opened_demands(settings) as demands:
        demands.check(options.since)
        demands.apply(backend, options.since)
    print(json.dumps(demands.document()) if options.json else demands.text())
    return 0


class Demands:
    """The demands of a ledger on a restored store."""

    def __init__(self, settings: Settings, keys: KeyWrapper, ledger: Ledger) -> None:
        self._settings = settings
        self._keys = keys
        self._ledger = ledger
        self._seen_at = ""
        self._done = ErasedAgain()

    def check(self, started: datetime) -> None:
        """Check that the ledger has all entries since a backup's start.

        Raises:
            CommandFailed: it may lack some, or the start is in the future.
        """
        if started.timestamp() > time.time() + CLOCK_SECONDS:
            raise CommandFailed(
                f"the backup's start, {_shown(started)}, is in the future: it or a clock is wrong"
            )
        try:
            span = self._ledger.span()
            if span is None:
                raise _failed("it is empty")
            self._ledger.find([])  # its key opens
        except BackendError as error:  # the message of its store does not name it
            raise _failed(str(error)) from None
        begun, seen = (datetime.fromtimestamp(each / 1000, UTC) for each in span)
        # The start of an archive is in whole seconds.
        if begun.replace(microsecond=0) > started:
            raise _failed(f"it began at {_shown(begun)}, after the backup")
        if started.timestamp() < time.time() - self._settings.ledger_keep_seconds:
            raise _failed(
                f"the backup is older than {self._settings.ledger_keep_days} days, its entries"
            )
        self._seen_at = _shown(seen)

    def apply(self, backend: Backend, started: datetime) -> None:
        """Erase in a store what was erased since a backup's start.

        Raises:
            CommandFailed: others kept writing to a profile.
        """
        since = int(1000 * started.timestamp())
        settings = self._settings
        job = ErasingAgain(backend, self._keys, self._ledger, since, settings.forward_seconds)
        again = "start `storage erase-again` to go on"
        try:
            with shown(WalkProgress(sys.stderr), again) as progress:
                self._done = job.run(progress)
        except ServiceError as error:
            raise CommandFailed(f"{error}; {again}") from None

    def document(self) -> dict[str, Any]:
        """Return the result for programs."""
        return asdict(self._done) | {"ledger_seen_at": self._seen_at}

    def text(self) -> str:
        """Return the result for people."""
        done = self._done
        text = (
            f"The ledger: {done.erased:,} erased and {done.pictures:,} pictures removed again, "
            f"{done.locks:,} locks renewed.\n"
            f"It was last in use at {self._seen_at}: later erasures are not in it."
        )
        if done.unreadable:
            text += (
                f"\n{done.unreadable:,} profiles or locks do not open with this keyring and were left: "
                "run `storage erase-again` with the keyring that opens them."
            )
        return text


@contextmanager
def opened_demands(settings: Settings) -> Iterator[Demands]:
    """Open keyring and ledger; nothing is written to them.

    Raises:
        CommandFailed: there is no ledger, or no keyring.
    """
    with closing(open_ledger_store(settings)) as store:
        for finding in store.examine():
            if finding.level is Level.FAILED:
                raise _failed(finding.message)
    try:
        _, keyring = open_keyring(settings)
    except InvalidSettings as error:
        raise _failed(str(error)) from None
    with (
        closing(make_key_wrapper(settings, keyring)) as keys,
        closing(open_ledger(settings, keys)) as ledger,
    ):
        yield Demands(settings, keys, ledger)


def _failed(problem: str) -> CommandFailed:
    return CommandFailed(
        f"ledger: {problem}: erased people could come back; `storage restore {WITHOUT}` ignores it"
    )


def _shown(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
