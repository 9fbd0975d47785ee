"""All faults of a configuration at once: of its settings, and of the files and URLs that they name.

The service stops at the first. Only then is this module loaded. It makes each part by itself, asks no
server, and keeps nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from typing import Final

from backends import Unavailable
from persona_profile.app import configured_build
from persona_profile.auth.authenticators import AuthenticatorContext, load_authenticators
from persona_profile.cli.parts import Part
from persona_profile.keys.configured import make_key_wrapper, open_keyring
from persona_profile.keys.keyring import Keyring, KeyringError
from persona_profile.keys.tokens import Nonces
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.rate_limits.configured import make_rate_limits
from persona_profile.settings import InvalidSettings, Settings, read_settings
from persona_profile.store.configured import open_backend, open_ledger_store, open_replicas

HEADING: Final = "these files and URLs can't be used:"


def with_all_faults(
    error: InvalidSettings | KeyringError | Unavailable,
    given: Mapping[str, str],
    parts: Collection[Part],
) -> InvalidSettings | KeyringError | Unavailable:
    """Return the error of a start or job with the faults of its parts; without any, the error itself.

    `given` are the application's settings of the file.
    """
    settings, wrong = read_settings(given, os.environ)
    faults = list(_faults(settings, wrong, parts))
    if isinstance(error, KeyringError) and len(faults) < 2:
        return error
    lines = str(error).split("\n") if isinstance(error, InvalidSettings) else []
    rest = [line for line in lines if line not in faults]
    if len(rest) == 1:  # of a part; those of settings follow a heading
        faults.append(rest.pop())
    if not faults:
        return error
    if len(faults) == 1 and not rest:
        return InvalidSettings(faults[0])
    return InvalidSettings("\n".join([*rest, HEADING, *(f"  {fault}" for fault in faults)]))


def _faults(settings: Settings, wrong: Mapping[str, str], parts: Collection[Part]) -> Iterator[str]:
    """Generate the faults of parts; a part that depends on a wrong setting is left out."""
    groups = {name.split(".")[0] for name in wrong}
    for part, (make, needed) in _PARTS.items():
        if part in parts and groups.isdisjoint({"development", *needed}):
            try:
                with suppress(OSError):  # what may pass has the status of a failure
                    make(settings)
            except InvalidSettings as error:
                yield from str(error).split("\n")


def _keyring(settings: Settings) -> None:
    if settings.keyring_path is not None:  # in development a start makes the file
        open_keyring(settings)


def _key_service(settings: Settings) -> None:
    make_key_wrapper(settings, Keyring.generate()).close()


def _build(settings: Settings) -> None:
    configured_build(settings)


def _backend(settings: Settings) -> None:
    open_backend(settings).close()


def _ledger(settings: Settings) -> None:
    open_ledger_store(settings).close()


def _replicas(settings: Settings) -> None:
    for each in open_replicas(settings):
        each.close()


def _authenticators(settings: Settings) -> None:
    with closing(KeyWrapper(Keyring.generate())) as keys:
        context = AuthenticatorContext(
            settings=settings,
            nonces=Nonces(keys, settings.openid_nonce_lifetime_seconds, time.time),
            clock=time.time,
            reload_counter=lambda _name: lambda _outcome: None,
        )
        load_authenticators(context).close()


def _rate_limits(settings: Settings) -> None:
    make_rate_limits(settings, lambda _kind, _name: b"", time.time).close()


_PARTS: Final[dict[Part, tuple[Callable[[Settings], None], tuple[str, ...]]]] = {
    Part.BUILD: (_build, ("version",)),
    Part.KEYRING: (_keyring, ("keyring",)),
    Part.KEY_SERVICE: (_key_service, ("key_service", "transit")),
    Part.STORE: (_backend, ("backend",)),
    Part.REPLICAS: (_replicas, ("backend",)),
    Part.LEDGER: (_ledger, ("ledger", "keyring")),
    Part.AUTHENTICATORS: (_authenticators, ("authenticators", "evp")),
    Part.RATE_LIMITS: (_rate_limits, ("ratelimit",)),
}
"""What makes a part and releases it, and the groups of settings that it depends on."""
