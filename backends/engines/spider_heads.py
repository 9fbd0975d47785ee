"""A head of shards as operators see it: its sessions, its errors, its tables and its data servers."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, Final, Self

import pymysql  # type: ignore[import-untyped]
from sqlalchemy import URL, event, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from backends import BackendError, Delete, Put, Unavailable, WrongSchema
from backends.engines import migrations, spider_tables
from backends.engines.hosts import Host, error_number
from backends.engines.mysql import MISPLACED, HostLost, MysqlBackend, Rejected
from backends.engines.mysql_connections import TIME_LIMITS, hosts_of, parse_url, whole_number
from backends.engines.statements import BULK, SMALL
from backends.findings import Finding, failed, ok, warning

MAX_SHARDS: Final = 256

_SHARDS: Final = re.compile(r"\w{1,64}(?:,\w{1,64})*", re.ASCII)
_PROBE_SECONDS: Final = 60
_SAMPLE: Final = 10
_ADVICE_SERVERS: Final = "compare SELECT * FROM mysql.servers at all heads"

_SESSION: Final = (
    # An upsert is one statement at the data server. By default Spider inserts, reads and updates.
    "SET SESSION spider_direct_dup_insert = 1",
    # An INSERT of many rows is one statement too: Spider can't undo the half of one.
    "SET SESSION spider_bulk_size = 8388608",
    # Connections to data servers stay with the session. By default each transaction opens its own.
    "SET SESSION spider_conn_recycle_mode = 2",
    # The head gives up before the service does, so that only operations of the silent shard fail.
    "SET SESSION spider_connect_timeout = {connect}, SESSION spider_connect_retry_count = 1",
    "SET SESSION spider_net_read_timeout = {answer}, SESSION spider_net_write_timeout = {answer}",
)

_BROKEN: Final = {
    12701,  # the data server has gone away: it was restarted, or has closed an idle connection
    1158,  # error reading packets
    1160,  # error writing packets
}
_SILENT: Final = {
    1159,  # timeout reading packets
    1161,  # timeout writing packets
    1429,  # no connection to the data server
}


class ShardBroken(HostLost):
    """A connection from a head to a data server broke; the head opens another."""


class ShardSilent(Rejected):
    """A data server does not answer; the others do."""


class Head(MysqlBackend):
    """A database at one or several equal heads; statements may be for any of the shards."""

    COUNTS_DELETED = False
    SCHEMA_PREFIX = migrations.HEAD

    def __init__(self, *arguments: Any, url: URL, shards: Sequence[str]) -> None:
        super().__init__(*arguments)
        self._url = url
        self._shards = tuple(shards)
        event.listen(self._engine, "handle_error", _leave_broken)

    @classmethod
    def open_at(
        cls,
        url: URL,
        shards: Sequence[str],
        clock: Callable[[], float],
        check: Callable[[Any], None] = lambda _cursor: None,
    ) -> Self:
        """Open the heads of a URL; `check` may reject a connection by its cursor."""
        limits = {name: whole_number(url, name, default) for name, default in TIME_LIMITS.items()}
        answer = max(1, limits["read_timeout"] // 2)
        connect = min(limits["connect_timeout"], max(1, answer // 2))

        def prepare(cursor: Any) -> None:
            for statement in _SESSION:
                cursor.execute(statement.format(connect=connect, answer=answer))
            check(cursor)

        return cls._opened(url, clock, prepare, url=url, shards=shards)

    def check_schema(self) -> None:
        self._retrying(lambda at: spider_tables.check_shards(at, self._shards))
        super().check_schema()

    def check_shard(self, name: str) -> None:
        """Check that a data server answers, and has the newest schema."""
        try:
            self._retrying(lambda at: spider_tables.check_version(at, name))
        except (ShardSilent, ShardBroken):
            raise ShardSilent(f"{name} does not answer") from None

    def make_tables(self) -> None:
        """Make the tables, if all data servers have the newest schema; `stamp` completes them."""
        self._retrying(lambda at: spider_tables.prepare(at, self._shards))
        for name in self._shards:
            self.check_shard(name)
        self._retrying(lambda at: spider_tables.make(at, self._shards))

    def stamp(self) -> None:
        """Record that the tables are complete: without that no service uses them."""
        self._retrying(lambda at: migrations.stamp(at, self.SCHEMA_PREFIX))

    def examine_shards(self, subject: str) -> Iterator[Finding]:
        """Yield findings about the tables of one head, and about the data servers behind it."""
        try:
            self.check_schema()
        except (WrongSchema, Unavailable) as error:
            yield _failed(subject, error, "start it, or take it out of the URL")
            return
        yield ok(subject, f"it has {len(self._shards)} shards")
        for shard, name in enumerate(self._shards):
            try:
                self.check_shard(name)
                is_right = self._has_own_items(shard)
            except (WrongSchema, Unavailable) as error:
                yield _failed(f"{subject}: {name}", error, "start the data server")
            else:
                wrong = failed(f"{subject}: {name}", "it has items of others", _ADVICE_SERVERS)
                yield ok(f"{subject}: {name}", "it answers") if is_right else wrong

    def write_probes(self, name: str) -> dict[int, int]:
        """Write a short-lived item to each shard; return their versions by shard."""
        ends = int(self._clock()) + _PROBE_SECONDS
        probes = {shard: self._probe(shard) for shard in range(len(self._shards))}
        return {
            shard: self.apply(partition, [Put(name, b"", expires_at=ends)])[name]
            for shard, partition in probes.items()
        }

    def probe_versions(self, name: str) -> dict[int, int]:
        """Return the versions of the probes that this head finds, by the shard whose server has it."""
        found: dict[int, int] = {}
        for shard, server in enumerate(self._shards):
            here = select(SMALL.c.version).with_hint(SMALL, f"PARTITION ({server})")
            for row in self._read(here.where(SMALL.c.name == name.encode("ascii"))):
                found[shard] = found.get(shard, 0) + row.version
        return found

    def delete_probes(self, name: str) -> None:
        """Delete the probes."""
        for shard in range(len(self._shards)):
            self.apply(self._probe(shard), [Delete(name)])

    def _probe(self, shard: int) -> bytes:
        return spider_tables.address_at(shard, len(self._shards))

    def _shard_of(self, partition: bytes) -> int:
        return spider_tables.shard_of(partition, len(self._shards))

    def _has_own_items(self, shard: int) -> bool:
        """Return whether some items at a data server are of its shard."""
        for table in (SMALL, BULK):
            here = select(table.c.partition).with_hint(table, f"PARTITION ({self._shards[shard]})")
            rows = self._read(here.limit(_SAMPLE))
            if any(self._shard_of(row.partition) != shard for row in rows):
                return False
        return True

    def _translate(self, error: DBAPIError) -> BackendError:
        code = error_number(error.orig)
        if code in _BROKEN:
            return ShardBroken("a data server breaks off every connection")
        if code in _SILENT:
            return ShardSilent("a data server does not answer")
        return super()._translate(error)


def _leave_broken(context: ExceptionContext) -> None:
    """Close a session whose connection to a data server failed: its next use would fail for that too.

    If the data server broke it off, it did so to all other sessions.
    """
    code = error_number(context.original_exception)
    if code in _BROKEN | _SILENT:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = code in _BROKEN


def parse(url: str | None) -> tuple[URL, tuple[str, ...]]:
    """Return the URL of heads, and the shards of its option.

    Raises:
        ValueError: the URL has another form.
    """
    parsed = parse_url(url, ("spider",), frozenset({"shards"}))
    text = str(parsed.query.get("shards", ""))
    shards = tuple(text.split(","))
    if not _SHARDS.fullmatch(text) or len(set(shards)) != len(shards) or len(shards) > MAX_SHARDS:
        raise ValueError(
            f"must have ?shards= with the names of 1 to {MAX_SHARDS} servers: one,two,three"
        )
    return parsed.difference_update_query(["shards"]), shards


def reject_others(shards: Sequence[str]) -> Callable[[Any], None]:
    """Return a check that rejects a connection to a head with other tables."""

    def check(cursor: Any) -> None:
        for name in spider_tables.TABLES:
            cursor.execute(f"SHOW CREATE TABLE {name}")
            if spider_tables.shards_in(cursor.fetchone()[1]) != tuple(shards):
                raise pymysql.err.OperationalError(MISPLACED, "other shards")

    return check


@contextmanager
def opened_heads(
    url: URL, shards: Sequence[str], clock: Callable[[], float] = time.time
) -> Iterator[Sequence[Head]]:
    """Open each head of a URL alone, whatever its tables."""
    shared = url.difference_update_query(["host"])
    is_local = "unix_socket" in url.query
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                closing(Head.open_at(shared if is_local else _at(shared, host), shards, clock))
            )
            for host in hosts_of(url)
        ]


def compare(heads: Sequence[Head]) -> None:
    """Check that each shard is a data server of its own, and the same one at all heads.

    Raises:
        WrongSchema: it is not.
    """
    name = f"probe-{secrets.token_hex(8)}"
    written = heads[0].write_probes(name)
    try:
        if any(head.probe_versions(name) != written for head in heads):
            message = "the heads disagree on the data servers, or two shards have the same"
            raise WrongSchema(f"{message}: {_ADVICE_SERVERS}")
    finally:
        with suppress(Unavailable):  # they expire
            heads[0].delete_probes(name)


def of_number(shards: int) -> Finding:
    """Return the finding about the number of shards: the last bits of MariaDB's hash are uneven."""
    if shards % 2 == 0:
        message = f"of {shards} shards some have twice as many emails as others"
        return warning("shards", message, "use an odd number: emails spread evenly then")
    return ok("shards", f"{shards}: emails spread evenly")


def _at(url: URL, host: Host) -> URL:
    return url.set(host=host.name.strip("[]"), port=host.port)


def _failed(subject: str, error: Exception, advice: str) -> Finding:
    message, _, own_advice = str(error).partition(": ")
    return failed(subject, message, own_advice or advice)
