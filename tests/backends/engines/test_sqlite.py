import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backends import NoWrites, Put, WrongSchema
from backends.engines.sqlite import SqliteBackend
from backends.testing.conformance import BackendConformance


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite://user@", "mysql://h/d", None]
)
def test_wrong_urls(url):
    """A URL of another form is rejected."""
    with pytest.raises(ValueError, match="must be sqlite:///path"):
        SqliteBackend.from_url(url)


def test_schema_of_another_version(tmp_path):
    """A database with an unknown schema is not used, and the message says what to do."""
    path = tmp_path / "items.sqlite"
    backend = SqliteBackend.from_url(f"sqlite:///{path}")
    backend.initialize()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(WrongSchema, match=r"schema 9999 is newer .*: upgrade the software"):
        backend.check_schema()
    backend.close()


def test_failing_disk(tmp_path):
    """A disk that takes no writes is named so, by a write and by the trial."""
    path = tmp_path / "items.sqlite"
    with closing(SqliteBackend.from_url(f"sqlite:///{path}")) as backend:
        backend.initialize()
        backend.apply(b"p", [Put("x", b"1")])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            for write in (lambda: backend.apply(b"p", [Put("x", b"2")]), backend.try_write):
                with pytest.raises(NoWrites, match="SQLITE_IOERR"):
                    write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        backend.try_write()


class TestSqlite(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[SqliteBackend]:
        """An empty file."""
        backend = SqliteBackend.from_url(f"sqlite:///{tmp_path}/items.sqlite")
        backend.initialize()
        yield backend
        backend.close()

    def test_is_its_owner_s_alone(self, backend, tmp_path):
        """The file, and SQLite's other files, are readable by their owner alone."""
        backend.apply(b"p", [Put("n", b"v")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert "items.sqlite" in modes
        assert set(modes.values()) == {0o600}
