"""Small items, bulk items."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, LargeBinary, inspect
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    for name in ("items", "bulk_items"):
        op.create_table(
            name,
            Column("partition", _binary(33), primary_key=True),
            Column("name", _binary(64), primary_key=True),
            Column("version", BigInteger, nullable=False),
            Column("expires_at", BigInteger, nullable=True),
            Column(
                "value",
                LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"),
                nullable=False,
            ),
            mysql_engine="InnoDB",
            mysql_row_format="DYNAMIC",
            mysql_default_charset="binary",
            if_not_exists=True,
        )
        # For the purge. MySQL has no CREATE INDEX IF NOT EXISTS.
        index = f"{name}_expires_at"
        if index not in {each["name"] for each in inspect(op.get_bind()).get_indexes(name)}:
            op.create_index(index, name, ["expires_at"])


def _binary(length: int) -> LargeBinary:
    return LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql", "mariadb")
