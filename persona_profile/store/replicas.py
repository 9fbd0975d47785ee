"""Copies of the store that may lag behind without bound, fall silent or be damaged.

They are asked for nothing but the bytes of items that never change, and only once the primary has told
that these are current: so it does not matter how old a replica is, and nothing of it needs to be
remembered. What none has in time comes from the primary.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from backends import Address, Backend, BackendError, Item, Unavailable
from persona_profile.runtime.stats import ReplicaStats

READ_SECONDS: Final = 0.5
"""After which a read is given up, and the replica not asked for a while."""

CHECK_SECONDS: Final = 1.0
"""Between two looks at a replica, and for how long it is left alone at least."""

MOST_PAUSE_SECONDS: Final = 15.0
"""At the most: each failure makes it twice as long as before, until a read is answered."""

READS: Final = 6
"""How many reads of one replica there are at once; more are left to the primary."""

_Reading = Future[Mapping[Address, Item]]
_Job = tuple[_Reading, Sequence[Address]]

logger = logging.getLogger(__name__)


class Replicas:
    """The replicas of a store, or none.

    Args:
        backends: each a replica; none needs to be reachable.
        observe: is told of each read how it ended, one of `REPLICA_OUTCOMES`.
        read_seconds: see READ_SECONDS.
        check_seconds: see CHECK_SECONDS.
    """

    def __init__(
        self,
        backends: Sequence[Backend] = (),
        observe: Callable[[str], None] = lambda _outcome: None,
        *,
        read_seconds: float = READ_SECONDS,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._observe = observe
        self._replicas = [
            _Replica(f"replica {number}", backend, read_seconds, check_seconds)
            for number, backend in enumerate(backends, 1)
        ]

    @property
    def can_be_asked(self) -> bool:
        """Whether one of them is held to answer."""
        return any(replica.is_well for replica in self._replicas)

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        """Return what a replica has of items: of any age, and nothing if none answers in time."""
        wanted = list(addresses)
        if not self._replicas or not wanted:
            return {}
        well = [replica for replica in self._replicas if replica.is_well]
        for replica in random.sample(well, len(well)):
            if replica.take():
                found = replica.get_many(wanted)
                break
        else:
            self._observe("skipped")
            return {}
        if found is None:
            self._observe("failed")
            return {}
        self._observe("served" if len(found) == len(set(wanted)) else "missing")
        return found

    def report_damage(self) -> None:
        """Note that something which a replica answered does not open."""
        self._observe("damaged")
        logger.error("a replica has an item that does not open")

    def check(self) -> None:
        """Return if all of them are asked.

        Raises:
            Unavailable: one is not.
        """
        if self.figures().silent:
            raise Unavailable("a replica is not asked")

    def figures(self) -> ReplicaStats:
        """Return what there is to watch, without asking any."""
        silent = sum(not replica.is_well for replica in self._replicas)
        return ReplicaStats(len(self._replicas), silent)

    def close(self) -> None:
        """Ask no more, and release connections."""
        for replica in self._replicas:
            replica.close()


class _Replica:
    """One of them, looked after by a thread of its own: no request finds out that it is silent."""

    def __init__(self, name: str, backend: Backend, read_seconds: float, check_seconds: float) -> None:
        self.is_well = False
        self._name = name
        self._backend = backend
        self._read_seconds = read_seconds
        self._check_seconds = check_seconds
        self._lock = threading.Lock()
        self._pause = check_seconds
        self._resumes_at = 0.0
        self._told: str | None = None
        self._free = threading.BoundedSemaphore(READS)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        # Reads are waited for no longer than read_seconds, whatever limits the backend has; nor does
        # the end of the process wait for them, as for those of an executor.
        for work in (self._look_after, *[self._read] * READS):
            threading.Thread(target=work, name=name, daemon=True).start()

    def take(self) -> bool:
        """Return whether one more read may begin; then it must."""
        return self._free.acquire(blocking=False)

    def get_many(self, addresses: Sequence[Address]) -> Mapping[Address, Item] | None:
        """Read; return nothing if it failed or was not answered in time."""
        reading: _Reading = Future()
        self._jobs.put((reading, addresses))
        try:
            found = reading.result(self._read_seconds)
        except TimeoutError:
            self._leave_alone("it did not answer in time")
        except Exception as error:  # noqa: BLE001 - whatever it is, the primary has the item
            self._leave_alone(_reason(error))
        else:
            self._pause = self._check_seconds
            return found
        return None

    def close(self) -> None:
        """Ask no more, and release connections."""
        self._closed.set()
        self.is_well = False
        for _ in range(READS):
            self._jobs.put(None)
        self._backend.close()

    def _read(self) -> None:
        while (job := self._jobs.get()) is not None:
            reading, addresses = job
            try:
                found = self._backend.get_many(addresses)
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                self._free.release()
                reading.set_exception(error)
            else:
                self._free.release()
                reading.set_result(found)

    def _leave_alone(self, reason: str) -> None:
        """Do not ask it for a while, after a read that failed."""
        with self._lock:
            if self.is_well:  # of several reads at once the first counts
                self._wait_longer()
            self._tell(reason)

    def _wait_longer(self) -> None:
        self._resumes_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, MOST_PAUSE_SECONDS)

    def _look_after(self) -> None:
        while not self._closed.is_set():
            if time.monotonic() >= self._resumes_at:
                self._look()
            self._closed.wait(self._check_seconds)

    def _look(self) -> None:
        began = time.monotonic()
        reason = None
        try:
            if self.is_well:
                self._backend.ping()
            else:
                self._backend.check_schema()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not to be asked
            reason = _reason(error)
        with self._lock:
            # A read may have failed since.
            if self._resumes_at <= began and not self._closed.is_set():
                if reason is not None:
                    self._wait_longer()
                self._tell(reason)

    def _tell(self, reason: str | None) -> None:
        """Note why it is not asked, or that it is; log what is new."""
        self.is_well = reason is None
        if reason == self._told and self.is_well:
            return
        if reason is None:
            logger.warning("%s is asked again", self._name)
        elif self._told is None:
            logger.warning("%s is not asked: %s", self._name, reason)
        self._told = reason


def _reason(error: Exception) -> str:
    """Return what may be logged of an error."""
    return str(error) if isinstance(error, BackendError) else type(error).__name__
