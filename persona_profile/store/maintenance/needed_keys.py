"""The keys that the items of an archive need, by version; known without any key."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from backends import Item
from backends.copying import archive
from backends.copying.archive_format import ArchiveError, Keys
from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.keys.keyring_service import KeyringService
from persona_profile.keys.transit import TransitService
from persona_profile.store.items import KEY_ITEM, REMOVAL_ITEM, Forward, Moving
from persona_profile.store.maintenance.key_use import missing_keys

_WRAPPED: Final = struct.Struct(">4sI")
_SERVICE: Final = "service:"
_PREFIXES: Final = {KeyringService.magic: "", TransitService.magic: _SERVICE}


class NeededKeys:
    """Counts data keys by the key-encryption key that wraps them, and partitions by index key.

    Attributes:
        counts: by kind, then by version; `service:VERSION` is a key of the key service.
    """

    def __init__(self) -> None:
        self.counts: dict[KeyKind, Counter[str]] = {kind: Counter() for kind in KeyKind}

    @classmethod
    def of_archive(cls, file: BinaryIO) -> NeededKeys:
        """Read the record of a seekable archive about keys; read a whole archive without one.

        Raises:
            ArchiveError: the file is no archive, or damaged.
        """
        needed, keys = cls(), archive.read_keys(file)
        if keys is None:
            file.seek(0)
            archive.check(file, inspect=needed.add)
            return needed
        try:
            for kind, counts in needed.counts.items():
                counts.update({str(version): int(count) for version, count in keys[kind].items()})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ArchiveError("the archive's record about keys has another form") from None
        return needed

    def add(self, partition: bytes, items: Mapping[str, Item]) -> None:
        """Count a partition."""
        for name in (KEY_ITEM, REMOVAL_ITEM):
            if name in items:
                self._add(partition, items[name].value)

    def _add(self, partition: bytes, value: bytes) -> None:
        if Forward.parse(value) is not None:
            return
        moving = Moving.parse(value)
        value = moving.key_item if moving else value
        if len(value) < _WRAPPED.size:
            return
        magic, version = _WRAPPED.unpack_from(value)
        if magic in _PREFIXES:  # `storage verify` reports other items
            self.counts[KeyKind.ENCRYPTION][f"{_PREFIXES[magic]}{version}"] += 1
            self.counts[KeyKind.INDEX][str(partition[0])] += 1

    def record(self) -> Keys:
        """Return the counts for the record of an archive."""
        return {kind: _sorted(counts) for kind, counts in self.counts.items()}

    def missing(self, keyring: Keyring, *, has_service: bool) -> list[str]:
        """Return why a keyring, with or without a key service, can't open all items."""
        wraps, indexed = self.counts[KeyKind.ENCRYPTION], self.counts[KeyKind.INDEX]
        problems = missing_keys(keyring, wraps, {int(each): indexed[each] for each in indexed})
        if not has_service:
            problems += [
                f"{count:,} data keys are under {version}, and no key service is configured"
                for version, count in wraps.items()
                if version.startswith(_SERVICE)
            ]
        return problems

    def __bool__(self) -> bool:
        """Return whether a key is needed."""
        return any(self.counts.values())

    def __str__(self) -> str:
        """Return the versions, for people."""
        parts = []
        for kind, counts in self.counts.items():
            if counts:
                noun = "key" if len(counts) == 1 else "keys"
                parts.append(f"{kind} {noun} {', '.join(_sorted(counts))}")
        return " and ".join(parts) or "no key"


def _sorted(counts: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(counts.items(), key=lambda each: (len(each[0]), each[0])))
