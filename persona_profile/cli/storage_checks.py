"""`persona-profile storage verify` and `storage stats`: reads of the whole store."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from backends import MAX_PARTITION_BYTES
from persona_profile.capacity.units import byte_count
from persona_profile.cli.config import load_settings
from persona_profile.cli.opening import (
    open_keyring_file,
    opened_store,
    opened_store_with_keys,
)
from persona_profile.cli.parts import STORE_WITH_KEYS, Part, set_parts
from persona_profile.cli.plot_option import add_plot_option, drawing
from persona_profile.cli.progress import STOPPED, JobProgress, shown
from persona_profile.cli.rate_option import add_rate_option, pace_of
from persona_profile.store.maintenance.key_use import count_use, missing_keys
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
    add_rate_option(verify)
    verify.set_defaults(run=_verify)
    set_parts(verify, *STORE_WITH_KEYS)

    stats = jobs.add_parser("stats", help="count profiles, pictures and bytes")
    stats.add_argument("--json", action="store_true", help="for programs")
    add_plot_option(stats, "the sizes")
    add_rate_option(stats)
    stats.set_defaults(run=_stats)
    set_parts(stats, Part.STORE)


def _verify(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    with (
        opened_store_with_keys(settings) as (backend, keys),
        shown(JobProgress(sys.stderr)) as progress,
    ):
        keyring = open_keyring_file(settings).load()
        use = count_use(backend, keys)
        for problem in missing_keys(keyring, use.wraps, use.profiles):
            print(f"persona-profile: {problem}", file=sys.stderr)
        output = _JsonFindings() if options.json else _TextFindings(progress)
        try:
            verification = Verification(backend, keys, output.finding)
            verified = verification.run(options.after, progress, pace=pace_of(options))
        except STOPPED:
            progress.clear()
            if progress.last is not None:
                print(f"stopped; go on with --after {progress.last.hex()}", file=sys.stderr)
            raise
    output.end(verified)
    return 1 if verified.findings else 0


class _TextFindings:
    """Prints findings as they come, then a summary."""

    def __init__(self, progress: JobProgress) -> None:
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
            **vars(verified),
            "key_versions": dict(sorted(verified.key_versions.items())),
        }
        del document["findings"]
        sys.stdout.write("],\n" + json.dumps(document, indent=1)[2:] + "\n")


def _stats(options: argparse.Namespace) -> int:
    draw = drawing("persona_profile.cli.storage_plot", options.plot)
    progress = JobProgress(sys.stderr)
    with opened_store(load_settings(options.config)) as backend, shown(progress):
        statistics = measure(backend, progress, pace=pace_of(options))
    draw(statistics)
    if options.json:
        print(json.dumps(_document(statistics), indent=1))
    else:
        _print_statistics(_document(statistics))
    return 0


def _document(statistics: Statistics) -> dict[str, Any]:
    renditions = [
        {"size": size, "format": format_name, **_described(sizes)}
        for (size, format_name), sizes in sorted(statistics.rendition_bytes.items())
    ]
    document = vars(statistics) | {
        "profile_bytes": _described(statistics.profile_bytes),
        "renditions": renditions,
    }
    del document["rendition_bytes"]
    return document


def _described(sizes: Distribution) -> dict[str, Any]:
    percentiles = {f"p{percent}": sizes.percentile(percent) for percent in (50, 95, 99)}
    return {
        "count": sizes.count,
        "average": round(sizes.average, 1),
        **percentiles,
        "maximum": sizes.maximum,
    }


def _print_statistics(document: dict[str, Any]) -> None:
    labels = {
        "profiles": "profiles",
        "with_picture": "  with a picture",
        "blank": "emails without a profile, signed out",
        "forwards": "forwards to another index key",
        "used_proofs": "used proofs",
    }
    rows = [(label, f"{document[name]:,}") for name, label in labels.items()]
    _print_rows([*rows, ("bytes in all", byte_count(document["total_bytes"]))])
    columns = list(document["profile_bytes"])
    print(f"\n{'bytes of':14}" + "".join(f"{column:>12}" for column in columns))
    kinds = {f"{each['size']:>5} {each['format']}": each for each in document["renditions"]}
    for label, numbers in ({"a profile": document["profile_bytes"]} | kinds).items():
        print(f"{label:14}" + "".join(f"{numbers[column]:>12,.0f}" for column in columns))


def _print_rows(rows: Iterable[Sequence[str]]) -> None:
    for label, value in rows:
        print(f"{label:38}{value:>16}")


def _partition(text: str) -> bytes:
    with suppress(ValueError):
        partition = bytes.fromhex(text)
        if 0 < len(partition) <= MAX_PARTITION_BYTES:
            return partition
    raise argparse.ArgumentTypeError("must be a partition as `storage verify` shows it")
