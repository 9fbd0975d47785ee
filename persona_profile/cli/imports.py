"""`persona-profile import`: the profiles and pictures of another system."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from persona_profile import files
from persona_profile.cli.config import load_settings
from persona_profile.cli.failures import CommandFailed, WrongUsage
from persona_profile.cli.numbers import whole_number
from persona_profile.cli.opening import opened_ledger, opened_store_with_keys
from persona_profile.cli.parts import STORE_WITH_LEDGER, set_parts
from persona_profile.cli.paths import output_path
from persona_profile.cli.progress import RowProgress, shown
from persona_profile.images.admission import Admission
from persona_profile.images.renderer import Renderer
from persona_profile.images.workers.channel import MalformedMessage
from persona_profile.images.workers.pool import NoWorker, WorkerPool
from persona_profile.images.workers.worker_process import ALL_CORES_COMMAND, WorkerProcess
from persona_profile.importing import RowRejected
from persona_profile.importing.folder import Folder
from persona_profile.importing.job import Importer, Outcome
from persona_profile.importing.progress_file import InvalidProgressFile, ProgressFile
from persona_profile.importing.table import Table, TableChanged, UnusableTable, open_table
from persona_profile.profiles.service import ProfileService
from persona_profile.settings import Settings
from persona_profile.store.homes import Homes

MAX_WORKERS: Final = 256

_THREADS_PER_WORKER: Final = 2
"""While one thread writes a profile, another one has its worker."""

_WAIT_SECONDS: Final = 24 * 3600
"""An import waits for memory as long as it takes; no client waits for it."""


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    job = commands.add_parser(
        "import", help="import profiles from a CSV and a folder; exit status 1 if a row was rejected"
    )
    job.add_argument("folder", metavar="FOLDER", type=Path, help="the pictures that the CSV names")
    job.add_argument(
        "--csv",
        metavar="FILE",
        type=_named_file,
        required=True,
        help="with the columns email, claims by their names, picture_file",
    )
    job.add_argument(
        "--progress",
        metavar="FILE",
        type=Path,
        help="the rows that were imported, so that another run goes on (default: the CSV's name, "
        "with .progress)",
    )
    job.add_argument(
        "--rejected",
        metavar="FILE",
        type=output_path,
        help="a CSV of rejected rows: line, code, reason (default: the CSV's name, with .rejected.csv)",
    )
    job.add_argument(
        "--overwrite",
        action="store_true",
        help="also change profiles that exist; what a row leaves empty stays",
    )
    job.add_argument(
        "--with-erased", action="store_true", help="also import people who were erased here"
    )
    job.add_argument("--dry-run", action="store_true", help="do everything but write profiles")
    job.add_argument(
        "--workers",
        metavar="N",
        type=whole_number(1, MAX_WORKERS),
        default=len(os.sched_getaffinity(0)),
        help="pictures that are processed at once (default: a picture for each core, %(default)s)",
    )
    job.add_argument("--json", action="store_true", help="for programs")
    job.set_defaults(run=_import)
    set_parts(job, *STORE_WITH_LEDGER)


def _import(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    rejected = options.rejected or options.csv.with_suffix(".rejected.csv")
    progress = options.progress or options.csv.with_suffix(".progress")
    if len({files.real_path(each) for each in (options.csv, rejected, progress)}) < 3:
        raise WrongUsage("--csv, --progress and --rejected must be three files")
    goes_on = "" if options.dry_run else "start it again, and it goes on"
    with _table(options.csv) as (table, rows), _folder(options.folder, settings) as folder:
        try:
            with (
                shown(RowProgress(sys.stderr, rows), goes_on) as line,
                _rejections(rejected) as report,
                ProgressFile(progress, is_kept=not options.dry_run) as kept,
                _importer(options, settings, folder, kept) as importer,
            ):
                outcome = importer.run(
                    table.rows(),
                    report.add,
                    lambda counts: line(counts.rows, counts.rejected.total()),
                )
                seconds = line.seconds
        except InvalidProgressFile as error:
            raise CommandFailed(f"{progress}: {error}") from None
        except TableChanged:
            raise CommandFailed(f"{options.csv}: was changed meanwhile; start again") from None
    _print(options, outcome, seconds, rejected)
    return 1 if outcome.rejected else 0


@contextmanager
def _table(path: Path) -> Iterator[tuple[Table, int]]:
    """Open a CSV and check all of it; yield it with the number of its rows.

    Raises:
        WrongUsage: it can't be read.
    """
    try:
        opened = open_table(path)
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise WrongUsage(f"{path}: {error}") from None
    with opened as file:
        try:
            table = Table(file)
            rows = table.check()
        except UnusableTable as error:
            faults = (f"  line {fault.line}: {fault.reason}" for fault in error.faults)
            message = "\n".join([f"{path}: nothing was imported, as this file can't be read:", *faults])
            raise WrongUsage(message) from None
        yield table, rows


@contextmanager
def _folder(path: Path, settings: Settings) -> Iterator[Folder]:
    try:
        opened = Folder(path, settings.pictures_max_bytes)
    except OSError as error:
        raise WrongUsage(f"{path}: {error.strerror}") from None
    with opened as folder:
        yield folder


@contextmanager
def _importer(
    options: argparse.Namespace, settings: Settings, folder: Folder, kept: ProgressFile
) -> Iterator[Importer]:
    """Open the store and start the picture workers.

    Raises:
        CommandFailed: no worker can be started.
    """
    threads = _THREADS_PER_WORKER * options.workers
    with (
        opened_store_with_keys(settings) as (backend, keys),
        opened_ledger(settings, keys) as ledger,
        closing(WorkerPool(options.workers, _worker_process)) as workers,
    ):
        try:
            workers.check()
        except (NoWorker, OSError, EOFError, MalformedMessage) as error:
            reason = type(error).__name__
            raise CommandFailed(f"no picture worker could be started ({reason})") from None
        picture_options = settings.picture_options
        renderer = Renderer(
            picture_options,
            Admission(options.workers, threads, _WAIT_SECONDS, picture_options.limits.memory),
            workers,
            settings.pictures_max_cpu_seconds,
            settings.pictures_deadline_seconds,
        )
        homes = Homes(backend, keys, settings.forward_seconds)
        lifetime = settings.sessions_lifetime
        yield Importer(
            ProfileService(backend, homes, keys, ledger=ledger, session_lifetime=lifetime),
            renderer,
            folder,
            kept,
            threads=threads,
            ledger=None if options.with_erased else ledger,
            overwrite=options.overwrite,
            is_trial=options.dry_run,
        )


def _worker_process() -> WorkerProcess:
    return WorkerProcess(ALL_CORES_COMMAND)


class _Rejections:
    """The CSV of rejected rows. It has no personal data."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._write("line", "code", "reason")

    def add(self, line: int, rejection: RowRejected) -> None:
        """Write a row."""
        self._write(line, rejection.code, rejection.reason)

    def _write(self, *cells: object) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._file.write(text.getvalue().encode())


@contextmanager
def _rejections(path: Path) -> Iterator[_Rejections]:
    if path.is_dir() or not path.parent.is_dir():
        raise WrongUsage(f"{path}: must be a file in a folder that exists")
    with files.output(path) as file:
        yield _Rejections(file)


def _print(options: argparse.Namespace, outcome: Outcome, seconds: float, rejected: Path) -> None:
    codes = dict(sorted(outcome.rejected.items()))
    # The rejected rows may be the standard output.
    output = sys.stderr if files.is_written_through(rejected) else sys.stdout
    if options.json:
        document = {"imported": outcome.imported, "earlier": outcome.earlier, "rejected": codes}
        print(json.dumps({"rows": outcome.rows} | document | {"seconds": seconds}), file=output)
        return
    verb = "Would import" if options.dry_run else "Imported"
    text = f"{verb} {outcome.imported:,} of {outcome.rows:,} rows in {seconds:.1f} s."
    if outcome.earlier:
        text += f" An earlier run had imported {outcome.earlier:,}."
    print(text, file=output)
    if codes:
        total = outcome.rejected.total()
        print(f"Rejected {total:,} rows; lines and reasons are in {rejected}:", file=output)
    for code, count in codes.items():
        print(f"{count:>9,}  {code}", file=output)


def _named_file(text: str) -> Path:
    path = Path(text)
    if not path.name:  # names of other files are made from it
        raise argparse.ArgumentTypeError("must be a file")
    return path
