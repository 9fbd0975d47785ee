"""The examination: limits of time, errors of checks, threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from backends import Unavailable
from backends.findings import Finding, Level, ok, warning
from persona_profile.doctor import MAX_THREADS, Check, examine
from persona_profile.errors import InvalidProof


def test_silent_check():
    """A check without an end is a failure behind its findings so far; others are not held up."""
    never = threading.Event()

    def silent() -> Iterator[Finding]:
        yield ok("first", "seen")
        never.wait()
        yield ok("second", "unseen")

    checks = [Check("silent", silent), Check("quick", lambda: [ok("only", "seen")])]
    found = [(part, each.subject, each.level) for part, each in examine(checks, 0.2)]
    never.set()
    assert found == [
        ("silent", "first", Level.OK),
        ("silent", "time", Level.FAILED),
        ("quick", "only", Level.OK),
    ]


def test_errors():
    """Errors for operators keep their words; all others show their type alone."""

    def raising(error: Exception) -> Iterator[Finding]:
        yield warning("before", "seen", "do")
        raise error

    errors = (Unavailable("down"), InvalidProof("key_unknown"), OSError(13, "No"), KeyError("secret"))
    checks = [Check(str(n), lambda error=error: raising(error)) for n, error in enumerate(errors)]
    messages = [each.message for _, each in examine(checks) if each.level is Level.FAILED]
    assert messages == ["down", "key_unknown", "No", "the check failed (KeyError)"]


def test_many_checks():
    """More checks than threads run in turns, and all have findings."""
    running, most, lock = 0, 0, threading.Lock()

    def counting() -> Iterator[Finding]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        yield ok("use", "seen")
        with lock:
            running -= 1

    checks = [Check(str(number), counting) for number in range(3 * MAX_THREADS)]
    assert [part for part, _ in examine(checks)] == [each.part for each in checks]
    assert most <= MAX_THREADS
