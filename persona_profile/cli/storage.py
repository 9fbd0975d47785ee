"""`persona-profile storage`: the operator's jobs on the store."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from backends import Backend
from persona_profile.cli import storage_checks, storage_copies, storage_ledger
from persona_profile.cli.config import load_settings
from persona_profile.cli.parts import Part, set_parts
from persona_profile.store.configured import is_self_made, open_backend, open_ledger_store


def add_to(commands: Any) -> None:
    """Add the command to a parser's."""
    storage = commands.add_parser("storage", help="initialize, check and copy the store")
    jobs = storage.add_subparsers(title="jobs", required=True, metavar="JOB")

    for name, text in (
        ("init", "initialize an empty store"),
        ("upgrade", "migrate the store to this version"),
    ):
        job = jobs.add_parser(name, help=f"{text}; harmless if that is done")
        job.set_defaults(run=_initialize)
        set_parts(job, Part.STORE, Part.LEDGER)
    storage_checks.add_to(jobs)
    storage_copies.add_to(jobs)
    storage_ledger.add_to(jobs)


def _initialize(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    with closing(open_backend(settings)) as backend:
        _make_ready(backend)
    print("The store is ready.")
    if not is_self_made(settings):
        with closing(open_ledger_store(settings)) as backend:
            _make_ready(backend)
        print("The ledger is ready.")
    return 0


def _make_ready(backend: Backend) -> None:
    backend.initialize()
    backend.check_schema()
