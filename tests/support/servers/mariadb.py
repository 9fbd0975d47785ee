"""A private MariaDB server with its own data folder and a free port on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pymysql

from support.clients.recording import recorder
from support.servers.daemons import Daemon
from support.servers.ports import free_port


class MariaDBProcess(Daemon):
    """A MariaDB process; its data, temporary files and administrator's socket are in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def temporary(self) -> Path:
        """The folder of temporary files: other servers clean up theirs, never this one."""
        return self.folder / "tmp"

    def install(self, *options: str, user: str = "root") -> None:
        """Create the data folder; a server that root starts runs as `user`."""
        self.temporary.mkdir(exist_ok=True)
        is_root = os.getuid() == 0
        if is_root:
            shutil.chown(self.temporary, user)
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                *([f"--user={user}"] if is_root else []),
                f"--datadir={self.folder}/data",
                f"--tmpdir={self.temporary}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                *options,
            ],
            check=True,
            capture_output=True,
        )

    def connect(self, database: str | None = None) -> pymysql.Connection:
        """Connect as the database's administrator by the Unix socket."""
        return pymysql.connect(
            unix_socket=f"{self.folder}/s",
            user="root",
            database=database,
            autocommit=True,
            read_timeout=30,
        )

    def query(self, statement: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Execute a statement as the database's administrator."""
        with self.connect(database) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())

    def create_database(self) -> None:
        """Create the empty database `persona` and its user."""
        self.query("DROP DATABASE IF EXISTS persona")
        self.query("CREATE DATABASE persona CHARACTER SET binary")
        self.query("CREATE USER IF NOT EXISTS persona@'127.0.0.1' IDENTIFIED BY 'secret'")
        self.query("GRANT ALL ON persona.* TO persona@'127.0.0.1'")


class MariaDB(MariaDBProcess):
    """A single server."""

    def __init__(self, folder: Path, **options: str) -> None:
        if shutil.which("mariadbd") is None:
            raise RuntimeError(
                "these tests need MariaDB: apt-get install --no-install-recommends mariadb-server"
            )
        super().__init__(folder)
        self.options = options
        self.port = free_port()
        if kept := recorder():
            kept.log(folder / "error.log")

    @property
    def url(self) -> str:
        """The backend's URL."""
        return f"mysql://persona:secret@127.0.0.1:{self.port}/persona"

    def start(self) -> None:
        """Start the server, over a new data folder if it has none; return once it answers."""
        self.temporary.mkdir(exist_ok=True)  # a copied data folder lacks it
        if not (self.folder / "data").exists():
            self.install()
        options = {
            "datadir": f"{self.folder}/data",
            "tmpdir": str(self.temporary),
            "socket": f"{self.folder}/s",
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "pid-file": f"{self.folder}/pid",
            "innodb-buffer-pool-size": "128M",
            "innodb-log-file-size": "64M",
            "max-allowed-packet": "16M",
            "log-error": f"{self.folder}/error.log",
        } | {name.replace("_", "-"): value for name, value in self.options.items()}
        user = ["--user=root"] if os.getuid() == 0 else []
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self.launch(["mariadbd", "--no-defaults", *user, *arguments])
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not self.is_running:
                raise RuntimeError(Path(self.folder, "error.log").read_text()[-2000:])
            try:
                # A plain socket: the driver leaks the socket of a failed connection.
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                self.query("SELECT 1")
                return
        raise RuntimeError("MariaDB did not start")
