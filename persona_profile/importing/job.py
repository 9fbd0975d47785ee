"""The import: rows in, profiles out, many pictures at once.

Rows are prepared in batches: one read of the store, one note of what is about to be written. While the
pictures of a batch are rendered, the next batch is prepared. A row is imported whole or not at all.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import BoundedSemaphore
from typing import Final, NamedTuple

from persona_profile.emails import InvalidEmail, canonical_email
from persona_profile.errors import Overloaded, PictureLocked, PreconditionFailed, ServiceError
from persona_profile.images import Rendition
from persona_profile.images.renderer import Renderer
from persona_profile.importing import EMAIL, PICTURE_FILE, Row, RowRejected
from persona_profile.importing.folder import Folder
from persona_profile.importing.progress_file import ProgressFile
from persona_profile.profiles.claims import CLAIMS, InvalidClaim
from persona_profile.profiles.preconditions import Precondition
from persona_profile.profiles.service import ProfileService
from persona_profile.profiles.sessions import Vouched
from persona_profile.store.ledger import Act, Ledger
from persona_profile.store.profile import UNREADABLE, StoredProfile

BATCH_ROWS: Final = 64
ATTEMPTS: Final = 2
"""Attempts at a picture whose worker was ended, as for want of memory."""

WRITERS: Final = 4
"""Profiles that are written at once: fewer than a backend's connections, on any number of cores."""

_OPERATOR: Final = "operator"


@dataclass(slots=True)
class Outcome:
    """The counts of an import.

    Attributes:
        imported: rows of this run.
        earlier: rows that an earlier run has imported.
        rejected: rows by code.
    """

    imported: int = 0
    earlier: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """All rows so far."""
        return self.imported + self.earlier + self.rejected.total()


class _Ready(NamedTuple):
    """A row that may be imported, and the partition and state of its profile."""

    line: int
    email: str
    claims: Mapping[str, str]
    picture_file: str | None
    partition: bytes
    state: str


@dataclass(slots=True)
class _Batch:
    """Rows that are being imported, and the rows of the same batch that are not."""

    begun: list[tuple[_Ready, Future[RowRejected | None]]] = field(default_factory=list)
    imported: list[bytes] = field(default_factory=list)
    earlier: int = 0
    rejected: dict[int, RowRejected] = field(default_factory=dict)


class Importer:
    """Imports rows.

    Args:
        profiles, renderer: the services of uploads.
        folder: of the pictures.
        progress_file: the rows of earlier runs.
        threads: rows that are imported at once.
        ledger: names the people who were erased; None to import them too.
        overwrite: whether rows change existing profiles.
        is_trial: whether nothing is written, neither a profile nor progress.
    """

    def __init__(
        self,
        profiles: ProfileService,
        renderer: Renderer,
        folder: Folder,
        progress_file: ProgressFile,
        *,
        threads: int,
        ledger: Ledger | None,
        overwrite: bool,
        is_trial: bool,
    ) -> None:
        self._profiles = profiles
        self._renderer = renderer
        self._folder = folder
        self._progress_file = progress_file
        self._threads = threads
        self._writers = BoundedSemaphore(WRITERS)
        self._ledger = ledger
        self._overwrite = overwrite
        self._is_trial = is_trial

    def run(
        self,
        rows: Iterable[Row],
        reject: Callable[[int, RowRejected], None],
        report: Callable[[Outcome], None],
    ) -> Outcome:
        """Import rows; `reject` gets each rejected row, in their order, and `report` the counts.

        Raises:
            BackendError, KeysUnavailable: the store or the key service failed. Another run goes on.
            InvalidProgressFile: the progress can't be kept.
        """
        outcome = Outcome()
        batches: deque[_Batch] = deque()
        with ThreadPoolExecutor(self._threads, "import") as pool:
            try:
                for batch in _batched(iter(rows)):
                    batches.append(self._begin(batch, pool))
                    if len(batches) > 1:
                        self._end(batches.popleft(), outcome, reject, report)
                while batches:
                    self._end(batches.popleft(), outcome, reject, report)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return outcome

    def _begin(self, rows: Sequence[Row], pool: ThreadPoolExecutor) -> _Batch:
        """Check rows, note what will be written, and begin to import them."""
        batch = _Batch()
        emails = dict(self._emails(rows, batch))
        if not emails:
            return batch
        _, found = self._profiles.open_session([Vouched(each, _OPERATOR) for each in emails.values()])
        profiles = {each.email: each for each in found}
        erased = self._erased([each.email for each in found if each.is_blank])
        ready = []
        for row in rows:
            if row.line in emails:
                try:
                    profile = profiles[emails[row.line]]
                    if checked := self._checked(row, profile, erased, batch):
                        ready.append(checked)
                except RowRejected as rejection:
                    batch.rejected[row.line] = rejection
        if not self._is_trial:
            self._progress_file.intend({each.partition: each.state for each in ready})
        batch.begun = [(each, pool.submit(self._import, each)) for each in ready]
        return batch

    def _end(
        self,
        batch: _Batch,
        outcome: Outcome,
        reject: Callable[[int, RowRejected], None],
        report: Callable[[Outcome], None],
    ) -> None:
        """Wait for the rows of a batch, and keep their outcomes."""
        undone = []
        outcome.imported += len(batch.imported)
        outcome.earlier += batch.earlier
        for ready, future in batch.begun:
            rejection = future.result()
            if rejection is None:
                batch.imported.append(ready.partition)
                outcome.imported += 1
            else:
                batch.rejected[ready.line] = rejection
                undone.append(ready.partition)
            report(outcome)
        if not self._is_trial:
            self._progress_file.settle(batch.imported, undone)
        for line, rejection in sorted(batch.rejected.items()):
            outcome.rejected[rejection.code] += 1
            reject(line, rejection)

    def _emails(self, rows: Iterable[Row], batch: _Batch) -> Iterator[tuple[int, str]]:
        """Yield line and email of each row that has one."""
        for row in rows:
            try:
                yield row.line, canonical_email(row.cells.get(EMAIL, ""))
            except InvalidEmail as error:
                batch.rejected[row.line] = RowRejected("email_invalid", f"{EMAIL}: {error}")

    def _erased(self, emails: Sequence[str]) -> Collection[str]:
        """Return the emails that are in the ledger as erased."""
        if self._ledger is None or not emails:
            return ()
        return {email for email, acts in self._ledger.find(emails).items() if Act.ERASED in acts}

    def _checked(
        self, row: Row, profile: StoredProfile, erased: Collection[str], batch: _Batch
    ) -> _Ready | None:
        """Return the row if it is to be imported, None if it was.

        Raises:
            RowRejected: it can't be imported.
        """
        partition = profile.home.partitions[-1]
        first = self._progress_file.first_line(partition, row.line)
        if first != row.line:
            raise RowRejected("email_repeated", f"{EMAIL}: is that of line {first} too")
        known = self._progress_file.known(profile.home.partitions)
        if None in known:
            batch.earlier += 1
            return None
        if any(state != profile.state for state in known):
            # A killed run has written it; or the person has, in the same instant, and keeps it.
            batch.imported.append(partition)
            return None
        claims, picture_file = _claims(row), row.cells.get(PICTURE_FILE)
        if not claims and picture_file is None:
            raise RowRejected("row_empty", "has neither a claim nor a picture")
        if profile.email in erased:
            raise RowRejected("profile_erased", "the profile was erased: see --with-erased")
        if picture_file is not None and profile.is_locked:
            raise RowRejected(PictureLocked.code, "an operator has locked the email for pictures")
        self._check_may_write(profile)
        return _Ready(row.line, profile.email, claims, picture_file, partition, profile.state)

    def _check_may_write(self, profile: StoredProfile) -> None:
        """Return if an import may write the profile of an email.

        Raises:
            RowRejected: it may not.
        """
        if profile.is_blank:
            return
        if profile.problem == UNREADABLE:
            raise RowRejected(profile.problem, "a profile is stored and does not open: storage verify")
        if not self._overwrite:
            raise RowRejected("profile_exists", "there is a profile already: it stays as it is")
        if profile.problem is not None:
            raise RowRejected(profile.problem, "the profile is protected by the person's own key")

    def _import(self, row: _Ready) -> RowRejected | None:
        """Render and write a row; return why it was rejected."""
        try:
            renditions = self._rendered(row.picture_file) if row.picture_file else ()
            if not self._is_trial:
                self._write(row, renditions)
        except RowRejected as rejection:
            return rejection
        except PreconditionFailed:
            return RowRejected("profile_changed", "the profile was changed meanwhile")
        except ServiceError as error:
            return RowRejected(error.code, error.detail)
        return None

    def _write(self, row: _Ready, renditions: Sequence[Rendition]) -> None:
        """Write claims and picture in one batch, over the state that was noted."""
        email, claims = row.email, row.claims
        expected = Precondition(if_match=frozenset({row.state}))
        with self._writers:
            session, _ = self._profiles.open_session([Vouched(email, _OPERATOR)])
            if renditions:
                self._profiles.write_picture(session, email, renditions, expected, claims)
            else:
                self._profiles.write_claims(session, email, claims, expected, merge=True)

    def _rendered(self, name: str) -> Sequence[Rendition]:
        for attempt in range(ATTEMPTS):
            try:
                with self._folder.opened(name) as file, self._renderer.upload(file) as upload:
                    upload.open()
                    return upload.render()
            except Overloaded:
                if attempt == ATTEMPTS - 1:
                    reason = "the picture's worker was ended, as for want of memory or time"
                    raise RowRejected(Overloaded.code, reason) from None
        raise AssertionError  # never reached


def _batched(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _claims(row: Row) -> Mapping[str, str]:
    """Return the claims of a row as a profile stores them.

    Raises:
        RowRejected: some are not valid; the reason names all of these.
    """
    claims, problems = {}, []
    for name, accept in CLAIMS.items():
        try:
            if value := accept(row.cells.get(name, "")):
                claims[name] = value
        except InvalidClaim as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise RowRejected("claim_invalid", "; ".join(problems))
    return claims
