"""A cluster on one machine, for trying: three MariaDB nodes, Redis, two service machines, nginx.

It runs the configuration files beside it, each program on an address of loopback of its own, until
Ctrl-C or SIGTERM. What ends meanwhile is started again, as systemd does. Another start in the same
folder goes on with the data, however everything ended.

    make cluster
    .venv/bin/python deploy/cluster/cluster.py --folder var/cluster --network 127.0.5
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import certificates
import nodes
from filling import write
from machines import (
    NGINX_PORTS,
    REDIS_PORT,
    SERVICE_PORTS,
    Nginx,
    Redis,
    Service,
    make_identity_provider,
)
from nodes import Node
from processes import Daemon, Kept, NotStarted, taken

RESTART_SECONDS: Final = 10.0
"""How long what has ended stays so: long enough to see what that does."""

_TURN_SECONDS: Final = 0.5
_OUTGOING: Final = "127.0.0.1"
"""The address of whoever connects to another one of loopback."""

_SCHEMA_USER: Final = "persona_admin"

_READY: Final = """
The cluster runs. Ctrl-C stops it; the next start goes on with what is in {folder}.

  {public}/v1/   nginx, before two service machines
{machines}
Sign in, in a second terminal in this folder, as anybody at the example domains:

  export PATH="{bin}:$PATH"
  API={public}/v1
  ALICE=$(persona-profile -c {folder}/sign-in.ini assertion alice@example.com)
  curl --cacert {folder}/ca/ca.pem $API/sessions -H 'Content-Type: application/json' \\
    -d "{{\\"proofs\\": [{{\\"assertion\\": \\"$ALICE\\"}}]}}"

Kill a node, or anything else of the list; what has ended is started again after {pause:g} s:

  kill -9 {node}
"""


class Stopped(BaseException):
    """Somebody wants all of it to end."""


class Cluster:
    """All programs, and where they are.

    Args:
        folder: of everything that they keep.
        network: the first three numbers of their addresses: `127.0.5`.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self._folder = folder
        kept = Kept(folder / "processes.json")
        self.left = kept.end_leftovers()
        at = [f"{network}.{number}" for number in (11, 12, 13)]
        services = [f"{network}.{number}" for number in (21, 22)]
        self._check_addresses(network, at, services)
        places = [*at, *services, f"{network}.1"]
        names = ["node1", "node2", "node3", "service1", "service2", "nginx"]
        certificates.make(folder / "ca", {folder / n: a for n, a in zip(names, places, strict=True)})
        self._password = self._secret("database-password")
        self.nodes = [Node(n, a, folder / n, kept) for n, a in zip(names, at, strict=False)]
        for node in self.nodes:
            node.configure(at)
        self.redis = Redis(f"{network}.20", folder / "redis", self._secret("redis-password"), kept)
        self.services = [
            Service(f"service{n + 1}", a, folder / f"service{n + 1}", at, self.redis.url, kept)
            for n, a in enumerate(services)
        ]
        self.nginx = Nginx(f"{network}.1", folder / "nginx", self.services, kept)
        issuers = make_identity_provider(folder, self.nginx.public)
        for service in self.services:
            service.configure(self.nginx.public, _OUTGOING, self._password, issuers)

    @property
    def daemons(self) -> list[Daemon]:
        """All programs, in the order of their start."""
        first = [each.daemon for each in self.nodes]
        return [*first, self.redis.daemon, *(each.daemon for each in self.services), self.nginx.daemon]

    def start(self) -> None:
        """Start everything that does not run; return when people can sign in.

        Raises:
            NotStarted: something does not start.
        """
        _say("MariaDB: three nodes")
        first = nodes.start_all(self.nodes)
        self._prepare_database(first)
        _say("Redis, the service machines, nginx")
        self.redis.start()
        for service in self.services:
            service.daemon.start()
        for service in self.services:
            service.wait()
        self.nginx.start()

    def describe(self) -> str:
        """Return how to use it."""
        lines = [
            f"{node.address}:{nodes.PORTS[0]}  {node.name}, process {node.daemon.pid}"
            for node in self.nodes
        ]
        lines += [f"{each.origin}/  {each.name}, process {each.daemon.pid}" for each in self.services]
        return _READY.format(
            folder=self._folder,
            public=self.nginx.public,
            machines="".join(f"  {line}\n" for line in lines),
            bin=Path(sys.executable).parent,
            pause=RESTART_SECONDS,
            node=self.nodes[0].daemon.pid,
        )

    def watch(self) -> None:
        """Start again what ends; does not return."""
        missed: dict[str, float] = {}
        while True:
            time.sleep(_TURN_SECONDS)
            now = time.monotonic()
            for daemon in self.daemons:
                if daemon.is_alive:
                    missed.pop(daemon.name, None)
                elif daemon.name not in missed:
                    missed[daemon.name] = now
                    _say(f"{daemon.name} has ended; it is started again after {RESTART_SECONDS:g} s")
                elif now - missed[daemon.name] > RESTART_SECONDS:
                    self._start_again(daemon)
                    missed[daemon.name] = time.monotonic()

    def stop(self) -> None:
        """End everything, however far it came."""
        for daemon in reversed(self.daemons):
            daemon.stop()

    def _start_again(self, daemon: Daemon) -> None:
        node = next((each for each in self.nodes if each.daemon is daemon), None)
        try:
            if node is None:
                daemon.start()
            else:
                nodes.restart(node, self.nodes)
        except NotStarted as error:
            _say(str(error))  # it is tried again
            return
        _say(f"{daemon.name} is started again, process {daemon.pid}")

    def _prepare_database(self, node: Node) -> None:
        """Make the database, its users and its schema, and the keyring; whatever is there stays."""
        admin = secrets.token_hex(24)
        users = {"persona": self._password, _SCHEMA_USER: admin}
        statements = ["CREATE DATABASE IF NOT EXISTS persona"]
        for user, password in users.items():
            statements.append(f"CREATE USER IF NOT EXISTS {user}@'127.%'")
            statements.append(f"ALTER USER {user}@'127.%' IDENTIFIED BY '{password}'")
        grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON persona.* TO persona"
        statements.append(f"{grant}@'127.%'")
        statements.append(f"GRANT ALL ON persona.* TO {_SCHEMA_USER}@'127.%'")
        node.execute(";\n".join(statements), must=True)
        first, *others = self.services
        authority = f"ssl_ca={self._folder}/ca/ca.pem"
        first.run(
            "storage", "init", url=f"mysql://{_SCHEMA_USER}:{admin}@{node.address}/persona?{authority}"
        )
        if not first.keyring.exists():
            first.run("keys", "init")
        for service in others:
            write(service.keyring, first.keyring.read_text())

    def _secret(self, name: str) -> str:
        path = self._folder / name
        if not path.exists():
            write(path, secrets.token_hex(24))
        return path.read_text()

    def _check_addresses(self, network: str, at: list[str], services: list[str]) -> None:
        wanted = [(address, port) for address in at for port in nodes.PORTS]
        wanted += [(address, port) for address in services for port in SERVICE_PORTS]
        wanted += [(f"{network}.1", port) for port in NGINX_PORTS]
        if found := taken([*wanted, (f"{network}.20", REDIS_PORT)]):
            raise NotStarted(f"can't listen at {', '.join(found)}; choose another --network")


def main() -> int:
    """Run a cluster until it is to end; return the exit status."""
    options = _options()
    folder = options.folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_alone(folder))
            stack.enter_context(_told_to_stop())
            cluster = Cluster(folder, options.network)
            if cluster.left:
                _say(f"ended what an earlier run has left: {', '.join(map(str, cluster.left))}")
            stack.callback(_stop, cluster)
            cluster.start()
            print(cluster.describe(), flush=True)
            cluster.watch()
        except Stopped:
            return 0
        except (NotStarted, OSError, ValueError) as error:
            print(f"cluster: {error}", file=sys.stderr)
            return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("var/cluster"), help="default: %(default)s")
    parser.add_argument(
        "--network",
        type=_network,
        default="127.0.5",
        help="first three numbers of the addresses, all of loopback; default: %(default)s",
    )
    return parser.parse_args()


def _network(text: str) -> str:
    if not re.fullmatch(r"127\.\d{1,3}\.\d{1,3}", text) or max(map(int, text.split("."))) > 255:
        raise ValueError
    return text


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against another run in it.

    Raises:
        NotStarted: there is one.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotStarted(f"a cluster runs in {folder} already") from None
        yield


@contextlib.contextmanager
def _told_to_stop() -> Iterator[None]:
    """Raise Stopped where the program is when it is told to end."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    yield


def _stop(cluster: Cluster) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _say("stopping")
    cluster.stop()


def _say(text: str) -> None:
    print(f"cluster: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
