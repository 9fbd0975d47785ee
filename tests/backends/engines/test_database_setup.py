from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from counting import open_store
from failing import fails
from support.servers.mariadb import MariaDB
from support.servers.services import Service

from backends.engines.mysql import MysqlBackend


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The certificate authority of the server."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(authority, tmp_path_factory) -> Iterator[MariaDB]:
    """A server with TLS."""
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    files = {"ssl_ca": "ca.pem", "ssl_cert": "cert.pem", "ssl_key": "key.pem"}
    paths = {option: folder / name for option, name in files.items()}
    authority.cert_pem.write_to_path(paths["ssl_ca"])
    certificate.cert_chain_pems[0].write_to_path(paths["ssl_cert"])
    certificate.private_key_pem.write_to_path(paths["ssl_key"])
    with MariaDB(folder, **{option: str(path) for option, path in paths.items()}).running() as server:
        server.create_database()
        server.query("ALTER USER persona@'127.0.0.1' REQUIRE SSL")
        yield server


class TestTLS:
    def test_verified(self, tls_server, authority, tmp_path):
        """A connection to a server with a certificate of the authority is encrypted."""
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        url = f"{tls_server.url}?ssl_ca={tmp_path}/ca.pem"
        with closing(MysqlBackend.from_url(url)) as backend:
            backend.initialize()
            with backend._engine.connect() as connection:
                status = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Ssl_cipher'").one()
        assert status[1]

    def test_wrong_authority(self, tls_server, tmp_path):
        """A certificate of an unknown authority is rejected."""
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
        url = f"{tls_server.url}?ssl_ca={tmp_path}/ca.pem"
        with (
            closing(MysqlBackend.from_url(url)) as backend,
            fails("certificate is not the expected one"),
        ):
            backend.ping()

    def test_wrong_name(self, tls_server, authority, tmp_path):
        """A certificate for another name is rejected."""
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        url = f"{tls_server.url}?ssl_ca={tmp_path}/ca.pem".replace("127.0.0.1", "localhost")
        with (
            closing(MysqlBackend.from_url(url)) as backend,
            fails("certificate is not the expected one"),
        ):
            backend.ping()

    def test_several_hosts(self, tls_server, authority, tmp_path):
        """TLS options are valid for each of several hosts."""
        ca = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(ca)
        hosts = f"host=127.0.0.1:1&host=127.0.0.1:{tls_server.port}&ssl_ca={ca}"
        with closing(MysqlBackend.from_url(f"mysql://persona:secret@/persona?{hosts}")) as backend:
            backend.initialize()
            backend.ping()
        hosts = hosts.replace("127.0.0.1:", "localhost:")
        with (
            closing(MysqlBackend.from_url(f"mysql://persona:secret@/persona?{hosts}")) as backend,
            fails("can't be used"),
        ):
            backend.ping()

    def test_without_tls(self, connect, authority, tmp_path):
        """A server without TLS is rejected if the URL has TLS options."""
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        with fails("does not speak TLS"):
            connect(f"ssl_ca={tmp_path}/ca.pem").ping()


def test_any_password(mariadb):
    """A password may have any characters; percent-encoded they are sent in UTF-8."""
    password = "p@ss:/?#%&+ 'w\u00f6rd' \u20ac"
    quoted = password.replace("'", "''")
    mariadb.create_database()
    mariadb.query(f"CREATE USER odd@'127.0.0.1' IDENTIFIED BY '{quoted}'")
    try:
        mariadb.query("GRANT ALL ON persona.* TO odd@'127.0.0.1'")
        url = mariadb.url.replace("persona:secret", f"odd:{quote(password, safe='')}")
        with closing(MysqlBackend.from_url(url)) as backend:
            backend.initialize()
            backend.ping()
    finally:
        mariadb.query("DROP USER odd@'127.0.0.1'")


@pytest.fixture(params=["sqlite", "mysql"])
def empty(request, tmp_path: Path) -> Service:
    """A service, not started, on a store without a schema."""
    url = f"sqlite:///{tmp_path}/items.sqlite"
    if request.param == "mysql":
        mariadb = request.getfixturevalue("mariadb")
        mariadb.create_database()
        url = mariadb.url
    return Service(tmp_path / "service", request.param, url, development=False)


class TestSchema:
    def test_eight_at_once(self, empty):
        """Machines that initialize one store at the same time all succeed, and again later."""
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: empty.run("storage", "init"), range(8)))
        results.append(empty.run("storage", "upgrade"))
        assert [(each.returncode, each.stderr) for each in results] == [(0, "")] * 9

    def test_not_ready(self, empty):
        """A service on an empty store reports the command to run."""
        result = empty.run("serve")
        assert result.returncode == 2
        assert "run `persona-profile storage init`" in result.stderr
        assert "Traceback" not in result.stderr

    def test_newer(self, empty):
        """A store with a newer schema is rejected, with a message to upgrade the software."""
        assert empty.run("storage", "init").returncode == 0
        with (
            closing(open_store(empty.url)) as backend,
            backend._engine.connect() as connection,
        ):
            connection.exec_driver_sql("UPDATE schema_version SET version_num = '9999'")
        for command, status in ((("storage", "upgrade"), 1), (("serve",), 2)):
            result = empty.run(*command)
            assert result.returncode == status
            assert "9999 is newer than this version knows: upgrade the software" in result.stderr
            assert "Traceback" not in result.stderr


def test_ledger_in_a_database(mariadb, tmp_path):
    """`storage init` makes the tables of the ledger too; without them nothing is erased or served."""
    mariadb.create_database()
    mariadb.query("CREATE DATABASE ledger CHARACTER SET binary")
    try:
        mariadb.query("GRANT ALL ON ledger.* TO persona@'127.0.0.1'")
        place = mariadb.url.removesuffix("persona") + "ledger"
        more = f"ledger.backend = mysql\nledger.url = {place}"
        service = Service(tmp_path / "service", "mysql", mariadb.url, development=False, more=more)
        with closing(MysqlBackend.from_url(mariadb.url)) as backend:
            backend.initialize()
        for command, status in ((("serve",), 2), (("erase", "a@example.com", "--yes"), 1)):
            result = service.run(*command)
            assert (result.returncode, "ledger: the database has no tables" in result.stderr) == (
                status,
                True,
            )
        result = service.run("storage", "init")
        assert result.stdout == "The store is ready.\nThe ledger is ready.\n"
        assert service.run("erase", "a@example.com", "--yes").returncode == 0
        with closing(MysqlBackend.from_url(place)) as ledger:
            [_head, entry] = ledger.scan(None, 10)
            assert [info.name for info in ledger.list(entry)] == ["erased"]
    finally:
        mariadb.query("DROP DATABASE ledger")
