"""`persona-profile keys status`: the keys of the keyring, and the items that need each."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from persona_profile.cli.config import load_settings
from persona_profile.cli.opening import open_keyring_file, opened_store_with_keys
from persona_profile.cli.parts import STORE_WITH_KEYS, set_parts
from persona_profile.cli.progress import WalkProgress, shown
from persona_profile.keys.keyring import CREATED, RETIRED, KeyKind, Keyring
from persona_profile.store.maintenance.key_use import KeyUse, count_use, missing_keys


def add_to(jobs: Any) -> None:
    """Add the job to a parser."""
    job = jobs.add_parser("status", help="list the keys and what needs them; exit status 0 or 1")
    job.add_argument("--json", action="store_true", help="for programs")
    job.set_defaults(run=_status)
    set_parts(job, *STORE_WITH_KEYS)


def _status(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    keyring = open_keyring_file(settings).load()
    with (
        opened_store_with_keys(settings) as (backend, keys),
        shown(WalkProgress(sys.stderr), "start it again to go on") as progress,
    ):
        keys.check()
        use = count_use(backend, keys, progress)
    problems = _problems(keyring, use)
    if options.json:
        print(json.dumps(_document(keyring, use, problems), indent=1))
    else:
        _print(keyring, use, problems)
    return 1 if problems else 0


def _problems(keyring: Keyring, use: KeyUse) -> list[str]:
    """Return why a keyring can't open all items of a store."""
    problems = missing_keys(keyring, use.wraps, use.profiles)
    if use.unreadable:
        problems.append(f"{use.unreadable:,} data keys have an unknown layout")
    return problems


def _document(keyring: Keyring, use: KeyUse, problems: list[str]) -> dict[str, Any]:
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


def _print(keyring: Keyring, use: KeyUse, problems: list[str]) -> None:
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
    print(f"{use.stale:,} data keys are stale: `keys rewrap` wraps them by the primary key.")
    older = sum(use.profiles.values()) - use.profiles[keyring.primary(KeyKind.INDEX).version]
    if older or use.moving:
        print(f"{older:,} profiles are under an older index key, {use.moving:,} moves have not ended.")
    for problem in problems:
        print(f"PROBLEM: {problem}.")


def _needed_by(use: KeyUse, kind: KeyKind, version: int) -> int:
    return use.wraps[str(version)] if kind is KeyKind.ENCRYPTION else use.profiles[version]
