from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.forgeries.mutations import KINDS, mutated
from support.pictures.pictures import encode, quadrants
from support.pictures.workers import outcome, renderer

WORKERS = 2
DEADLINE_SECONDS = 30
SEVERAL = {"mpo", "apng", "apng-without-default", "animated-webp", "partial-webp"}
SEVERAL |= {"animated-gif", "partial-gif"}
EXPECTED = {
    "accepted",
    "picture_broken",
    "picture_too_many_pixels",
    "picture_too_complex",
    "unsupported_media_type",
}


@pytest.fixture(scope="module")
def render():
    """A renderer with real workers, for all tests."""
    with renderer(workers=WORKERS, deadline_seconds=DEADLINE_SECONDS) as made:
        yield made


def upload_all(render, files) -> Counter[str]:
    """Upload files from two clients, each within the deadline; count the outcomes."""

    def upload(numbered) -> str:
        number, data = numbered
        began = time.monotonic()
        found = outcome(render, data, client=str(number % WORKERS))
        assert time.monotonic() - began < DEADLINE_SECONDS
        return found

    with ThreadPoolExecutor(WORKERS) as threads:
        return Counter(threads.map(upload, enumerate(files)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_mutations(render, kind, request):
    """Any mutation of a file is accepted or rejected with a code; the next upload is accepted."""
    count = -(-request.config.getoption("mutations") // len(KINDS))
    source = random.Random(kind)
    good = KINDS[kind](60)
    found = upload_all(render, (mutated(good, source) for _ in range(count)))
    assert found.total() == count
    assert found.keys() <= EXPECTED
    assert found["accepted"] < count
    assert outcome(render, good) == "accepted"


@pytest.mark.parametrize("kind", KINDS)
def test_truncations(render, kind):
    """A file cut at any kilobyte is rejected; the whole file is accepted."""
    good = KINDS[kind](200)
    essential = len(good) // 3 if kind in SEVERAL else len(good)
    cuts = range(1024, essential - 1024, 1024)
    assert len(cuts) > 3
    found = upload_all(render, (good[:cut] for cut in cuts))
    assert found == {"picture_broken": len(cuts)}
    assert outcome(render, good) == "accepted"


def test_after_all_that(render):
    """The workers still work."""
    assert outcome(render, encode(quadrants(64, 64))) == "accepted"
