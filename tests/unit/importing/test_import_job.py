"""The job of an import, on a store in memory and real picture workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.pictures.endless_fork_server import SIDE, start
from support.pictures.pictures import encode, quadrants
from support.pictures.workers import SMALL_JPEG, renderer
from support.stores.stores import Watched

from backends import Put, Unavailable
from backends.engines.memory import MemoryBackend
from persona_profile.importing import Row, RowRejected
from persona_profile.importing.folder import Folder
from persona_profile.importing.job import BATCH_ROWS, Importer, Outcome
from persona_profile.importing.progress_file import ProgressFile
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.profiles.removals import PictureRemovals
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.homes import Homes
from persona_profile.store.items import PROFILE_ITEM
from persona_profile.store.ledger import Ledger
from persona_profile.store.profile import BLANK_STATE, StoredProfile


class World:
    """A store, a folder with a picture, and imports."""

    def __init__(self, folder: Path) -> None:
        self.backend = Watched()
        self.keys = KeyWrapper(Keyring.generate())
        homes = Homes(self.backend, self.keys, 3600)
        self.ledger = Ledger(MemoryBackend(), self.keys, 3600, makes_schema=True)
        self.ledger.begin()
        self.profiles = ProfileService(
            self.backend, homes, self.keys, ledger=self.ledger, session_lifetime=60
        )
        self.folder = folder
        self.reasons: list[tuple[int, str]] = []
        (folder / "1.jpg").write_bytes(encode(quadrants(60, 60)))

    def run(
        self, *rows: Row, overwrite: bool = False, with_erased: bool = False, **options: object
    ) -> Outcome:
        """Import rows; `reasons` has the codes by line, in the order in which they came."""
        self.reasons = []

        def reject(line: int, rejection: RowRejected) -> None:
            self.reasons.append((line, rejection.code))

        with (
            renderer(**{"workers": 1} | options) as pictures,
            Folder(self.folder, 10**6) as folder,
            ProgressFile(self.folder / "progress") as progress,
        ):
            importer = Importer(
                self.profiles,
                pictures,
                folder,
                progress,
                threads=2,
                ledger=None if with_erased else self.ledger,
                overwrite=overwrite,
                is_trial=False,
            )
            return importer.run(rows, reject, lambda _: None)

    def profile(self, email: str) -> StoredProfile:
        """Return the profile of an email."""
        return self.profiles.open_session([Vouched(email, "test")])[1][0]

    def write(self, email: str, name: str) -> None:
        """Change a profile as its owner does."""
        session, _ = self.profiles.open_session([Vouched(email, "test")])
        self.profiles.write_claims(session, email, {"name": name})

    def erase(self, email: str) -> None:
        """Erase a profile as its owner does."""
        session, _ = self.profiles.open_session([Vouched(email, "test")])
        self.profiles.erase(session, email)

    def note(self, email: str, state: str) -> None:
        """Leave the note of a run that was killed before or after it wrote a profile."""
        with ProgressFile(self.folder / "progress") as progress:
            progress.intend({self.keys.partition(email): state})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world."""
    made = World(tmp_path)
    yield made
    made.keys.close()


def row(line: int, email: str, name: str = "Imported", picture: str = "") -> Row:
    """Return a row of the CSV."""
    cells = {"email": email, "name": name, "picture_file": picture}
    return Row(line, {each: cell for each, cell in cells.items() if cell})


def people(count: int) -> list[Row]:
    """Return rows of some people, of whom every seventh has no valid email."""
    return [
        row(
            number,
            f"p{number}@example.com" if number % 7 else "p",
            picture="1.jpg" * (number % 50 == 1),
        )
        for number in range(2, count + 2)
    ]


def test_batches(world):
    """Rows of many batches are all imported, with one read for a batch; rejections keep their order."""
    rows = people(2 * BATCH_ROWS + 20)
    rows[-1] = row(rows[-1].line, "P2@Example.com")
    outcome = world.run(*rows)
    bad = [(each.line, "email_invalid") for each in rows if each.line % 7 == 0]
    assert world.reasons == [*bad, (rows[-1].line, "email_repeated")]
    assert (outcome.rows, outcome.imported) == (len(rows), len(rows) - len(bad) - 1)
    assert all(world.profile(f"p{each}@example.com").document.version == 1 for each in (2, 51, 101))
    assert world.profile("p51@example.com").document.picture is not None
    reads = world.backend.reads
    assert world.run(*rows).earlier == outcome.imported
    assert world.backend.reads - reads == 3


def test_claims_and_picture_are_one_write(world):
    """A row with claims and a picture is written once: a kill can't leave half of it."""
    world.run(row(2, "a@example.com", picture="1.jpg"))
    found = world.profile("a@example.com").document
    assert (found.version, found.claims["name"], found.picture is not None) == (1, "Imported", True)


def failing(world: World, after: int) -> Callable[[], None]:
    """Return what lets writes fail after some."""
    first = world.backend.writes

    def fail() -> None:
        if world.backend.writes - first >= after:
            raise Unavailable("the store does not answer")

    return fail


@pytest.mark.parametrize("after", [1, 30, 90])
def test_store_fails_meanwhile(world, after):
    """After a failure of the store at any row, another run does the rest, and none twice."""
    rows = [each for each in people(2 * BATCH_ROWS) if each.line % 7]
    world.backend.before_write = failing(world, after)
    with pytest.raises(Unavailable):
        world.run(*rows)
    world.backend.before_write = lambda: None
    outcome = world.run(*rows)
    assert (outcome.imported + outcome.earlier, world.reasons) == (len(rows), [])
    assert {world.profile(each.cells["email"]).document.version for each in rows} == {1}


def test_killed_after_the_write(world):
    """A profile that a killed run has noted and written counts as imported, and stays."""
    world.write("a@example.com", "Written")
    world.note("a@example.com", BLANK_STATE)
    outcome = world.run(row(2, "a@example.com"), overwrite=True)
    assert (outcome.imported, outcome.rejected.total()) == (1, 0)
    found = world.profile("a@example.com").document
    assert (found.version, found.claims["name"]) == (1, "Written")
    assert world.run(row(2, "a@example.com"), overwrite=True).earlier == 1


def test_killed_before_the_write(world):
    """A profile that a killed run has noted alone is written by the next run."""
    world.write("b@example.com", "Old")
    world.note("a@example.com", BLANK_STATE)
    world.note("b@example.com", world.profile("b@example.com").state)
    outcome = world.run(row(2, "a@example.com"), row(3, "b@example.com"), overwrite=True)
    assert (outcome.imported, world.reasons) == (2, [])
    names = [world.profile(f"{each}@example.com").document.claims["name"] for each in "ab"]
    assert names == ["Imported", "Imported"]


def test_killed_and_rejected_later(world):
    """A noted row that is rejected by the next run is not forgotten as imported by a third."""
    world.note("a@example.com", BLANK_STATE)
    bad, good = (row(2, "a@example.com", picture=name) for name in ("none.jpg", "1.jpg"))
    assert world.run(bad).rejected == {"file_missing": 1}
    world.write("a@example.com", "Own")
    assert world.run(good).rejected == {"profile_exists": 1}


@pytest.mark.parametrize("overwrite", [False, True])
def test_written_meanwhile(world, overwrite):
    """A profile that its owner writes during the import stays; a later run finds it."""
    if overwrite:
        world.write("a@example.com", "Old")

    def write() -> None:
        world.backend.before_write = lambda: None
        world.write("a@example.com", "Own")

    world.backend.before_write = write
    assert world.run(row(2, "a@example.com"), overwrite=overwrite).rejected == {"profile_changed": 1}
    assert world.profile("a@example.com").document.claims["name"] == "Own"
    assert world.run(row(2, "a@example.com")).rejected == {"profile_exists": 1}
    assert world.run(row(2, "a@example.com"), overwrite=True).imported == 1


def test_erased(world):
    """A person who was erased comes back by an explicit option alone, also after a kill."""
    world.write("a@example.com", "Own")
    world.note("a@example.com", BLANK_STATE)
    world.erase("a@example.com")
    rows = row(2, "a@example.com"), row(3, "b@example.com")
    assert (world.run(*rows).imported, world.reasons) == (1, [(2, "profile_erased")])
    assert world.profile("a@example.com").is_blank
    assert world.run(*rows, with_erased=True).imported == 1
    assert world.profile("a@example.com").document.claims["name"] == "Imported"


def test_own_profile_after_an_erasure(world):
    """A person who was erased and came back is a person with a profile."""
    world.erase("a@example.com")
    world.write("a@example.com", "Own")
    assert world.run(row(2, "a@example.com")).rejected == {"profile_exists": 1}
    assert world.run(row(2, "a@example.com"), overwrite=True).imported == 1


def test_unreadable_profile(world):
    """A profile that does not open is never overwritten."""
    world.write("a@example.com", "Own")
    partition = world.keys.partition("a@example.com")
    world.backend.apply(partition, [Put(PROFILE_ITEM, b"junk")])
    assert world.run(row(2, "a@example.com"), overwrite=True).rejected == {"profile_unreadable": 1}


def test_endless_picture(world):
    """A picture whose worker is ended twice is rejected; the other rows are imported."""
    (world.folder / "endless.png").write_bytes(encode(quadrants(SIDE, SIDE), "PNG"))
    rows: Sequence[Row] = [
        row(2, "a@example.com", picture="endless.png"),
        row(3, "b@example.com", picture="1.jpg"),
    ]
    outcome = world.run(
        *rows, options=SMALL_JPEG, start_worker=start, deadline_seconds=2, processor_seconds=60
    )
    assert (outcome.imported, world.reasons) == (1, [(2, "overloaded")])


def test_locked_for_pictures(world):
    """A picture of a locked email is rejected before it is rendered; a row without one is imported."""
    homes = Homes(world.backend, world.keys, 3600)
    removals = PictureRemovals(world.backend, homes, world.keys, ledger=None)
    for email in ("a@example.com", "b@example.com"):
        removals.remove(email, 3600, "")
    rows = row(2, "a@example.com", picture="missing.jpg"), row(3, "b@example.com")
    outcome = world.run(*rows)
    assert (outcome.imported, world.reasons) == (1, [(2, "picture_locked")])
