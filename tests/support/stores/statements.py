"""Statements that reach a database, and their meaning.

The source is the server's general log, which has every statement, however it was sent.
`statement_rules` decides whether clusters and sharding proxies can execute them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from sqlglot import exp, parse, tokenize
from sqlglot.errors import SqlglotError

from support.servers.mariadb import MariaDB

_NO_STATEMENTS = {"Connect", "Quit"}
_BYTES = re.compile(r"X'([0-9a-f]*)'")
_LONG_NUMBER = re.compile(r"(?<![\w'])[0-9]{5,}(?![\w'])")

# It warns about statements that it does not parse further; the rules check those.
logging.getLogger("sqlglot").setLevel(logging.CRITICAL)


class StatementLog:
    """The general log of a server, without the tests' administrator."""

    def __init__(self, server: MariaDB) -> None:
        self._connection = server.connect()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record statements from now on, into an empty log."""
        self._query("SET GLOBAL log_output = 'TABLE'")
        self._query("TRUNCATE mysql.general_log")
        self._query("SET GLOBAL general_log = 1")
        try:
            yield
        finally:
            self._query("SET GLOBAL general_log = 0")

    def statements(self) -> list[Statement]:
        """Return the recorded statements, connection by connection, in order."""
        rows = self._query("SELECT thread_id, user_host, command_type, argument FROM mysql.general_log")
        found: dict[int, list[Statement]] = {}
        for connection, user_host, command, argument in rows:
            user = str(user_host).partition("[")[0]
            if user == "root" or command in _NO_STATEMENTS:
                continue
            # The rules reject commands without text, such as binary prepared statements.
            text = str(argument) if command == "Query" else f"{command} {argument}"
            found.setdefault(connection, []).append(Statement.of(connection, user, text))
        return [statement for each in found.values() for statement in each]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _query(self, statement: str) -> Sequence[tuple[int, str, str, str]]:
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall())


class Form:
    """A statement with its values replaced by their positions."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def tree(self) -> exp.Expression | None:
        """The syntax tree; None for malformed text or several statements."""
        try:
            trees = parse(self.text, dialect="mysql")
        except SqlglotError:
            return None
        return trees[0] if len(trees) == 1 else None

    @cached_property
    def words(self) -> str:
        """The first words in upper case."""
        try:
            tokens = tokenize(self.text[:200], dialect="mysql")
        except SqlglotError:
            return self.text[:50].upper()
        return " ".join(token.text.upper() for token in tokens[:5])

    @cached_property
    def selects(self) -> list[exp.Select]:
        """The SELECTs of the statement."""
        return [] if self.tree is None else list(self.tree.find_all(exp.Select))

    @property
    def is_write(self) -> bool:
        """Whether the statement changes rows of tables."""
        return isinstance(self.tree, exp.Insert | exp.Update | exp.Delete)

    @property
    def is_definition(self) -> bool:
        """Whether the statement changes the schema."""
        return isinstance(self.tree, exp.Create | exp.Alter | exp.Drop | exp.TruncateTable)

    @cached_property
    def tables(self) -> set[str]:
        """The names of the statement's tables."""
        return set() if self.tree is None else {each.name for each in self.tree.find_all(exp.Table)}

    @cached_property
    def partitions(self) -> set[int] | None:
        """The positions of the partitions that the statement is restricted to; None if unrestricted."""
        if isinstance(self.tree, exp.Insert):
            return _inserted_partitions(self.tree)
        if isinstance(self.tree, exp.Update | exp.Delete):
            return _required_partitions(self.tree)
        each = [_required_partitions(select) for select in self.selects]
        named = [partitions for partitions in each if partitions]
        return set().union(*named) if named and len(named) == len(each) else None

    @cached_property
    def rows(self) -> list[list[int]]:
        """The positions of the values of each written row."""
        rows: Iterable[exp.Expression] = []
        if isinstance(self.tree, exp.Insert):
            rows = self.tree.find_all(exp.Tuple)
        elif isinstance(self.tree, exp.Update):
            rows = self.tree.expressions
        return [list(map(_position, row.find_all(exp.HexString))) for row in rows]


@dataclass(frozen=True)
class Statement:
    """A statement with its connection and database user."""

    connection: int
    user: str
    text: str
    form: Form
    values: Sequence[str]

    @classmethod
    def of(cls, connection: int, user: str, text: str) -> Statement:
        """Parse a statement."""
        values: list[str] = []

        def mask(found: re.Match[str]) -> str:
            values.append(found[1])
            return f"X'{len(values) - 1:06x}'"

        masked = _LONG_NUMBER.sub("99999", _BYTES.sub(mask, text))
        return cls(connection, user, text, _form(masked), values)

    @property
    def partitions(self) -> set[str]:
        """The partitions that the statement names, in hexadecimal."""
        return {self.values[position] for position in self.form.partitions or ()}

    @property
    def row_bytes(self) -> list[int]:
        """The bytes of each written row."""
        return [sum(len(self.values[each]) // 2 for each in row) for row in self.form.rows]


class Transaction(NamedTuple):
    """Statements that take effect together; a single write is a transaction, too."""

    statements: list[Statement]

    @property
    def bytes(self) -> int:
        """The bytes of all written rows."""
        return sum(sum(statement.row_bytes) for statement in self.statements)


def transactions(statements: Iterable[Statement]) -> Iterator[Transaction]:
    """Group statements by connection and transaction; omit reads outside transactions."""
    begun: dict[int, list[Statement]] = {}
    for statement in statements:
        connection, tree = statement.connection, statement.form.tree
        if isinstance(tree, exp.Transaction):
            begun[connection] = []
        elif isinstance(tree, exp.Commit | exp.Rollback):
            if begun.get(connection):
                yield Transaction(begun.pop(connection))
        elif connection in begun:
            begun[connection].append(statement)
        elif statement.form.is_write:
            yield Transaction([statement])
    # Open transactions of connections that were cut off.
    yield from (Transaction(each) for each in begun.values() if each)


@lru_cache(maxsize=10_000)
def _form(masked: str) -> Form:
    return Form(masked)


def _position(value: exp.Expression) -> int:
    return int(value.name, 16)


def _inserted_partitions(insert: exp.Insert) -> set[int] | None:
    columns = insert.this.expressions if isinstance(insert.this, exp.Schema) else []
    names = [column.name for column in columns]
    if "partition" not in names or not isinstance(insert.expression, exp.Values):
        return None
    place = names.index("partition")
    return _positions([row.expressions[place] for row in insert.expression.expressions])


def _required_partitions(statement: exp.Expression) -> set[int] | None:
    """Return the partitions that a condition of the conjunction restricts the statement to."""
    where = statement.args.get("where")
    if where is None:
        return None
    for condition in where.this.flatten() if isinstance(where.this, exp.And) else [where.this]:
        column = condition.this
        if not isinstance(column, exp.Column) or column.name != "partition":
            continue
        if isinstance(condition, exp.EQ):
            return _positions([condition.expression])
        if isinstance(condition, exp.In):
            return _positions(condition.expressions)
    return None


def _positions(values: Sequence[exp.Expression]) -> set[int] | None:
    if not values or not all(isinstance(each, exp.HexString) for each in values):
        return None
    return set(map(_position, values))
