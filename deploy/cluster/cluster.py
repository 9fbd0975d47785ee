"""A trial cluster on one machine: three MariaDB nodes, Redis, two service machines, nginx.

Every program runs on a loopback address of its own, with the configuration files of this folder, until
Ctrl-C or SIGTERM. A program that ends is restarted, as by systemd. Another start in the same folder
continues with its data, after any kind of end.

    make cluster
    .venv/bin/python deploy/cluster/cluster.py --folder var/cluster --network 127.0.5
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Final

import certificates
import nodes
from filling import write
from machines import (
    DATABASES,
    NGINX_PORTS,
    REDIS_PORT,
    SERVICE_PORTS,
    Nginx,
    Redis,
    Service,
    make_identity_provider,
)
from nodes import Node
from processes import STOPPING, Daemon, Kept, NotStarted, taken

RESTART_SECONDS: Final = 10.0
"""Pause before a restart: long enough to see the effect of a missing program."""

_TURN_SECONDS: Final = 0.5
_NEEDED_BYTES: Final = 1_000_000_000
"""Disk space of a new cluster, with room to write."""

_OUTGOING: Final = "127.0.0.1"
"""Source address of connections to another loopback address."""

_SCHEMA_USER: Final = "persona_admin"

_READY: Final = """
The cluster runs. Ctrl-C stops it; the next start goes on with what is in {folder}.

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
    """A signal asks the script to end."""


class Cluster:
    """All programs of the cluster.

    Args:
        folder: folder of their data and configuration.
        network: the first three numbers of their addresses: `127.0.5`.
        kept: the record of their processes.

    Raises:
        NotStarted: an address is in use, or the configuration can't be written.
    """

    def __init__(self, folder: Path, network: str, kept: Kept) -> None:
        self._folder, self._kept = folder, kept
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
        """Start all programs; return when people can sign in.

        Raises:
            NotStarted: a program does not start.
        """
        _say("three MariaDB nodes, Redis, two service machines, nginx")
        with ThreadPoolExecutor() as pool:
            keys = pool.submit(self._prepare_keys)
            first, others = nodes.start_first(self.nodes)
            services = pool.submit(self._start_services, first, keys)
            nodes.join(others)  # which is mostly waiting
        services.result()
        for service in self.services:
            service.wait()
        self.nginx.start()

    def describe(self) -> str:
        """Return addresses and process ids, and how to use the cluster."""
        places = {self.nginx.daemon: f"{self.nginx.public}/v1/"}
        places |= {each.daemon: f"{each.origin}/" for each in self.services}
        places |= {self.redis.daemon: self.redis.place}
        places |= {each.daemon: f"{each.address}:{nodes.PORTS[0]}" for each in self.nodes}
        lines = [f"{place:26} {daemon.name}, process {daemon.pid}" for daemon, place in places.items()]
        return _READY.format(
            folder=self._folder,
            public=self.nginx.public,
            machines="".join(f"  {line}\n" for line in lines),
            bin=Path(sys.executable).parent,
            pause=RESTART_SECONDS,
            node=self.nodes[0].daemon.pid,
        )

    def watch(self) -> None:
        """Restart programs that end; never return."""
        missed: dict[str, float] = {}
        while True:
            time.sleep(_TURN_SECONDS)
            now = time.monotonic()
            for daemon in self.daemons:
                if daemon.is_alive:
                    if missed.pop(daemon.name, None):
                        _say(f"{daemon.name} is started again, process {daemon.pid}")
                elif daemon.name not in missed:
                    missed[daemon.name] = now
                    _say(f"{daemon.name} has ended; it is started again after {RESTART_SECONDS:g} s")
                elif now - missed[daemon.name] > RESTART_SECONDS:
                    self._start_again(daemon)
                    missed[daemon.name] = time.monotonic()

    def stop(self) -> None:
        """Stop all programs: clients before their servers."""
        self.nginx.daemon.stop()
        with ThreadPoolExecutor() as pool:
            list(pool.map(Daemon.stop, [each.daemon for each in self.services]))
        # Nodes one by one: nodes that leave together take each other for dead, and wait for 5 s.
        self._kept.end_all()

    def _start_again(self, daemon: Daemon) -> None:
        node = next((each for each in self.nodes if each.daemon is daemon), None)
        try:
            if node is None:
                daemon.start()
            else:
                nodes.restart(node, self.nodes)
        except (NotStarted, OSError) as error:
            _say(str(error))  # it is tried again

    def _start_services(self, node: Node, keys: Future[None]) -> None:
        self._prepare_database(node)
        keys.result()
        self.redis.start()
        for service in self.services:
            service.daemon.start()

    def _prepare_keys(self) -> None:
        """Make the keyring of all service machines, unless it exists."""
        first, *others = self.services
        if not first.keyring.exists():
            first.run("keys", "init")
        for service in others:
            write(service.keyring, first.keyring.read_text())

    def _prepare_database(self, node: Node) -> None:
        """Make the database, its users and its schema, unless they exist."""
        admin = secrets.token_hex(24)
        users = {"persona": self._password, _SCHEMA_USER: admin}
        statements = [f"CREATE DATABASE IF NOT EXISTS {each}" for each in DATABASES.values()]
        for user, password in users.items():
            statements.append(f"CREATE USER IF NOT EXISTS {user}@'127.%'")
            statements.append(f"ALTER USER {user}@'127.%' IDENTIFIED BY '{password}'")
        for each in DATABASES.values():
            grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {each}.* TO persona"
            statements.append(f"{grant}@'127.%'")
            statements.append(f"GRANT ALL ON {each}.* TO {_SCHEMA_USER}@'127.%'")
        node.execute(*statements)
        administrator = f"mysql://{_SCHEMA_USER}:{admin}@{node.address}"
        options = f"?ssl_ca={self._folder}/ca/ca.pem"
        urls = {name: f"{administrator}/{each}{options}" for name, each in DATABASES.items()}
        self.services[0].run("storage", "init", urls=urls)

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
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            problem = f"can't listen at {', '.join(found[:3])}{more}; choose other addresses"
            raise NotStarted(f"{problem}: make cluster ARGS='--network 127.0.6'")


def main() -> int:
    """Run a cluster until a signal ends it; return the exit status."""
    options = _options()
    folder = options.folder
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(_alone(folder))
            _listen_for_signals()
            _check_room(folder)
            kept = Kept(folder / "processes.json")
            if left := kept.end_leftovers():
                _say(f"ended what an earlier run has left: {', '.join(map(str, left))}")
            cluster = Cluster(folder, options.network, kept)
            stack.callback(_stop, cluster)
            cluster.start()
            _print(cluster.describe())
            cluster.watch()
        except Stopped:
            return 0
        except (NotStarted, OSError, ValueError) as error:
            print(f"cluster: {error}", file=sys.stderr)
            return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--folder",
        type=_folder,
        default="var/cluster",
        help="folder of data and configuration; default: %(default)s",
    )
    parser.add_argument(
        "--network",
        type=_network,
        default="127.0.5",
        help="first three numbers of the addresses, all of loopback; default: %(default)s",
    )
    return parser.parse_args()


def _folder(text: str) -> Path:
    folder = Path(text).absolute()
    # Six programs write this path into files and commands, each with its own quoting rules.
    if not re.fullmatch(r"[\w./+-]{1,90}", str(folder), re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{folder} must have at most 90 characters, all of them letters, digits or of ._+-/"
        )
    return folder


def _network(text: str) -> str:
    if not re.fullmatch(r"127\.\d{1,3}\.\d{1,3}", text) or max(map(int, text.split("."))) > 255:
        raise argparse.ArgumentTypeError(f"{text} is not of the form 127.0.5")
    return text


def _check_room(folder: Path) -> None:
    """Check for enough disk space, before a new cluster is half made.

    Raises:
        NotStarted: the disk is too full.
    """
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES and not (folder / "node1" / "data").exists():
        raise NotStarted(
            f"{folder} has {free / 1e6:.0f} MB free of {_NEEDED_BYTES / 1e6:.0f} MB that it needs"
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder.

    Raises:
        NotStarted: a cluster runs there already.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotStarted(f"a cluster runs in {folder} already") from None
        yield


def _listen_for_signals() -> None:
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _raise_stopped)


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    _be_stopped_once()
    raise Stopped


def _be_stopped_once() -> None:
    """Ignore further signals: the script already ends, and must stop all programs first."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _stop(cluster: Cluster) -> None:
    _be_stopped_once()
    _say("stopping")
    cluster.stop()


def _say(text: str) -> None:
    _print(f"cluster: {text}")


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError:
        # The reader has gone, perhaps with the terminal: the cluster goes on, and so does its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
