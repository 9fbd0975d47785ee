from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clients.recording import RECORD
from support.servers.containers import Engine


@pytest.fixture(scope="session")
def base_engine() -> Iterator[Engine]:
    """An engine with the base, which all workers of a run share."""
    # In memory: less than 2 GB, of which most is written once. A short path: runc's sockets are in it.
    with tempfile.TemporaryDirectory(prefix="c-", dir="/dev/shm", ignore_cleanup_errors=True) as folder:
        made = Engine(Path(folder))
        try:
            made.make_base(Path(os.environ[RECORD], "base.tar"))
            yield made
        finally:
            made.close()
