"""Checks of the parts that the settings name: keys, storage, replicas, counters of rate limits."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from backends import Backend, Unavailable
from backends.findings import Finding, Level, failed, ok, warning
from persona_profile.doctor import Check
from persona_profile.keys.configured import keyring_file, make_key_wrapper
from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.rate_limits.counters import CountersOut, MemoryCounters, RedisCounters
from persona_profile.settings import InvalidSettings, Settings
from persona_profile.store.configured import (
    is_self_made,
    open_backend,
    open_ledger,
    open_ledger_store,
    open_replicas,
)
from persona_profile.store.ledger import Ledger, LedgerUnusable

MAX_KEY_DAYS: Final = 400
"""The age of a primary encryption key that is worth a warning: a year, and a month for the work."""


MAX_LEDGER_SILENCE: Final = timedelta(minutes=10)
"""Time without a sign of a server that is worth a warning; each process gives one every minute."""


def checks(settings: Settings) -> list[Check]:
    """Return the checks of these parts."""
    return [
        Check("settings", partial(_settings, settings)),
        Check("keyring", partial(_keyring, settings)),
        Check("storage", partial(_storage, settings)),
        Check("ledger", partial(_ledger, settings)),
        *_replicas(settings),
        Check("rate limits", partial(_rate_limits, settings)),
    ]


def _settings(settings: Settings) -> Iterator[Finding]:
    if settings.development:
        yield warning("use", "development = true", "never in production: it vouches for anybody")
    else:
        yield ok("use", "they are valid")
    if not settings.dialog_origins:
        message = "dialog_origins is empty: pages of other origins can't read cards"
        yield warning("dialogs", message, "name the origin of the sign-in dialog")


def _keyring(settings: Settings) -> Iterator[Finding]:
    file = keyring_file(settings)
    if file is None:
        yield warning("file", "the keyring is in memory", "set keyring.path")
        return
    keyring = file.load()
    mode = stat.S_IMODE(file.path.stat().st_mode)
    yield ok("file", f"it can be read; its mode is {mode:04o}")
    yield _age(keyring)
    if settings.transit_url is not None:
        with closing(make_key_wrapper(settings, keyring)) as keys:
            keys.check()
        yield ok("key service", "it wraps keys")


def _age(keyring: Keyring) -> Finding:
    key = keyring.primary(KeyKind.ENCRYPTION)
    if key.created_at is None:
        return ok("age", f"encryption key {key.version} is primary; its age is not noted")
    days = (datetime.now(UTC) - key.created_at).days
    message = f"encryption key {key.version} is primary and {days} days old"
    if days > MAX_KEY_DAYS:
        return warning("age", message, "rotate it: docs/how-to/keys.md")
    if days < 0:
        return warning("age", f"encryption key {key.version} is of the future", "set the clock")
    return ok("age", message)


def _storage(settings: Settings) -> Iterator[Finding]:
    if settings.backend == "memory":
        yield warning("use", "profiles are in memory until the service ends", "set backend")
        return
    with closing(open_backend(settings)) as backend:
        yield from backend.examine()


def _ledger(settings: Settings) -> Iterator[Finding]:
    if settings.backend == "memory":
        return  # nothing outlives the process
    with closing(open_ledger_store(settings)) as store:
        for finding in store.examine():
            if is_self_made(settings) and finding.subject == "schema" and finding.level is Level.FAILED:
                yield replace(finding, advice="start the service, which creates it")
                return
            yield finding
    file = keyring_file(settings)
    if file is None:
        return
    with (
        closing(make_key_wrapper(settings, file.load())) as keys,
        closing(open_ledger(settings, keys)) as ledger,
    ):
        yield from _use(ledger)


def _use(ledger: Ledger) -> Iterator[Finding]:
    span = ledger.span()
    if span is None:
        yield warning("use", "no server has used it yet", "start the service")
        return
    try:
        ledger.find([])
    except LedgerUnusable as error:
        yield failed("key", str(error), "use its keyring, or its newest copy: docs/how-to/storage.md")
        return
    begun, seen = (datetime.fromtimestamp(each / 1000, UTC) for each in span)
    message = (
        f"it began on {begun:%Y-%m-%d} and was last used {_age_text(datetime.now(UTC) - seen)} ago"
    )
    if datetime.now(UTC) - seen > MAX_LEDGER_SILENCE:
        yield warning("use", message, "does the service run, with this ledger?")
    else:
        yield ok("use", message)


def _age_text(age: timedelta) -> str:
    return f"{age.days} days" if age.days else f"{max(0, age.seconds)} seconds"


def _replicas(settings: Settings) -> list[Check]:
    try:
        replicas = open_replicas(settings)
    except InvalidSettings as error:
        finding = failed("use", str(error), "correct it: the service does not start")
        return [Check("replicas", partial(iter, (finding,)))]
    return [
        Check(f"replica {number}", partial(_replica, each)) for number, each in enumerate(replicas, 1)
    ]


def _replica(replica: Backend) -> Iterator[Finding]:
    with closing(replica):
        try:
            replica.ping()
        except Unavailable as error:
            yield warning("use", str(error), "pictures come from the primary until it answers")
        else:
            yield ok("use", "it answers")


def _rate_limits(settings: Settings) -> Iterator[Finding]:
    url = settings.ratelimit_url or ("off" if settings.development else "memory://")
    if url == "off":
        yield warning("use", "they are off", "set ratelimit.url")
        return
    if url == "memory://":
        yield ok("use", "each process counts for itself")
        return
    try:
        counters = RedisCounters(url, settings.ratelimit_timeout_ms / 1000, MemoryCounters())
    except ValueError as error:
        yield failed("use", f"ratelimit.url: {error}", "the service does not start")
        return
    with closing(counters):
        try:
            counters.check()
        except CountersOut as error:
            advice = "each process counts for itself until Redis counts for all"
            yield failed("Redis", str(error), advice)
        else:
            yield ok("Redis", "it counts for all processes")
