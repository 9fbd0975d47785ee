"""The room of a SQLite database's disk, on a small one."""

from __future__ import annotations

from support.servers.disks import leave_free, small_disk

from backends.engines.sqlite import SqliteBackend


def test_room(tmp_path):
    """A disk with little room is a warning, and an almost full one a failure."""
    with small_disk(tmp_path / "disk", 200) as disk:
        backend = SqliteBackend.from_url(f"sqlite:///{disk}/store.sqlite")
        backend.initialize()

        def level() -> str:
            [found] = [each for each in backend.examine() if each.subject == "disk"]
            return found.level

        try:
            assert level() == "warning"
            leave_free(disk, 10 * 1024 * 1024)
            assert level() == "failed"
        finally:
            backend.close()
