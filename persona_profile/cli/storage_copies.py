"""`persona-profile storage copy`, `storage backup` and `storage restore`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

from backends import Backend, BackendError
from backends.copying.archive import Contents, backup, check, restore
from backends.copying.copy_state import CopyState
from backends.copying.online_copy import PASSES, CopyResult, copy
from persona_profile.capacity.units import byte_count
from persona_profile.cli.config import load_settings, loader
from persona_profile.cli.failures import WrongUsage
from persona_profile.cli.opening import open_shared_backend, opened_store
from persona_profile.cli.progress import CopyProgress, shown
from persona_profile.keys.configured import keyring_file, make_key_wrapper
from persona_profile.keys.keyring import KeyringError
from persona_profile.plugins import find_plugin, plugin_names
from persona_profile.runtime.build import PACKAGE
from persona_profile.settings import InvalidSettings, Settings, parse_settings
from persona_profile.store.configured import BACKENDS_GROUP
from persona_profile.store.maintenance.archived_homes import ArchivedHomes

STATE_FILE: Final = "storage-copy.state"

_SCHEME = re.compile(r"([a-z][a-z0-9_.-]*)(\+[a-z0-9_]+)?://")


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
        type=_passes,
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
    job.add_argument("file", metavar="FILE", type=Path)
    _finish(job, _backup)

    job = jobs.add_parser("restore", help="write a backup into an empty store")
    job.add_argument("file", metavar="FILE", type=Path)
    choice = job.add_mutually_exclusive_group()
    choice.add_argument(
        "--overwrite", action="store_true", help="replace the items of a store that is not empty"
    )
    choice.add_argument("--check", action="store_true", help="check FILE, write nothing")
    _finish(job, _restore)


def _finish(job: Any, run: Any) -> None:
    job.add_argument("--json", action="store_true", help="for programs")
    job.set_defaults(run=run)


def _passes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 2 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("must be a whole number, from 2")
    return int(text)


def _copy(options: argparse.Namespace) -> int:
    source, destination = _open("SOURCE", options.source), _open("DEST", options.destination)
    with (
        closing(source),
        closing(destination),
        shown(CopyProgress(sys.stderr), "start it again to go on") as progress,
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


def _backup(options: argparse.Namespace) -> int:
    if options.file.is_dir() or not options.file.parent.is_dir():
        raise WrongUsage(f"{options.file}: must be a file in a folder that exists")
    settings = load_settings(options.config)
    with (
        opened_store(settings) as source,
        _archived_homes(settings) as homes,
        shown(CopyProgress(sys.stderr), "there is no archive; start it again") as progress,
    ):
        software = f"{PACKAGE} {version(PACKAGE)}"
        contents = backup(
            source, options.file, software=software, related=homes.related, report=progress
        )
        seconds = progress.seconds
        size = options.file.stat().st_size
    if options.json:
        print(json.dumps(asdict(contents) | {"file_bytes": size, "seconds": seconds}))
    else:
        print(f"Wrote {_contents_text(contents)} into {byte_count(size)}, in {seconds:.1f} s.")
    return 0


def _restore(options: argparse.Namespace) -> int:
    if not options.file.is_file():
        raise WrongUsage(f"{options.file}: there is no such file")
    with shown(CopyProgress(sys.stderr), "start it again with --overwrite to go on") as progress:
        if options.check:
            contents, written = check(options.file, report=progress), 0
        else:
            settings = load_settings(options.config)
            with opened_store(settings) as destination, _archived_homes(settings) as homes:
                restored = restore(
                    options.file,
                    destination,
                    overwrite=options.overwrite,
                    inspect=homes.check,
                    prepare=partial(homes.make_room, destination),
                    report=progress,
                )
            contents, written = restored.contents, restored.written
        seconds = progress.seconds
    if options.json:
        print(json.dumps(asdict(contents) | {"written": written, "seconds": seconds}))
        return 0
    print(
        f"The archive is whole: {_contents_text(contents)}, "
        f"of {contents.created_at} by {contents.software}."
    )
    if not options.check:
        print(f"Wrote {_count(written, 'partition')} in {seconds:.1f} s.")
    return 0


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
