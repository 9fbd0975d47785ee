"""Rules of statements that Galera, Group Replication, TiDB and Vitess support well.

The manuals are named in docs/reference/statements.md, which has a row for each rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from sqlglot import exp
from support.servers.mariadb import MariaDB
from support.stores.statements import Form, Statement, Transaction, transactions

from backends import MAX_BATCH_BYTES, MAX_OPERATIONS
from backends.engines.mysql import PACKET_BYTES

KEYED = {"items", "bulk_items"}
"""Tables whose rows are placed by partition."""

VERSION_TABLE = "schema_version"
SCHEMA_USER = "persona_admin"
"""The user of the database that may change the schema; the user of the service may not."""

TRANSACTION_STATEMENTS = 5 * MAX_OPERATIONS // 2
"""Two for each operation, and one for each two or more rows that turn out to exist."""

SESSION_VARIABLES = {"AUTOCOMMIT", "INNODB_LOCK_WAIT_TIMEOUT", "SQL_MODE"}
"""Variables that a connection may set: all four products support them."""

_KEY_COLUMNS = {"partition", "name"}
_NAMED_LOCKS = {"GET_LOCK", "RELEASE_LOCK", "RELEASE_ALL_LOCKS", "IS_FREE_LOCK", "IS_USED_LOCK"}
_PROGRAMS = ("PROCEDURE", "FUNCTION", "TRIGGER", "EVENT")
_KNOWN_PARTS = {
    exp.Select,
    exp.Union,
    exp.Insert,
    exp.Update,
    exp.Delete,
    exp.Table,
    exp.From,
    exp.Where,
    exp.Group,
    exp.Order,
    exp.Ordered,
    exp.Limit,
    exp.Distinct,
    exp.Schema,
    exp.Values,
    exp.Tuple,
    exp.OnConflict,
    exp.Alias,
    exp.Column,
    exp.Identifier,
    exp.Var,
    exp.Paren,
    exp.And,
    exp.Or,
    exp.EQ,
    exp.GT,
    exp.LTE,
    exp.In,
    exp.Is,
    exp.Null,
    exp.HexString,
    exp.Literal,
    exp.Length,
    exp.Sum,
    exp.Anonymous,
    exp.SessionParameter,
    exp.CurrentVersion,
    exp.CurrentDatabase,
    exp.CurrentSchema,
}
"""The parts of statements that read and write rows."""


class Rule(NamedTuple):
    """A property that no statement of a user may have."""

    name: str
    is_broken_by: Callable[[Form, str], bool]


class Exempt(NamedTuple):
    """Statements that need not name a partition, with the reason."""

    name: str
    reason: str
    is_meant: Callable[[Form], bool]


class Violation(NamedTuple):
    """A rule, and the beginning of the statement that breaks it."""

    rule: str
    text: str


def _is_scan(form: Form) -> bool:
    tree = form.tree
    return (
        isinstance(tree, exp.Select)
        and [each.name for each in tree.expressions] == ["partition"]
        and all(tree.args.get(part) is not None for part in ("distinct", "order", "limit"))
        and any(each.this.name == "partition" for each in tree.find_all(exp.GT))
    )


def _is_search_for_purge(form: Form) -> bool:
    tree = form.tree
    return (
        isinstance(tree, exp.Select)
        and [each.name for each in tree.expressions] == ["partition", "name", "version"]
        and tree.args.get("limit") is not None
        and isinstance(tree.args["where"].this, exp.LTE)
        and tree.args["where"].this.this.name == "expires_at"
    )


EXEMPT = (
    Exempt("scan", "operators' jobs walk all partitions in the order of the key, by pages", _is_scan),
    Exempt(
        "purge", "finds by its index what has expired; what it removes it names", _is_search_for_purge
    ),
    Exempt(
        "schema",
        "the schema's version is one row of a table",
        lambda form: form.tables == {VERSION_TABLE},
    ),
    Exempt(
        "definition",
        "migrations make tables, and look at them",
        lambda form: form.is_definition or isinstance(form.tree, exp.Describe),
    ),
)


def _is_unfiltered(form: Form, _user: str) -> bool:
    is_exempt = any(each.is_meant(form) for each in EXEMPT)
    return bool(form.tables & KEYED) and not is_exempt and form.partitions is None


def _has(*kinds: type[exp.Expression]) -> Callable[[Form, str], bool]:
    return lambda form, _user: form.tree is not None and form.tree.find(*kinds) is not None


def _begins(*words: str) -> Callable[[Form, str], bool]:
    return lambda form, _user: form.words.startswith(words)


def _calls(form: Form) -> set[str]:
    calls = form.tree.find_all(exp.Func) if form.tree else ()
    return {
        each.name.upper() if isinstance(each, exp.Anonymous) else type(each).__name__.upper()
        for each in calls
        if not isinstance(each, exp.And | exp.Or)
    }


def _is_table_without(*kinds: type[exp.Expression]) -> Callable[[Form, str], bool]:
    def is_without(form: Form, user: str) -> bool:
        tree = form.tree
        is_table = isinstance(tree, exp.Create) and tree.args["kind"] == "TABLE"
        return is_table and not _has(*kinds)(form, user)

    return is_without


def _is_of_other_engine(form: Form, user: str) -> bool:
    engine = form.tree.find(exp.EngineProperty) if form.tree else None
    is_other = engine is not None and engine.this.name.upper() != "INNODB"
    return is_other or _is_table_without(exp.EngineProperty)(form, user)


def _changes_key(form: Form, _user: str) -> bool:
    tree = form.tree
    changes = []
    if isinstance(tree, exp.Update):
        changes = tree.expressions
    elif isinstance(tree, exp.Insert) and tree.args.get("conflict"):
        changes = tree.args["conflict"].expressions
    return any(change.this.name in _KEY_COLUMNS for change in changes)


def _has_row_alias(form: Form, _user: str) -> bool:
    tree = form.tree
    return isinstance(tree, exp.Insert) and bool(tree.expression and tree.expression.args.get("alias"))


def _is_join(form: Form, user: str) -> bool:
    return _has(exp.Join, exp.Subquery)(form, user) or (form.is_write and bool(form.selects))


def _is_unknown(form: Form, user: str) -> bool:
    """Return whether a statement is of a kind, or has a part, that no rule covers."""
    tree = form.tree
    if isinstance(tree, exp.Transaction | exp.Commit | exp.Rollback):
        return False
    if isinstance(tree, exp.Set):
        return not all(map(_is_known_setting, tree.expressions))
    if isinstance(tree, exp.Describe):
        return False
    if isinstance(tree, exp.Create | exp.Show):
        return user != SCHEMA_USER and tree.name != "VARIABLES"
    if isinstance(tree, exp.Insert) and form.tables == {VERSION_TABLE}:
        return user != SCHEMA_USER
    return tree is None or any(type(part) not in _KNOWN_PARTS for part in tree.walk())


def _is_known_setting(item: exp.Expression) -> bool:
    kind = item.args.get("kind")
    if kind == "TRANSACTION":
        return [each.name for each in item.expressions] == ["ISOLATION LEVEL READ COMMITTED"]
    is_variable = isinstance(item.this, exp.EQ) and item.this.this.name.upper() in SESSION_VARIABLES
    return kind == "NAMES" or is_variable


RULES = (
    Rule("partition not named", _is_unfiltered),
    Rule("join", _is_join),
    Rule("foreign key", _has(exp.ForeignKey, exp.Reference)),
    Rule("auto increment", _has(exp.AutoIncrementColumnConstraint)),
    Rule("named lock", lambda form, _user: bool(_calls(form) & _NAMED_LOCKS)),
    Rule("table lock", _begins("LOCK ", "UNLOCK ", "FLUSH ")),
    Rule("locking read", _has(exp.Lock)),
    Rule("temporary table", _has(exp.TemporaryProperty)),
    Rule("savepoint", _begins("SAVEPOINT ", "RELEASE SAVEPOINT ", "ROLLBACK TO ", "ROLLBACK WORK TO ")),
    Rule("stored program", _begins(*(f"CREATE {kind} " for kind in _PROGRAMS), "CALL ")),
    Rule("view", _begins("CREATE VIEW ", "CREATE OR REPLACE VIEW ", "ALTER VIEW ")),
    Rule("user variable", _has(exp.Parameter)),
    Rule("definition by the service", lambda form, user: form.is_definition and user != SCHEMA_USER),
    Rule("serializable", lambda form, _user: "SERIALIZABLE" in form.text.upper()),
    Rule("distributed transaction", _begins("XA ")),
    Rule("computed in a write", lambda form, _user: form.is_write and bool(_calls(form) - {"VALUES"})),
    Rule(
        "table without primary key", _is_table_without(exp.PrimaryKey, exp.PrimaryKeyColumnConstraint)
    ),
    Rule("other engine than InnoDB", _is_of_other_engine),
    Rule("key changed", _changes_key),
    Rule("replace", _begins("REPLACE ")),
    Rule("row alias", _has_row_alias),
)
"""Rules for single statements."""

UNKNOWN = "not known"
"""The rule for statements that break no other rule and are not known to be supported."""


@dataclass(frozen=True)
class Sizes:
    """Limits in bytes of rows, and of the values of a transaction with some bytes for each row."""

    row_bytes: int = 6 * 1024 * 1024
    transaction_bytes: int = MAX_BATCH_BYTES + 200 * MAX_OPERATIONS


SIZE_RULES: dict[str, Callable[[Statement, Sizes], bool]] = {
    "statement too large": lambda statement, _sizes: len(statement.text) > PACKET_BYTES,
    "row too large": lambda statement, sizes: max(statement.row_bytes, default=0) > sizes.row_bytes,
}
TRANSACTION_RULES: dict[str, Callable[[Transaction, Sizes], bool]] = {
    "several partitions": lambda transaction, _sizes: (
        len(set().union(*(each.partitions for each in transaction.statements))) > 1
    ),
    "transaction too large": lambda transaction, sizes: transaction.bytes > sizes.transaction_bytes,
    "too many statements": lambda transaction, _sizes: (
        len(transaction.statements) > TRANSACTION_STATEMENTS
    ),
}
FULL_SCAN = "without index"


_SIZES = Sizes()


@lru_cache(maxsize=10_000)
def _broken_by(form: Form, user: str) -> tuple[str, ...]:
    broken = tuple(rule.name for rule in RULES if rule.is_broken_by(form, user))
    return broken or ((UNKNOWN,) if _is_unknown(form, user) else ())


def violations(statements: Iterable[Statement], limits: Sizes = _SIZES) -> Iterator[Violation]:
    """Yield each rule that a statement or a transaction breaks."""
    found = list(statements)
    for statement in found:
        sizes = [name for name, is_broken_by in SIZE_RULES.items() if is_broken_by(statement, limits)]
        for name in (*_broken_by(statement.form, statement.user), *sizes):
            yield Violation(name, statement.text[:500])
    for transaction in transactions(found):
        for name, is_broken_by_it in TRANSACTION_RULES.items():
            if is_broken_by_it(transaction, limits):
                yield Violation(name, transaction.statements[-1].text[:500])


def full_scans(server: MariaDB, statements: Iterable[Statement]) -> Iterator[Violation]:
    """Yield the statements, one of each form, with a plan that reads a whole table."""
    forms = {each.form: each for each in statements if each.form.tables & KEYED}
    with server.connect("persona") as connection:
        cursor = connection.cursor()
        for form, statement in forms.items():
            if not isinstance(form.tree, exp.Select | exp.Union | exp.Update | exp.Delete):
                continue
            cursor.execute(f"EXPLAIN {statement.text}")
            names = [column[0] for column in cursor.description]
            plan = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            if any(step["table"] in KEYED and step["type"] in ("ALL", "index") for step in plan):
                yield Violation(FULL_SCAN, statement.text[:500])
