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
)

PATIENCE_SECONDS: Final = 10.0
"""For how long a partition is read anew because somebody keeps writing to it."""

MEANINGS: Final[Mapping[FindingKind, str]] = {
    FindingKind.UNREADABLE_KEY: "the data key or the sealed email does not open with this keyring",
    FindingKind.UNREADABLE_PROFILE: "the profile does not open, or is not of the form that is written",
    FindingKind.HALF_PROFILE: "the named one of key and profile is missing beside the other",
    FindingKind.WRONG_PARTITION: "the email that is sealed here belongs into another partition",
    FindingKind.TWO_HOMES: "the email that is sealed here has a profile under another index key too",
    FindingKind.DANGLING_PICTURE: "the profile names this rendition, which is not there",
    FindingKind.UNREADABLE_PICTURE: "the rendition does not open, or is no image of its format",
    FindingKind.ORPHAN_ITEM: "a rendition, or a copy of a profile, that nothing names",
    FindingKind.UNKNOWN_ITEM: "an item of a name that this service does not write",
    FindingKind.UNKNOWN_PARTITION: "neither of used proofs nor under an index key of this keyring",
}


@dataclass(slots=True)
class Verified:
    """What was checked, and how much of it was wrong.

    Attributes:
        partitions: all that the walk met.
        used_proofs: partitions of used proofs among them.
        profiles: partitions that hold a `profile` item.
        renditions: those that were opened, readable or not.
        bytes_read: bytes of all values that were read.
        protected: profiles among them that open only with a person's own key: only their data keys
            were opened.
        key_versions: how many data keys are wrapped under each version of the key-encryption key.
        stale_keys: how many of them are not under the primary one; no error.
        moving: partitions with traces of a move to another index key that has not ended, copies that
            no profile names any more among them; no error.
        unsettled: partitions that were written for so long that they could not be checked.
        findings: how many of each kind.
    """

    partitions: int = 0
    used_proofs: int = 0
    profiles: int = 0
    protected: int = 0
    renditions: int = 0
    bytes_read: int = 0
    key_versions: Counter[str] = field(default_factory=Counter)
    stale_keys: int = 0
    moving: int = 0
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
            if partition == LEASES_PARTITION:
                pass
            elif partition.startswith(USED_PROOF_PREFIX):
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
        self.verified.protected += check.is_protected
        self.verified.moving += check.is_moving
        self.verified.renditions += check.renditions
        self.verified.bytes_read += check.bytes_read
        if check.wrapped is not None:
            self._count_key(check.wrapped)
        findings = check.findings
        # The service finds nothing under any other version. Whose key opens is an email's, left behind
        # when the index key was replaced: that says more. A forward leads on, and goes by itself.
        is_known = partition[0] in self._keys.index_versions or check.is_misplaced or check.is_forward
        if not is_known:
            findings = [] if check.is_empty else [Finding(FindingKind.UNKNOWN_PARTITION, partition)]
        for finding in findings:
            self._found(finding)

    def _settled(self, partition: bytes) -> PartitionCheck | None:
        """Check a partition until nobody wrote to it meanwhile; none if that never happened."""
        deadline = time.monotonic() + self._patience
        while True:
            check = PartitionCheck(self._backend, self._keys, partition)
            try:
                check.run()
            except Changed:
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
