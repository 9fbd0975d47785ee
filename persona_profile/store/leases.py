"""Leases in the store: one process at a time, on any machine, does a job.

A lease is an item that its holder writes again and again. Another process that wants the lease
watches the item: if it changes, the holder lives; if it stays the same for `seconds`, the holder was
killed, and the other process takes the lease over at that version. So clocks of different machines
are never compared; the expiry of the item only removes it.

A lease only saves work: a process that stood still may go on after it has lost its lease. So each
write of a job needs its own compare-and-set.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from backends import ABSENT, Address, Backend, BackendError, Conflict, Delete, Put
from persona_profile.store.partitions import LEASES_PARTITION

LEASE_SECONDS: Final = 6.0
_STEPS: Final = 3
"""Writes of the lease by its holder in `seconds`, and reads by another process."""

_EXPIRES_AFTER: Final = 24 * 3600
"""Seconds; much more than the error of any clock."""


class LeaseHeld(BackendError):
    """Another process holds the lease."""


class LeaseLost(BackendError):
    """Another process has taken the lease over while this process stood still."""


class Lease:
    """A lease, held inside of a `with` statement.

    Args:
        name: of the job, for people.
        seconds: the time without a renewal after which a lease may be taken over.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        *,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._address = Address(LEASES_PARTITION, name)
        self._held = f"`{name}` is at work, on this machine or another"
        self._step = seconds / _STEPS
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._version = 0
        self._renewed_at = 0.0

    def __enter__(self) -> Self:
        """Take the lease; if it is held, wait until its holder is known to live or to be killed.

        Raises:
            LeaseHeld: the holder lives, or another process was faster.
        """
        found = self._backend.get_many([self._address]).get(self._address)
        for _ in range(_STEPS + 1 if found else 0):
            self._sleep(self._step)
            now = self._backend.get_many([self._address]).get(self._address)
            if now is None:
                found = None
                break
            if found is not None and now.version != found.version:
                raise LeaseHeld(self._held)
        try:
            self._write(found.version if found else None)
        except Conflict:
            raise LeaseHeld(self._held) from None
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the lease back; after a failure the item expires."""
        with suppress(BackendError):
            self._backend.apply(LEASES_PARTITION, [Delete(self._address.name, self._version)])

    def keep(self) -> None:
        """Renew the lease when a third of its time has passed.

        Raises:
            LeaseLost: another process has it.
        """
        if self._monotonic() - self._renewed_at < self._step:
            return
        try:
            self._write(self._version)
        except Conflict:
            raise LeaseLost("this process stood still, and another one has taken over") from None

    def sleep(self, seconds: float) -> None:
        """Wait, and renew the lease meanwhile.

        Raises:
            LeaseLost, Unavailable: see `keep`.
        """
        until = self._monotonic() + seconds
        while (left := until - self._monotonic()) > 0:
            self._sleep(min(left, self._step))
            self.keep()

    def _write(self, version: int | None) -> None:
        put = Put(
            self._address.name,
            b"",
            if_version=ABSENT if version is None else version,
            expires_at=int(self._clock()) + _EXPIRES_AFTER,
        )
        self._version = self._backend.apply(LEASES_PARTITION, [put])[self._address.name]
        self._renewed_at = self._monotonic()
