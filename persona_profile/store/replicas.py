"""Replicas of the store, which may lag behind without bound, be unreachable or be damaged.

They only serve items that never change, after the primary has named them as current. So the age of a
replica does not matter. Items that no replica returns in time come from the primary.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Final

from backends import Address, Backend, BackendError, Item, Unavailable
from backends.breaker import CircuitBreaker, CircuitOpen, Outcome
from persona_profile.runtime.stats import REPLICA_OUTCOMES, EventCounter, ReplicaStats

READ_SECONDS: Final = 0.5
"""The time limit of a read; after it the replica is left out for a while."""

CHECK_SECONDS: Final = 1.0
"""Time between two checks of a replica, and the pause after a first failure."""

MAX_PAUSE_SECONDS: Final = 15.0
"""Each failure doubles the pause after it up to this, until a read is answered."""

READS: Final = 6
"""The limit of simultaneous reads of one replica; further reads go to the primary."""

_Reading = Future[Mapping[Address, Item]]
_Job = tuple[_Reading, Sequence[Address]]

logger = logging.getLogger(__name__)


class Replicas:
    """The replicas of a store, or none.

    Args:
        backends: the replicas; none needs to be reachable.

    Attributes:
        reads: the number of reads by outcome, one of `REPLICA_OUTCOMES`.
    """

    def __init__(
        self,
        backends: Sequence[Backend] = (),
        *,
        read_seconds: float = READ_SECONDS,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self.reads = EventCounter((outcome,) for outcome in REPLICA_OUTCOMES)
        self._replicas = [
            _Replica(f"replica {number}", backend, read_seconds, check_seconds)
            for number, backend in enumerate(backends, 1)
        ]

    @property
    def has_healthy(self) -> bool:
        """Whether any replica is healthy."""
        return any(replica.is_healthy for replica in self._replicas)

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        """Return the items that a replica has, of any age; none if no replica answers in time."""
        wanted = list(addresses)
        if not self._replicas or not wanted:
            return {}
        healthy = [replica for replica in self._replicas if replica.is_healthy]
        for replica in random.sample(healthy, len(healthy)):
            if replica.take():
                found = replica.get_many(wanted)
                break
        else:
            self.reads.count("skipped")
            return {}
        if found is None:
            self.reads.count("failed")
            return {}
        self.reads.count("served" if len(found) == len(set(wanted)) else "missing")
        return found

    def report_damage(self) -> None:
        """Count and log an item from a replica that does not open."""
        self.reads.count("damaged")
        logger.error("a replica has an item that does not open")

    def check(self) -> None:
        """Return if all replicas are healthy.

        Raises:
            Unavailable: a replica is not.
        """
        if self.stats().unreachable:
            raise Unavailable("a replica is not asked")

    def stats(self) -> ReplicaStats:
        """Return the number of replicas and of those that are not asked now."""
        unreachable = sum(not replica.is_healthy for replica in self._replicas)
        return ReplicaStats(len(self._replicas), unreachable)

    def close(self) -> None:
        """Stop checks and reads, and release connections."""
        for replica in self._replicas:
            replica.close()


class _Replica:
    """One replica, checked by a thread of its own: no request waits for one that is silent."""

    def __init__(self, name: str, backend: Backend, read_seconds: float, check_seconds: float) -> None:
        self._name = name
        self._backend = backend
        self._read_seconds = read_seconds
        self._check_seconds = check_seconds
        self._breaker = CircuitBreaker(pause=check_seconds, max_pause=MAX_PAUSE_SECONDS, is_open=True)
        self._lock = threading.Lock()
        self._is_reported = False
        self._free = threading.BoundedSemaphore(READS)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        # Threads of an executor would delay the end of the process until their reads end.
        for work in (self._check_regularly, *[self._read] * READS):
            threading.Thread(target=work, name=name, daemon=True).start()

    @property
    def is_healthy(self) -> bool:
        """Whether its last check and its last read were answered."""
        return not self._breaker.is_open and not self._closed.is_set()

    def take(self) -> bool:
        """Return whether another read may begin; if so, call `get_many`."""
        return self._free.acquire(blocking=False)

    def get_many(self, addresses: Sequence[Address]) -> Mapping[Address, Item] | None:
        """Read items; return None if that failed or was not answered in time."""
        reading: _Reading = Future()
        self._jobs.put((reading, addresses))
        try:
            found = reading.result(self._read_seconds)
        except TimeoutError:
            self._fail("it did not answer in time")
        except Exception as error:  # noqa: BLE001 - whatever it is, the primary has the item
            self._fail(_reason(error))
        else:
            # Not the answer of a read that was sent before another one failed.
            if not self._breaker.is_open:
                self._breaker.record(Outcome.ANSWERED)
            return found
        return None

    def close(self) -> None:
        """Stop checks and reads, and release connections."""
        self._closed.set()
        for _ in range(READS):
            self._jobs.put(None)
        self._backend.close()

    def _read(self) -> None:
        while (job := self._jobs.get()) is not None:
            reading, addresses = job
            try:
                found = self._backend.get_many(addresses)
            except Exception as error:  # noqa: BLE001 - `get_many` raises it again
                self._free.release()
                reading.set_exception(error)
            else:
                self._free.release()
                reading.set_result(found)

    def _check_regularly(self) -> None:
        while not self._closed.is_set():
            self._check()
            self._closed.wait(self._check_seconds)

    def _check(self) -> None:
        try:
            if not self._breaker.is_open:
                self._backend.ping()
                return
            with self._breaker.call():
                self._backend.check_schema()
            self._log_change(None)
        except CircuitOpen:
            pass  # its pause is not over
        except Exception as error:  # noqa: BLE001 - whatever it is, reads would fail too
            self._fail(_reason(error))

    def _fail(self, reason: str) -> None:
        self._breaker.record(Outcome.FAILED)
        self._log_change(reason)

    def _log_change(self, failure: str | None) -> None:
        """Log the first of several failures, and the answer after them."""
        with self._lock:
            is_news = self._is_reported != (failure is not None)
            self._is_reported = failure is not None
        if is_news and not self._closed.is_set():
            if failure is None:
                logger.warning("%s is healthy again", self._name)
            else:
                logger.warning("%s is left out: %s", self._name, failure)


def _reason(error: Exception) -> str:
    """Return the text of an error for the log, without secrets."""
    return str(error) if isinstance(error, BackendError) else type(error).__name__
