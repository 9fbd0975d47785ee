from collections.abc import Callable, Iterator

import pytest
from support.mariadb import MariaDB

from backends.mysql import MysqlBackend

Connect = Callable[..., MysqlBackend]


@pytest.fixture
def connect(mariadb: MariaDB) -> Iterator[Connect]:
    """Opens backends on a database that is ready and empty."""
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
