"""Checking a store: whether everything in it opens, belongs where it is, and is named by somebody.

The store may be in use. Nothing is reported that a writer could have caused between two reads:

- `get_many` sees a partition whole, so what is missing from the answer that holds the profile which
  names it was missing at that instant. Each read of renditions therefore reads `key` and `profile`
  again, and begins anew if they have changed.
- Versions are never used twice, so an item that stands at one version before and after a profile was
  read was there when that profile did not name it.

Items that are not sealed (`not_before`, used proofs) have nothing to check but their names.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from backends import MAX_VALUE_BYTES, Address, Backend, Item, ItemInfo
from persona_profile.encoding import json_decode
from persona_profile.keywrap import WRAPPED_KEY_BYTES, KeyWrapper, Unreadable
from persona_profile.model import (
    KEY_ITEM,
    NOT_BEFORE_ITEM,
    PROFILE_ITEM,
    Picture,
    Profile,
    parse_picture_item,
)
from persona_profile.partitions import USED_PROOF_ITEM, USED_PROOF_PREFIX, walk

READ_BYTES: Final = MAX_VALUE_BYTES
"""About how many bytes of renditions are in memory at once."""

PATIENCE_SECONDS: Final = 10.0
"""For how long a partition is read anew because somebody keeps writing to it."""

_KNOWN_ITEMS: Final = {KEY_ITEM, PROFILE_ITEM, NOT_BEFORE_ITEM}


class FindingKind(StrEnum):
    """What can be wrong with a partition or an item."""

    UNREADABLE_KEY = "unreadable_key"
    UNREADABLE_PROFILE = "unreadable_profile"
    HALF_PROFILE = "half_profile"
    WRONG_PARTITION = "wrong_partition"
    DANGLING_PICTURE = "dangling_picture"
    UNREADABLE_PICTURE = "unreadable_picture"
    ORPHAN_ITEM = "orphan_item"
    UNKNOWN_ITEM = "unknown_item"
    UNKNOWN_PARTITION = "unknown_partition"


MEANINGS: Final[Mapping[FindingKind, str]] = {
    FindingKind.UNREADABLE_KEY: "the data key or the sealed email does not open with this keyring",
    FindingKind.UNREADABLE_PROFILE: "the profile does not open, or is not of the form that is written",
    FindingKind.HALF_PROFILE: "the named one of key and profile is missing beside the other",
    FindingKind.WRONG_PARTITION: "the email that is sealed here belongs into another partition",
    FindingKind.DANGLING_PICTURE: "the profile names this rendition, which is not there",
    FindingKind.UNREADABLE_PICTURE: "the rendition does not open, or is no image of its format",
    FindingKind.ORPHAN_ITEM: "a rendition that no profile names",
    FindingKind.UNKNOWN_ITEM: "an item of a name that this service does not write",
    FindingKind.UNKNOWN_PARTITION: "neither of used proofs nor under this keyring's index version",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `item` is the item's name, empty for the partition as a whole."""

    kind: FindingKind
    partition: bytes
    item: str = ""


@dataclass(slots=True)
class Verified:
    """What was checked, and how much of it was wrong.

    Attributes:
        partitions: all that the walk met.
        used_proofs: partitions of used proofs among them.
        profiles: partitions that hold a `profile` item.
        renditions: those that were opened, readable or not.
        bytes_read: bytes of all values that were read.
        key_versions: how many data keys are wrapped under each version of the key-encryption key.
        stale_keys: how many of them are not under the primary one; no error.
        unsettled: partitions that were written for so long that they could not be checked.
        findings: how many of each kind.
    """

    partitions: int = 0
    used_proofs: int = 0
    profiles: int = 0
    renditions: int = 0
    bytes_read: int = 0
    key_versions: Counter[int] = field(default_factory=Counter)
    stale_keys: int = 0
    unsettled: int = 0
    findings: Counter[FindingKind] = field(default_factory=Counter)


class Verification:
    """Checks all partitions of a store, one after the other; never writes.

    Args:
        backend: where sealed items are kept.
        keys: what sealed them.
        report: is given each finding as it is made.
        patience: seconds for which a partition is read anew while it is being written.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        report: Callable[[Finding], None],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._report = report
        self._patience = patience
        # The service finds nothing under any other version.
        self._index_version = keys.partition("")[:1]
        self.verified = Verified()

    def run(
        self, after: bytes | None = None, progress: Callable[[bytes], None] = lambda _partition: None
    ) -> Verified:
        """Check the partitions that follow `after`; tell `progress` of each that was checked.

        Raises:
            Unavailable: the storage does not answer.
        """
        for partition in walk(self._backend, after):
            self.verified.partitions += 1
            if partition.startswith(USED_PROOF_PREFIX):
                self._check_used_proof(partition)
            else:
                self._check(partition)
            progress(partition)
        return self.verified

    def _found(self, finding: Finding) -> None:
        self.verified.findings[finding.kind] += 1
        self._report(finding)

    def _check_used_proof(self, partition: bytes) -> None:
        self.verified.used_proofs += 1
        for info in self._backend.list(partition):
            if info.name != USED_PROOF_ITEM:
                self._found(Finding(FindingKind.UNKNOWN_ITEM, partition, info.name))

    def _check(self, partition: bytes) -> None:
        check = self._settled(partition)
        if check is None:
            self.verified.unsettled += 1
            return
        self.verified.profiles += check.has_profile
        self.verified.renditions += check.renditions
        self.verified.bytes_read += check.bytes_read
        if check.wrapped is not None:
            self._count_key(check.wrapped)
        findings = check.findings
        # Whose key opens is an email's, left behind when the index key was replaced: that says more.
        if not partition.startswith(self._index_version) and not check.is_misplaced:
            findings = [] if check.is_empty else [Finding(FindingKind.UNKNOWN_PARTITION, partition)]
        for finding in findings:
            self._found(finding)

    def _settled(self, partition: bytes) -> _PartitionCheck | None:
        """Check a partition until nobody wrote to it meanwhile; none if that never happened."""
        deadline = time.monotonic() + self._patience
        while True:
            check = _PartitionCheck(self._backend, self._keys, partition)
            try:
                check.run()
            except _Changed:
                if time.monotonic() > deadline:
                    return None
                time.sleep(random.uniform(0, 0.01))  # noqa: S311 - falls out of step with a writer
            else:
                return check

    def _count_key(self, wrapped: bytes) -> None:
        try:
            version = self._keys.wrapping_version(wrapped)
        except Unreadable:
            return
        self.verified.key_versions[version] += 1
        self.verified.stale_keys += self._keys.needs_rewrap(wrapped)


class _Changed(Exception):
    """A profile was written between two reads of it."""


class _PartitionCheck:
    """One attempt at checking an email's partition."""

    def __init__(self, backend: Backend, keys: KeyWrapper, partition: bytes) -> None:
        self._backend = backend
        self._keys = keys
        self._partition = partition
        self._infos: Mapping[str, ItemInfo] = {}
        self._versions: tuple[int | None, int | None] = (None, None)
        self.findings: list[Finding] = []
        self.wrapped: bytes | None = None
        self.is_empty = False
        self.is_misplaced = False
        self.has_profile = False
        self.renditions = 0
        self.bytes_read = 0

    def run(self) -> None:
        """Check everything.

        Raises:
            _Changed: what was read does not belong together; start anew.
            Unavailable: the storage does not answer.
        """
        self._infos = {info.name: info for info in self._backend.list(self._partition)}
        self.is_empty = not self._infos
        for name in self._infos:
            if name not in _KNOWN_ITEMS and parse_picture_item(name) is None:
                self._found(FindingKind.UNKNOWN_ITEM, name)
        key, profile, _ = self._read(())
        self._versions = _version(key), _version(profile)
        self.has_profile = profile is not None
        data_key = self._open_key(key) if key else None
        if key is None and profile is None:
            self._check_orphans(())
        elif key is None or profile is None:
            self._found(FindingKind.HALF_PROFILE, PROFILE_ITEM if key else KEY_ITEM)
        elif data_key is not None:
            names = self._open_profile(data_key, profile)
            if names is not None:
                self._check_renditions(data_key, names)
                self._check_orphans(names)

    def _found(self, kind: FindingKind, item: str) -> None:
        self.findings.append(Finding(kind, self._partition, item))

    def _read(self, names: Iterable[str]) -> tuple[Item | None, Item | None, Mapping[str, Item]]:
        """Read key, profile and items of these names, all of one instant."""
        addresses = [Address(self._partition, name) for name in (KEY_ITEM, PROFILE_ITEM, *names)]
        found = self._backend.get_many(addresses)
        items = {address.name: item for address, item in found.items()}
        self.bytes_read += sum(len(item.value) for item in items.values())
        return items.pop(KEY_ITEM, None), items.pop(PROFILE_ITEM, None), items

    def _open_key(self, item: Item) -> bytes | None:
        self.wrapped = item.value[:WRAPPED_KEY_BYTES]
        data_key = None
        try:
            data_key = self._keys.unwrap(self._partition, self.wrapped)
            owner = self._keys.open(data_key, KEY_ITEM, item.value[WRAPPED_KEY_BYTES:])
            self.is_misplaced = self._keys.partition(_email(owner)) != self._partition
        except Unreadable:
            self._found(FindingKind.UNREADABLE_KEY, KEY_ITEM)
        if self.is_misplaced:
            self._found(FindingKind.WRONG_PARTITION, KEY_ITEM)
        return data_key

    def _open_profile(self, data_key: bytes, item: Item) -> list[str] | None:
        """Return the names of the renditions that a profile names; none if it does not open."""
        try:
            plaintext = self._keys.open(data_key, PROFILE_ITEM, item.value)
            return _names(_parse(plaintext, item.version).picture)
        except Unreadable:
            self._found(FindingKind.UNREADABLE_PROFILE, PROFILE_ITEM)
            return None

    def _check_renditions(self, data_key: bytes, names: Iterable[str]) -> None:
        for portion in self._portions(names):
            key, profile, items = self._read(portion)
            if (_version(key), _version(profile)) != self._versions:
                raise _Changed
            for name in portion:
                if name not in items:
                    self._found(FindingKind.DANGLING_PICTURE, name)
                    continue
                self.renditions += 1
                if not self._is_rendition(data_key, name, items[name].value):
                    self._found(FindingKind.UNREADABLE_PICTURE, name)

    def _is_rendition(self, data_key: bytes, name: str, record: bytes) -> bool:
        try:
            image = self._keys.open(data_key, name, record)
        except Unreadable:
            return False
        return _is_image(image, name.rpartition(".")[2])

    def _portions(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Divide renditions into reads of about READ_BYTES."""
        portion: list[str] = []
        size = 0
        for name in names:
            expected = self._infos[name].size if name in self._infos else 0
            if portion and size + expected > READ_BYTES:
                yield portion
                portion, size = [], 0
            portion.append(name)
            size += expected
        if portion:
            yield portion

    def _check_orphans(self, names: Iterable[str]) -> None:
        unnamed = [
            info
            for info in self._infos.values()
            if parse_picture_item(info.name) and info.name not in names
        ]
        if unnamed:
            now = {info.name: info.version for info in self._backend.list(self._partition)}
            for info in unnamed:
                if now.get(info.name) == info.version:
                    self._found(FindingKind.ORPHAN_ITEM, info.name)


def _version(item: Item | None) -> int | None:
    return item.version if item else None


def _email(owner: bytes) -> str:
    """Return the email that a `key` item holds.

    Raises:
        Unreadable: it is not of the form that is written.
    """
    try:
        document = json_decode(owner)
    except ValueError:
        raise Unreadable from None
    email = document.get("email") if isinstance(document, dict) else None
    if not isinstance(email, str):
        raise Unreadable
    return email


def _parse(plaintext: bytes, version: int) -> Profile:
    try:
        return Profile.from_bytes(plaintext, "", version)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Unreadable from None


def _names(picture: Picture | None) -> list[str]:
    names = picture.item_names() if picture else []
    if not all(map(parse_picture_item, names)):
        raise Unreadable
    return names


def _is_image(data: bytes, format_name: str) -> bool:
    """Tell whether data begins like an image of one of the formats that are stored."""
    match format_name:
        case "jpeg":
            return data.startswith(b"\xff\xd8\xff")
        case "webp":
            return data.startswith(b"RIFF") and data[8:12] == b"WEBP"
        case "avif":
            return data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")
    return False
