"""Files of trusted issuers: read at the start, and again at each reload."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from persona_profile.encoding import Json
from persona_profile.files import read_json
from persona_profile.settings import InvalidSettings

logger = logging.getLogger(__name__)


class _Mergeable(Protocol):
    def merged_with(self, other: Self, /) -> Self: ...


Issuers = TypeVar("Issuers", bound=_Mergeable)


class TrustFile(Generic[Issuers]):
    """The trusted issuers of an authenticator: those of the configured file and the built-in ones.

    Args:
        setting: the setting with the path, for messages.
        path: the JSON file; None if there is none.
        parse: parses its content; raises ValueError.
        builtin: the issuers of this server itself, in development.
    """

    def __init__(
        self,
        setting: str,
        path: Path | None,
        parse: Callable[[Json], Issuers],
        builtin: Issuers,
        count_reload: Callable[[str], None],
    ) -> None:
        self._setting = setting
        self._path = path
        self._parse = parse
        self._builtin = builtin
        self._count_reload = count_reload

    def read(self) -> Issuers:
        """Return the trusted issuers.

        Raises:
            InvalidSettings: the file can't be read, or its content is invalid.
        """
        if self._path is None:
            return self._builtin
        try:
            return read_json(self._path, self._parse).merged_with(self._builtin)
        except ValueError as error:
            raise InvalidSettings(f"{self._setting}: {error}") from None

    def reload(self) -> Issuers | None:
        """Return the issuers of the file as it is now; log and count the outcome.

        None stands for no change: there is no file, or its content is invalid.
        """
        if self._path is None:
            return None
        try:
            issuers = self.read()
        except InvalidSettings as error:
            self._count_reload("rejected")
            logger.error("not reloaded: %s", error)  # noqa: TRY400 - a trace could hold values
            return None
        self._count_reload("accepted")
        logger.warning("%s: reloaded", self._setting)
        return issuers
