"""The tables at a head of shards under MariaDB's Spider engine, and the places of partitions.

A head keeps no items. Its tables are partitioned by key; each partition leads to the table of the same
name at a data server. Its name is that of a server, which `CREATE SERVER` makes at the head.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from backends import WrongSchema
from backends.engines import migrations
from backends.engines.hosts import error_number
from backends.engines.statements import BULK, SMALL

TABLES: Final = (SMALL.name, BULK.name)

_NO_TABLE: Final = {1146, 12702}
"""A table is missing, here or at a data server."""

_VERSIONS: Final = "shard_versions"
_PARTITION: Final = re.compile(r"PARTITION `(\w+)` COMMENT = 'srv \"(\w+)\"' ENGINE = SPIDER")

# The columns of the newest schema as a whole: ALTER TABLE may copy the rows of a table of Spider.
_ITEMS: Final = """
CREATE OR REPLACE TABLE {name} (
    `partition` VARBINARY(33) NOT NULL,
    name VARBINARY(64) NOT NULL,
    version BIGINT NOT NULL,
    expires_at BIGINT,
    value MEDIUMBLOB NOT NULL,
    PRIMARY KEY (`partition`, name),
    KEY {name}_expires_at (expires_at)
) ENGINE = SPIDER DEFAULT CHARSET = binary COMMENT = 'wrapper "mysql", table "{name}"'
PARTITION BY KEY ALGORITHM = 2 (`partition`) ({parts})
"""

# The schema's versions at all data servers, to read one by one.
_VERSION_ROWS: Final = f"""
CREATE OR REPLACE TABLE {_VERSIONS} (version_num VARCHAR(32) CHARACTER SET ascii NOT NULL PRIMARY KEY)
ENGINE = SPIDER COMMENT = 'wrapper "mysql", table "{migrations.VERSION_TABLE}"'
PARTITION BY KEY (version_num) ({{parts}})
"""


def shard_of(partition: bytes, shards: int) -> int:
    """Return the number of the shard with a partition, from 0, as `PARTITION BY KEY` places it."""
    value, step = 1, 4
    for byte in partition:
        value = (value ^ (((value & 63) + step) * byte + (value << 8))) & 0xFFFF_FFFF_FFFF_FFFF
        step += 3
    return (value & 0xFFFF_FFFF) % shards


def address_at(shard: int, shards: int) -> bytes:
    """Return a partition of a shard that no email has."""
    candidates = (b"\x00%04x" % number for number in range(2**16))
    return next(each for each in candidates if shard_of(each, shards) == shard)


def shards_in(definition: str) -> tuple[str, ...]:
    """Return the shards of a table in order, by `SHOW CREATE TABLE`; none for other tables."""
    pairs = _PARTITION.findall(definition)
    is_by_key = "PARTITION BY KEY (`partition`)" in definition
    return tuple(name for name, server in pairs if name == server) if is_by_key else ()


def find_shards(connection: Connection) -> tuple[str, ...] | None:
    """Return the shards of a head's tables in order; None unless it has all tables.

    Raises:
        WrongSchema: a table keeps items of its own, or the tables have different shards.
    """
    definitions = [each for name in TABLES if (each := _definition(connection, name))]
    found = {shards_in(each) for each in definitions}
    if () in found:
        message = "the head's database keeps items of its own: give heads a database without tables"
        raise WrongSchema(message)
    if len(found) > 1:
        message = "the head's tables have different shards: drop them, and run `storage init`"
        raise WrongSchema(message)
    return found.pop() if len(definitions) == len(TABLES) else None


def check_shards(connection: Connection, shards: Sequence[str]) -> None:
    """Check that a head has tables with these shards, in this order.

    Raises:
        WrongSchema: it has none, or others.
    """
    found = find_shards(connection)
    if found is None:
        raise WrongSchema("the head has no tables yet: run `persona-profile storage init`")
    _check_same(found, shards)


def prepare(connection: Connection, shards: Sequence[str]) -> None:
    """Check that a head may get tables with these shards; make the one that reads their versions.

    Raises:
        WrongSchema: it has no Spider engine, or other tables.
    """
    query = "SELECT support FROM information_schema.engines WHERE engine = 'SPIDER'"
    if connection.execute(text(query)).scalar() not in ("YES", "DEFAULT"):
        raise WrongSchema("the head has no Spider engine: install mariadb-plugin-spider")
    _check_same(find_shards(connection) or tuple(shards), shards)
    migrations.current(connection, migrations.HEAD)
    connection.exec_driver_sql(_VERSION_ROWS.format(parts=_parts(shards)))


def make(connection: Connection, shards: Sequence[str]) -> None:
    """Make the tables of a head, or renew those of an older schema; items at data servers stay."""
    is_current = migrations.current(connection, migrations.HEAD) == migrations.newest()
    if is_current and find_shards(connection) is not None:
        return
    for name in TABLES:
        connection.exec_driver_sql(_ITEMS.format(name=name, parts=_parts(shards)))


def check_version(connection: Connection, shard: str) -> None:
    """Check by a head that a data server has the newest schema.

    Raises:
        WrongSchema: it has another, or none.
    """
    query = f"SELECT version_num FROM {_VERSIONS} PARTITION ({shard})"  # noqa: S608 - a checked name
    try:
        found = connection.exec_driver_sql(query).scalars().all()
    except DBAPIError as error:
        if error_number(error.orig) not in _NO_TABLE:
            raise
        found = []
    if found != [migrations.newest()]:
        raise WrongSchema(
            f"the schema of {shard} is {', '.join(found) or 'none'}, not {migrations.newest()}: run "
            "`persona-profile storage upgrade` at each data server, then at the heads"
        )


def _check_same(found: tuple[str, ...], shards: Sequence[str]) -> None:
    if found != tuple(shards):
        raise WrongSchema(
            f"the head's tables have the shards {','.join(found)}, the URL others: correct the URL, or "
            "run `persona-profile storage copy` to heads with an empty database"
        )


def _parts(shards: Sequence[str]) -> str:
    return ", ".join(f"PARTITION {name} COMMENT 'srv \"{name}\"'" for name in shards)


def _definition(connection: Connection, name: str) -> str | None:
    try:
        return str(connection.exec_driver_sql(f"SHOW CREATE TABLE {name}").one()[1])
    except DBAPIError as error:
        if error_number(error.orig) in _NO_TABLE:
            return None
        raise
