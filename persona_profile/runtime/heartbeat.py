"""Whether the service can do its work: every check at the same time, each within a limit."""

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
    """Carries out checks. While one is under way nobody begins it again: all wait for that one.

    Args:
        checks: by name; each returns if all is well, and raises otherwise. They write nothing.
        advisory: the names of those without which the service does its work all the same; that they
            have failed is logged by what they look at.
        limit: seconds after which a check has failed.
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
        self._under_way: dict[str, Future[None]] = {}
        self._executor = ThreadPoolExecutor(len(checks), thread_name_prefix="heartbeat")

    def statuses(self) -> dict[str, str]:
        """Return `ok`, `error` or `timeout` for each check."""
        until = time.monotonic() + self._limit
        with self._lock:
            for name, check in self._checks.items():
                if name not in self._under_way or self._under_way[name].done():
                    self._under_way[name] = self._executor.submit(check)
            futures = dict(self._under_way)
        return {
            name: _status(
                name, future, until, logging.DEBUG if name in self._advisory else logging.WARNING
            )
            for name, future in futures.items()
        }

    def is_well(self, statuses: Mapping[str, str]) -> bool:
        """Return whether the service can do its work, by what `statuses` returned."""
        return all(status == "ok" for name, status in statuses.items() if name not in self._advisory)

    def close(self) -> None:
        """Begin no more checks."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _status(name: str, future: Future[None], until: float, level: int) -> str:
    try:
        future.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        logger.log(level, "heartbeat: %s did not answer in time", name)
        return "timeout"
    except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
        logger.log(level, "heartbeat: %s failed: %s", name, type(error).__name__)
        return "error"
    return "ok"
