"""The results of a benchmark beside those of an earlier run, kept in a file."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("pyramid", "cornice", "webob", "waitress", "cryptography", "persona-profile-server")
DIGITS = 3


class Results:
    """Results by name.

    Args:
        path: of the JSON file with the kept results; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, float] = {}
        self._load = os.getloadavg()[0]

    def note(self, name: str, values: Iterable[float]) -> None:
        """Note the median of the values of all rounds."""
        self._found[name] = round(statistics.median(values), DIGITS)

    def report(self) -> None:
        """Print the difference of each result to the kept one."""
        if not self._path.exists():
            print(f"there is no {self._path.name} to compare with")
            return
        kept = json.loads(self._path.read_text())
        print(f"\ndifference to {self._path.name} of {kept['date']}, {kept['measured_on']}")
        for name, value in self._found.items():
            before = kept["results"].get(name)
            change = f"{value / before - 1:+.1%} of {before:.2f}" if before else "new"
            print(f"{name:<56} {value:5.2f}  {change}")
        now = _versions()
        for package, number in kept["versions"].items():
            if number != now.get(package):
                print(f"{package}: {number} then, {now.get(package)} now")

    def keep(self) -> None:
        """Write the results to the file, with the date, the machine and the versions."""
        document = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "measured_on": f"{_processor()}, {os.cpu_count()} cores, load average {self._load:.0f}",
            "versions": _versions(),
            "results": self._found,
        }
        self._path.write_text(json.dumps(document, indent=2) + "\n")


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")
