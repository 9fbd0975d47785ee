"""Observation of the server and its machine during a run."""

from __future__ import annotations

import http.client
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from loadtest.record import ServerSample

PERIOD: Final = 2.0
"""Seconds between two samples."""

_PATIENCE: Final = 2.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{.*\})?) ([^ ]+)(?: [0-9]+)?")


@dataclass(frozen=True, slots=True)
class ProcessFamily:
    """A process and all its descendants; their processor time includes ended descendants."""

    started_at: float
    cpu_seconds: float
    resident_bytes: float
    cores: float

    @classmethod
    def of(cls, pid: int) -> ProcessFamily | None:
        """Return the present state, or None if there is no such process."""
        stats = _stats()
        if pid not in stats:
            return None
        family = _family(pid, stats)
        try:
            cores = float(len(os.sched_getaffinity(pid)))
        except OSError:
            return None
        # The time of ended processes counts for the parent that waited for them.
        ticks = sum(sum(map(int, stats[each][11:15])) for each in family)
        resident = sum(int(stats[each][21]) for each in family) * _PAGE
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        started = boot + int(stats[pid][19]) / _TICKS
        return cls(round(started, 1), ticks / _TICKS, float(resident), cores)


class Watcher:
    """Observes a server from outside, by its clock, its metrics' URL and its main process's id."""

    def __init__(self, origin: str, metrics: str | None, pid: int | None) -> None:
        self._origin = origin
        self._metrics = metrics
        self._pid = pid
        self._started_at: float | None = None

    def look(self) -> ServerSample:
        """Return the present state; what can't be read is None."""
        metrics = self._read_metrics()
        found = ProcessFamily.of(self._pid) if self._pid is not None else None
        started, cpu = metrics.get("process_start_time_seconds"), _cpu(metrics)
        resident = cores = None
        if found is not None:
            started, cpu = found.started_at, found.cpu_seconds
            resident, cores = found.resident_bytes, found.cores
        # The instant of the boot moves when the clock is set; a process has one start.
        if started is not None and self._started_at is not None and abs(started - self._started_at) < 1:
            started = self._started_at
        self._started_at = started
        return ServerSample(time.time(), started, cpu, resident, metrics, self._clock_offset(), cores)

    def _read_metrics(self) -> Mapping[str, float]:
        if self._metrics is None:
            return {}
        try:
            text, _ = _get(self._metrics)
        except (OSError, http.client.HTTPException):
            return {}
        return samples(text.decode("utf-8", "replace"))

    def _clock_offset(self) -> float | None:
        asked_at = time.time()
        try:
            _, date = _get(f"{self._origin}/__lbheartbeat__")
            # Date has whole seconds; the mean of the omitted part is half a second.
            return parsedate_to_datetime(date).timestamp() + 0.5 - (asked_at + time.time()) / 2
        except (OSError, http.client.HTTPException, ValueError, TypeError):
            return None


def samples(exposition: str) -> dict[str, float]:
    """Return the samples of a Prometheus exposition by name and labels, as written there.

    Buckets of histograms are omitted: they are the largest part, and unused here.
    """
    found = {}
    for line in exposition.splitlines():
        if (match := _SAMPLE.fullmatch(line)) and not match[1].partition("{")[0].endswith("_bucket"):
            try:
                found[match[1]] = float(match[2])
            except ValueError:
                continue
    return found


def _cpu(metrics: Mapping[str, float]) -> float | None:
    own = metrics.get("process_cpu_seconds_total")
    return None if own is None else own + metrics.get("persona_picture_cpu_seconds_total", 0.0)


def _get(url: str) -> tuple[bytes, str]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PATIENCE)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise http.client.HTTPException(response.status)
        return body, response.headers.get("Date", "")
    finally:
        connection.close()


def _stats() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat after the name, of every process (proc_pid_stat(5))."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text("utf-8", "replace")
            except OSError:
                continue
            found[int(entry.name)] = text.rpartition(")")[2].split()
    return found


def _family(pid: int, stats: Mapping[int, list[str]]) -> list[int]:
    family, fresh = [pid], {pid}
    while fresh:
        fresh = {each for each, fields in stats.items() if int(fields[1]) in fresh}
        family.extend(fresh)
    return family
