"""Heads with MariaDB's Spider engine before data servers, with the shipped configuration."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from filling import fill
from processes import Kept
from servers import DATABASES, PORT, Database, Run, Server, users_made

HEADS: Final = 2
MAX_SHARDS: Final = 20

_ADMIN: Final = "persona_admin"


class Shards(Database):
    """Two heads, and a data server for each shard.

    Args:
        network: the first three numbers of their addresses.
        folder: the folder of their folders.
        kept: the record of processes.
        shards: the number of data servers.
    """

    ports = (PORT,)
    backend = "spider"

    def __init__(self, network: str, folder: Path, kept: Kept, shards: int) -> None:
        def server(name: str, number: int, configuration: str) -> Server:
            return Server(name, f"{network}.{number}", folder / name, kept, configuration)

        self._heads = [server(f"head{n}", 10 + n, "head.cnf") for n in range(1, HEADS + 1)]
        self._data = [server(f"shard{n}", 30 + n, "data.cnf") for n in range(1, shards + 1)]
        self.servers = [*self._data, *self._heads]

    def configure(self) -> None:
        for each in self._heads:
            fill(
                "../sharded/head.cnf",
                each.configuration,
                ADDRESS=each.address,
                TLS=str(each.configuration.parent),
            )
        for each in self._data:
            fill("../sharded/data.cnf", each.configuration, ADDRESS=each.address, MEMORY="64M")

    def begin(self) -> None:
        first = self.servers[0]
        for each in self.servers:
            if not each.data.exists():
                each.install() if each is first else each.take_copy(first.data)
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.restart, self.servers))

    def complete(self) -> None:
        """Do nothing: all servers are in use already."""

    def restart(self, server: Server) -> None:
        server.daemon.start()
        server.daemon.wait_until(lambda: server.answers)

    def prepare(self, password: str, run: Run) -> None:
        admin = secrets.token_hex(24)
        users = users_made({"persona": password, _ADMIN: admin}, _ADMIN)
        for each in self._data:
            each.execute(*users)
        authority = self._heads[0].configuration.parent / "ca.pem"
        urls = self.urls(f"{_ADMIN}:{admin}", authority)
        for each in self._data:
            url = f"mysql://{_ADMIN}:{admin}@{each.address}/{DATABASES['backend']}"
            run("storage", "init", urls={**urls, "backend": url}, backend="mysql")
        servers = [
            f"CREATE OR REPLACE SERVER {each.name} FOREIGN DATA WRAPPER mysql OPTIONS (HOST "
            f"'{each.address}', PORT {PORT}, DATABASE 'persona', USER 'persona', PASSWORD '{password}')"
            for each in self._data
        ]
        for head in self._heads:
            head.execute(*users, *servers)
        run("storage", "init", urls=urls)

    def urls(self, user: str, authority: Path) -> Mapping[str, str]:
        hosts = "&".join(f"host={head.address}" for head in self._heads)
        shards = ",".join(each.name for each in self._data)
        place = f"{DATABASES['backend']}?{hosts}&shards={shards}&ssl_ca={authority}"
        return {
            "backend": f"spider://{user}@/{place}",
            # Few writes: one server has them all.
            "ledger": f"mysql://{user}@{self._data[0].address}/{DATABASES['ledger']}",
        }
