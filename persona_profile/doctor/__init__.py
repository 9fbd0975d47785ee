"""The examination of an installation: checks that run side by side, each within a limit of time.

A check yields findings (`backends.findings`) and changes nothing. Its findings hold no secret and no
email. Parts of the service that it uses raise errors whose messages are for operators.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from backends import BackendError
from backends.findings import Finding, failed
from persona_profile.errors import ServiceError
from persona_profile.keys.keyring import KeyringError
from persona_profile.keys.service import KeysUnavailable
from persona_profile.settings import InvalidSettings

CHECK_SECONDS: Final = 10.0
"""The limit of a check: above the limits of a silent database's connection and of a fetch."""

MAX_THREADS: Final = 16
"""Checks at the same time."""

_FOR_OPERATORS: Final = (BackendError, KeyringError, KeysUnavailable, InvalidSettings)


class Check(NamedTuple):
    """An examination of a part of the installation."""

    part: str
    examine: Callable[[], Iterable[Finding]]


class Result(NamedTuple):
    """A finding about a part."""

    part: str
    finding: Finding


def examine(checks: Sequence[Check], seconds: float = CHECK_SECONDS) -> Iterator[Result]:
    """Run checks, MAX_THREADS side by side; yield their findings in the order of the checks."""
    for first in range(0, len(checks), MAX_THREADS):
        running = [_Running(each) for each in checks[first : first + MAX_THREADS]]
        until = time.monotonic() + seconds
        for each in running:
            yield from each.results(max(0.0, until - time.monotonic()), seconds)


class _Running:
    """A check in a thread of its own. The process ends without waiting for it."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._findings: list[Finding] = []
        self._thread = threading.Thread(target=self._run, name=f"doctor-{check.part}", daemon=True)
        self._thread.start()

    def results(self, wait: float, seconds: float) -> Iterator[Result]:
        """Yield the findings until an end or a time; the time is a failure."""
        self._thread.join(wait)
        is_late = self._thread.is_alive()
        findings = list(self._findings)
        if is_late:
            message = f"no result within {seconds:.0f} s"
            findings.append(failed("time", message, "look for a server or a network that is silent"))
        for each in findings:
            yield Result(self._check.part, each)

    def _run(self) -> None:
        try:
            for each in self._check.examine():
                self._findings.append(each)
        except _FOR_OPERATORS as error:
            first, *more = str(error).split("\n")
            message, advice = first, "; ".join(line.strip() for line in more)
            self._findings.append(failed("use", message, advice))
        except ServiceError as error:
            self._findings.append(failed("use", error.code, "see the code in docs/reference/api.md"))
        except OSError as error:
            self._findings.append(failed("use", error.strerror or type(error).__name__, ""))
        except Exception as error:  # noqa: BLE001 - messages of others may hold values
            message = f"the check failed ({type(error).__name__})"
            self._findings.append(failed("use", message, "report it with `--version`"))
