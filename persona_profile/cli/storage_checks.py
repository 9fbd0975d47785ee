"""`persona-profile storage verify` and `storage stats`: reads of the whole store."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from backends import MAX_PARTITION_BYTES
from persona_profile.capacity.units import byte_count
from persona_profile.cli.config import load_settings
from persona_profile.cli.opening import opened_store, opened_store_with_keys
from persona_profile.cli.plot_option import add_plot_option, drawing, draws
from persona_profile.cli.progress import STOPPED, WalkProgress, shown
from persona_profile.store.maintenance.partition_check import Finding
from persona_profile.store.maintenance.statistics import Distribution, Statistics, measure
from persona_profile.store.maintenance.verification import MEANINGS, Verification, Verified


def add_to(jobs: Any) -> None:
    """Add the jobs to a parser's."""
    verify = jobs.add_parser(
        "verify", help="check that every item opens and is in its place; exit status 0 or 1"
    )
    verify.add_argument("--json", action="store_true", help="for programs")
    verify.add_argument(
        "--after",
        metavar="PARTITION",
        type=_partition,
        help="go on after this partition, where an earlier run was stopped",
    )
    verify.set_defaults(run=_verify)

    stats = jobs.add_parser("stats", help="count profiles, pictures and bytes")
    stats.add_argument("--json", action="store_true", help="for programs")
    add_plot_option(stats, "the sizes")
    stats.set_defaults(run=_stats)


def _verify(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    with (
        opened_store_with_keys(settings) as (backend, keys),
        shown(WalkProgress(sys.stderr)) as progress,
    ):
        output = _JsonFindings() if options.json else _TextFindings(progress)
        try:
            verified = Verification(backend, keys, output.finding).run(options.after, progress)
        except STOPPED:
            progress.clear()
            if progress.last is not None:
                print(f"stopped; go on with --after {progress.last.hex()}", file=sys.stderr)
            raise
    output.end(verified)
    return 1 if verified.findings else 0


class _TextFindings:
    """Prints findings as they come, then a summary."""

    def __init__(self, progress: WalkProgress) -> None:
        self._progress = progress
        self._has_header = False

    def finding(self, finding: Finding) -> None:
        self._progress.clear()
        if not self._has_header:
            print(f"{'FINDING':18}  {'PARTITION':66}  ITEM")
            self._has_header = True
        print(f"{finding.kind:18}  {finding.partition.hex():66}  {finding.item or '-'}", flush=True)

    def end(self, verified: Verified) -> None:
        if self._has_header:
            print()
        rows = [
            ("profiles", f"{verified.profiles:,}"),
            ("  protected, not opened", f"{verified.protected:,}"),
            ("renditions", f"{verified.renditions:,}"),
            ("used proofs", f"{verified.used_proofs:,}"),
            ("read", byte_count(verified.bytes_read)),
        ]
        for version, count in sorted(verified.key_versions.items()):
            rows.append((f"data keys under key version {version}", f"{count:,}"))
        rows.append(("  of these stale", f"{verified.stale_keys:,}"))
        if verified.moving:
            rows.append(("moves that have not ended", f"{verified.moving:,}"))
        if verified.unsettled:
            rows.append(("not checked, kept changing", f"{verified.unsettled:,}"))
        _print_rows(rows)
        print()
        if not verified.findings:
            print("No findings.")
            return
        print(f"{verified.findings.total():,} findings:")
        for kind, count in sorted(verified.findings.items()):
            print(f"{count:>9,}  {kind:18}  {MEANINGS[kind]}")


class _JsonFindings:
    """Prints a JSON object, its findings as they come: they may exceed the memory."""

    def __init__(self) -> None:
        self._separator = "\n"
        sys.stdout.write('{"findings": [')

    def finding(self, finding: Finding) -> None:
        document = {
            "kind": finding.kind,
            "partition": finding.partition.hex(),
            "item": finding.item or None,
        }
        sys.stdout.write(self._separator + json.dumps(document))
        self._separator = ",\n"

    def end(self, verified: Verified) -> None:
        document = {
            "clean": not verified.findings,
            "findings_by_kind": dict(sorted(verified.findings.items())),
            "partitions": verified.partitions,
            "profiles": verified.profiles,
            "protected": verified.protected,
            "renditions": verified.renditions,
            "used_proofs": verified.used_proofs,
            "bytes_read": verified.bytes_read,
            "key_versions": dict(sorted(verified.key_versions.items())),
            "stale_keys": verified.stale_keys,
            "moving": verified.moving,
            "unsettled": verified.unsettled,
        }
        sys.stdout.write("],\n" + json.dumps(document, indent=1)[2:] + "\n")


def _stats(options: argparse.Namespace) -> int:
    draw = None
    if options.plot is not None:
        draw = drawing("persona_profile.cli.storage_plot")
        if draw is None:
            return 2
    progress = WalkProgress(sys.stderr)
    with opened_store(load_settings(options.config)) as backend, shown(progress):
        statistics = measure(backend, progress)
    if draw is not None and not draws(draw, options.plot, statistics):
        return 1
    if options.json:
        print(json.dumps(_document(statistics), indent=1))
    else:
        _print_statistics(statistics)
    return 0


def _document(statistics: Statistics) -> dict[str, Any]:
    renditions = [
        {"size": size, "format": format_name, **_described(sizes)}
        for (size, format_name), sizes in sorted(statistics.rendition_bytes.items())
    ]
    return {
        "profiles": statistics.profiles,
        "with_picture": statistics.with_picture,
        "blank": statistics.blank,
        "forwards": statistics.forwards,
        "used_proofs": statistics.used_proofs,
        "total_bytes": statistics.total_bytes,
        "profile_bytes": _described(statistics.profile_bytes),
        "renditions": renditions,
    }


def _described(sizes: Distribution) -> dict[str, Any]:
    percentiles = {f"p{percent}": sizes.percentile(percent) for percent in (50, 95, 99)}
    return {
        "count": sizes.count,
        "average": round(sizes.average, 1),
        **percentiles,
        "maximum": sizes.maximum,
    }


def _print_statistics(statistics: Statistics) -> None:
    _print_rows(
        [
            ("profiles", f"{statistics.profiles:,}"),
            ("  with a picture", f"{statistics.with_picture:,}"),
            ("emails without a profile, signed out", f"{statistics.blank:,}"),
            ("forwards to another index key", f"{statistics.forwards:,}"),
            ("used proofs", f"{statistics.used_proofs:,}"),
            ("bytes in all", byte_count(statistics.total_bytes)),
        ]
    )
    columns = ("count", "average", "p50", "p95", "p99", "maximum")
    print(f"\n{'bytes of':14}" + "".join(f"{column:>12}" for column in columns))
    rows = [("a profile", statistics.profile_bytes)]
    for (size, format_name), sizes in sorted(statistics.rendition_bytes.items()):
        rows.append((f"{size:>5} {format_name}", sizes))
    for label, sizes in rows:
        numbers = _described(sizes).values()
        print(f"{label:14}" + "".join(f"{number:>12,.0f}" for number in numbers))


def _print_rows(rows: Iterable[Sequence[str]]) -> None:
    for label, value in rows:
        print(f"{label:38}{value:>16}")


def _partition(text: str) -> bytes:
    partition = bytes.fromhex(text)
    if not 0 < len(partition) <= MAX_PARTITION_BYTES:
        raise ValueError
    return partition
