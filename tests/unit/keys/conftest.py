"""What the tests of a key service share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.servers.transit import FakeTransit, fake_transit, transit_service, write_token

from persona_profile.keys.transit import TransitService


@pytest.fixture
def fake() -> Iterator[FakeTransit]:
    """A server with a key."""
    with fake_transit() as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the server's token."""
    return write_token(tmp_path / "token")


@pytest.fixture
def clock() -> Clock:
    """The clock of what is remembered."""
    return Clock(1000.0)


@pytest.fixture
def service(fake: FakeTransit, token_file: Path, clock: Clock) -> Iterator[TransitService]:
    """The service at that server, with time enough."""
    running = transit_service(fake.url, token_file, timeout=30, clock=clock)
    yield running
    running.close()
