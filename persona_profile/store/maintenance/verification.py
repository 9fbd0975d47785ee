"""The check of a store: every item opens, is in its place, and is part of a profile.

The store may be in use: each partition is read whole, as it was at one instant.

Items that are not sealed (`not_before`, used proofs) are checked by name only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from backends import Backend
from backends.copying.pace import UNLIMITED, Pace
from backends.copying.transfer import Items, Report, walk_items
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.maintenance.partition_check import (
    Finding,
    FindingKind,
    PartitionCheck,
)
from persona_profile.store.partitions import LEASES_PARTITION, USED_PROOF_ITEM, USED_PROOF_PREFIX

MEANINGS: Final[Mapping[FindingKind, str]] = {
    FindingKind.UNREADABLE_KEY: "the data key or the owner record does not open with this keyring",
    FindingKind.UNREADABLE_PROFILE: "the profile does not open, or has an unknown layout",
    FindingKind.HALF_PROFILE: "the named item is missing beside the other one of key and profile",
    FindingKind.WRONG_PARTITION: "the email of this partition belongs into another one",
    FindingKind.TWO_HOMES: "the email of this partition has a profile under another index key too",
    FindingKind.DANGLING_PICTURE: "the profile names this rendition, which is missing",
    FindingKind.UNREADABLE_PICTURE: "the rendition does not open, or is no image of its format",
    FindingKind.UNREADABLE_REMOVAL: "the removal of a picture does not open, or is of another email",
    FindingKind.ORPHAN_ITEM: "a rendition or a copy of a profile that is not in use",
    FindingKind.UNKNOWN_ITEM: "the name of this item is unknown",
    FindingKind.UNKNOWN_PARTITION: "the first byte is no index version of this keyring",
}


@dataclass
class Verified:
    """The numbers of checked items and of findings.

    Attributes:
        partitions: all partitions.
        used_proofs: partitions of used proofs.
        profiles: partitions with a `profile` item.
        protected: profiles that open only with a person's own key; their data keys were opened.
        renditions: renditions that were read.
        bytes_read: bytes of all values that were read.
        key_versions: data keys by the version of the key-encryption key that wraps them.
        stale_keys: data keys that the primary key does not wrap; no finding.
        moving: partitions with a move to another index key that has not ended, or with its leftover
            copy; no finding.
            findings: by kind.
    """

    partitions: int = 0
    profiles: int = 0
    protected: int = 0
    renditions: int = 0
    used_proofs: int = 0
    bytes_read: int = 0
    key_versions: Counter[str] = field(default_factory=Counter)
    stale_keys: int = 0
    moving: int = 0
    findings: Counter[FindingKind] = field(default_factory=Counter)


class Verification:
    """Checks all partitions of a store, one after the other; never writes.

    Args:
        on_finding: called with each finding.
    """

    def __init__(
        self, backend: Backend, keys: KeyWrapper, on_finding: Callable[[Finding], None]
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._on_finding = on_finding
        self.verified = Verified()

    def run(
        self,
        after: bytes | None = None,
        report: Report = lambda *_: None,
        *,
        pace: Pace = UNLIMITED,
    ) -> Verified:
        """Check the partitions that follow `after`."""
        for partition, items in walk_items(self._backend, after, pace):
            self.verified.partitions += 1
            if partition == LEASES_PARTITION:
                pass
            elif partition.startswith(USED_PROOF_PREFIX):
                self._check_used_proof(partition, items)
            else:
                self._check(partition, items)
            report("checking", self.verified.partitions, self.verified.bytes_read, partition)
        return self.verified

    def _found(self, finding: Finding) -> None:
        self.verified.findings[finding.kind] += 1
        self._on_finding(finding)

    def _check_used_proof(self, partition: bytes, items: Items) -> None:
        self.verified.used_proofs += 1
        for name in items:
            if name != USED_PROOF_ITEM:
                self._found(Finding(FindingKind.UNKNOWN_ITEM, partition, name))

    def _check(self, partition: bytes, items: Items) -> None:
        check = PartitionCheck(self._backend, self._keys, partition, items)
        check.run()
        self.verified.profiles += check.has_profile
        self.verified.protected += check.is_protected
        self.verified.moving += check.is_moving
        self.verified.renditions += check.renditions
        self.verified.bytes_read += check.bytes_read
        if check.wrapped is not None:
            self._count_key(check.wrapped)
        findings = check.findings
        # The service finds no partition under an unknown index version. But if its key opens,
        # WRONG_PARTITION says more, and a forward expires.
        is_known = partition[0] in self._keys.index_versions or check.is_misplaced or check.is_forward
        if not is_known:
            findings = [] if check.is_empty else [Finding(FindingKind.UNKNOWN_PARTITION, partition)]
        for finding in findings:
            self._found(finding)

    def _count_key(self, wrapped: bytes) -> None:
        try:
            version = self._keys.wrapping_version(wrapped)
        except Unreadable:
            return
        self.verified.key_versions[version] += 1
        self.verified.stale_keys += self._keys.needs_rewrap(wrapped)
