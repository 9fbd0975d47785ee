"""Health checks of the service: all at the same time, each within a limit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

LIMIT_SECONDS: Final = 3.0

logger = logging.getLogger(__name__)


class Heartbeat:
    """Runs health checks. Concurrent callers share a running check.

    Args:
        checks: the checks by name; each raises on failure, and writes only after a write has failed.
        limit: seconds after which a check has failed.
        advisory: the names of checks that do not count for health. The checked part logs its failures.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        limit: float = LIMIT_SECONDS,
        advisory: Collection[str] = (),
    ) -> None:
        self._advisory = advisory
        self._checks = checks
        self._limit = limit
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}
        self._executor = ThreadPoolExecutor(len(checks), thread_name_prefix="heartbeat")

    def statuses(self) -> dict[str, str]:
        """Return `ok`, `error` or `timeout` for each check."""
        until = time.monotonic() + self._limit
        with self._lock:
            for name, check in self._checks.items():
                if name not in self._running or self._running[name].done():
                    self._running[name] = self._executor.submit(check)
            futures = dict(self._running)
        return {
            name: _status(
                name, future, until, logging.DEBUG if name in self._advisory else logging.WARNING
            )
            for name, future in futures.items()
        }

    def is_healthy(self, statuses: Mapping[str, str]) -> bool:
        """Return whether the service is healthy by statuses that `statuses` returned."""
        return all(status == "ok" for name, status in statuses.items() if name not in self._advisory)

    def close(self) -> None:
        """Start no more checks."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _status(name: str, future: Future[None], until: float, level: int) -> str:
    try:
        future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        logger.log(level, "heartbeat: %s did not answer in time", name)
        return "timeout"
    except Exception as error:  # noqa: BLE001 - any error is a failure
        logger.log(level, "heartbeat: %s failed: %s", name, type(error).__name__)
        return "error"
    return "ok"
