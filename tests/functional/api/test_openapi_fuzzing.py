from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest
from fuzzing import ANONYMOUS, OWNER, fuzz
from support.clients.contract import DOCUMENT

PROCESSES = 2


@pytest.mark.timeout(1200)
def test_every_call(development_folder, tmp_path, request):
    """Every generated call, by every kind of caller, gets an answer that the document allows."""
    examples = request.config.getoption("examples")
    folders = [tmp_path / str(number) for number in range(PROCESSES)]
    for folder in folders:
        folder.mkdir()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context) as processes:
        each = -(-examples // PROCESSES)
        seen = sum(processes.map(fuzz, folders, [each] * PROCESSES, range(PROCESSES)), Counter())
    assert seen.total() >= examples
    succeeded = {label for label, caller, status in seen if caller == OWNER and status < 300}
    rejected = {label for label, caller, status in seen if caller == ANONYMOUS and status == 401}
    assert succeeded == set(calls())
    assert rejected == {label for label, operation in calls().items() if operation.get("security")}


def calls():
    """Return the document's operations by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
