"""Findings from facts that no server of the functional tests can have."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from backends.engines.mysql_findings import may_write, of_privileges, of_variables
from backends.findings import Level, of_clock
from persona_profile.doctor.issuers import of_date
from persona_profile.doctor.parts import checks
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.settings import parse_settings

GOOD = {
    "version": "8.0.36",
    "transaction_isolation": "READ-COMMITTED",
    "max_allowed_packet": "16777216",
    "log_bin": "ON",
    "binlog_format": "ROW",
    "read_only": "OFF",
    "innodb_read_only": "OFF",
    "innodb_flush_log_at_trx_commit": "1",
}
PACKET = 8_000_000


def test_good_variables():
    """A right database has good findings alone."""
    found = list(of_variables(GOOD, PACKET))
    assert {each.level for each in found} == {Level.OK}
    assert "MySQL 8.0" in [each.message for each in found]
    assert may_write(GOOD)


@pytest.mark.parametrize(
    ("changed", "subject", "level"),
    [
        ({"version": "5.5.5-10.6.12-MariaDB"}, "version", Level.WARNING),
        ({"version": "10.6.12-MariaDB-log"}, "version", Level.WARNING),
        ({"version": "5.7.44"}, "version", Level.WARNING),
        ({"version": "vitess"}, "version", Level.WARNING),
        ({"transaction_isolation": "REPEATABLE-READ"}, "isolation", Level.FAILED),
        ({"max_allowed_packet": "4194304"}, "packets", Level.FAILED),
        ({"wsrep_max_ws_size": "4194304"}, "packets", Level.FAILED),
        ({"binlog_format": "STATEMENT"}, "binary log", Level.FAILED),
        ({"innodb_read_only": "ON"}, "writes", Level.FAILED),
        ({"innodb_flush_log_at_trx_commit": "2"}, "durability", Level.WARNING),
    ],
)
def test_bad_variables(changed, subject, level):
    """A wrong variable has one bad finding, with a remedy."""
    bad = [each for each in of_variables(GOOD | changed, PACKET) if each.level is not Level.OK]
    assert [(each.subject, each.level) for each in bad] == [(subject, level)]
    assert bad[0].advice


def test_cluster_need_not_flush():
    """The nodes of a cluster keep what one of them loses."""
    relaxed = GOOD | {"innodb_flush_log_at_trx_commit": "0", "wsrep_on": "ON"}
    assert {each.level for each in of_variables(relaxed, PACKET)} == {Level.OK}


def test_privileges():
    """Rights beyond the four are a warning."""
    needed = {"USAGE", "SELECT", "INSERT", "UPDATE", "DELETE"}
    assert of_privileges(needed).level is Level.OK
    assert of_privileges(needed | {"DROP"}).level is Level.WARNING


@pytest.mark.parametrize(
    ("seconds", "level", "words"),
    [
        (4, Level.OK, "agrees"),
        (-20, Level.WARNING, "20 s behind"),
        (61, Level.FAILED, "61 s ahead of"),
    ],
)
def test_clocks(seconds, level, words):
    """Small differences of clocks pass, larger ones warn, and those that reject proofs fail."""
    found = of_clock("clock", seconds)
    assert found.level is level
    assert words in found.message


def test_dates():
    """A `Date` header is compared with the time of the answer; without a valid one nothing is said."""
    now = time.time()
    text = format_datetime(datetime.fromtimestamp(now + 120, UTC), usegmt=True)
    assert [each.level for each in of_date("clock", text, now)] == [Level.FAILED]
    for text in ("", "yesterday"):
        assert list(of_date("clock", text, now)) == []


@pytest.mark.parametrize(("days", "level"), [(1, Level.OK), (500, Level.WARNING), (-9, Level.WARNING)])
def test_age_of_key(tmp_path, days, level):
    """A primary key is worth a warning after a year and a month, or if it is of the future."""
    file = KeyringFile(tmp_path / "keyring.json")
    file.create(Keyring.generate(datetime.now(UTC) - timedelta(days=days)))
    given = {"public_origins": "https://a.example", "keyring.path": str(file.path)}
    found = {each.part: each for each in checks(parse_settings(given, {}))}
    assert [each.level for each in found["keyring"].examine() if each.subject == "age"] == [level]
