"""Other projects' servers in tests: started, frozen, killed and stopped by process id."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self


class Daemon:
    """A process that a test starts, stops, freezes and kills."""

    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, once started."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; return once it answers."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start the process, and stop it at the end of the block."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def launch(self, command: Sequence[str]) -> None:
        """Start the process without waiting for its readiness."""
        assert not self.is_running
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        """Freeze (SIGSTOP), thaw (SIGCONT) or kill the process; a SIGKILL waits for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait(30)

    def stop(self) -> None:
        """Terminate the process, frozen or not."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
