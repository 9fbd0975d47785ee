"""Findings about a MySQL-compatible database: version, session, durability, rights."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from sqlalchemy import delete, insert, text, update
from sqlalchemy.sql import Executable

from backends.engines.statements import BULK, SMALL, by_key
from backends.findings import Finding, failed, ok, warning

NAMES: Final = (
    "binlog_format",
    "innodb_flush_log_at_trx_commit",
    "innodb_read_only",
    "log_bin",
    "max_allowed_packet",
    "read_only",
    "transaction_isolation",
    "tx_isolation",  # MariaDB before 11.1
    "version",
    "wsrep_max_ws_size",
    "wsrep_on",
)
VARIABLES: Final = text(
    f"SHOW VARIABLES WHERE Variable_name IN ({', '.join(map(repr, NAMES))})"  # no value of others
)
WRITABLE: Final = text(
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN "
    "('binlog_format', 'innodb_read_only', 'log_bin', 'read_only')"
)
"""What `may_write` looks at, for sessions that begin now."""

CLOCK: Final = text("SELECT UNIX_TIMESTAMP(NOW(6))")
PRIVILEGES: Final = (
    text("SELECT privilege_type FROM information_schema.user_privileges"),
    text("SELECT privilege_type FROM information_schema.schema_privileges"),
)
"""The user's own rights: those of others are shown only to users who have too many."""

ADVICE_RIGHTS: Final = "GRANT SELECT, INSERT, UPDATE, DELETE on the database to the service's user"

_OLDEST_MARIADB: Final = (10, 11)
_OLDEST_MYSQL: Final = (8, 0)
_NEEDED: Final = {"USAGE", "SELECT", "INSERT", "UPDATE", "DELETE"}
_PARTITION: Final = b"\x00"
_ON: Final = {"ON", "1"}


def trial_writes(name: bytes) -> Iterator[Executable]:
    """Yield one write of each kind to an item that no email has, for a transaction to roll back."""
    for table in (SMALL, BULK):
        key = {"partition": _PARTITION, "name": name}
        yield insert(table).values(**key, version=1, value=b"")
        yield by_key(update(table).values(version=2), table, **key)
        yield by_key(delete(table), table, **key)


def of_variables(found: Mapping[str, str], packet_bytes: int) -> Iterator[Finding]:
    """Yield findings about the variables of a session, by name."""
    yield _of_version(found.get("version", ""))
    yield _of_isolation(found)
    yield from _of_packets(found, packet_bytes)
    yield _of_binary_log(found)
    if _is_read_only(found):
        yield failed("writes", "the database is read-only", "name its primary, or end read_only there")
    flush = found.get("innodb_flush_log_at_trx_commit", "1")
    if flush != "1" and found.get("wsrep_on") != "ON":
        message = f"innodb_flush_log_at_trx_commit is {flush}: a power cut loses acknowledged writes"
        yield warning("durability", message, "set it to 1")
    else:
        yield ok("durability", "acknowledged writes outlive a crash")


def may_write(found: Mapping[str, str]) -> bool:
    """Return whether variables let the database accept writes."""
    return not _is_read_only(found) and not _rejects_by_binary_log(found)


def _is_read_only(found: Mapping[str, str]) -> bool:
    return not _ON.isdisjoint(found.get(name, "OFF") for name in ("read_only", "innodb_read_only"))


def _rejects_by_binary_log(found: Mapping[str, str]) -> bool:
    return found.get("log_bin") in _ON and found.get("binlog_format") == "STATEMENT"


def of_privileges(found: Collection[str]) -> Finding:
    """Return the finding about a user that can write."""
    if set(found) - _NEEDED:
        message = "the user can do more than the service needs"
        return warning("rights", message, f"{ADVICE_RIGHTS}, nothing else; another user for upgrades")
    return ok("rights", "the user can read and write, and nothing else")


def _of_version(version: str) -> Finding:
    match = re.match(r"(\d+)\.(\d+)", version)
    # MariaDB's name is in its version; its 5.5.5- prefix is for old replicas.
    is_mariadb = "mariadb" in version.lower()
    name, oldest = ("MariaDB", _OLDEST_MARIADB) if is_mariadb else ("MySQL", _OLDEST_MYSQL)
    if match is None:
        return warning("version", "the database states no version", "compare it with storage.md")
    number = int(match[1]), int(match[2])
    message = f"{name} {number[0]}.{number[1]}"
    if number < oldest:
        return warning("version", message, f"upgrade to {name} {oldest[0]}.{oldest[1]} or later")
    return ok("version", message)


def _of_isolation(found: Mapping[str, str]) -> Finding:
    level = found.get("transaction_isolation") or found.get("tx_isolation") or "unknown"
    if level != "READ-COMMITTED":
        advice = "let a proxy keep the settings of sessions"
        return failed("isolation", f"{level}, though READ-COMMITTED was set", advice)
    return ok("isolation", level)


def _of_packets(found: Mapping[str, str], packet_bytes: int) -> Iterator[Finding]:
    for name in ("max_allowed_packet", "wsrep_max_ws_size"):
        if name in found:
            message = f"{name} is {int(found[name]):,} bytes"
            if int(found[name]) < packet_bytes:
                yield failed("packets", message, f"set it to {packet_bytes:,} or more")
            else:
                yield ok("packets", message)


def _of_binary_log(found: Mapping[str, str]) -> Finding:
    if _rejects_by_binary_log(found):
        message = "binlog_format is STATEMENT, with which the database rejects every write"
        return failed("binary log", message, "set binlog_format = MIXED or ROW")
    is_on = found.get("log_bin") in _ON
    return ok("binary log", found.get("binlog_format", "on") if is_on else "off")
