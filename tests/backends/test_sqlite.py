from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.conformance import BackendConformance
from backends.sqlite import SqliteBackend


class TestSqlite(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[SqliteBackend]:
        """An empty file."""
        backend = SqliteBackend.from_url(f"sqlite:///{tmp_path}/items.sqlite")
        backend.initialize()
        yield backend
        backend.close()
