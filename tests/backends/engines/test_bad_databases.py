from __future__ import annotations

import contextlib
import functools
import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest
from failing import PATIENCE_SECONDS, fails
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from support.servers.mariadb import MariaDB
from support.servers.ports import free_port
from support.servers.proxies import proxy
from support.servers.tls import answering, serving, silent

from backends import (
    ABSENT,
    MAX_VALUE_BYTES,
    Address,
    Conflict,
    Delete,
    NoWrites,
    Put,
    Unavailable,
    WrongSchema,
)
from backends.engines.mysql import CONNECTIONS, MysqlBackend

PARTITION = b"\x01" + b"secretpartition".ljust(32, b"p")
VALUE = b"secretvalue" * 4
A, B = Address(PARTITION, "a"), Address(PARTITION, "b")


@contextlib.contextmanager
def variable(mariadb: MariaDB, name: str, value: int) -> Iterator[None]:
    """Set a global variable of the server within a block."""
    [(before,)] = mariadb.query(f"SELECT @@GLOBAL.{name}")
    mariadb.query(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        mariadb.query(f"SET GLOBAL {name} = {before}")


class TestUnreachable:
    def test_nobody_listens(self, connect):
        """A port without a server is reported at once."""
        backend = connect(port=free_port())
        for work in (
            backend.ping,
            backend.check_schema,
            lambda: backend.apply(b"p", [Put("a", b"")]),
        ):
            with fails("can't be reached"):
                work()

    def test_stats_while_the_server_is_away(self, connect, mariadb):
        """The stats show a server that is away, also if that costs no time, until it answers again."""
        port = free_port()
        backend = connect(port=port)
        assert not backend.stats().is_unreachable
        with fails("can't be reached"):
            backend.ping()
        assert backend.stats().is_unreachable
        with proxy(mariadb.port, port) as server:
            backend.ping()
            assert not backend.stats().is_unreachable
            server.close()
            with pytest.raises(Unavailable):
                backend.ping()
            assert backend.stats().is_unreachable
        rejecting = MysqlBackend.from_url(mariadb.url.replace("secret", "wrong"))
        with contextlib.closing(rejecting), fails("rejects the user or the password"):
            rejecting.ping()
        assert not rejecting.stats().is_unreachable  # it answers

    def test_no_such_host(self, connect):
        """A host without an address is reported."""
        with fails("can't be reached"):
            connect(host="database.invalid").ping()

    def test_nobody_speaks(self, connect):
        """A silent server costs the time limit, not more."""
        with serving(silent) as server:
            backend = connect("read_timeout=1&connect_timeout=1", port=server.port)
            with fails("breaks off"):
                backend.ping()

    @pytest.mark.parametrize("greeting", [b"\x05\x00\x00\x00hello", b"SSH-2.0-OpenSSH_9.2\r\n"])
    def test_something_else_speaks(self, connect, greeting):
        """A server of another protocol is reported."""
        with serving(answering(greeting)) as server:
            backend = connect("connect_timeout=1", port=server.port)
            for work in (backend.ping, backend.check_schema):
                with fails("does not speak MySQL|fails|breaks off"):
                    work()

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"password": "wrong"}, "rejects the user or the password"),
            ({"user": "nobody"}, "rejects the user or the password"),
            ({"database": "other"}, "its user may not use the database"),
        ],
    )
    def test_refused(self, connect, changes, reason):
        """A wrong user, password or database is reported, without its name."""
        with fails(reason) as raised:
            connect(**changes).ping()
        assert not any(value in str(raised.value) for value in ("wrong", "nobody", "other", "secret"))

    @pytest.mark.parametrize(
        ("clause", "reason"), [("PASSWORD EXPIRE", "has expired"), ("ACCOUNT LOCK", "is locked")]
    )
    def test_a_user_out_of_use(self, connect, mariadb, clause, reason):
        """A user whose password has expired, or who is locked, is reported by that."""
        mariadb.query(f"CREATE USER gone@'127.0.0.1' IDENTIFIED BY 'secret' {clause}")
        try:
            with variable(mariadb, "disconnect_on_expired_password", 1), fails(reason):
                connect(user="gone").ping()
        finally:
            mariadb.query("DROP USER gone@'127.0.0.1'")

    def test_a_plugin_without_its_library(self, connect, mariadb):
        """A user of a plugin that the driver lacks a library for is reported by what is missing."""
        mariadb.query("INSTALL SONAME 'auth_ed25519'")
        try:
            mariadb.query("CREATE USER e@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret')")
            with fails("authentication plugin needs a library"):
                connect(user="e").ping()
        finally:
            mariadb.query("DROP USER IF EXISTS e@'127.0.0.1'")
            mariadb.query("UNINSTALL SONAME 'auth_ed25519'")

    def test_unix_socket(self, mariadb, connect):
        """A Unix socket needs no host; with neither the URL is invalid."""
        connect()
        mariadb.query("CREATE USER persona@localhost IDENTIFIED BY 'secret'")
        try:
            mariadb.query("GRANT ALL ON persona.* TO persona@localhost")
            url = f"mysql://persona:secret@/persona?unix_socket={mariadb.folder}/s"
            with contextlib.closing(MysqlBackend.from_url(url)) as backend:
                backend.apply(PARTITION, [Put("a", b"")])
                assert backend.get_many([A])
        finally:
            mariadb.query("DROP USER persona@localhost")
        with pytest.raises(ValueError, match="must be mysql://"):
            MysqlBackend.from_url("mysql://persona:secret@/persona")

    @pytest.mark.parametrize(
        "query",
        [
            "nonsense=1",
            "read_timeout=0",
            "read_timeout=x",
            "connections=-1",
            "connections=1&connections=2",
            "ssl_ca=a&ssl_ca=b",
            "ssl_ca=/nowhere/ca.pem",
            "ssl_check_hostname=secret",
            "ssl_disabled=false",
            "ssl_verify_identity=true",
        ],
    )
    def test_options(self, connect, query):
        """Invalid options are reported when the URL is read."""
        with pytest.raises(ValueError, match=r"option|whole number|true or false") as raised:
            connect(query)
        assert "secret" not in str(raised.value)


class TestLimits:
    def test_read_only(self, connect, mariadb):
        """A server that has become read-only rejects writes, not reads."""
        backend = connect()
        backend.apply(PARTITION, [Put("a", b"1")])
        with variable(mariadb, "read_only", 1):
            with fails("read-only"):
                backend.apply(PARTITION, [Put("a", b"2")])
            with fails("read-only"):
                backend.apply(PARTITION, [Put("a", b"2"), Put("b", b"2")])
            with pytest.raises(NoWrites):
                backend.try_write()
            assert backend.get_many([A])[A].value == b"1"
        backend.apply(PARTITION, [Put("a", b"2")])

    def test_small_packets(self, connect, mariadb):
        """A server with a too small packet size is reported before a value fails, and then too."""
        with variable(mariadb, "max_allowed_packet", 1024 * 1024):
            backend = connect()
            with pytest.raises(WrongSchema, match=r"max_allowed_packet .* at least \d+"):
                backend.check_schema()
            with fails("breaks off|max_allowed_packet"):
                backend.apply(PARTITION, [Put("a", bytes(MAX_VALUE_BYTES))])
            backend.apply(PARTITION, [Put("a", bytes(200_000))])
        backend = connect()
        backend.check_schema()
        backend.apply(PARTITION, [Put("a", b"\xff" * MAX_VALUE_BYTES)])

    def test_value_over_the_limit(self, connect):
        """A value over the limit is an error of the caller, raised before anything is sent."""
        backend = connect(port=1)
        with pytest.raises(ValueError, match="at most"):
            backend.apply(PARTITION, [Put("a", bytes(MAX_VALUE_BYTES + 1))])

    def test_pool_used_up(self, connect):
        """If all connections are in use, further operations are rejected after a wait, not queued."""
        backend = connect("connections=2")
        with backend._engine.connect(), backend._engine.connect():
            began = time.monotonic()
            # One after the other they would wait for longer than `fails` accepts.
            with fails("in use"), ThreadPoolExecutor(2 * PATIENCE_SECONDS) as pool:
                for waiting in [pool.submit(backend.ping) for _ in range(2 * PATIENCE_SECONDS)]:
                    waiting.result()
            assert time.monotonic() - began > 0.8
        backend.ping()


class TestBrokenConnections:
    def test_server_restarted(self, connect, mariadb):
        """After a restart of the server a pool full of old connections costs nothing."""
        backends = connect(), connect()
        for backend in backends:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                list(pool.map(lambda _, ping=backend.ping: ping(), range(50)))
        mariadb.signal(signal.SIGKILL)
        mariadb.start()
        reader, writer = backends
        assert reader.get_many([A]) == {}
        writer.apply(PARTITION, [Put("a", b"1")])

    def test_killed_connections(self, connect, mariadb):
        """Connections that the server kills all the time cost no write, and no write happens twice."""
        backend = connect()
        backend.apply(PARTITION, [Put("a", b"0")])
        stop = threading.Event()
        kills = []

        def kill() -> None:
            while not stop.wait(0.05):
                for (number,) in mariadb.query(
                    "SELECT id FROM information_schema.processlist WHERE user = 'persona'"
                ):
                    with contextlib.suppress(pymysql.err.OperationalError):  # it has gone already
                        kills.append(mariadb.query(f"KILL {number}"))

        killer = threading.Thread(target=kill)
        killer.start()
        acknowledged = 0
        try:
            began = time.monotonic()
            while time.monotonic() < began + 3 or len(kills) <= 10:
                assert time.monotonic() < began + 60
                item = backend.get_many([A])[A]
                assert int(item.value) == acknowledged
                operations = [Put("a", b"%d" % (acknowledged + 1), item.version), Put("b", b"")]
                backend.apply(PARTITION, operations[: 1 + acknowledged % 2])
                acknowledged += 1
        finally:
            stop.set()
            killer.join(10)
        assert len(kills) > 10
        assert acknowledged > 10

    def test_answer_nobody_took(self, connect):
        """A connection with a pending answer is not used for the next operation."""
        backend = connect("connections=1")
        backend.apply(PARTITION, [Put("a", b"1")])

        def ask_and_fail(_connection, cursor, *_) -> None:
            cursor.connection._execute_command(0x03, "SELECT 'stale', 'stale', 1, NULL, 'stale'")
            raise MemoryError

        event.listen(backend._engine, "before_cursor_execute", ask_and_fail)
        with pytest.raises(MemoryError):
            backend.get_many([A])
        event.remove(backend._engine, "before_cursor_execute", ask_and_fail)
        assert backend.get_many([A])[A].value == b"1"

    @pytest.mark.parametrize("when", ["before", "after", "late"])
    @pytest.mark.parametrize(
        ("more", "statement"), [((), b"UPDATE"), ((Put("picture/1", b"x"),), b"COMMIT")]
    )
    def test_outcome_unknown(self, connect, mariadb, when, more, statement):
        """A write whose answer is lost is acknowledged once, and happens once."""
        direct = connect()
        before = direct.apply(PARTITION, [Put("a", b"0")])["a"]
        with proxy(mariadb.port) as cutting:
            backend = connect(port=cutting.port)
            backend.ping()
            cutting.cut(statement, when)
            version = backend.apply(PARTITION, [Put("a", b"1", before), *more])["a"]
            assert direct.get_many([A])[A].version == version
            assert cutting.cuts == 1
            backend.close()

    @pytest.mark.parametrize("when", ["before", "after", "late"])
    def test_outcome_unknown_of_making(self, connect, mariadb, when):
        """An item whose creation is interrupted is created exactly once."""
        with proxy(mariadb.port) as cutting:
            backend = connect(port=cutting.port)
            backend.ping()
            cutting.cut(b"INSERT", when)
            version = backend.apply(PARTITION, [Put("a", b"1", ABSENT)])["a"]
            assert backend.get_many([A])[A].version == version
            assert cutting.cuts == 1
            backend.close()

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_schema_change_cut_off(self, connect, mariadb, when):
        """A schema change whose connection breaks is completed on another one."""
        for table in ("items", "bulk_items", "schema_version"):
            mariadb.query(f"DROP TABLE persona.{table}")
        with proxy(mariadb.port) as cutting:
            backend = connect(port=cutting.port)
            cutting.cut(b"\nCREATE TABLE IF NOT EXISTS bulk_items", when)
            backend.initialize()
            assert cutting.cuts == 1
            backend.check_schema()
            backend.close()

    def test_outcome_never_known(self, connect, mariadb):
        """A write that was interrupted and then overwritten is not reported as failed."""
        direct = connect()
        before = direct.apply(PARTITION, [Put("a", b"0")])["a"]
        with proxy(mariadb.port) as cutting:
            backend = connect(port=cutting.port)
            backend.ping()

            overwrite = functools.partial(direct.apply, PARTITION, [Put("a", b"2")])
            cutting.cut(b"UPDATE", "after", overwrite)
            with fails("somebody else wrote"):
                backend.apply(PARTITION, [Put("a", b"1", before)])
            backend.close()


class TestLocks:
    def test_deadlock(self, connect):
        """Two batches that lock two items in opposite orders both succeed."""
        backend = connect()
        backend.apply(PARTITION, [Put("a", b"0"), Put("b", b"0")])
        # Deletes come first, so each batch begins where the other one ends.
        batches = ([Delete("a"), Put("b", b"1")], [Delete("b"), Put("a", b"2")])
        barrier = threading.Barrier(2)
        errors = []

        @event.listens_for(backend._engine, "after_cursor_execute")
        def wait(_connection, _cursor, statement, *_) -> None:
            if statement.startswith("DELETE"):
                with contextlib.suppress(threading.BrokenBarrierError):
                    barrier.wait(5)
                    barrier.abort()

        @event.listens_for(backend._engine, "handle_error")
        def note(context) -> None:
            errors.append(context.original_exception.args[0])

        with ThreadPoolExecutor(2) as pool:
            for outcome in [pool.submit(backend.apply, PARTITION, batch) for batch in batches]:
                outcome.result()
        assert errors == [1213]
        [item] = backend.get_many([A, B]).values()
        assert item.value in (b"1", b"2")

    def test_locked_for_a_while(self, connect, mariadb):
        """A row that is locked for longer than a statement waits is written when it is free."""
        backend = connect("read_timeout=4")
        backend.apply(PARTITION, [Put("a", b"0")])
        waits = []
        with holding_a_lock(mariadb) as release:

            @event.listens_for(backend._engine, "handle_error")
            def release_after_one_wait(context) -> None:
                waits.append(context.original_exception.args[0])
                release()

            backend.apply(PARTITION, [Put("a", b"1")])
        event.remove(backend._engine, "handle_error", release_after_one_wait)
        assert waits == [1205]
        with holding_a_lock(mariadb), fails("in time"):
            backend.apply(PARTITION, [Put("a", b"2"), Put("b", b"2")])
        assert {item.value for item in backend.get_many([A, B]).values()} == {b"1"}

    def test_client_that_stands_still(self, connect):
        """The database ends a transaction whose client stands still, and others write."""
        still, backend = connect("read_timeout=1"), connect()
        [version] = backend.apply(PARTITION, [Put("a", b"0")]).values()
        with still._engine.connect() as connection:
            connection.exec_driver_sql(MysqlBackend.BEGIN)
            connection.exec_driver_sql("UPDATE items SET value = 'still'")
            backend.apply(PARTITION, [Put("a", b"1", version)])
            with pytest.raises(OperationalError):
                connection.exec_driver_sql("COMMIT")
            connection.invalidate()
        assert backend.get_many([A])[A].value == b"1"
        still.ping()

    def test_slow_statements(self, connect):
        """A batch whose statements take too long together is stopped between them, and undone."""
        backend = connect()
        versions = backend.apply(PARTITION, [Put(name, b"1") for name in ("a", "b", "c", "d")])
        backend._time_limit = 0.05
        event.listen(backend._engine, "before_cursor_execute", lambda *_: time.sleep(0.03))
        with fails("in time"):
            backend.apply(PARTITION, [Put(name, b"2", version) for name, version in versions.items()])
        assert {info.name: info.version for info in backend.list(PARTITION)} == versions


@contextlib.contextmanager
def holding_a_lock(mariadb: MariaDB) -> Iterator[Callable[[], None]]:
    """Lock all rows in another transaction; yield the function that ends it."""
    connection = mariadb.connect("persona")
    cursor = connection.cursor()
    cursor.execute("START TRANSACTION")
    cursor.execute("SELECT name FROM items FOR UPDATE")
    try:
        yield connection.rollback
    finally:
        connection.close()


class TestSilence:
    """Messages of failures."""

    def test_messages_and_logs(self, connect, mariadb, caplog):
        """No message, log line or traceback holds a value, a partition or the password."""
        caplog.set_level(logging.DEBUG)
        backend = connect()
        reported = []

        def fail(kind: type[Exception], *operations: Put, of: MysqlBackend = backend) -> None:
            with pytest.raises(kind) as raised:
                of.apply(PARTITION, operations)
            reported.extend(traceback.format_exception(raised.value))
            reported.append(repr(raised.value))

        backend.apply(PARTITION, [Put("a", VALUE)])
        fail(Conflict, Put("a", VALUE, ABSENT))
        fail(Conflict, Put("a", VALUE, 5))
        fail(Conflict, Put("a", VALUE, ABSENT), Put("b", VALUE))
        fail(Unavailable, Put("a", VALUE), of=connect(password="wrongsecret"))
        fail(Unavailable, Put("a", VALUE), of=connect(port=1))
        with variable(mariadb, "read_only", 1):
            fail(Unavailable, Put("a", VALUE))
        with holding_a_lock(mariadb):
            fail(Unavailable, Put("a", VALUE), Put("b", VALUE), of=connect("read_timeout=2"))
        mariadb.query("DROP TABLE persona.items")
        fail(Unavailable, Put("a", VALUE))
        text = ("".join(reported) + caplog.text).lower()
        assert "mysql error 1146" in text
        for secret in (VALUE, PARTITION, b"secretvalue", b"secretpartition", b"wrongsecret"):
            assert secret.decode("latin-1") not in text
            assert secret.hex() not in text
        assert "secret@" not in text


class TestWithoutWrites:
    """A store that takes no writes is not healthy, though reads succeed."""

    def test_read_only(self, connect, mariadb):
        """A server that has become read-only is noticed by the next check."""
        backend = connect()
        backend.ping()
        with variable(mariadb, "read_only", 1), fails("takes no writes"):
            backend.ping()
        backend.ping()

    def test_logged_statements(self, tmp_path):
        """A server that logs statements rejects every write; the check notices it without a write."""
        server = MariaDB(tmp_path / "logged", log_bin="log", server_id="1")
        server.folder.mkdir()
        with server.running():
            server.create_database()
            server.query("SET GLOBAL binlog_format = 'MIXED'")
            with contextlib.closing(MysqlBackend.from_url(server.url)) as backend:
                backend.initialize()
                backend.apply(PARTITION, [Put("a", b"")])
                backend.ping()
                server.query("SET GLOBAL binlog_format = 'STATEMENT'")
                with fails("takes no writes"):
                    backend.ping()
            with (
                contextlib.closing(MysqlBackend.from_url(server.url)) as backend,
                fails("its binlog_format is STATEMENT"),
            ):
                backend.apply(PARTITION, [Put("a", b"")])
