"""A service as it is served with a MariaDB of its own, and the processor time of its parts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from production import Served, production
from support.pictures.workers import family_pids, fork_server_pids, processor_seconds
from support.servers.mariadb import MariaDB

from loadtest.generator.watcher import ProcessFamily


class Used(NamedTuple):
    """Processor time in seconds: of the service's processes, of picture workers, of the database."""

    service: float
    workers: float
    database: float

    def since(self, before: Used) -> Used:
        """Return what was used after an earlier reading."""
        return Used(*(now - then for now, then in zip(self, before, strict=True)))


class Deployment(NamedTuple):
    """A running service and its database."""

    service: Served
    database: MariaDB

    def used(self) -> Used:
        """Return the processor time that each part has used so far."""
        workers = sum(
            processor_seconds(server, with_ended_children=True)
            for process in family_pids(self.service.pid)
            for server in fork_server_pids(process)
        )
        family = ProcessFamily.of(self.service.pid)
        assert family is not None
        return Used(family.cpu_seconds - workers, workers, processor_seconds(self.database.pid))


@contextmanager
def deployment(
    folder: Path,
    issuers: Path,
    *arguments: str,
    cores: set[int] | None = None,
    database_cores: set[int] | None = None,
) -> Iterator[Deployment]:
    """Run a service, and a database with its tables; end both.

    Args:
        folder: a new folder.
        issuers: the pinned issuers, as `loadtest.identities` writes them.
        arguments: more of `serve`.
        cores: of the service; by default all.
        database_cores: of the database; by default all.
    """
    folder.mkdir()
    own = os.sched_getaffinity(0)
    database = MariaDB(folder)
    database.install()
    os.sched_setaffinity(0, database_cores or own)
    try:
        database.start()
    finally:
        os.sched_setaffinity(0, own)
    try:
        database.create_database()
        settings = {
            "backend": "mysql",
            "backend.url": database.url,
            "browserid.pinned_issuers": str(issuers),
        }
        with production(folder / "service", settings, *arguments, cores=cores) as service:
            yield Deployment(service, database)
    finally:
        database.stop()
