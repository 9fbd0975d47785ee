"""Stores that answer reads and take no writes: heartbeat and metrics report them until a repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers.disks import leave_free, small_disk
from support.servers.services import Client, Service

MORE = """pictures.formats = jpeg
ledger.backend = sqlite
ledger.url = sqlite:///{}/ledger.sqlite"""


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The disks of the profiles and of the ledger."""
    folder = tmp_path_factory.mktemp("disks")
    with small_disk(folder / "profiles", 16) as profiles, small_disk(folder / "ledger", 2) as ledger:
        yield profiles, ledger


@pytest.fixture(scope="module")
def service(disks: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on both disks."""
    profiles, ledger = disks
    url = f"sqlite:///{profiles}/items.sqlite"
    made = Service(tmp_path_factory.mktemp("site"), "sqlite", url, more=MORE.format(ledger))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    """A person with a profile."""
    client = Client(service, "alice@example.com")
    client.sign_in()
    assert client.set_name("Alice").status == 200
    return client


def health(client: Client) -> tuple[int, str, str]:
    """Return the heartbeat's status, and its results for storage and ledger."""
    answer = client.call("GET", "/__heartbeat__")
    return answer.status, answer.json["checks"]["storage"], answer.json["checks"]["ledger"]


def counted(service: Service) -> tuple[bool, ...]:
    """Return whether the metrics report that storage and ledger take no writes."""
    metrics = service.metrics()
    return tuple(metrics.value(f"persona_{name}_unwritable") == 1 for name in ("storage", "ledger"))


def test_disk_full_under_the_ledger(service, alice, disks):
    """While the ledger takes no entries nothing is erased; the heartbeat says so and stays 200."""
    assert health(alice) == (200, "ok", "ok")
    ballast = leave_free(disks[1], 0)
    try:
        assert alice.call("DELETE", alice.profile).says_when_to_retry
        assert health(alice) == (200, "ok", "error")
        assert counted(service) == (False, True)
        assert alice.set_name("Alice A.").status == 200
        assert health(alice) == (200, "ok", "error")
    finally:
        ballast.unlink()
    assert health(alice) == (200, "ok", "ok")
    assert counted(service) == (False, False)
    assert alice.call("GET", alice.profile).json["name"] == "Alice A."


def test_disk_full_under_the_profiles(service, alice, disks):
    """A full store serves cards; the heartbeat is 503 from the first rejected write on."""
    assert alice.set_name("Alice B.").status == 200
    ballast = leave_free(disks[0], 0)
    try:
        assert alice.set_name("Lost").says_when_to_retry
        assert health(alice) == (503, "error", "ok")
        assert counted(service) == (True, False)
        assert alice.call("GET", alice.profile).json["name"] == "Alice B."
    finally:
        ballast.unlink()
    assert health(alice) == (200, "ok", "ok")
    assert counted(service) == (False, False)
    assert alice.set_name("Kept").status == 200
