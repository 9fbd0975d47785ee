from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers.containers import Engine


@pytest.fixture(scope="session")
def base_engine() -> Iterator[Engine]:
    """An engine with the base; a short path, as runc's sockets are in it."""
    # In memory: less than 2 GB, of which most is written once.
    with tempfile.TemporaryDirectory(prefix="c-", dir="/dev/shm", ignore_cleanup_errors=True) as folder:
        made = Engine(Path(folder))
        try:
            made.make_base()
            yield made
        finally:
            made.close()
