"""The parts of the service that a command makes from files and URLs of its settings."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, Final

import plaster

from backends import Unavailable
from persona_profile.cli.config import loader
from persona_profile.keys.keyring import KeyringError
from persona_profile.settings import InvalidSettings


class Part(Enum):
    """A part that is made by itself; in the order of a start."""

    BUILD = auto()
    KEYRING = auto()
    KEY_SERVICE = auto()
    STORE = auto()
    REPLICAS = auto()
    LEDGER = auto()
    AUTHENTICATORS = auto()
    RATE_LIMITS = auto()


STORE_WITH_KEYS: Final = frozenset({Part.KEYRING, Part.KEY_SERVICE, Part.STORE})
STORE_WITH_LEDGER: Final = STORE_WITH_KEYS | {Part.LEDGER}


def set_parts(job: Any, *parts: Part) -> None:
    """Name the parts that a job makes: `reporting_faults_of` reports the faults of all of them."""
    job.set_defaults(parts=frozenset(parts))


@contextmanager
def reporting_faults_of(options: argparse.Namespace) -> Iterator[None]:
    """Add to an error of a job's settings the faults of all files and URLs that the job needs."""
    try:
        yield
    except (InvalidSettings, KeyringError, Unavailable) as error:
        parts = getattr(options, "parts", None)
        if not parts:
            raise
        try:
            ini = loader(options.config)
        except InvalidSettings:  # it is the error itself
            raise error from None
        with reporting_all_faults(ini, parts):
            raise


@contextmanager
def reporting_all_faults(ini: plaster.ILoader, parts: Collection[Part] = tuple(Part)) -> Iterator[None]:
    """Add to an error of the settings the faults of all files and URLs that they name."""
    try:
        yield
    except (InvalidSettings, KeyringError, Unavailable) as error:
        from persona_profile.cli.faults import with_all_faults  # noqa: PLC0415 - it loads all parts

        raise with_all_faults(error, ini.get_wsgi_app_settings(), parts) from None
