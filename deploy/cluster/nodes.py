"""Three MariaDB nodes under Galera, with the shipped configuration, on addresses of loopback."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

from filling import fill
from processes import Daemon, Kept, NotStarted

PORTS: Final = (3306, 4567, 4568, 4444)
"""Where a node listens: for clients, the group, what a node missed, a whole copy."""

_LOG_BYTES: Final = "48M"
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


class Position(NamedTuple):
    """Up to where the data of a node go: the cluster's UUID, and the number of the last write."""

    cluster: str
    number: int

    def __str__(self) -> str:
        return f"{self.cluster}:{self.number}"


class Node:
    """One node.

    Args:
        name: as the configuration has it.
        address: of loopback, of its own.
        folder: of its configuration, data and logs; it holds `cert.pem`, `key.pem` and `ca.pem`.
        kept: where its process is remembered.
    """

    def __init__(self, name: str, address: str, folder: Path, kept: Kept) -> None:
        self.name, self.address = name, address
        self.data = folder / "data"
        self._folder = folder
        # What a machine of its own would have, and one machine for all has not.
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
        """Write its configuration, as a member of nodes at these addresses."""
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

    def take_copy(self, data: Path) -> None:
        """Take a copy of a data folder for its own: whole, or not at all."""
        fresh = self.data.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(data, fresh)
        fresh.replace(self.data)

    def position(self) -> Position | None:
        """Find up to where its data go after however it ended; None if it has none of any use."""
        if not (self.data / "mysql").is_dir():
            self.data.mkdir(exist_ok=True)
            return None
        log = self._folder / "recovery.log"
        log.unlink(missing_ok=True)
        command = [*self._command, "--wsrep-recover", "--skip-networking", f"--log-error={log}"]
        subprocess.run(command, capture_output=True, check=False)  # its log says whether it did
        said = log.read_text("utf-8", "replace") if log.exists() else ""
        found = re.findall(r"Recovered position: *([0-9a-f-]{36}):(-?\d+)", said)
        if not found or found[-1][0] == _NOBODY or int(found[-1][1]) < 0:
            return None
        return Position(found[-1][0], int(found[-1][1]))

    def bootstrap(self, position: Position | None) -> None:
        """Start it as the first of its cluster; return when it answers."""
        state = self.data / "grastate.dat"
        if state.exists():
            text = state.read_text()
            state.write_text(re.sub(r"safe_to_bootstrap: \d", "safe_to_bootstrap: 1", text))
        self._start(position, "--wsrep-new-cluster")
        self.wait()

    def join(self, position: Position | None) -> None:
        """Start it as a member of a cluster that is there; `wait` tells when it is one."""
        self._start(position)

    def wait(self) -> None:
        """Return when it is a member and up to date.

        Raises:
            NotStarted: it is not.
        """
        self.daemon.wait_until(lambda: self.is_synced)

    @property
    def is_synced(self) -> bool:
        """Whether it is a member, up to date, of a cluster that has a majority."""
        status = self.execute(
            "SHOW STATUS LIKE 'wsrep_local_state_comment'; SHOW STATUS LIKE 'wsrep_ready'"
        )
        return status.split() == ["wsrep_local_state_comment", "Synced", "wsrep_ready", "ON"]

    def execute(self, statements: str, *, must: bool = False) -> str:
        """Carry out statements as the database's administrator; return what they print.

        Args:
            statements: of SQL.
            must: whether it is an error if that can't be done now.

        Raises:
            NotStarted: it must, and can't.
        """
        command = ["mariadb", "--no-defaults", f"--socket={self._folder}/socket", f"--user={_user()}"]
        done = subprocess.run(
            [*command, "--batch", "--skip-column-names"],
            input=statements,
            capture_output=True,
            text=True,
            check=False,
        )
        if must and done.returncode:
            raise NotStarted(f"{self.name} refuses: {done.stderr.strip()}")
        return done.stdout

    def _start(self, position: Position | None, *more: str) -> None:
        at = [f"--wsrep-start-position={position}"] if position else []
        self.daemon.start(*more, *at)


def start_all(nodes: Sequence[Node]) -> Node:
    """Start nodes of which none runs, new or however they ended; return the one that was first.

    That is the one whose data go furthest, so that nothing is lost that any of them has.

    Raises:
        NotStarted: they can't be started.
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
    first.bootstrap(positions[first])
    others = [node for node in nodes if node is not first]
    for node in others:
        node.join(positions[node])
        if positions[node] is None:
            node.wait()  # whole copies come one after the other
    for node in others:
        node.wait()
    return first


def restart(node: Node, nodes: Sequence[Node]) -> None:
    """Start a node that has ended, as systemd does; all of them, if none is left to join.

    Raises:
        NotStarted: it does not become a member.
    """
    if any(each.daemon.is_alive for each in nodes):
        node.join(node.position())
        node.wait()
    else:
        start_all(nodes)


def _install(first: Node, others: Sequence[Node]) -> None:
    """Make data folders of the same content, which say so: no node has to copy another's to join.

    That is quicker than whole copies, which empty data folders of machines of their own lead to.
    """
    made = first.data.with_suffix(".made")
    shutil.rmtree(made, ignore_errors=True)
    command = ["mariadb-install-db", "--no-defaults", f"--datadir={made}", "--skip-test-db"]
    command += [f"--tmpdir={made.parent}"]
    command += [f"--innodb-log-file-size={_LOG_BYTES}", "--auth-root-authentication-method=socket"]
    command += [f"--auth-root-socket-user={_user()}"]
    command += ["--user=root"] if os.getuid() == 0 else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotStarted(f"a data folder can't be made: {done.stderr.strip()}")
    made.replace(first.data)
    first.bootstrap(None)
    first.daemon.stop()
    for node in others:
        node.take_copy(first.data)


def _user() -> str:
    """Return the system's user, whose password the socket knows by itself."""
    return pwd.getpwuid(os.getuid()).pw_name
