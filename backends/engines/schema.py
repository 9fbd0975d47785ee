"""The tables of the SQL engines: a generic key/value schema, small items apart from bulk items.

`migrations` creates the tables; this module describes them for statements.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table
from sqlalchemy.dialects import mysql

from backends import MAX_NAME_BYTES, MAX_PARTITION_BYTES

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
