"""Files of the configuration that say whom an authenticator trusts, and their reload."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from persona_profile.auth import Authenticator, ProvedEmail
from persona_profile.settings import InvalidSettings

logger = logging.getLogger(__name__)


class _Mergeable(Protocol):
    def merged_with(self, other: Self, /) -> Self: ...


Trusted = TypeVar("Trusted", bound=_Mergeable)


class TrustFile(Generic[Trusted]):
    """Whom an authenticator trusts: those of a file, if one is configured, and some besides.

    Args:
        setting: names the file, for messages.
        path: of the file, if there is one.
        load: reads it, raising ValueError.
        besides: those who are trusted in any case.
        observe: is called with `accepted` or `rejected` after each reload.
    """

    def __init__(
        self,
        setting: str,
        path: Path | None,
        load: Callable[[Path], Trusted],
        besides: Trusted,
        observe: Callable[[str], None],
    ) -> None:
        self._setting = setting
        self._path = path
        self._load = load
        self._besides = besides
        self._observe = observe

    def read(self) -> Trusted:
        """Return who is trusted.

        Raises:
            InvalidSettings: the file can't be used.
        """
        if self._path is None:
            return self._besides
        try:
            return self._load(self._path).merged_with(self._besides)
        except ValueError as error:
            raise InvalidSettings(f"{self._setting}: {error}") from None

    def reloaded_by(
        self, authenticator: Authenticator, use: Callable[[Trusted], None]
    ) -> Authenticator:
        """Return the authenticator, whose `reload` now reads the file again, if there is one.

        `use` puts it into force; one that can't be used leaves the old one there.
        """
        if self._path is None:
            return authenticator
        return _Reloading(authenticator, lambda: self._reload_file(use))

    def _reload_file(self, use: Callable[[Trusted], None]) -> None:
        try:
            trusted = self.read()
        except InvalidSettings as error:
            self._observe("rejected")
            logger.error("not reloaded: %s", error)  # noqa: TRY400 - no trace: no values
            return
        use(trusted)
        self._observe("accepted")
        logger.warning("%s: reloaded", self._setting)


class _Reloading(Authenticator):
    """An authenticator with a file that can be reloaded."""

    def __init__(self, authenticator: Authenticator, reload: Callable[[], None]) -> None:
        self._authenticator = authenticator
        self._reload = reload
        self.member = authenticator.member
        self.description = authenticator.description
        self.codes = authenticator.codes

    def verify(self, proof: str) -> ProvedEmail:
        return self._authenticator.verify(proof)

    def prepare(self) -> None:
        self._authenticator.prepare()

    def reload(self) -> None:
        self._reload()

    def close(self) -> None:
        self._authenticator.close()
