from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.servers.mariadb import MariaDB
from support.stores.stores import Opener

from backends import Backend
from backends.engines.memory import MemoryBackend
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend

Connect = Callable[..., MysqlBackend]


@pytest.fixture
def connect(mariadb: MariaDB) -> Iterator[Connect]:
    """Opens backends on an empty database with a schema."""
    mariadb.create_database()
    opened: list[MysqlBackend] = []

    def connect(query: str = "", **changes: object) -> MysqlBackend:
        parts = {"user": "persona", "password": "secret", "host": "127.0.0.1", "database": "persona"}
        parts = parts | {"port": mariadb.port} | changes
        url = "mysql://{user}:{password}@{host}:{port}/{database}".format_map(parts)
        backend = MysqlBackend.from_url(f"{url}?{query}")
        opened.append(backend)
        return backend

    connect().initialize()
    yield connect
    for backend in opened:
        backend.close()


@pytest.fixture
def open_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens empty stores by kind."""
    opened: list[Backend] = []

    def open_one(kind: str) -> Backend:
        backend: Backend
        if kind == "memory":
            backend = MemoryBackend()
        elif kind == "sqlite":
            backend = SqliteBackend.from_url(f"sqlite:///{tmp_path}/{len(opened)}.sqlite")
        else:
            server: MariaDB = request.getfixturevalue("mariadb")
            server.create_database()
            backend = MysqlBackend.from_url(server.url)
        backend.initialize()
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.close()
