"""The history of the schema under Alembic, and the upgrade to its newest version."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Column, Connection, MetaData, String, Table, delete, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from backends import WrongSchema

RACE_ATTEMPTS: Final = 10
"""Attempts of an upgrade that fails because another machine does the same step."""

VERSION_TABLE: Final = "schema_version"

HEAD: Final = "head-"
"""Before the version at a head of shards: its tables are not those of the migrations."""

_SCRIPT: Final = ScriptDirectory(str(Path(__file__).parent))

# As Alembic creates it, but with a fixed character set.
_VERSIONS: Final = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), primary_key=True),
    mysql_engine="InnoDB",
    mysql_default_charset="ascii",
)


def newest() -> str:
    """Return the newest schema."""
    return str(_SCRIPT.get_current_head())


def current(connection: Connection, prefix: str = "") -> str | None:
    """Return the schema of a database, None without one.

    Raises:
        WrongSchema: it is of a newer version, or the database is of another kind than `prefix` says.
    """
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = context.get_current_revision()
    if found is None:
        return None
    if found.startswith(HEAD) != (prefix == HEAD):
        kinds = ("a head of shards", "spider") if found.startswith(HEAD) else ("no head", "mysql")
        raise WrongSchema(f"the database is {kinds[0]}: set `backend = {kinds[1]}`")
    found = found.removeprefix(prefix)
    if found not in {each.revision for each in _SCRIPT.walk_revisions()}:
        raise WrongSchema(
            f"the database's schema {found} is newer than this version knows: upgrade the software"
        )
    return found


def stamp(connection: Connection, prefix: str) -> None:
    """Record that a database, whose tables were made without migrations, has the newest schema."""
    if current(connection, prefix) != newest():
        connection.execute(CreateTable(_VERSIONS, if_not_exists=True))
        connection.execute(delete(_VERSIONS))
        connection.execute(insert(_VERSIONS).values(version_num=prefix + newest()))


def check(connection: Connection, prefix: str = "") -> None:
    """Check that the database has the newest schema, or raise `WrongSchema`; write nothing."""
    found = current(connection, prefix)
    if found is None:
        raise WrongSchema("the database has no tables yet: run `persona-profile storage init`")
    if found != newest():
        raise WrongSchema(
            f"the database's schema {found} is older than this version's {newest()}: "
            "run `persona-profile storage upgrade`"
        )


def upgrade(connection: Connection) -> None:
    """Upgrade the database to the newest schema, from any older one or from none.

    Every step can be repeated: machines that upgrade at once only make each other try again. Raises
    `WrongSchema` if the schema is of a newer version of the software.
    """
    for attempt in range(RACE_ATTEMPTS):
        try:
            _upgrade_once(connection)
        except (DBAPIError, CommandError) as error:
            is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if is_lost or attempt == RACE_ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 - no secret
        else:
            return


def _upgrade_once(connection: Connection) -> None:
    current(connection)
    connection.execute(CreateTable(_VERSIONS, if_not_exists=True))
    steps = _SCRIPT._upgrade_revs  # noqa: SLF001 - as Alembic's own commands do
    with EnvironmentContext(Config(), _SCRIPT, fn=lambda at, _: steps("head", at)) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE)
        environment.run_migrations()
