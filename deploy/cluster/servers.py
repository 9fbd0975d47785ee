"""MariaDB servers with the shipped configuration, on addresses of loopback."""

from __future__ import annotations

import os
import pwd
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import pymysql  # type: ignore[import-untyped]
from processes import Daemon, Kept, NotStarted

PORT: Final = 3306
DATABASES: Final = {"backend": "persona", "ledger": "persona_ledger"}
"""The databases of the service, by the settings that name them."""

_LOG_BYTES: Final = "48M"
_ANSWER_SECONDS: Final = 30


class Run(Protocol):
    """Runs a command of the service, as another user of the database."""

    def __call__(self, *arguments: str, urls: Mapping[str, str], backend: str = "") -> None: ...


class Server:
    """A MariaDB server.

    Args:
        name: name in messages.
        address: its loopback address.
        folder: folder of its configuration, data and logs, with `cert.pem`, `key.pem` and `ca.pem`.
        kept: the record of processes.
        configuration: name of its configuration file in the folder.
        more: further options.
    """

    def __init__(
        self,
        name: str,
        address: str,
        folder: Path,
        kept: Kept,
        configuration: str,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.address = name, address
        self.data = folder / "data"
        self.configuration = folder / configuration
        self._folder, self._kept = folder, kept
        # A machine of its own has defaults for these; servers on one machine need them apart.
        options = {
            "datadir": self.data,
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "tmpdir": folder,  # of a shared one, each server removes the others' files as it starts
            "innodb-log-file-size": _LOG_BYTES,
            **(more or {}),
        }
        if os.getuid() == 0:
            options["user"] = "root"
        self._command = ["mariadbd", f"--defaults-file={self.configuration}"]
        self._command += [f"--{name}={value}" for name, value in options.items()]
        log = folder / "error.log"
        self.daemon = Daemon(name, [*self._command, f"--log-error={log}"], log, kept)

    def install(self) -> None:
        """Make its data folder whole or not at all; of a node, it belongs to no cluster yet.

        Raises:
            NotStarted: the folder can't be made.
        """
        made = self.data.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={made}", "--skip-test-db"]
        command += [f"--tmpdir={self._folder}", f"--innodb-log-file-size={_LOG_BYTES}"]
        command += [
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={system_user()}",
        ]
        command += ["--user=root"] if os.getuid() == 0 else []
        self._kept.run("a data folder can't be made", command)
        made.replace(self.data)

    def take_copy(self, data: Path) -> None:
        """Copy a data folder whole or not at all."""
        made = self.data.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(data, made)
        made.replace(self.data)

    def execute(self, *statements: str) -> Sequence[Any]:
        """Execute statements as database administrator; return the rows of the last one.

        Raises:
            NotStarted: the server rejects a statement, or does not answer.
        """
        if not (self._folder / "socket").exists():
            raise NotStarted(f"{self.name} does not listen; its log is {self.daemon.log}")
        try:
            with pymysql.connect(
                unix_socket=f"{self._folder}/socket",
                user=system_user(),
                connect_timeout=_ANSWER_SECONDS,
                read_timeout=_ANSWER_SECONDS,
            ) as connection:
                cursor = connection.cursor()
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        except pymysql.MySQLError as error:
            raise NotStarted(f"{self.name}: {error}; its log is {self.daemon.log}") from None

    @property
    def answers(self) -> bool:
        """Whether it executes statements."""
        try:
            self.execute("SELECT 1")
        except NotStarted:
            return False
        return True


class Database(ABC):
    """The database of a trial cluster: several servers.

    Attributes:
        servers: all servers.
        ports: the ports of each.
        backend: the name of the service's backend.
    """

    servers: Sequence[Server]
    ports: Sequence[int]
    backend: str

    @abstractmethod
    def configure(self) -> None:
        """Write the configurations of all servers."""

    @abstractmethod
    def begin(self) -> None:
        """Start the servers that `prepare` needs."""

    @abstractmethod
    def complete(self) -> None:
        """Start the other servers; return when all are in use."""

    @abstractmethod
    def restart(self, server: Server) -> None:
        """Restart an ended server as systemd does."""

    @abstractmethod
    def prepare(self, password: str, run: Run) -> None:
        """Make the database, its users and its schema, unless they exist.

        Args:
            password: password of the service's user.
            run: runs a command of the service.
        """

    @abstractmethod
    def urls(self, user: str, authority: Path) -> Mapping[str, str]:
        """Return the URLs of the `DATABASES` for a user with password, by an authority's file."""


def users_made(passwords: Mapping[str, str], admin: str) -> Sequence[str]:
    """Return statements that make databases, and users with a password; `admin` has all rights."""
    statements = [f"CREATE DATABASE IF NOT EXISTS {each}" for each in DATABASES.values()]
    for user, password in passwords.items():
        rights = "ALL" if user == admin else "SELECT, INSERT, UPDATE, DELETE"
        statements.append(f"CREATE USER IF NOT EXISTS {user}@'127.%'")
        statements.append(f"ALTER USER {user}@'127.%' IDENTIFIED BY '{password}'")
        grants = (f"GRANT {rights} ON {each}.* TO" for each in DATABASES.values())
        statements.extend(f"{grant} {user}@'127.%'" for grant in grants)
    return statements


def system_user() -> str:
    """Return the system user, whom the socket authenticates without a password."""
    return pwd.getpwuid(os.getuid()).pw_name
