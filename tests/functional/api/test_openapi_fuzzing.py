from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest
from support.contract import DOCUMENT
from support.fuzzing import ANONYMOUS, OWNER, fuzz

PROCESSES = 2


@pytest.mark.timeout(1200)
def test_every_call(development_folder, tmp_path, request):
    """Whatever is sent to whichever call by whomever, the answer is one that the document promises."""
    examples = request.config.getoption("examples")
    folders = [tmp_path / str(number) for number in range(PROCESSES)]
    for folder in folders:
        folder.mkdir()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context) as processes:
        each = -(-examples // PROCESSES)
        seen = sum(processes.map(fuzz, folders, [each] * PROCESSES, range(PROCESSES)), Counter())
    assert seen.total() >= examples
    went_well = {label for label, caller, status in seen if caller == OWNER and status < 300}
    refused = {label for label, caller, status in seen if caller == ANONYMOUS and status == 401}
    assert went_well == set(calls())
    assert refused == {label for label, operation in calls().items() if operation.get("security")}


def calls():
    """Return the operation objects of the document by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
