"""A private MariaDB server: its own data folder, a free port of loopback, ended by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pymysql

from support.recording import recorder


class MariaDB:
    """A server that a test starts, stops, freezes and kills."""

    def __init__(self, folder: Path, **options: str) -> None:
        if shutil.which("mariadbd") is None:
            raise RuntimeError(
                "these tests need MariaDB: apt-get install --no-install-recommends mariadb-server"
            )
        self._folder = folder
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if kept := recorder():
            kept.log(folder / "error.log")

    @property
    def url(self) -> str:
        """Where the backend connects."""
        return f"mysql://persona:secret@127.0.0.1:{self.port}/persona"

    def install(self) -> None:
        """Make the data folder."""
        user = ["--user=root"] if os.getuid() == 0 else []
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                *user,
                f"--datadir={self._folder}/data",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start the server; return when it answers."""
        options = {
            "datadir": f"{self._folder}/data",
            "socket": f"{self._folder}/s",
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "pid-file": f"{self._folder}/pid",
            "innodb-buffer-pool-size": "128M",
            "innodb-log-file-size": "64M",
            "max-allowed-packet": "16M",
            "log-error": f"{self._folder}/error.log",
        } | {name.replace("_", "-"): value for name, value in self.options.items()}
        user = ["--user=root"] if os.getuid() == 0 else []
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            ["mariadbd", "--no-defaults", *user, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def connect(self, database: str | None = None) -> pymysql.Connection:
        """Connect as the database's administrator."""
        return pymysql.connect(
            unix_socket=f"{self._folder}/s", user="root", database=database, autocommit=True
        )

    def query(self, statement: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Carry out a statement as the database's administrator."""
        with self.connect(database) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall())

    def create_database(self) -> None:
        """Make the database and the user of `url`, empty."""
        self.query("DROP DATABASE IF EXISTS persona")
        self.query("CREATE DATABASE persona CHARACTER SET binary")
        self.query("CREATE USER IF NOT EXISTS persona@'127.0.0.1' IDENTIFIED BY 'secret'")
        self.query("GRANT ALL ON persona.* TO persona@'127.0.0.1'")

    @property
    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Freeze (SIGSTOP), thaw (SIGCONT) or kill the server."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait(30)

    def stop(self) -> None:
        """End the server, however it is."""
        if self._process is not None and self.is_running:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(Path(self._folder, "error.log").read_text()[-2000:])
            try:
                # Not by the driver: it leaves the socket of a refused connection open.
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                self.query("SELECT 1")
                return
        raise RuntimeError("MariaDB did not start")
