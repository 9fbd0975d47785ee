import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.servers.mariadb import MariaDB
from support.stores.stores import WithDefaults

from backends import Backend
from backends.engines.memory import MemoryBackend
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend
from backends.testing.state_machine import BackendMachine

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "30"))
RELAXED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class MemoryMachine(BackendMachine):
    def make_backend(self, clock: Callable[[], float]) -> Backend:
        return MemoryBackend(clock)


class DefaultsMachine(BackendMachine):
    def make_backend(self, clock: Callable[[], float]) -> Backend:
        return WithDefaults(clock)


class SqliteMachine(BackendMachine):
    folder = tempfile.TemporaryDirectory()
    numbers = itertools.count()

    def make_backend(self, clock: Callable[[], float]) -> Backend:
        path = Path(self.folder.name, f"{next(self.numbers)}.sqlite")
        backend = SqliteBackend.from_url(f"sqlite:///{path}", clock)
        backend.initialize()
        return backend


class MariaDBMachine(BackendMachine):
    server: MariaDB

    def make_backend(self, clock: Callable[[], float]) -> Backend:
        backend = MysqlBackend.from_url(self.server.url, clock)
        for table in ("items", "bulk_items"):
            self.server.query(f"TRUNCATE persona.{table}")
        return backend


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = RELAXED
TestDefaultsMachine = DefaultsMachine.TestCase
TestDefaultsMachine.settings = RELAXED
TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = RELAXED


class TestMariaDBMachine(MariaDBMachine.TestCase):
    settings = RELAXED

    @pytest.fixture(autouse=True)
    def _server(self, mariadb: MariaDB) -> None:
        """Give the state machine a database with empty tables."""
        mariadb.create_database()
        backend = MysqlBackend.from_url(mariadb.url)
        backend.initialize()
        backend.close()
        MariaDBMachine.server = mariadb
