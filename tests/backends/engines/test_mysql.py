from collections.abc import Iterator

import pytest
from support.servers.mariadb import MariaDB

from backends.engines.mysql import MysqlBackend
from backends.testing.conformance import BackendConformance


class TestMariaDB(BackendConformance):
    @pytest.fixture
    def backend(self, mariadb: MariaDB) -> Iterator[MysqlBackend]:
        """An empty database."""
        mariadb.create_database()
        backend = MysqlBackend.from_url(mariadb.url)
        backend.initialize()
        yield backend
        backend.close()
