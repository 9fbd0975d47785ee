"""The picture pipeline in the process of the tests, and in confined workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.pictures.workers import ConfinedPipeline

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
