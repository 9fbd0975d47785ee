from collections.abc import Iterator

import pytest
from support.mariadb import MariaDB


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB server of the run's own."""
    server = MariaDB(tmp_path_factory.mktemp("db"))
    server.install()
    try:
        server.start()
        yield server
    finally:
        server.stop()
