"""What the tests of key services share, and those of the picture pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pictures.workers import ConfinedPipeline
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


IN_BOTH_WAYS = {"test_images", "test_image_colours", "test_foreign_pictures", "test_graphics"}
"""Modules whose tests run twice: with the pipeline in their process, and in confined workers."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of some modules in both ways."""
    if metafunc.module.__name__.rpartition(".")[2] in IN_BOTH_WAYS:
        metafunc.parametrize("pipeline", ["here", "confined"], indirect=True)


@pytest.fixture(scope="session")
def confined() -> Iterator[ConfinedPipeline]:
    """The pipeline in confined workers."""
    made = ConfinedPipeline()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def pipeline(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test's module render in confined workers, if that is the way."""
    if getattr(request, "param", "") == "confined":
        pipeline = request.getfixturevalue("confined")
        monkeypatch.setattr(request.module, "render_picture", pipeline.render_picture)
