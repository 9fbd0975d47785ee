"""The memory of the service over a long steady load: flat, or a leak.

`persona-profile serve` as in production on a MariaDB of its own, under the load test's shape `soak`.
Prints the answers of each part of the run, and the memory of the service with its workers meanwhile.

    python benchmarks/soak.py --users 150000 --hours 1
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from deployment import Deployment, deployment

from loadtest import identities, run
from loadtest.record import Second, ServerSample, Step, Traffic, read

PARTS: Final = 6
MIB: Final = 1024 * 1024


def load(found: Deployment, folder: Path, arguments: Sequence[str]) -> Path:
    """Run the load test; return its record."""
    record = folder / "record"
    given = ["--shape", "soak", "--server-pid", str(found.service.pid)]
    assert run.locust(folder, record, found.service.origin, [*given, *arguments], 1) == 0
    return record


def report(record: Path) -> None:
    """Print each part of the measured step."""
    lines = list(read(record))
    [start] = [each.at for each in lines if isinstance(each, Step) and each.is_measured]
    end = min(each.at for each in lines if isinstance(each, Step) and each.at > start)
    samples = [each for each in lines if isinstance(each, ServerSample) and each.resident_bytes]
    length = (end - start) / PARTS
    memory = []
    print("minutes   requests   right   MiB of the service with its workers: mean, most")
    for number in range(PARTS):
        first, last = start + number * length, start + (number + 1) * length
        traffic = Traffic.of(
            each for each in lines if isinstance(each, Second) and first <= each.at < last
        )
        sizes = [each.resident_bytes / MIB for each in samples if first <= each.at < last]
        memory.append(sum(sizes) / len(sizes))
        print(
            f"{(last - start) / 60:7.0f} {traffic.planned:10,} {traffic.achieved:7.2%}"
            f"   {memory[-1]:.1f} {max(sizes):.1f}"
        )
    print(f"the last part over the second: {memory[-1] / memory[1]:.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=float, default=150_000, help="active users")
    parser.add_argument("--hours", type=float, default=1)
    parser.add_argument("--people", type=int, default=1000, help="identities")
    parser.add_argument("--pictures", type=Path, default=Path("var/loadtest/pictures"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        identities.make(folder / "identities", users=options.people)
        identities.mint(folder / "identities")
        (folder / "pictures").symlink_to(options.pictures.resolve())
        issuers = folder / "identities" / "pinned-issuers.json"
        with deployment(folder / "server", issuers) as found:
            arguments = ["--users-active", str(options.users), "--measured", str(3600 * options.hours)]
            report(load(found, folder, arguments))


if __name__ == "__main__":
    main()
