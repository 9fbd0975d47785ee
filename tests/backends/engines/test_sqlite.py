import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import Put
from backends.engines.sqlite import SqliteBackend
from backends.testing.conformance import BackendConformance


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
