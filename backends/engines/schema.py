"""The tables of the SQL engines: a generic key/value schema, small items apart from bulk items.

`migrations` creates the tables; this module describes them for statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Column, ColumnElement, LargeBinary, MetaData, Table, and_, or_
from sqlalchemy.dialects import mysql

from backends import MAX_NAME_BYTES, MAX_PARTITION_BYTES, Put

MAX_STATEMENT_BYTES: Final = 1024 * 1024
"""Bytes of values in one statement, unless one value has more. Far below the default packet sizes of
servers."""

METADATA: Final = MetaData()


def _binary(length: int) -> LargeBinary:
    return LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")


def _table(name: str) -> Table:
    return Table(
        name,
        METADATA,
        Column("partition", _binary(MAX_PARTITION_BYTES), primary_key=True),
        Column("name", _binary(MAX_NAME_BYTES), primary_key=True),
        Column("version", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=True),
        Column(
            "value",
            LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"),
            nullable=False,
        ),
    )


SMALL: Final = _table("items")
"""Items that every dialog reads; a page of the database holds many of these rows."""

BULK: Final = _table("bulk_items")
"""Items with a slash in their names: pictures."""


def table_of(name: str) -> Table:
    """Return the table for an item."""
    return BULK if "/" in name else SMALL


def by_key(statement: Any, table: Table, partition: bytes, name: bytes) -> Any:
    """Return a statement restricted to one row."""
    return statement.where(table.c.partition == partition, table.c.name == name)


def names_of(table: Table, partition: bytes, names: Iterable[bytes]) -> ColumnElement[bool]:
    """Return the condition for items of one partition."""
    return and_(table.c.partition == partition, table.c.name.in_(sorted(names)))


def addressed(table: Table, wanted: Mapping[bytes, set[bytes]]) -> ColumnElement[bool]:
    """Return the condition for items of several partitions, given as names by partition.

    One list has all partitions, so that a sharding proxy can route the statement.
    """
    alike: dict[frozenset[bytes], list[bytes]] = {}
    for partition, names in sorted(wanted.items()):
        alike.setdefault(frozenset(names), []).append(partition)
    groups = [
        and_(table.c.partition.in_(partitions), table.c.name.in_(sorted(names)))
        for names, partitions in alike.items()
    ]
    if len(groups) == 1:
        return groups[0]
    return and_(table.c.partition.in_(sorted(wanted)), or_(*groups))


def row_of(partition: bytes, put: Put, versions: Mapping[str, int]) -> dict[str, Any]:
    """Return the row that a put writes."""
    return {
        "partition": partition,
        "name": put.name.encode("ascii"),
        "version": versions[put.name],
        "expires_at": put.expires_at,
        "value": put.value,
    }


def portions(
    partition: bytes, puts: Iterable[Put], versions: Mapping[str, int]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of puts, in lists for statements of at most MAX_STATEMENT_BYTES."""
    rows: list[dict[str, Any]] = []
    size = 0
    for put in puts:
        if rows and size + len(put.value) > MAX_STATEMENT_BYTES:
            yield rows
            rows, size = [], 0
        rows.append(row_of(partition, put, versions))
        size += len(put.value)
    if rows:
        yield rows
