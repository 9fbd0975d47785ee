"""The tables of the SQL backends: a generic key/value schema, small items apart from bulk items.

`migrations` makes them; here is what statements need to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Column, ColumnElement, LargeBinary, MetaData, Table, and_, or_
from sqlalchemy.dialects import mysql

from backends import MAX_NAME_BYTES, MAX_PARTITION_BYTES, Put

MAX_STATEMENT_BYTES: Final = 1024 * 1024
"""How many bytes of values one statement carries, unless one value has more: far below the packet
sizes that servers take by default."""

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
"""Items that every dialog reads; rows so small that pages hold many."""

BULK: Final = _table("bulk_items")
"""Items whose names have a slash: pictures."""


def table_of(name: str) -> Table:
    """Return the table that holds items of a name."""
    return BULK if "/" in name else SMALL


def by_key(statement: Any, table: Table, partition: bytes, name: bytes) -> Any:
    """Return a statement restricted to one row."""
    return statement.where(table.c.partition == partition, table.c.name == name)


def names_of(table: Table, partition: bytes, names: Iterable[bytes]) -> ColumnElement[bool]:
    """Return the condition that a row is one of some items of a partition."""
    return and_(table.c.partition == partition, table.c.name.in_(sorted(names)))


def addressed(table: Table, wanted: Mapping[bytes, set[bytes]]) -> ColumnElement[bool]:
    """Return the condition that a row is one of some items of some partitions.

    One list names all partitions, so that a sharding proxy sees where to ask.
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
    """Divide puts into statements of MAX_STATEMENT_BYTES."""
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
