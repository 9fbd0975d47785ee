"""Requests that have waited too long for a thread.

waitress lets requests wait for a thread in a line without end. Where they come faster than they are
answered, as while each write waits for a slow disk, everybody would wait longer and longer, and nothing
would be refused.
"""

from __future__ import annotations

import time
from typing import Any, Final

from waitress.task import ThreadedTaskDispatcher

WAITED: Final = "persona_profile.waited"
"""Of a WSGI environment: how long the request has waited for a thread, in seconds."""

MOST_SECONDS: Final = 5.0
"""For so long a request may wait: dialogs give up after 8 s, and later answers would be for nobody."""


class Line(ThreadedTaskDispatcher):  # type: ignore[misc]
    """Threads, and the connections that wait for one."""

    def add_task(self, task: Any) -> None:
        """Let a connection wait, whose next request has come."""
        task.waits_since = time.monotonic()
        super().add_task(task)
