"""A private cluster of three MariaDB nodes under Galera, on free ports of loopback."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pymysql

from support.servers.mariadb import MariaDBProcess
from support.servers.ports import free_port

NODES = 3
_PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
_USER = "mysql"
"""The user of the nodes if root runs the tests: rsync, a child of a node, drops root's rights."""

_COMMANDS = ("mariadbd", "mariadb-install-db", "rsync", "ss")


class GaleraNode(MariaDBProcess):
    """A node that a test starts, stops, freezes, kills and isolates.

    Attributes:
        port: the clients' port on 127.0.0.1.
        group_port: the other nodes' port.
        options: options of `mariadbd` from the next start on.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.name = name
        self.options: dict[str, str] = {}
        self.port, self.group_port, self._increment_port, self._transfer_port = (
            free_port() for _ in range(4)
        )
        self._log_start = 0

    def __repr__(self) -> str:
        return self.name

    @property
    def log(self) -> str:
        """The node's log since its last start, freeze or isolation."""
        with Path(self.folder, "error.log").open(errors="replace") as log:
            log.seek(self._log_start)
            return log.read()

    @property
    def joined_by_increments(self) -> bool:
        """Whether the last join transferred increments only, not a full copy."""
        log = self.log
        return "IST received" in log and "rsync SST completed" not in log

    def configure(self, nodes: Sequence[GaleraNode]) -> None:
        """Write the configuration of a member of these nodes."""
        addresses = ",".join(f"127.0.0.1:{node.group_port}" for node in nodes)
        provider = next(path for path in _PROVIDERS if Path(path).exists())
        options = {
            "datadir": f"{self.folder}/data",
            "tmpdir": self.temporary,
            "socket": f"{self.folder}/s",
            "pid-file": f"{self.folder}/pid",
            "log-error": f"{self.folder}/error.log",
            "port": self.port,
            "bind-address": "127.0.0.1",
            "binlog-format": "ROW",
            "default-storage-engine": "InnoDB",
            "innodb-autoinc-lock-mode": 2,
            "innodb-flush-log-at-trx-commit": 1,
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "48M",
            "max-allowed-packet": "16M",
            "wsrep-on": "ON",
            "wsrep-provider": provider,
            "wsrep-cluster-name": "persona",
            "wsrep-cluster-address": f"gcomm://{addresses}",
            "wsrep-node-name": self.name,
            "wsrep-node-address": f"127.0.0.1:{self.group_port}",
            "wsrep-node-incoming-address": f"127.0.0.1:{self.port}",
            "wsrep-sst-receive-address": f"127.0.0.1:{self._transfer_port}",
            "wsrep-sst-method": "rsync",
            "wsrep-provider-options": (
                f'"gmcast.listen_addr=tcp://127.0.0.1:{self.group_port};'
                f'ist.recv_addr=127.0.0.1:{self._increment_port};gcache.size=64M"'
            ),
        }
        if _is_root():
            options["user"] = _USER
        lines = [f"{name}={value}" for name, value in options.items()]
        Path(self.folder, "node.cnf").write_text("\n".join(["[mysqld]", *lines, ""]))

    def start(self, *arguments: str) -> None:
        """Start the node; return once it is a synced member of the cluster."""
        self._begin_log()
        more = [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]
        self.launch(["mariadbd", f"--defaults-file={self.folder}/node.cnf", *more, *arguments])
        self.wait()

    def restart(self) -> None:
        """Start the node after a crash at its recovered position, so that it gets increments only."""
        position = self.recovered_position()
        self.start(f"--wsrep-start-position={position}")

    def recovered_position(self) -> str:
        """Return the recovered position of the data folder after a crash, `UUID:number`."""
        log = Path(self.folder, "recovery.log")
        log.unlink(missing_ok=True)
        subprocess.run(
            [
                "mariadbd",
                f"--defaults-file={self.folder}/node.cnf",
                "--wsrep-recover",
                f"--log-error={log}",
                "--skip-networking",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
        [*_, position] = re.findall(r"Recovered position: *(\S+:-?\d+)", log.read_text())
        return position

    def status(self, name: str) -> str:
        """Return the status variable `wsrep_` + name."""
        [(_, value)] = self.query(f"SHOW STATUS LIKE 'wsrep_{name}'")
        return str(value)

    @property
    def is_synced(self) -> bool:
        """Whether the node is a synced member of the primary component."""
        try:
            return self.status("local_state_comment") == "Synced" and self.status("ready") == "ON"
        except (pymysql.MySQLError, OSError):
            return False

    def wait(self, seconds: float = 60) -> None:
        """Wait until the node is a synced member of the primary component.

        Raises:
            RuntimeError: the node ended, or took too long.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.is_running:
                raise RuntimeError(f"{self} ended: {self.log[-3000:]}")
            # The driver leaks the socket of a failed connection, so probe the socket first.
            if Path(self.folder, "s").exists() and self._listens() and self.is_synced:
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self} did not join: {self.log[-3000:]}")

    def isolate(self) -> None:
        """Isolate the node from the other nodes; clients still reach it.

        Galera itself drops the group's messages. That works without root; a proxy between nodes
        does not, because nodes exchange their own addresses.
        """
        self._begin_log()
        self.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")

    def unite(self) -> None:
        """Undo `isolate`."""
        self.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")

    def become_primary(self) -> None:
        """Bootstrap a primary component of the remaining minority."""
        self.query("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")

    def freeze(self) -> None:
        """Stop the node's process; its connections stay open."""
        self._begin_log()
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the node as a crash does."""
        self.signal(signal.SIGKILL)

    def _begin_log(self) -> None:
        log = Path(self.folder, "error.log")
        self._log_start = log.stat().st_size if log.exists() else 0

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(f"{self.folder}/s")
            except OSError:
                return False
        return True


class Galera:
    """A cluster of three nodes with the database `persona` and its user.

    Args:
        folder: the folder of all data; if root runs the tests, all users must be able to enter it.
    """

    def __init__(self, folder: Path) -> None:
        missing = [command for command in _COMMANDS if shutil.which(command) is None]
        if missing or not any(Path(path).exists() for path in _PROVIDERS):
            raise RuntimeError(
                "these tests need MariaDB with Galera: apt-get install --no-install-recommends "
                "mariadb-server galera-4 rsync iproute2"
            )
        self.folder = folder
        self.nodes = [
            GaleraNode(folder / f"n{number + 1}", f"n{number + 1}") for number in range(NODES)
        ]

    @property
    def url(self) -> str:
        """The URL of a backend for all nodes, in order of preference."""
        return self.url_of(*self.nodes)

    def url_of(self, *nodes: GaleraNode) -> str:
        """Return the URL of a backend for these nodes, in order of preference."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in nodes)
        return f"mysql://persona:secret@/persona?{hosts}"

    def install(self) -> None:
        """Create the nodes' data folders.

        All are copies with the same recorded position, so that a first join needs no full transfer.
        """
        first, *others = self.nodes
        for node in self.nodes:
            node.folder.mkdir()
            node.configure(self.nodes)
            if _is_root():
                shutil.chown(node.folder, _USER)
        first.install("--innodb-log-file-size=48M", user=_USER)
        first.start("--wsrep-new-cluster")
        first.stop()
        for node in others:
            for name in ("data", "tmp"):
                subprocess.run(["cp", "-a", first.folder / name, node.folder / name], check=True)
            Path(node.folder, "data", "gvwstate.dat").unlink(missing_ok=True)

    def start(self) -> None:
        """Start all nodes, new or cleanly stopped; return once they form one cluster."""
        first, *others = self.nodes
        first.start("--wsrep-new-cluster")
        for node in others:  # one at a time: simultaneous joins disturb each other
            node.start()

    def create_database(self) -> None:
        """Create the empty database and the user of `url`."""
        [node, *_] = [node for node in self.nodes if node.is_synced]
        node.create_database()

    def wait(self, members: int = NODES, seconds: float = 60) -> None:
        """Wait until `members` nodes are one synced primary component."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            synced = [node for node in self.nodes if node.is_running and node.is_synced]
            if len(synced) >= members and {node.status("cluster_size") for node in synced} == {
                str(members)
            }:
                return
            time.sleep(0.05)
        raise RuntimeError(f"no cluster of {members} nodes")

    def stop(self) -> None:
        """Stop all nodes, whatever their state."""
        for node in self.nodes:
            if node.is_running:
                node.thaw()
        # One at a time: nodes that leave together take each other for dead and wait for 5 s.
        for node in reversed(self.nodes):
            node.stop()


@contextlib.contextmanager
def galera_cluster() -> Iterator[Galera]:
    """Run a cluster in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="galera-") as folder:
        Path(folder).chmod(0o755)
        cluster = Galera(Path(folder))
        try:
            cluster.install()
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def _is_root() -> bool:
    return os.getuid() == 0
