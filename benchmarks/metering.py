"""Who used how much of the processor, read once a second while a load test goes on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from loadtest.generator.watcher import ProcessFamily

ALL = "all"
"""Name of what everybody used."""


class Meter:
    """Reads processor time: of families of processes, and of everybody.

    Args:
        pids: of the first process of each family, by name.
        cores: whose time `ALL` is, as /proc/stat names it: `cpu` for every core, `cpu1` for one.
    """

    def __init__(self, pids: Mapping[str, int], cores: str = "cpu") -> None:
        self._pids = dict(pids)
        self._cores = cores
        self._readings: list[tuple[float, dict[str, float]]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def look(self) -> dict[str, float]:
        """Return the seconds that each has used so far, by name.

        Raises:
            OSError: a process is gone.
        """
        found = {ALL: self._busy()}
        for name, pid in self._pids.items():
            processes = ProcessFamily.of(pid)
            if processes is None:
                raise ProcessLookupError(name)
            found[name] = processes.cpu_seconds
        return found

    def between(self, start: float, end: float) -> dict[str, float]:
        """Return what each used on average between two instants, in cores."""
        part = [each for each in self._readings if start <= each[0] <= end]
        (began, first), (ended, last) = part[0], part[-1]
        return {name: (last[name] - first[name]) / (ended - began) for name in first}

    @contextmanager
    def running(self) -> Iterator[None]:
        """Read meanwhile."""
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()

    def _busy(self) -> float:
        """Return the time of user, nice, system, irq, softirq and steal (proc_stat(5))."""
        lines = Path("/proc/stat").read_text().splitlines()
        [fields] = [line.split()[1:] for line in lines if line.split(maxsplit=1)[0] == self._cores]
        return sum(int(fields[index]) for index in (0, 1, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")

    def _run(self) -> None:
        while not self._is_over.wait(1):
            with suppress(OSError):
                self._readings.append((time.time(), self.look()))
