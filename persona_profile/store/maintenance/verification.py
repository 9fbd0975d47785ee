"""The check of a store: every item opens, is in its place, and is part of a profile.

The store may be in use. Writers between two reads cause no findings:

- `get_many` sees a partition whole. If a rendition is missing beside the profile that names it, it
  was missing at that instant. So each read of renditions reads `key` and `profile` again, and the
  check starts again if they have changed.
- Versions are never used twice. An item with the same version before and after the read of a profile
  existed when that profile did not name it.

Items that are not sealed (`not_before`, used proofs) are checked by name only.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from backends import Backend
from backends.copying.transfer import walk
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.maintenance.partition_check import (
    Changed,
    Finding,
    FindingKind,
    PartitionCheck,
)
from persona_profile.store.partitions import (
    LEASES_PARTITION,
    USED_PROOF_ITEM,
    USED_PROOF_PREFIX,
    WalkReport,
)

PATIENCE_SECONDS: Final = 10.0
"""How long a partition is read again while others keep writing to it."""

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
        unsettled: partitions that could not be checked, as others kept writing to them.
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
    unsettled: int = 0
    findings: Counter[FindingKind] = field(default_factory=Counter)


class Verification:
    """Checks all partitions of a store, one after the other; never writes.

    Args:
        on_finding: called with each finding.
        patience: seconds during which a partition is read again while others keep writing to it.
    """

    def __init__(
        self,
        backend: Backend,
        keys: KeyWrapper,
        on_finding: Callable[[Finding], None],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._backend = backend
        self._keys = keys
        self._on_finding = on_finding
        self._patience = patience
        self.verified = Verified()

    def run(self, after: bytes | None = None, report: WalkReport = lambda _: None) -> Verified:
        """Check the partitions that follow `after`."""
        for partition in walk(self._backend, after):
            self.verified.partitions += 1
            if partition == LEASES_PARTITION:
                pass
            elif partition.startswith(USED_PROOF_PREFIX):
                self._check_used_proof(partition)
            else:
                self._check(partition)
            report(partition)
        return self.verified

    def _found(self, finding: Finding) -> None:
        self.verified.findings[finding.kind] += 1
        self._on_finding(finding)

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

    def _settled(self, partition: bytes) -> PartitionCheck | None:
        """Check a partition again until nobody writes to it meanwhile; None after `patience`."""
        deadline = time.monotonic() + self._patience
        while True:
            check = PartitionCheck(self._backend, self._keys, partition)
            try:
                check.run()
            except Changed:
                if time.monotonic() > deadline:
                    return None
                time.sleep(random.uniform(0, 0.01))  # noqa: S311 - no secret
            else:
                return check

    def _count_key(self, wrapped: bytes) -> None:
        try:
            version = self._keys.wrapping_version(wrapped)
        except Unreadable:
            return
        self.verified.key_versions[version] += 1
        self.verified.stale_keys += self._keys.needs_rewrap(wrapped)
