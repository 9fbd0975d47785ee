"""`persona-profile storage copy`, `storage backup` and `storage restore`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from backends import Backend, BackendError, Item
from backends.copying.archive import Restored, backup, check, restore
from backends.copying.archive_format import Contents
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import PASSES, CopyResult, copy
from persona_profile import files
from persona_profile.capacity.units import byte_count
from persona_profile.cli.config import load_settings, loader
from persona_profile.cli.failures import CommandFailed, WrongUsage
from persona_profile.cli.numbers import whole_number
from persona_profile.cli.opening import open_shared_backend, opened_store
from persona_profile.cli.parts import STORE_WITH_LEDGER, Part
from persona_profile.cli.paths import input_path, is_standard_output, output_path
from persona_profile.cli.progress import JobProgress, shown
from persona_profile.cli.rate_option import add_rate_option, pace_of
from persona_profile.cli.storage_ledger import WITHOUT, Demands, opened_demands
from persona_profile.keys.configured import keyring_file, make_key_wrapper
from persona_profile.keys.keyring import KeyringError
from persona_profile.plugins import find_plugin, plugin_names
from persona_profile.runtime.build import PACKAGE
from persona_profile.settings import InvalidSettings, Settings, parse_settings
from persona_profile.store.configured import BACKENDS_GROUP, is_self_made, open_ledger_store
from persona_profile.store.ledger import HEAD_PARTITION
from persona_profile.store.maintenance.archived_homes import ArchivedHomes
from persona_profile.store.maintenance.needed_keys import NeededKeys

STATE_FILE: Final = "storage-copy.state"

_SCHEME = re.compile(r"([a-z][a-z0-9_.-]*)(\+[a-z0-9_]+)?://")

_LEDGER_KEY: Final = "an index key of its time"


def add_to(jobs: Any) -> None:
    """Add the jobs to a parser's."""
    where = "a settings file (.ini) or a URL such as sqlite:///path"
    job = jobs.add_parser("copy", help="copy everything from one store to another, while it is in use")
    job.add_argument("source", metavar="SOURCE", help=where)
    job.add_argument("destination", metavar="DEST", help=f"{where}; made ready by `storage init`")
    job.add_argument(
        "--state",
        metavar="FILE",
        type=Path,
        default=Path(STATE_FILE),
        help="the file with the progress of the copy (default: %(default)s)",
    )
    job.add_argument(
        "--restart", action="store_true", help="delete the state: compare everything again"
    )
    job.add_argument(
        "--passes",
        metavar="N",
        type=whole_number(2, 1_000_000),
        default=PASSES,
        help="the limit of passes that find changes (default: %(default)s)",
    )
    job.add_argument(
        "--overwrite",
        action="store_true",
        help="replace and delete also items in DEST that this copy did not write",
    )
    _finish(job, _copy)

    job = jobs.add_parser("backup", help="write everything into one file")
    job.add_argument("file", metavar="FILE", type=output_path, help="`-` is the standard output")
    _add_ledger(job, "write the ledger instead")
    _finish(job, _backup)

    job = jobs.add_parser("restore", help="write a backup into an empty store")
    job.add_argument("file", metavar="FILE", type=input_path, help="`-` is the standard input")
    choice = job.add_mutually_exclusive_group()
    choice.add_argument(
        "--overwrite", action="store_true", help="replace the items of a store that is not empty"
    )
    choice.add_argument("--check", action="store_true", help="check FILE, write nothing")
    job.add_argument(
        "--without-keys", action="store_true", help="restore also what this keyring can't open"
    )
    job.add_argument(WITHOUT, action="store_true", help="restore also who was erased since the backup")
    _add_ledger(job, "fill an empty ledger instead")
    _finish(job, _restore)


def _add_ledger(job: Any, text: str) -> None:
    job.add_argument("--ledger", action="store_true", help=f"{text} (docs/how-to/storage.md)")


def _finish(job: Any, run: Any) -> None:
    add_rate_option(job)
    job.add_argument("--json", action="store_true", help="for programs")
    job.set_defaults(run=run)


def _copy(options: argparse.Namespace) -> int:
    source, destination = _open("SOURCE", options.source), _open("DEST", options.destination)
    with (
        closing(source),
        closing(destination),
        shown(JobProgress(sys.stderr), "start it again to go on") as progress,
    ):
        _check_schema("SOURCE", source)
        _check_schema("DEST", destination)
        with CopyState(options.state) as state:
            if options.restart:
                state.forget()
            result = copy(
                source,
                destination,
                state,
                passes=options.passes,
                overwrite=options.overwrite,
                report=progress,
                pace=pace_of(options),
            )
        seconds = progress.seconds
    _print_copied(result, seconds, as_json=options.json)
    return 0 if result.equal else 1


def _print_copied(result: CopyResult, seconds: float, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(result) | {"seconds": seconds}))
        return
    print(
        f"Wrote {_count(result.written, 'partition')} ({byte_count(result.bytes)}) "
        f"in {_count(result.passes, 'pass', 'es')} and {seconds:.1f} s."
    )
    if result.equal:
        print(f"The stores are equal: {_count(result.partitions, 'partition')}.")
    else:
        print(
            f"The last pass still found {_count(result.differing, 'partition')} with differences: "
            "the source is being written to. Stop the service, and start the copy again."
        )
    if one := result.last_pass_seconds:
        # Writes since this run need a pass that copies them, and one that finds no difference.
        print(
            f"A pass took {one:.1f} s. The last run, with a stopped service, takes one or two: "
            f"the service stops for about {2 * one:.1f} s."
        )


def _backup(options: argparse.Namespace) -> int:
    options.parts = {Part.LEDGER if options.ledger else Part.STORE}
    needed = NeededKeys()
    with (
        shown(JobProgress(sys.stderr), "there is no archive; start it again") as progress,
        # Before the store: with a closed standard output, the store could get its number.
        _archive_output(options.file) as file,
    ):
        settings = load_settings(options.config)
        with _opened(settings, options) as source, _archived_homes(settings) as homes:
            contents = backup(
                source,
                file,
                software=f"{PACKAGE} {version(PACKAGE)}",
                related=homes.related,
                inspect=needed.add,
                keys=needed.record,
                report=progress,
                pace=pace_of(options),
            )
        seconds = progress.seconds
        # The archive itself may be the standard output.
        report = sys.stderr if is_standard_output(file) else sys.stdout
    if options.json:
        print(json.dumps(asdict(contents) | {"seconds": seconds}), file=report)
        return 0
    size = byte_count(contents.file_bytes)
    print(f"Wrote {_contents_text(contents)} into {size}, in {seconds:.1f} s.", file=report)
    keys = _LEDGER_KEY if options.ledger else needed
    print(f"Opening it needs {keys}; keep the keyring of today as long.", file=report)
    return 0


@contextmanager
def _archive_output(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir() or not path.parent.is_dir():
        raise WrongUsage(f"{path}: must be a file in a folder that exists")
    with files.output(path) as file:
        if file.isatty():
            raise WrongUsage(f"{path}: an archive can't be written to a terminal")
        yield file


def _restore(options: argparse.Namespace) -> int:
    try:
        opened = files.opened_input(options.file)
    except FileNotFoundError:
        raise WrongUsage(f"{options.file}: there is no such file") from None
    except IsADirectoryError:
        raise WrongUsage(f"{options.file}: this is a folder") from None
    needed = NeededKeys()
    again = "start it again with --overwrite to go on"
    with opened as file, shown(JobProgress(sys.stderr), again) as progress:
        if options.check:
            contents, written = check(file, inspect=needed.add, report=progress), 0
            demands = None
        else:
            (contents, written), demands = _restore_from(file, options, needed, progress)
        seconds = progress.seconds
    if options.json:
        document = asdict(contents) | {"keys": needed.record(), "written": written, "seconds": seconds}
        document |= {"ledger": demands and demands.document()}
        print(json.dumps(document))
        return 0
    print(
        f"The archive is whole: {_contents_text(contents)}, "
        f"of {contents.created_at} by {contents.software}.\n"
        f"Opening it needs {_LEDGER_KEY if options.ledger else needed}."
    )
    if not options.check:
        print(f"Wrote {_count(written, 'partition')} in {seconds:.1f} s.")
    if demands:
        print(demands.text())
    return 0


def _restore_from(
    file: BinaryIO, options: argparse.Namespace, needed: NeededKeys, progress: JobProgress
) -> tuple[Restored, Demands | None]:
    settings = load_settings(options.config)
    has_demands = not (options.ledger or options.without_ledger)
    options.parts = (
        STORE_WITH_LEDGER if has_demands else {Part.LEDGER if options.ledger else Part.STORE}
    )
    with (
        _opened(settings, options) as destination,
        _archived_homes(settings) as homes,
        opened_demands(settings) if has_demands else nullcontext() as demands,
    ):
        is_of_ledger = False

        def inspect(partition: bytes, items: Mapping[str, Item]) -> None:
            nonlocal is_of_ledger
            is_of_ledger |= partition == HEAD_PARTITION
            homes.check(partition, items)
            needed.add(partition, items)

        def accept(contents: Contents) -> None:
            progress.clear()
            _check_kind(is_of_ledger=is_of_ledger, is_for_ledger=options.ledger)
            _check_keys(settings, needed, is_agreed=options.without_keys)
            if demands is not None:
                demands.check(contents.started_at)

        restored = restore(
            file,
            destination,
            overwrite=options.overwrite,
            inspect=inspect,
            accept=accept,
            prepare=partial(homes.make_room, destination),
            report=progress,
            pace=pace_of(options),
        )
        if demands is not None:
            progress.clear()
            demands.apply(destination, restored.contents.started_at)
        return restored, demands


@contextmanager
def _opened(settings: Settings, options: argparse.Namespace) -> Iterator[Backend]:
    """Open the store, or the ledger, for a backup or restore."""
    if not options.ledger:
        with opened_store(settings) as backend:
            yield backend
        return
    with closing(open_ledger_store(settings)) as backend:
        if options.run is _restore and is_self_made(settings):
            backend.initialize()
        backend.check_schema()
        yield backend


def _check_kind(*, is_of_ledger: bool, is_for_ledger: bool) -> None:
    """Check that an archive is of the kind of store that it is for.

    Raises:
        CommandFailed: one of both is the ledger, the other one the store.
    """
    if is_of_ledger and not is_for_ledger:
        raise CommandFailed("this archive is of a ledger: nothing was written; use --ledger")
    if is_for_ledger and not is_of_ledger:
        raise CommandFailed("this archive is of no ledger: nothing was written")


def _check_keys(settings: Settings, needed: NeededKeys, *, is_agreed: bool) -> None:
    """Check that the keyring, if it can be read, has the keys of an archive.

    Raises:
        CommandFailed: it lacks some, and the operator has not agreed.
    """
    file = keyring_file(settings)
    try:
        keyring = file.load() if file else None
    except KeyringError:
        keyring = None
    if keyring is None and needed:
        print(f"persona-profile: no keyring here; opening needs {needed}", file=sys.stderr)
    if keyring is None:
        return
    problems = "; ".join(needed.missing(keyring, has_service=settings.transit_url is not None))
    if problems and not is_agreed:
        raise CommandFailed(
            f"{problems}: nothing was written; use the keyring of that time, or --without-keys"
        )
    if problems:
        print(f"persona-profile: {problems}", file=sys.stderr)


def _open(role: str, place: str) -> Backend:
    """Open the store that a settings file or a URL names.

    Raises:
        WrongUsage: there is none; the message never quotes the URL, which may have a password.
    """
    try:
        scheme = _SCHEME.match(place)
        return _open_of_url(scheme[1], place) if scheme else _open_of_file(place)
    except (InvalidSettings, ValueError) as error:
        raise WrongUsage(f"{role}: {error}") from None


def _open_of_url(scheme: str, url: str) -> Backend:
    opener = find_plugin(BACKENDS_GROUP, scheme)
    if opener is None:
        known = plugin_names(BACKENDS_GROUP)
        raise InvalidSettings(f"the scheme of a URL must be one of {known}")
    return cast(Backend, opener.load()(url))


def _open_of_file(path: str) -> Backend:
    if not path.endswith(".ini"):
        raise InvalidSettings("must be a settings file (.ini) or a URL such as sqlite:///path")
    if not Path(path).is_file():
        raise InvalidSettings("there is no such settings file")
    # Environment variables would give source and destination the same store.
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("PERSONA_BACKEND")
    }
    settings = parse_settings(loader(path).get_wsgi_app_settings(), environ)
    return open_shared_backend(settings)


@contextmanager
def _archived_homes(settings: Settings) -> Iterator[ArchivedHomes]:
    """Open the keyring, if it can be read; it is needed only while the index key changes."""
    file = keyring_file(settings)
    keys = None
    with suppress(KeyringError):
        keys = make_key_wrapper(settings, file.load()) if file else None
    with closing(keys) if keys else nullcontext(), closing(ArchivedHomes(keys)) as homes:
        yield homes


def _check_schema(role: str, backend: Backend) -> None:
    try:
        backend.check_schema()
    except BackendError as error:
        raise BackendError(f"{role}: {error}") from None


def _contents_text(contents: Contents) -> str:
    return (
        f"{_count(contents.partitions, 'partition')}, {_count(contents.items, 'item')}, "
        f"{byte_count(contents.bytes)}"
    )


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"
