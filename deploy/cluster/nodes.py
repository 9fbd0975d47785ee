"""Three MariaDB nodes under Galera, with the shipped configuration, on addresses of loopback."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import pymysql  # type: ignore[import-untyped]
from filling import fill, write
from processes import Daemon, Kept, NotStarted

PORTS: Final = (3306, 4567, 4568, 4444)
"""Ports of a node: clients, group communication, incremental and full state transfer."""

_LOG_BYTES: Final = "48M"
_ANSWER_SECONDS: Final = 30
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


class Position(NamedTuple):
    """The position of a node's data: the UUID of the cluster and the number of the last write."""

    cluster: str
    number: int

    def __str__(self) -> str:
        return f"{self.cluster}:{self.number}"


class Node:
    """A node.

    Args:
        name: name in the configuration.
        address: its loopback address.
        folder: folder of its configuration, data and logs, with `cert.pem`, `key.pem` and `ca.pem`.
        kept: the record of processes.
    """

    def __init__(self, name: str, address: str, folder: Path, kept: Kept) -> None:
        self.name, self.address = name, address
        self.data = folder / "data"
        self._folder, self._kept = folder, kept
        # A machine of its own has defaults for these; nodes on one machine need them apart.
        options = {
            "datadir": self.data,
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "tmpdir": folder,  # of a shared one, each server removes the others' files as it starts
            "innodb-log-file-size": _LOG_BYTES,
            "wsrep-sst-auth": f"{_user()}:",
        }
        if os.getuid() == 0:
            options["user"] = "root"
        self._command = ["mariadbd", f"--defaults-file={folder}/galera.cnf"]
        self._command += [f"--{name}={value}" for name, value in options.items()]
        log = folder / "error.log"
        self.daemon = Daemon(name, [*self._command, f"--log-error={log}"], log, kept)

    def configure(self, addresses: Sequence[str]) -> None:
        """Write its configuration as a member of nodes at these addresses."""
        fill(
            "galera.cnf",
            self._folder / "galera.cnf",
            NAME=self.name,
            ADDRESS=self.address,
            NODES=",".join(addresses),
            TLS=str(self._folder),
            MEMORY="64M",
            GCACHE="64M",
        )

    def install(self) -> None:
        """Make its data folder whole or not at all; it belongs to no cluster yet.

        Raises:
            NotStarted: the folder can't be made.
        """
        made = self.data.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={made}", "--skip-test-db"]
        command += [f"--tmpdir={self._folder}", f"--innodb-log-file-size={_LOG_BYTES}"]
        command += ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={_user()}"]
        command += ["--user=root"] if os.getuid() == 0 else []
        self._kept.run("a data folder can't be made", command)
        made.replace(self.data)

    def take_copy(self, data: Path) -> None:
        """Copy a data folder whole or not at all."""
        made = self.data.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(data, made)
        made.replace(self.data)

    def position(self) -> Position | None:
        """Return the position of its data after any kind of end; None if it has no usable data."""
        if not (self.data / "mysql").is_dir():
            self.data.mkdir(exist_ok=True)
            return None
        if state := self._state:
            return state
        log = self._folder / "recovery.log"
        log.unlink(missing_ok=True)
        command = [*self._command, "--wsrep-recover", "--skip-networking", f"--log-error={log}"]
        with suppress(NotStarted):  # its log says whether it did
            self._kept.run(f"{self.name} can't be recovered", command)
        said = log.read_text("utf-8", "replace") if log.exists() else ""
        found = re.findall(r"Recovered position: *([0-9a-f-]{36}):(-?\d+)", said)
        return _position(*found[-1]) if found else None

    def bootstrap(self, position: Position | None) -> None:
        """Start the first node of a cluster; return when it answers."""
        if self._state_file.exists():
            text = self._state_file.read_text()
            write(self._state_file, re.sub(r"safe_to_bootstrap: \d", "safe_to_bootstrap: 1", text))
        self._start(position, "--wsrep-new-cluster")
        self.wait()

    def join(self, position: Position | None) -> None:
        """Start it as a member of a running cluster; `wait` returns when it has joined."""
        self._start(position)

    def wait(self) -> None:
        """Return when the node is a synced member.

        Raises:
            NotStarted: the node has ended, or takes too long.
        """
        self.daemon.wait_until(lambda: self.is_synced)

    @property
    def is_synced(self) -> bool:
        """Whether the node is a synced member of a cluster with a majority."""
        try:
            status = dict(self.execute("SHOW STATUS LIKE 'wsrep_%'"))
        except NotStarted:
            return False
        return (status["wsrep_local_state_comment"], status["wsrep_ready"]) == ("Synced", "ON")

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
                user=_user(),
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
    def _state_file(self) -> Path:
        return self.data / "grastate.dat"

    @property
    def _state(self) -> Position | None:
        """The position of its data, if it ended in order."""
        if not self._state_file.exists():
            return None
        text = self._state_file.read_text("utf-8", "replace")
        found = re.search(r"^uuid: +([0-9a-f-]{36})\nseqno: +(-?\d+)$", text, re.MULTILINE)
        return _position(*found.groups()) if found else None

    def _start(self, position: Position | None, *more: str) -> None:
        at = [f"--wsrep-start-position={position}"] if position else []
        self.daemon.start(*more, *at)


Others = dict[Node, Position | None]
"""Nodes to join, and the positions of their data."""


def start_first(nodes: Sequence[Node]) -> tuple[Node, Others]:
    """Start the first node of a cluster that does not run; return it and the other nodes.

    It is the node with the newest data, so that no write of any node is lost.

    Raises:
        NotStarted: it can't be started.
    """
    if not any(node.data.exists() for node in nodes):
        _install(nodes[0], nodes[1:])
    with ThreadPoolExecutor(len(nodes)) as pool:
        positions = dict(zip(nodes, pool.map(Node.position, nodes), strict=True))
    known = [position.cluster for position in positions.values() if position]

    def rank(node: Node) -> tuple[int, int]:
        position = positions[node]
        return (known.count(position.cluster), position.number) if position else (0, -1)

    first = max(nodes, key=rank)
    first.bootstrap(positions.pop(first))
    return first, positions


def join(others: Others) -> None:
    """Start the other nodes; return when they are members.

    Raises:
        NotStarted: a node does not start.
    """
    for node, position in others.items():
        node.join(position)
        # One after the other: nodes that join at once delay each other by seconds.
        node.wait()


def restart(node: Node, nodes: Sequence[Node]) -> None:
    """Restart an ended node as systemd does; restart all nodes if none runs.

    Raises:
        NotStarted: no node runs, and they can't be started.
    """
    if any(each.daemon.is_alive for each in nodes):
        node.join(node.position())
    else:
        _, others = start_first(nodes)
        join(others)


def _install(first: Node, others: Sequence[Node]) -> None:
    """Make equal data folders for all nodes, so that no node needs a full state transfer to join."""
    first.install()
    first.bootstrap(None)
    first.daemon.stop()
    for node in others:
        node.take_copy(first.data)


def _position(cluster: str, number: str) -> Position | None:
    known = cluster != _NOBODY and int(number) >= 0
    return Position(cluster, int(number)) if known else None


def _user() -> str:
    """Return the system user, whom the socket authenticates without a password."""
    return pwd.getpwuid(os.getuid()).pw_name
