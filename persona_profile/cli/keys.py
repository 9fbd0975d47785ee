"""`persona-profile keys`: creation, rotation and destruction of keys."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from backends import Backend
from backends.copying.archive_format import ArchiveError
from backends.copying.pace import Pace
from persona_profile.cli import keys_status
from persona_profile.cli.config import load_settings
from persona_profile.cli.confirmation import confirm
from persona_profile.cli.failures import CommandFailed
from persona_profile.cli.opening import open_keyring_file, opened_ledger, opened_store_with_keys
from persona_profile.cli.parts import STORE_WITH_LEDGER, set_parts
from persona_profile.cli.progress import WalkProgress, shown
from persona_profile.files import opened_input
from persona_profile.keys.keyring import KeyKind, Keyring, KeyringError
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.settings import Settings
from persona_profile.store.leases import Lease
from persona_profile.store.maintenance.key_use import (
    MOVING,
    RELOAD_SECONDS,
    check_unused,
    write_seconds,
)
from persona_profile.store.maintenance.needed_keys import NeededKeys
from persona_profile.store.maintenance.reindexing import Reindexing
from persona_profile.store.maintenance.rewrapping import Rewrapping

DEFAULT_RATE: Final = 500
"""Data keys or profiles a second; a small part of the capacity of a database."""


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    keys = commands.add_parser("keys", help="manage the keyring")
    jobs = keys.add_subparsers(title="jobs", required=True, metavar="JOB")

    job = jobs.add_parser("init", help="make the first keyring")
    job.set_defaults(run=_init)

    keys_status.add_to(jobs)

    job = jobs.add_parser("rotate", help="add a key; once it is on all machines, --promote it")
    _add_kind(job)
    job.add_argument("--promote", action="store_true", help="make the newest key primary")
    job.set_defaults(run=_rotate)

    job = jobs.add_parser(
        "rewrap", help="wrap or move everything to the primary key, while the service runs"
    )
    _add_kind(job)
    job.add_argument(
        "--rate",
        metavar="N",
        type=_rate,
        default=DEFAULT_RATE,
        help="data keys or profiles a second (default: %(default)s)",
    )
    job.set_defaults(run=_rewrap)
    set_parts(job, *STORE_WITH_LEDGER)

    job = jobs.add_parser("destroy", help="destroy a key that no item needs")
    job.add_argument("version", metavar="VERSION", type=int)
    job.add_argument(
        "--archives",
        metavar="FILE",
        type=Path,
        nargs="+",
        default=[],
        help="a backup: the command shows whether it needs the key",
    )
    _add_kind(job)
    job.add_argument("--revoke", action="store_true", help="end its sessions and picture URLs now")
    job.add_argument("--yes", action="store_true", help="don't ask; required without a terminal")
    job.set_defaults(run=_destroy)
    set_parts(job, *STORE_WITH_LEDGER)


def _add_kind(job: Any) -> None:
    job.add_argument(
        "--index",
        dest="kind",
        action="store_const",
        const=KeyKind.INDEX,
        default=KeyKind.ENCRYPTION,
        help="the index key instead of the encryption key",
    )


def _rate(text: str) -> float:
    with suppress(ValueError):
        rate = float(text)
        if 0.01 <= rate <= 1_000_000:
            return rate
    raise argparse.ArgumentTypeError("must be a number from 0.01 to 1,000,000")


def _init(options: argparse.Namespace) -> int:
    named = open_keyring_file(load_settings(options.config))
    with _locked(named) as file:
        try:
            file.create(Keyring.generate(_now()))
        except FileExistsError:
            raise KeyringError(f"{file.path}: the keyring exists, and was not changed") from None
    print(
        f"Made {file.path}.\n"
        "Keep a copy apart from the backups of the database. Without the keyring all data is lost."
    )
    return 0


def _rotate(options: argparse.Namespace) -> int:
    named = open_keyring_file(load_settings(options.config))
    kind: KeyKind = options.kind
    flag = " --index" if kind is KeyKind.INDEX else ""
    with _locked(named) as file:
        before = file.load()
        if not options.promote:
            after = before.adding(kind, _now())
            _replace(file, before, after)
            added = after.live(kind)[-1]
            print(
                f"Added {kind} key {added.version}, fingerprint {added.fingerprint()}; it is not used "
                "for new items yet.\n"
                f"Now copy {file.path} to every machine (mode 0600; a running server reloads it within "
                "seconds).\n"
                "Check by `keys status` that all machines have the fingerprint. Then, on one machine:\n"
                f"  persona-profile -c {options.config} keys rotate{flag} --promote"
            )
            return 0
        pending = before.pending(kind)
        _await_reload(pending.created_at if pending else None)
        after = before.promoting(kind, _now())
        _replace(file, before, after)
        print(
            f"{kind.capitalize()} key {after.primary(kind).version} is primary.\n"
            f"Now copy {file.path} to every machine. Then, on one machine:\n"
            f"  persona-profile -c {options.config} keys rewrap{flag}\n"
            f"  persona-profile -c {options.config} keys destroy{flag} {before.primary(kind).version}"
        )
    return 0


def _rewrap(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    with _locked(open_keyring_file(settings)), _store(settings) as (backend, keys):
        if options.kind is KeyKind.INDEX:
            return _reindex(settings, backend, keys, options.rate)
        job = Rewrapping(backend, keys, Pace(options.rate))
        with _progress() as progress:
            done = job.run(progress)
    print(f"Wrapped {done.keys:,} data keys again.")
    _print_unreadable(len(done.unreadable))
    if not done.is_complete:
        print(
            "A machine still wraps by an older keyring: copy the keyring there, and start this again."
        )
    return 0 if done.is_complete and not done.unreadable else 1


def _reindex(settings: Settings, backend: Backend, keys: KeyWrapper, rate: float) -> int:
    versions = keys.index_versions
    if len(versions) == 1:
        print("There is one index key: nothing to move.")
        return 0
    if keys.primary_index_version != versions[-1]:
        raise KeyringError(
            "the newer index key is not primary: run `keys rotate --index --promote` first"
        )
    # The ledger carries its entries to the new key as it is opened.
    with opened_ledger(settings, keys), Lease(backend, MOVING) as lease, _progress() as progress:
        pace = Pace(rate, sleep=lease.sleep)
        job = Reindexing(backend, keys, settings.forward_seconds, pace, time.time, lease.keep)
        done = job.run(progress)
    print(
        f"Moved {done.moved:,} profiles; of earlier runs, finished {done.finished:,} moves and removed "
        f"{done.cleaned:,} copies."
    )
    if done.removals:
        print(f"Moved {done.removals:,} removals of pictures.")
    _print_unreadable(len(done.unreadable))
    if done.doubled:
        print(
            f"{len(done.doubled):,} emails have a profile under both index keys, and were not moved: "
            "`storage verify` lists them as two_homes."
        )
    return 1 if done.unreadable or done.doubled else 0


def _print_unreadable(count: int) -> None:
    if count:
        print(f"{count:,} data keys do not open: `storage verify` lists them.")


def _destroy(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    kind: KeyKind = options.kind
    with _locked(open_keyring_file(settings)) as file:
        before = file.load()
        after = before.destroying(kind, options.version, _now())
        if kind is KeyKind.ENCRYPTION and not options.revoke:
            _check_tokens(settings, before, options.version)
        _check_archives(before, kind, options.version, options.archives, is_agreed=options.yes)
        with _store(settings) as (backend, keys), Lease(backend, MOVING) as lease:
            _check_unused(backend, keys, kind, options.version, lease)
            if options.version < before.primary(kind).version:
                seconds = write_seconds(backend)
                waiting = f"waiting {seconds} s for writes that may have begun with this key"
                print(f"persona-profile: {waiting}", file=sys.stderr, flush=True)
                lease.sleep(seconds)
                _check_unused(backend, keys, kind, options.version, lease)
            if kind is KeyKind.INDEX:
                with opened_ledger(settings, keys) as ledger:
                    ledger.retire(options.version)
        _replace(file, before, after)
    print(
        f"Destroyed {kind} key {options.version} in {file.path}.\n"
        "Copy the keyring to every machine. Keep one older copy as long as the archives that need this "
        "key, and destroy the others."
    )
    return 0


def _check_tokens(settings: Settings, keyring: Keyring, version: int) -> None:
    """Return if no session and no picture URL under the key is valid."""
    key = keyring.find(KeyKind.ENCRYPTION, version)
    if key is None or version > keyring.primary(KeyKind.ENCRYPTION).version:
        return  # it was never primary
    seconds = max(settings.sessions_lifetime, settings.picture_url_seconds)
    if key.retired_at is None:
        raise KeyringError(
            f"encryption key {version} has no date of its retirement; --revoke ends the sessions and "
            "picture URLs that it may have sealed"
        )
    until = key.retired_at + timedelta(seconds=seconds)
    if until > _now():
        raise KeyringError(
            f"sessions and picture URLs under encryption key {version} work until "
            f"{until:%Y-%m-%d %H:%M} UTC; --revoke ends them now"
        )


def _check_archives(
    keyring: Keyring, kind: KeyKind, version: int, archives: Sequence[Path], *, is_agreed: bool
) -> None:
    """Print which archives need a key; return if the operator agrees that they won't open.

    Raises:
        CommandFailed: a file is no archive, or the operator does not agree.
    """
    if version > keyring.primary(kind).version:
        return  # it was never primary: nothing is under it
    key = keyring.find(kind, version)
    made = key.created_at if key else None
    print(
        f"Archives{f' since {made:%Y-%m-%d %H:%M} UTC' if made else ''} may need {kind} key {version}; "
        "without a copy of it they can't be read."
    )
    for path in archives:
        with closing(opened_input(path)) as file:
            try:
                needed = NeededKeys.of_archive(file)
            except ArchiveError as error:
                raise CommandFailed(f"{path}: {error}") from None
        does_need = "NEEDS THIS KEY" if needed.counts[kind][str(version)] else "does not need this key"
        print(f"  {path} {does_need} ({needed})")
    if not is_agreed:
        confirm(f"This destroys {kind} key {version} for good.", "nothing was destroyed")


def _check_unused(
    backend: Backend, keys: KeyWrapper, kind: KeyKind, version: int, lease: Lease
) -> None:
    """Keep the lease while `check_unused` reads the store."""
    with _progress() as progress:

        def report(partition: bytes) -> None:
            lease.keep()
            progress(partition)

        check_unused(backend, keys, kind, version, report)


def _replace(file: KeyringFile, before: Keyring, after: Keyring) -> None:
    """Replace a keyring by its successor."""
    if not file.holds(before):
        raise KeyringError(
            f"{file.path}: the file was changed meanwhile, and not replaced; start again"
        )
    file.replace(after)


@contextmanager
def _locked(file: KeyringFile) -> Iterator[KeyringFile]:
    """Lock the keyring; errors of the operating system become errors of the keyring."""
    try:
        with file.lock() as locked:
            yield locked
    except OSError as error:
        raise KeyringError(f"{error.filename or file.path}: {error.strerror}") from None


@contextmanager
def _store(settings: Settings) -> Iterator[tuple[Backend, KeyWrapper]]:
    with opened_store_with_keys(settings) as (backend, keys):
        keys.check()
        yield backend, keys


def _progress() -> AbstractContextManager[WalkProgress]:
    return shown(WalkProgress(sys.stderr), "start it again to go on")


def _await_reload(since: datetime | None) -> None:
    """Wait until the servers of this machine have reloaded a keyring that was changed at an instant."""
    if since is not None:
        age = (_now() - since).total_seconds()
        time.sleep(max(0.0, min(RELOAD_SECONDS, RELOAD_SECONDS - age)))


def _now() -> datetime:
    return datetime.now(UTC)
