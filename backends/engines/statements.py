"""The tables and statements of the SQL engines, by SQLAlchemy Core; `migrations` creates the tables.

Every statement names its partitions, except those of a scan and of a purge. Every expectation is a
condition of the statement that writes, never a read before it. `docs/reference/statements.md` has the
rules that let clusters and sharding proxies carry out all statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, groupby
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import Executable

from backends import ABSENT, ANYTHING, Address, Conflict, Delete, Operation, Put, chunks

MAX_STATEMENT_BYTES: Final = 1024 * 1024
"""Bytes of values in one statement, unless one value has more. Far below the default packet sizes of
servers."""

MAX_TEXTS: Final = 256
"""The kept texts of a kind: requests need few, jobs one for each number of partitions."""

KEY: Final = ("partition", "name")
CONTENT: Final = ("version", "expires_at", "value")


def _table(name: str) -> sa.TableClause:
    kinds = {"version": sa.BigInteger, "expires_at": sa.BigInteger}
    return sa.TableClause(
        name, *(sa.column(each, kinds.get(each, sa.LargeBinary)) for each in KEY + CONTENT)
    )


SMALL: Final = _table("items")
"""Items that every dialog reads; a page of the database holds many of these rows."""

BULK: Final = _table("bulk_items")
"""Items with a slash in their names: pictures."""


@dataclass(frozen=True, slots=True)
class Step:
    """A statement of a batch: SQLAlchemy's, or text with parameters.

    With `must_match` it is a conflict unless the statement finds exactly one row. If a row of an
    INSERT exists already, the steps that `if_exists` returns are carried out instead.
    """

    statement: Executable | str
    parameters: tuple[Any, ...] = ()
    must_match: bool = False
    if_exists: Callable[[], Sequence[Step]] | None = None

    def carry_out(self, connection: sa.Connection) -> None:
        """Carry out the step; raise `Conflict` if an expectation was not met."""
        for step in self.attempt(connection):
            step.carry_out(connection)

    def attempt(self, connection: sa.Connection) -> Sequence[Step]:
        """Send the statement; return the steps to carry out instead, mostly none."""
        try:
            if isinstance(self.statement, str):
                result = connection.exec_driver_sql(self.statement, self.parameters)
            else:
                result = cast("sa.CursorResult[Any]", connection.execute(self.statement))
        except IntegrityError:
            if self.if_exists is None:
                raise
        else:
            if self.must_match and result.rowcount != 1:
                raise Conflict("the item is absent or at another version")
            return ()
        # Not in the handler: the message of an IntegrityError has the partition, and would be the
        # context of a conflict.
        return self.if_exists()


class Text(NamedTuple):
    """A statement as text, with its parameters in order, and whether it reads both tables."""

    text: str
    parameters: tuple[Any, ...]
    is_of_both: bool

    def rows(self, connection: sa.Connection) -> Sequence[Any]:
        """Return the rows of a SELECT."""
        return connection.exec_driver_sql(self.text, self.parameters).all()


_Group = tuple[list[bytes], list[bytes]]
"""Partitions, and names of items that are wanted in each of them."""

_Selecting = Callable[[sa.TableClause], "sa.Select[Any]"]
"""Returns a SELECT of a table, yet without a condition."""


class Texts:
    """The texts of frequent statements, each made once: to make one takes longer than to carry it out.

    Args:
        dialect: the engine's.
        upsert: returns an INSERT into a table that replaces the row with the same key.
    """

    def __init__(self, dialect: Any, upsert: Callable[[sa.TableClause], Any]) -> None:
        style = "format" if dialect.paramstyle == "pyformat" else dialect.paramstyle
        self._dialect = type(dialect)(paramstyle=style)
        self._upsert = upsert
        self.insert = lru_cache(MAX_TEXTS)(self._insert)
        self.read = lru_cache(MAX_TEXTS)(self._read)
        self.read_both = lru_cache(MAX_TEXTS)(self._read_both)
        self.update = cache(self._update)
        self.delete = lru_cache(MAX_TEXTS)(self._delete)

    def _insert(self, table: sa.TableClause, rows: int, replaces: bool) -> str:  # noqa: FBT001
        """Return an INSERT, which may replace; its parameters are those of each row in turn."""
        insert = self._upsert(table) if replaces else sa.insert(table)
        return self._text(insert.values([dict.fromkeys((*KEY, *CONTENT), b"")] * rows))

    def _read(self, sizes: Sequence[tuple[sa.TableClause, Sequence[tuple[int, int]]]]) -> str:
        """Return `_live_at` of tables by the numbers of partitions and names in each group."""
        selects = [
            _live_at(table, [([b""] * partitions, [b""] * names) for partitions, names in groups], 0)
            for table, groups in sizes
        ]
        return self._text(sa.union_all(*selects) if len(selects) > 1 else selects[0])

    def _read_both(self, select: _Selecting, partitions: int) -> str:
        """Return one SELECT of both tables: it sees each partition whole.

        Its parameters: for each table, the partitions and the time.
        """
        selects = (
            select(table).where(table.c.partition.in_([b""] * partitions), _is_live(table, 0))
            for table in (SMALL, BULK)
        )
        return self._text(sa.union_all(*selects))

    def _update(self, table: sa.TableClause) -> str:
        """Return an UPDATE of a live item's content at a version.

        Its parameters: the content, the key, the version, the time.
        """
        update = by_key(sa.update(table), table, b"", b"").values(dict.fromkeys(CONTENT, 0))
        return self._text(update.where(table.c.version == 0, _is_live(table, 0)))

    def _delete(self, table: sa.TableClause, names: int) -> str:
        """Return a DELETE of some items; its parameters: the partition, the names."""
        in_partition = table.c.partition == b""
        return self._text(sa.delete(table).where(in_partition, table.c.name.in_([b""] * names)))

    def _text(self, statement: Any) -> str:
        options = {"render_postcompile": True}
        return str(statement.compile(dialect=self._dialect, compile_kwargs=options))


def table_of(name: str) -> sa.TableClause:
    """Return the table for an item."""
    return BULK if "/" in name else SMALL


def read(addresses: Iterable[Address], now: int, texts: Texts) -> Text | None:
    """Return a SELECT of the live items at some addresses; None without addresses."""
    wanted: dict[sa.TableClause, dict[bytes, set[bytes]]] = {}
    for partition, name in addresses:
        by_partition = wanted.setdefault(table_of(name), {})
        by_partition.setdefault(partition, set()).add(name.encode("ascii"))
    if not wanted:
        return None
    sizes: list[tuple[sa.TableClause, Sequence[tuple[int, int]]]] = []
    parameters: list[Any] = []
    for table, by_partition in wanted.items():
        groups = _alike(by_partition)
        sizes.append((table, tuple((len(partitions), len(names)) for partitions, names in groups)))
        parameters += _partitions(groups) if len(groups) > 1 else ()
        parameters += chain.from_iterable(chain(*each) for each in groups)
        parameters.append(now)
    return Text(texts.read(tuple(sizes)), tuple(parameters), len(sizes) > 1)


def list_items(partitions: Sequence[bytes], now: int, texts: Texts) -> Text:
    """Return a SELECT of the live items of partitions, with the sizes of their values."""
    return _of_both(partitions, now, texts, _listed)


def read_items(partitions: Sequence[bytes], now: int, texts: Texts) -> Text:
    """Return a SELECT of the live items of partitions."""
    return _of_both(partitions, now, texts, sa.select)


def sizes(partitions: Sequence[bytes], now: int, texts: Texts) -> Text:
    """Return a SELECT of the bytes of live values in each table of partitions."""
    return _of_both(partitions, now, texts, _measured)


def scan(table: sa.TableClause, after: bytes | None, limit: int, now: int) -> sa.Select[Any]:
    """Return a SELECT of the partitions in one table that follow `after`, in order."""
    return (
        sa.select(table.c.partition)
        .distinct()
        .where(table.c.partition > (after or b""))
        .where(_is_live(table, now))
        .order_by(table.c.partition)
        .limit(limit)
    )


def expired(table: sa.TableClause, limit: int, now: int) -> sa.Select[Any]:
    """Return a SELECT of the keys and versions of expired items in one table."""
    keys = sa.select(table.c.partition, table.c.name, table.c.version)
    return keys.where(table.c.expires_at <= now).limit(limit)


def delete_version(table: sa.TableClause, partition: bytes, name: bytes, version: int) -> Any:
    """Return a DELETE of one item at a version."""
    return by_key(sa.delete(table), table, partition, name).where(table.c.version == version)


def batch(
    partition: bytes,
    operations: Sequence[Operation],
    versions: Mapping[str, int],
    texts: Texts,
    now: int,
    counts_deleted: bool,  # noqa: FBT001 - a property of the engine
) -> Iterator[Step]:
    """Yield the statements of a batch; the statements that can fail come first.

    `counts_deleted`: whether a DELETE returns the number of its rows. Both groups are in the order of
    tables and names: two batches seldom lock rows in opposite orders.
    """
    ordered = sorted(operations, key=lambda each: ("/" in each.name, each.name))
    expecting = [each for each in ordered if each.if_version is not ANYTHING]
    for is_new, group in groupby(expecting, lambda each: each.if_version is ABSENT):
        if not is_new:
            for each in group:
                yield from _expecting(partition, each, versions, texts, now, counts_deleted)
            continue
        for puts in _of_one_insert(cast("Iterable[Put]", group)):
            yield _inserting(partition, puts, versions, texts, now)
    for table in (SMALL, BULK):
        free = [
            each for each in ordered if each.if_version is ANYTHING and table_of(each.name) is table
        ]
        names = [each.name.encode("ascii") for each in free if isinstance(each, Delete)]
        if names:
            yield Step(texts.delete(table, len(names)), (partition, *names))
        for puts in _of_one_insert(each for each in free if isinstance(each, Put)):
            text = texts.insert(table, len(puts), True)
            yield Step(text, _parameters(partition, puts, versions))


def by_key(statement: Any, table: sa.TableClause, partition: bytes, name: bytes) -> Any:
    """Return a statement restricted to one row."""
    return statement.where(table.c.partition == partition, table.c.name == name)


def _of_one_insert(puts: Iterable[Put]) -> Iterator[list[Put]]:
    """Yield puts that one INSERT writes, in order."""
    for _, group in groupby(puts, lambda put: table_of(put.name)):
        yield from chunks(group, lambda put: len(put.value), MAX_STATEMENT_BYTES)


def _parameters(partition: bytes, puts: Iterable[Put], versions: Mapping[str, int]) -> tuple[Any, ...]:
    """Return the values of the rows of some puts, in the order of the columns."""
    rows = (
        (partition, put.name.encode("ascii"), versions[put.name], put.expires_at, put.value)
        for put in puts
    )
    return tuple(chain.from_iterable(rows))


def _of_both(partitions: Sequence[bytes], now: int, texts: Texts, select: _Selecting) -> Text:
    text = texts.read_both(select, len(partitions))
    return Text(text, (*partitions, now, *partitions, now), is_of_both=True)


def _listed(table: sa.TableClause) -> sa.Select[Any]:
    size = sa.func.length(table.c.value)
    return sa.select(*(table.c[name] for name in (*KEY, "version")), size, table.c.expires_at)


def _measured(table: sa.TableClause) -> sa.Select[Any]:
    size = sa.func.sum(sa.func.length(table.c.value))
    return sa.select(table.c.partition, size).group_by(table.c.partition)


def _is_live(table: sa.TableClause, now: int) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now)


def _alike(wanted: Mapping[bytes, set[bytes]]) -> Sequence[_Group]:
    """Return groups of partitions in which the same items are wanted, given as names by partition."""
    alike: dict[frozenset[bytes], list[bytes]] = {}
    for partition, names in sorted(wanted.items()):
        alike.setdefault(frozenset(names), []).append(partition)
    return [(partitions, sorted(names)) for names, partitions in alike.items()]


def _live_at(table: sa.TableClause, groups: Sequence[_Group], now: int) -> sa.Select[Any]:
    """Return a SELECT of the live items of groups.

    One list has all partitions, so that a sharding proxy can route the statement.
    """
    conditions = [
        sa.and_(table.c.partition.in_(partitions), table.c.name.in_(names))
        for partitions, names in groups
    ]
    if len(groups) > 1:
        everywhere = table.c.partition.in_(_partitions(groups))
        conditions = [sa.and_(everywhere, sa.or_(*conditions))]
    return sa.select(table).where(*conditions, _is_live(table, now))


def _partitions(groups: Sequence[_Group]) -> list[bytes]:
    return sorted(chain.from_iterable(partitions for partitions, _ in groups))


def _inserting(
    partition: bytes, puts: Sequence[Put], versions: Mapping[str, int], texts: Texts, now: int
) -> Step:
    """Return the INSERT of new items; each has its own step if one of them exists already."""
    table = table_of(puts[0].name)

    def instead() -> Sequence[Step]:
        if len(puts) > 1:
            return [_inserting(partition, [put], versions, texts, now) for put in puts]
        replace = _replacing(partition, puts[0], versions)
        return [Step(replace.where(table.c.expires_at <= now), must_match=True)]

    text = texts.insert(table, len(puts), False)
    return Step(text, _parameters(partition, puts, versions), if_exists=instead)


def _expecting(
    partition: bytes,
    operation: Operation,
    versions: Mapping[str, int],
    texts: Texts,
    now: int,
    counts_deleted: bool,  # noqa: FBT001 - private
) -> Iterator[Step]:
    """Yield the statements of an operation that names a version."""
    table, name = table_of(operation.name), operation.name.encode("ascii")
    if isinstance(operation, Put):
        content = versions[operation.name], operation.expires_at, operation.value
        parameters = (*content, partition, name, operation.if_version, now)
        yield Step(texts.update(table), parameters, must_match=True)
        return
    delete = by_key(sa.delete(table), table, partition, name)
    at_version = (table.c.version == operation.if_version, _is_live(table, now))
    if counts_deleted:
        yield Step(delete.where(*at_version), must_match=True)
    else:
        # It expires first, by a statement that returns its rows.
        expire = by_key(sa.update(table), table, partition, name).values(expires_at=0)
        yield Step(expire.where(*at_version), must_match=True)
        yield Step(delete)


def _replacing(partition: bytes, put: Put, versions: Mapping[str, int]) -> Any:
    # Without the key: a sharded database can't change the columns that place a row.
    table = table_of(put.name)
    changed = {"version": versions[put.name], "expires_at": put.expires_at, "value": put.value}
    return by_key(sa.update(table), table, partition, put.name.encode("ascii")).values(changed)
