"""Stores whose calls tests can watch, stop and interleave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from backends import Address, Backend, Item, ItemInfo, Operation

WAIT_SECONDS = 60
"""The limit of a step, which only a hang reaches."""


class Killed(BaseException):
    """The simulated end of the process."""


class Call(NamedTuple):
    """A call of a backend, with its writes."""

    method: str
    partition: bytes = b""
    operations: Sequence[Operation] = ()


class Stepped(Backend):
    """Forwards calls to a store; calls `before` and `after` around each."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self._clock = getattr(inner, "_clock", time.time)
        self.before: Callable[[Call], None] = lambda _call: None
        self.after: Callable[[Call], None] = lambda _call: None

    def get_many(self, addresses: Iterable[Address]) -> Mapping[Address, Item]:
        return self._step(Call("get_many"), lambda: self.inner.get_many(addresses))

    def apply(self, partition: bytes, operations: Sequence[Operation]) -> Mapping[str, int]:
        call = Call("apply", partition, operations)
        return self._step(call, lambda: self.inner.apply(partition, operations))

    def list(self, partition: bytes) -> Sequence[ItemInfo]:
        return self._step(Call("list", partition), lambda: self.inner.list(partition))

    def scan(self, after: bytes | None, limit: int) -> Sequence[bytes]:
        return self._step(Call("scan"), lambda: self.inner.scan(after, limit))

    def purge_expired(self, limit: int) -> int:
        return self.inner.purge_expired(limit)

    def ping(self) -> None:
        self.inner.ping()

    def initialize(self) -> None:
        self.inner.initialize()

    def check_schema(self) -> None:
        self.inner.check_schema()

    def close(self) -> None:
        """Do nothing: the store is shared."""

    def _step(self, call, work):
        self.before(call)
        result = work()
        self.after(call)
        return result


def killing_after(backend: Stepped, calls: int) -> None:
    """Kill a process once its store has answered `calls` calls."""
    left = calls

    def count(_call: Call) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1

    backend.before = count


class Actor:
    """Work that makes one call of its backend at each step."""

    def __init__(self, inner: Backend, work: Callable[[Backend], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None
        self.steps = 0
        self.call = Call("")
        self._is_killed = False
        self._may_go = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        self.is_done = False
        backend = Stepped(inner)
        backend.before = self._wait
        self._thread = threading.Thread(target=self._run, args=(backend, work))
        self._thread.start()
        self._stopped()

    def step(self) -> None:
        """Execute one call; stop before the next."""
        self.steps += 1
        self._may_go.release()
        self._stopped()

    def kill(self) -> None:
        """Kill the work before its next call."""
        self._is_killed = True
        if not self.is_done:
            self._may_go.release()
            self._stopped()

    def finish(self) -> None:
        """Execute all remaining calls."""
        while not self.is_done:
            self.step()

    def _stopped(self) -> None:
        assert self._has_stopped.acquire(timeout=WAIT_SECONDS)

    def _wait(self, call: Call) -> None:
        if self._is_killed:
            raise Killed  # also in the other threads of the process
        self.call = call
        self._has_stopped.release()
        self._may_go.acquire()
        if self._is_killed:
            raise Killed

    def _run(self, backend: Stepped, work: Callable[[Backend], object]) -> None:
        try:
            self.result = work(backend)
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the test checks it
            self.error = error
        finally:
            self.is_done = True
            self._has_stopped.release()
