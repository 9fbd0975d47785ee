"""Three MariaDB nodes under Galera, with the shipped configuration, on addresses of loopback."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from filling import fill, write
from processes import Kept, NotStarted
from servers import DATABASES, PORT, Database, Run, Server, system_user, users_made

PORTS: Final = (PORT, 4567, 4568, 4444)
"""Ports of a node: clients, group communication, incremental and full state transfer."""

_ADMIN: Final = "persona_admin"
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


class Position(NamedTuple):
    """The position of a node's data: the UUID of the cluster and the number of the last write."""

    cluster: str
    number: int

    def __str__(self) -> str:
        return f"{self.cluster}:{self.number}"


class Node(Server):
    """A node; see `Server` for the arguments."""

    def __init__(self, name: str, address: str, folder: Path, kept: Kept) -> None:
        super().__init__(
            name, address, folder, kept, "galera.cnf", {"wsrep-sst-auth": f"{system_user()}:"}
        )

    def configure(self, addresses: Sequence[str]) -> None:
        """Write its configuration as a member of nodes at these addresses."""
        fill(
            "galera.cnf",
            self.configuration,
            NAME=self.name,
            ADDRESS=self.address,
            NODES=",".join(addresses),
            TLS=str(self._folder),
            MEMORY="64M",
            GCACHE="64M",
        )

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


class Galera(Database):
    """Three nodes.

    Args:
        network: the first three numbers of their addresses.
        folder: the folder of their folders.
        kept: the record of processes.
    """

    ports = PORTS
    backend = "mysql"

    def __init__(self, network: str, folder: Path, kept: Kept) -> None:
        self.servers = self._nodes = [
            Node(f"node{n}", f"{network}.{10 + n}", folder / f"node{n}", kept) for n in (1, 2, 3)
        ]
        self._others: Others = {}

    def configure(self) -> None:
        for node in self._nodes:
            node.configure([each.address for each in self._nodes])

    def begin(self) -> None:
        self._first, self._others = start_first(self._nodes)

    def complete(self) -> None:
        join(self._others)

    def restart(self, server: Server) -> None:
        [node] = [each for each in self._nodes if each is server]
        restart(node, self._nodes)

    def prepare(self, password: str, run: Run) -> None:
        admin = secrets.token_hex(24)
        self._first.execute(*users_made({"persona": password, _ADMIN: admin}, _ADMIN))
        server = f"mysql://{_ADMIN}:{admin}@{self._first.address}"
        options = f"?ssl_ca={self._first.configuration.parent}/ca.pem"
        urls = {name: f"{server}/{each}{options}" for name, each in DATABASES.items()}
        run("storage", "init", urls=urls)

    def urls(self, user: str, authority: Path) -> Mapping[str, str]:
        options = "&".join(f"host={node.address}" for node in self._nodes) + f"&ssl_ca={authority}"
        return {name: f"mysql://{user}@/{each}?{options}" for name, each in DATABASES.items()}


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
