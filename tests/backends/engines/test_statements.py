"""Every statement that reaches a real server, checked for clusters and sharding proxies."""

import re
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
import webtest
from sqlalchemy.dialects import mysql
from statement_rules import (
    EXEMPT,
    FULL_SCAN,
    RULES,
    SCHEMA_USER,
    SIZE_RULES,
    TRANSACTION_RULES,
    TRANSACTION_STATEMENTS,
    UNKNOWN,
    Sizes,
    full_scans,
    violations,
)
from support.clients.identities import AUDIENCE
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application
from support.servers.mariadb import MariaDB
from support.stores.archives import backup, restore
from support.stores.statements import StatementLog, transactions
from support.stores.stores import fill, partition_of

from backends import ABSENT, MAX_OPERATIONS, Put
from backends.engines.mysql import MysqlBackend
from backends.engines.statements import SMALL, Texts
from backends.testing.conformance import BackendConformance
from persona_profile import cli

SERVICE_USER = "persona_service"
MIB = 1024 * 1024
WHERE = "WHERE `partition` = X'01' AND name = X'6b'"
COLUMNS = "(`partition`, name, version, value)"
ROW = "X'01', X'6b', 1, X''"


class Database:
    """A database with the users of docs/how-to/storage.md."""

    def __init__(self, server: MariaDB) -> None:
        self.server = server
        server.create_database()
        self._connection = server.connect("persona")
        for user, rights in ((SERVICE_USER, "SELECT, INSERT, UPDATE, DELETE"), (SCHEMA_USER, "ALL")):
            server.query(f"CREATE USER IF NOT EXISTS {user}@'127.0.0.1' IDENTIFIED BY 'secret'")
            server.query(f"GRANT {rights} ON persona.* TO {user}@'127.0.0.1'")
        self.log = StatementLog(server)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()
        self.log.close()

    def url(self, user: str = SERVICE_USER) -> str:
        """Return the URL for a user."""
        return self.server.url.replace("persona:", f"{user}:")

    def migrate(self) -> None:
        """Create the schema as operators do."""
        backend = MysqlBackend.from_url(self.url(SCHEMA_USER))
        backend.initialize()
        backend.close()

    def empty(self) -> None:
        """Remove all rows."""
        for table in ("items", "bulk_items"):
            self._connection.cursor().execute(f"DELETE FROM {table}")


class RestrictedBackend(MysqlBackend):
    """A backend whose user may not change the schema; another user does that."""

    database: Database

    def initialize(self) -> None:
        self.database.migrate()


@pytest.fixture(scope="module")
def database(mariadb: MariaDB) -> Iterator[Database]:
    """A database with a schema."""
    database = Database(mariadb)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def backend(database: Database) -> Iterator[RestrictedBackend]:
    """An empty store; none of its statements may break a rule."""
    database.empty()
    backend = RestrictedBackend.from_url(database.url())
    assert isinstance(backend, RestrictedBackend)
    backend.database = database
    with database.log.recording():
        yield backend
        backend.close()
    statements = database.log.statements()
    assert list(violations(statements)) == []
    assert any(statement.form.is_write or statement.form.selects for statement in statements)


class TestConformance(BackendConformance):
    """The conformance suite, with every statement inspected."""


def test_migrations(mariadb, database):
    """From an empty database to a service that starts; all four products accept the tables."""
    for table in ("items", "bulk_items", "schema_version"):
        mariadb.query(f"DROP TABLE persona.{table}")
    with database.log.recording():
        database.migrate()
        database.migrate()
        service = MysqlBackend.from_url(database.url())
        service.check_schema()
        service.close()
    statements = database.log.statements()
    assert list(violations(statements)) == []
    assert {each.user for each in statements if each.form.is_definition} == {SCHEMA_USER}
    tables = mariadb.query(
        "SELECT t.table_name, t.engine, t.table_type, t.auto_increment, COUNT(c.column_name)"
        " FROM information_schema.tables t LEFT JOIN information_schema.key_column_usage c"
        " ON c.table_schema = t.table_schema AND c.table_name = t.table_name"
        " AND c.constraint_name = 'PRIMARY' WHERE t.table_schema = 'persona' GROUP BY t.table_name"
    )
    assert sorted(tables) == [
        ("bulk_items", "InnoDB", "BASE TABLE", None, 2),
        ("items", "InnoDB", "BASE TABLE", None, 2),
        ("schema_version", "InnoDB", "BASE TABLE", None, 1),
    ]
    for kind, schema in (
        ("routines", "routine_schema"),
        ("triggers", "trigger_schema"),
        ("events", "event_schema"),
        ("referential_constraints", "constraint_schema"),
    ):
        found = f"SELECT COUNT(*) FROM information_schema.{kind} WHERE {schema} = 'persona'"
        assert mariadb.query(found) == [(0,)]


def test_other_versions():
    """The statement that replaces a row is the same for each version of the server."""
    backend = MysqlBackend.from_url("mysql://persona:secret@127.0.0.1/persona")
    dialect = mysql.dialect()
    for version in ((8, 0, 11), (8, 0, 36), (9, 7, 2)):  # TiDB calls itself 8.0.11
        dialect.server_version_info = version
        text = Texts(dialect, backend._upsert).insert(SMALL, 1, True)
        assert "value = VALUES(value)" in text
        assert " AS new" not in text


def test_most_statements(backend, database):
    """The largest transaction has two statements for each operation, after one for each table."""
    names = [f"{table}{number}" for number in range(MAX_OPERATIONS // 2) for table in ("", "bulk/")]
    backend.apply(partition_of(1), [Put(name, b"", expires_at=1) for name in names])
    backend.apply(partition_of(1), [Put(name, b"", ABSENT) for name in names])
    largest = max(transactions(database.log.statements()), key=lambda each: len(each.statements))
    assert len(largest.statements) == 2 * MAX_OPERATIONS + 2 <= TRANSACTION_STATEMENTS


def test_all_that_the_service_does(database, tmp_path):
    """The statements of all requests and commands, from sign-in to restore, break no rule."""
    database.empty()
    with database.log.recording():
        use(database, tmp_path)
        administer(database, tmp_path)
    statements = database.log.statements()
    assert list(violations(statements)) == []
    exempt = {each.name for each in EXEMPT for one in statements if each.is_meant(one.form)}
    assert exempt >= {"scan", "purge", "schema"}
    fill(MysqlBackend.from_url(database.url()), partitions=60)
    assert list(full_scans(database.server, statements)) == []


def use(database: Database, folder: Path) -> None:
    """Send the requests of a client."""
    app = application(
        folder, backend="mysql", backend__url=database.url(SCHEMA_USER), pictures__formats="jpeg"
    )
    browser = webtest.TestApp(app, extra_environ={"HTTP_HOST": "127.0.0.1:6543"})
    provider = app.development.identity_provider
    emails = [f"{name}@example.com" for name in ("alice", "bob", "carol")]
    body = {
        "proofs": [{"assertion": provider.bundle(email, AUDIENCE)} for email in emails],
        "thumbnails": 64,
    }
    token = browser.post_json("/v1/sessions", body, status=201).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    for email in emails[:2]:
        profile = f"/v1/profiles/{email}"
        browser.patch_json(profile, {"name": "Name"}, headers=headers)
        picture = headers | {"Content-Type": "image/png"}
        for _ in range(2):
            answer = browser.put(
                f"{profile}/picture", encode(quadrants(200, 200), "PNG"), headers=picture
            )
        browser.get(answer.json["picture"]["urls"]["64"])
        browser.get(f"{profile}/export", headers=headers)
    browser.get("/v1/profiles?thumbnails=64", headers=headers)
    browser.delete(f"/v1/profiles/{emails[1]}", headers=headers)
    browser.delete("/v1/sessions", headers=headers)
    app.close()


def administer(database: Database, folder: Path) -> None:
    """Run the commands of an operator, as the user of the service."""
    ini = folder / "persona.ini"
    ini.write_text(
        "[app:main]\nuse = egg:persona-profile-server\nbackend = mysql\ndevelopment = true\n"
        f"backend.url = {database.url()}\ndevelopment.folder = {folder}\n"
        "public_origins = http://127.0.0.1:6543\n"
    )
    for command in ("storage verify", "storage stats", "keys status", "keys rotate", "keys rewrap"):
        assert cli.main(["-c", str(ini), *command.split()]) == 0, command
    backend = MysqlBackend.from_url(database.url())
    backend.apply(b"\x00old", [Put("used", b"", expires_at=1), Put("bulk/x", b"", expires_at=1)])
    assert backend.purge_expired(10) == 2
    backup(backend, folder / "archive", software="test")
    database.empty()
    restore(folder / "archive", backend)
    assert cli.main(["-c", str(ini), "storage", "verify"]) == 0
    backend.ping()
    backend.close()


PLANTED = {
    "partition not named": ["SELECT value FROM items WHERE `partition` = X'01' OR name = X'6b'"],
    "join": [
        "SELECT a.value FROM items a JOIN bulk_items b ON a.name = b.name WHERE a.`partition` = X'01'"
    ],
    "foreign key": [
        "CREATE TABLE t (a INT PRIMARY KEY, FOREIGN KEY (a) REFERENCES u (a)) ENGINE=InnoDB"
    ],
    "auto increment": ["ALTER TABLE items ADD COLUMN a INT AUTO_INCREMENT"],
    "named lock": ["SELECT GET_LOCK('persona', 1)"],
    "table lock": ["LOCK TABLES items WRITE", "UNLOCK TABLES"],
    "locking read": [f"SELECT value FROM items {WHERE} FOR UPDATE"],
    "temporary table": ["CREATE TEMPORARY TABLE t (a INT PRIMARY KEY) ENGINE=InnoDB"],
    "savepoint": ["SAVEPOINT here"],
    "stored program": ["CREATE TRIGGER t BEFORE INSERT ON items FOR EACH ROW SET NEW.version = 1"],
    "view": ["CREATE VIEW v AS SELECT 1"],
    "user variable": ["SELECT @a"],
    "definition by the service": ["CREATE INDEX i ON items (version)"],
    "serializable": ["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    "distributed transaction": ["XA START 'persona'"],
    "computed in a write": [f"UPDATE items SET version = RAND() {WHERE}"],
    "table without primary key": ["CREATE TABLE t (a INT) ENGINE=InnoDB"],
    "other engine than InnoDB": ["CREATE TABLE t (a INT PRIMARY KEY) ENGINE=MyISAM"],
    "key changed": [f"UPDATE items SET name = X'6c' {WHERE}"],
    "replace": [f"REPLACE INTO items {COLUMNS} VALUES ({ROW})"],
    "row alias": [
        f"INSERT INTO items {COLUMNS} VALUES ({ROW}) AS n ON DUPLICATE KEY UPDATE version = n.version"
    ],
    "statement too large": [f"SELECT X'{'00' * 5 * MIB}' FROM items {WHERE}"],
    "row too large": [f"UPDATE items SET value = X'{'00' * 2 * MIB}' {WHERE}"],
    UNKNOWN: [f"INSERT IGNORE INTO items {COLUMNS} VALUES ({ROW})", "DO 1"],
    "several partitions": ["START TRANSACTION", f"DELETE FROM items {WHERE}", "COMMIT"],
    "transaction too large": ["START TRANSACTION"]
    + [f"UPDATE items SET value = X'{'00' * MIB}' {WHERE}"] * 4,
    "too many statements": ["START TRANSACTION"] + [f"DELETE FROM items {WHERE}"] * 251,
    FULL_SCAN: ["SELECT value FROM items WHERE value = X'01'"],
}
"""A statement for each rule that breaks it; the user of the schema sends changes of the schema."""

PLANTED["several partitions"].insert(2, f"DELETE FROM items {WHERE.replace('01', '02')}")
OF_THE_SCHEMA = {
    "foreign key",
    "auto increment",
    "temporary table",
    "view",
    "table without primary key",
    "other engine than InnoDB",
}


def test_a_statement_is_planted_for_each_rule():
    """Each rule has a test, and a row in the guide for operators."""
    names = {rule.name for rule in RULES} | SIZE_RULES.keys() | TRANSACTION_RULES.keys()
    names |= {UNKNOWN, FULL_SCAN}
    assert PLANTED.keys() == names
    section = (Path(__file__).parents[3] / "docs/reference/statements.md").read_text()
    assert set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == names
    for exempt in EXEMPT:
        assert f"- `{exempt.name}`: {exempt.reason}" in section


@pytest.mark.parametrize("rule", PLANTED)
def test_planted(database, rule):
    """A forbidden statement, sent past the methods of the backend, is found by its rule."""
    user = SCHEMA_USER if rule in OF_THE_SCHEMA else SERVICE_USER
    backend = MysqlBackend.from_url(database.url(user))
    with database.log.recording():
        backend.ping()
        connection = backend._engine.raw_connection()
        for statement in PLANTED[rule]:
            try:
                connection.cursor().execute(statement)
            except pymysql.Error:
                pass  # it reached the server
        connection.close()
        backend.close()
    statements = database.log.statements()
    sizes = Sizes(row_bytes=MIB + 100, transaction_bytes=3 * MIB)
    found = {each.rule for each in violations(statements, sizes)}
    if rule == FULL_SCAN:
        fill(MysqlBackend.from_url(database.url()), partitions=60)
        found = {each.rule for each in full_scans(database.server, statements)}
    assert found == {rule}


def test_binary_protocol(database):
    """A prepared statement in the binary protocol is found, too."""
    backend = MysqlBackend.from_url(database.url())
    connection = backend._engine.raw_connection()
    with database.log.recording():
        driver = connection.driver_connection
        driver._execute_command(0x16, "SELECT 1")
        driver._read_packet()
        backend.close()
    assert {each.rule for each in violations(database.log.statements())} == {UNKNOWN}
    connection.close()
