"""`persona-profile keys`: the life of the keyring, from its first key to the end of each."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backends import Backend
from persona_profile.cli.config import load_settings
from persona_profile.cli.opening import opened_store_with_keys
from persona_profile.cli.progress import WalkProgress, shown
from persona_profile.keys.configured import keyring_file
from persona_profile.keys.keyring import CREATED, RETIRED, KeyKind, Keyring, KeyringError
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.settings import InvalidSettings, Settings
from persona_profile.store.leases import Lease
from persona_profile.store.maintenance.reindexing import Reindexing
from persona_profile.store.maintenance.rewrapping import KeyUse, Pace, Rewrapping, count_use

DEFAULT_RATE: Final = 500
"""Data keys or profiles a second: a small part of what a database does."""


TAKING_SECONDS: Final = 3.0
"""Longer than a running server needs to take a changed keyring."""


MOVING: Final = "keys rewrap --index"
"""The lease of whoever moves profiles, and of whoever destroys keys that a mover may wrap by."""


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    keys = commands.add_parser("keys", help="look after the keyring")
    jobs = keys.add_subparsers(title="jobs", required=True, metavar="JOB")

    job = jobs.add_parser("init", help="make a keyring, where there is none")
    job.set_defaults(run=_init)

    job = jobs.add_parser("status", help="list the keys, and what needs each; exit status 0 or 1")
    job.add_argument("--json", action="store_true", help="for programs")
    job.set_defaults(run=_status)

    job = jobs.add_parser("rotate", help="add a key; once it is on all machines, --promote it")
    _of_a_kind(job)
    job.add_argument("--promote", action="store_true", help="make the newest key primary")
    job.set_defaults(run=_rotate)

    job = jobs.add_parser(
        "rewrap", help="bring all that is stored under the primary key, while the service runs"
    )
    _of_a_kind(job)
    job.add_argument(
        "--rate",
        metavar="N",
        type=_rate,
        default=DEFAULT_RATE,
        help="at most so many a second (default: %(default)s)",
    )
    job.set_defaults(run=_rewrap)

    job = jobs.add_parser("destroy", help="forget a key that nothing needs any more")
    job.add_argument("version", metavar="VERSION", type=int)
    _of_a_kind(job)
    job.add_argument(
        "--revoke", action="store_true", help="end the sessions and picture URLs that it sealed"
    )
    job.set_defaults(run=_destroy)


def _of_a_kind(job: Any) -> None:
    job.add_argument(
        "--index",
        dest="kind",
        action="store_const",
        const=KeyKind.INDEX,
        default=KeyKind.ENCRYPTION,
        help="the index key instead of the encryption key",
    )


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.01 <= rate <= 1_000_000:
        raise ValueError
    return rate


def _init(options: argparse.Namespace) -> int:
    named = _file(load_settings(options.config))
    with _locked(named) as file:
        try:
            file.create(Keyring.generate(_now()))
        except FileExistsError:
            raise KeyringError(f"{file.path}: there is one already; it was left as it was") from None
    print(
        f"Made {file.path}.\n"
        "Keep a copy where backups of the database are not: whoever loses it loses all that is stored."
    )
    return 0


def _rotate(options: argparse.Namespace) -> int:
    named = _file(load_settings(options.config))
    kind: KeyKind = options.kind
    flag = " --index" if kind is KeyKind.INDEX else ""
    with _locked(named) as file:
        before = file.load()
        if not options.promote:
            after = before.adding(kind, _now())
            _replace(file, before, after)
            added = after.live(kind)[-1]
            print(
                f"Added {kind} key {added.version}, fingerprint {added.fingerprint()}: it opens, and "
                "makes nothing yet.\n"
                f"Now copy {file.path} to every machine (mode 0600; a running server reloads it "
                "within seconds),\n"
                "check with `keys status` that each has this fingerprint, and then, on one machine:\n"
                f"  persona-profile -c {options.config} keys rotate{flag} --promote"
            )
            return 0
        pending = before.pending(kind)
        _let_servers_take_it(pending.created_at if pending else None)
        after = before.promoting(kind, _now())
        _replace(file, before, after)
        print(
            f"{kind.capitalize()} key {after.primary(kind).version} is primary.\n"
            f"Now copy {file.path} to every machine, and then, on one machine:\n"
            f"  persona-profile -c {options.config} keys rewrap{flag}\n"
            f"  persona-profile -c {options.config} keys destroy{flag} {before.primary(kind).version}"
        )
    return 0


def _rewrap(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    with _locked(_file(settings)), _store(settings) as (backend, keys):
        if options.kind is KeyKind.INDEX:
            return _reindex(settings, backend, keys, options.rate)
        job = Rewrapping(backend, keys, Pace(options.rate))
        with _progress() as progress:
            done = job.run(progress)
    print(f"Wrapped {done.keys:,} data keys anew.")
    _tell_unreadable(len(done.unreadable))
    if not done.is_complete:
        print("Some machine still wraps with another keyring: copy it there, and start this again.")
    return 0 if done.is_complete and not done.unreadable else 1


def _reindex(settings: Settings, backend: Backend, keys: KeyWrapper, rate: float) -> int:
    versions = keys.index_versions
    if len(versions) == 1:
        print("There is one index key: nothing to move.")
        return 0
    if keys.primary_index_version != versions[-1]:
        raise KeyringError("the newer index key is not primary: `keys rotate --index --promote` first")
    with Lease(backend, MOVING) as lease, _progress() as progress:
        pace = Pace(rate, sleep=lease.sleep)
        job = Reindexing(backend, keys, settings.forward_seconds, pace, time.time, lease.keep)
        done = job.run(progress)
    print(
        f"Moved {done.moved:,} profiles, finished {done.finished:,} moves and cleaned {done.cleaned:,} "
        "copies of earlier runs."
    )
    _tell_unreadable(len(done.unreadable))
    if done.doubled:
        print(
            f"{len(done.doubled):,} emails have a profile under both index keys, and were left alone: "
            "`storage verify` lists them as two_homes."
        )
    return 1 if done.unreadable or done.doubled else 0


def _tell_unreadable(count: int) -> None:
    if count:
        print(f"{count:,} data keys do not open: `storage verify` tells which.")


def _destroy(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    kind: KeyKind = options.kind
    with _locked(_file(settings)) as file:
        before = file.load()
        after = before.destroying(kind, options.version, _now())
        if kind is KeyKind.ENCRYPTION and not options.revoke:
            _check_tokens(settings, before, options.version)
        with _store(settings) as (backend, keys), Lease(backend, MOVING) as lease:
            _check_needs(backend, keys, kind, options.version, lease)
            if options.version < before.primary(kind).version:
                _let_writes_end(backend, lease)
                _check_needs(backend, keys, kind, options.version, lease)
        _replace(file, before, after)
    print(
        f"Destroyed {kind} key {options.version} in {file.path}.\n"
        "Copy it to every machine. Older copies of the keyring are yours to destroy; a backup that was "
        "made under this key can't be read without them."
    )
    return 0


def _check_tokens(settings: Settings, keyring: Keyring, version: int) -> None:
    """Refuse while a session or a picture's URL that the key sealed may still be used."""
    key = keyring.find(KeyKind.ENCRYPTION, version)
    if key is None or version > keyring.primary(KeyKind.ENCRYPTION).version:
        return  # it never sealed anything
    seconds = max(settings.sessions_lifetime, settings.picture_url_seconds)
    if key.retired_at is None:
        raise KeyringError(
            f"encryption key {version} does not say since when it is not primary; --revoke ends the "
            "sessions and picture URLs that it may have sealed"
        )
    until = key.retired_at + timedelta(seconds=seconds)
    if until > _now():
        raise KeyringError(
            f"sessions and picture URLs that encryption key {version} sealed work until "
            f"{until:%Y-%m-%d %H:%M} UTC; --revoke ends them now"
        )


def _check_needs(backend: Backend, keys: KeyWrapper, kind: KeyKind, version: int, lease: Lease) -> None:
    """Return if nothing that is stored needs a key.

    Raises:
        KeyringError: something does.
    """
    with _progress() as progress:

        def see(partition: bytes) -> None:
            lease.keep()
            progress(partition)

        reasons = _needs(count_use(backend, keys, see), kind, version)
    if reasons:
        raise KeyringError(f"{kind} key {version} is needed: {'; '.join(reasons)}")


def _needs(use: KeyUse, kind: KeyKind, version: int) -> list[str]:
    """Return what of a store needs a key."""
    counts = {"moves to another index key have not ended": use.moving}
    if kind is KeyKind.ENCRYPTION:
        counts["data keys are under it"] = use.wraps[str(version)]
        counts["data keys are of a form that is not known"] = use.unreadable
    else:
        counts["profiles are under it"] = use.profiles[version]
        counts["marks of ended sessions are under it, and go by themselves"] = use.marks[version]
    return [f"{count:,} {what}" for what, count in counts.items() if count]


def _status(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    keyring = _file(settings).load()
    with _store(settings) as (backend, keys), _progress() as progress:
        use = count_use(backend, keys, progress)
    problems = _problems(keyring, use)
    if options.json:
        print(json.dumps(_status_document(keyring, use, problems), indent=1))
    else:
        _print_status(keyring, use, problems)
    return 1 if problems else 0


def _problems(keyring: Keyring, use: KeyUse) -> list[str]:
    """Return what is stored and can't be read with a keyring."""
    missing = {
        f"data keys are under encryption key {version}, which is not here": count
        for version, count in use.wraps.items()
        if version.isdigit() and not _is_live(keyring, KeyKind.ENCRYPTION, int(version))
    }
    missing |= {
        f"profiles are under index key {version}, which is not here": count
        for version, count in use.profiles.items()
        if not _is_live(keyring, KeyKind.INDEX, version)
    }
    missing["data keys are of a form that is not known"] = use.unreadable
    return [f"{count:,} {what}" for what, count in missing.items() if count]


def _is_live(keyring: Keyring, kind: KeyKind, version: int) -> bool:
    key = keyring.find(kind, version)
    return key is not None and key.is_live


def _status_document(keyring: Keyring, use: KeyUse, problems: list[str]) -> dict[str, Any]:
    keys = [
        {
            "kind": kind,
            "version": key.version,
            "state": key.state,
            "created_at": key.notes.get(CREATED),
            "retired_at": key.notes.get(RETIRED),
            "fingerprint": key.fingerprint() if key.is_live else None,
            "needed_by": _needed_by(use, kind, key.version),
        }
        for kind in KeyKind
        for key in keyring.keys(kind)
    ]
    return {
        "keys": keys,
        "wraps": dict(sorted(use.wraps.items())),
        "stale": use.stale,
        "profiles_by_index_version": {str(v): n for v, n in sorted(use.profiles.items())},
        "forwards": use.forwards,
        "moving": use.moving,
        "problems": problems,
    }


def _print_status(keyring: Keyring, use: KeyUse, problems: list[str]) -> None:
    print(f"{'KIND':12}{'VERSION':9}{'STATE':14}{'MADE':22}{'FINGERPRINT':18}{'NEEDED BY':>12}")
    for kind in KeyKind:
        for key in keyring.keys(kind):
            made = str(key.notes.get(CREATED, "-"))
            fingerprint = key.fingerprint() if key.is_live else "-"
            count = _needed_by(use, kind, key.version)
            print(f"{kind:12}{key.version:<9}{key.state:14}{made:22}{fingerprint:18}{count:>12,}")
    print()
    for version, count in sorted(use.wraps.items()):
        if not version.isdigit():
            print(f"{count:,} data keys are wrapped by {version.replace(':', ' key, version ')}.")
    print(f"{use.stale:,} data keys are stale: `keys rewrap` brings them under the primary key.")
    older = sum(use.profiles.values()) - use.profiles[keyring.primary(KeyKind.INDEX).version]
    if older or use.moving:
        print(f"{older:,} profiles are under an older index key, {use.moving:,} moves have not ended.")
    for problem in problems:
        print(f"PROBLEM: {problem}.")


def _needed_by(use: KeyUse, kind: KeyKind, version: int) -> int:
    return use.wraps[str(version)] if kind is KeyKind.ENCRYPTION else use.profiles[version]


def _file(settings: Settings) -> KeyringFile:
    file = keyring_file(settings)
    if file is None:
        raise InvalidSettings("keyring.path: none is set, and in development the keyring is in memory")
    return file


def _replace(file: KeyringFile, before: Keyring, after: Keyring) -> None:
    """Write a keyring that was made from an earlier one.

    Raises:
        KeyringError: somebody has copied another keyring there meanwhile.
    """
    if not file.holds(before):
        raise KeyringError(f"{file.path}: it was changed meanwhile, and left as it is; start again")
    file.replace(after)


@contextmanager
def _locked(file: KeyringFile) -> Iterator[KeyringFile]:
    """Lock the keyring; what the operating system refuses is the keyring's error."""
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


@contextmanager
def _progress() -> Iterator[WalkProgress]:
    with shown(WalkProgress(sys.stderr), "start it again to go on") as progress:
        yield progress


def _let_servers_take_it(since: datetime | None) -> None:
    """Wait until the servers of this machine use a keyring that was changed just now."""
    if since is not None:
        age = (_now() - since).total_seconds()
        time.sleep(max(0.0, min(TAKING_SECONDS, TAKING_SECONDS - age)))


def _let_writes_end(backend: Backend, lease: Lease) -> None:
    """Wait until everything is stored that any server has begun to write with a key that was replaced.

    Not since the key was replaced here: on other machines that was when its file was copied there.
    """
    seconds = math.ceil(TAKING_SECONDS + backend.write_seconds)
    text = f"persona-profile: waiting {seconds} s for writes that may have begun with this key"
    print(text, file=sys.stderr, flush=True)
    lease.sleep(seconds)


def _now() -> datetime:
    return datetime.now(UTC)
