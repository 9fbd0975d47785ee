"""Private shards: heads with MariaDB's Spider engine before data servers, on free ports of loopback."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backends.engines.mysql import MysqlBackend
from support.servers.mariadb import MariaDB

ENGINE = Path("/usr/lib/mysql/plugin/ha_spider.so")
_SMALL = {"innodb_buffer_pool_size": "24M", "innodb_log_file_size": "16M"}
_HEAD = _SMALL | {
    "plugin_load_add": "ha_spider",
    "spider_table_init_error_interval": "0",  # as in deploy/sharded/head.cnf
}
_DATA = _SMALL | {
    "innodb_flush_log_at_trx_commit": "2",  # tests kill processes, not machines
    # As in deploy/sharded/data.cnf:
    "innodb_lock_wait_timeout": "3",
    "idle_transaction_timeout": "8",
}


class Shards:
    """Heads and data servers with the database `persona` and its user, who changes no schema.

    Args:
        folder: the folder of all data.
        heads: the number of heads.
        servers: the number of data servers.
    """

    def __init__(self, folder: Path, heads: int, servers: int) -> None:
        if not ENGINE.exists():
            raise RuntimeError(
                "these tests need MariaDB with Spider: apt-get install --no-install-recommends "
                "mariadb-server mariadb-plugin-spider"
            )
        self.heads = [MariaDB(folder / f"head{number}", **_HEAD) for number in range(heads)]
        self.servers = [MariaDB(folder / f"data{number}", **_DATA) for number in range(servers)]

    @property
    def names(self) -> list[str]:
        """The names of the data servers at the heads."""
        return [f"shard{number}" for number in range(len(self.servers))]

    @property
    def url(self) -> str:
        """The URL of a backend for all heads and data servers."""
        return self.url_of(self.heads)

    def url_of(
        self,
        heads: Sequence[MariaDB],
        names: Sequence[str] = (),
        user: str = "persona:secret",
        database: str = "persona",
    ) -> str:
        """Return the URL of a backend for some heads and shards, in order; by default all shards."""
        hosts = "&".join(f"host=127.0.0.1:{head.port}" for head in heads)
        shards = ",".join(names or self.names)
        return f"spider://{user}@/{database}?{hosts}&shards={shards}"

    @property
    def admin_url(self) -> str:
        """The URL for the user who makes the tables of heads."""
        return self.url_of(self.heads, user="admin:secret")

    def start(self) -> None:
        """Install and start all servers."""
        first, *others = [*self.servers, *self.heads]
        first.folder.mkdir()
        first.install("--innodb-log-file-size=16M")
        for each in others:
            each.folder.mkdir()
            subprocess.run(["cp", "-a", first.folder / "data", each.folder / "data"], check=True)
        with ThreadPoolExecutor() as pool:
            list(pool.map(MariaDB.start, (first, *others)))
        for each in (first, *others):
            each.query("CREATE USER admin@'127.0.0.1' IDENTIFIED BY 'secret'")

    def make_databases(self) -> None:
        """Make an empty database at each server, the tables of data servers, and the heads' servers."""
        for each in (*self.servers, *self.heads):
            each.create_database()
            each.query("REVOKE ALL ON persona.* FROM persona@'127.0.0.1'")
            each.query("GRANT SELECT, INSERT, UPDATE, DELETE ON persona.* TO persona@'127.0.0.1'")
            each.query("GRANT ALL ON persona.* TO admin@'127.0.0.1'")
        for number in range(len(self.servers)):
            self.make_tables(number)
        for head in self.heads:
            self.name_servers(head)

    def make_tables(self, number: int, database: str = "persona") -> None:
        """Make the tables of a data server."""
        url = f"mysql://admin:secret@127.0.0.1:{self.servers[number].port}/{database}"
        with contextlib.closing(MysqlBackend.from_url(url)) as backend:
            backend.initialize()

    def name_servers(self, head: MariaDB) -> None:
        """Name all data servers at a head."""
        for number, name in enumerate(self.names):
            self.name_server(head, name, number)

    def name_server(self, head: MariaDB, name: str, number: int, database: str = "persona") -> None:
        """Name a data server at a head."""
        port = self.servers[number].port
        head.query(
            f"CREATE OR REPLACE SERVER {name} FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1', "
            f"PORT {port}, USER 'persona', PASSWORD 'secret', DATABASE '{database}')"
        )

    def empty(self) -> None:
        """Delete all items."""
        for server in self.servers:
            with server.connect("persona") as connection, connection.cursor() as cursor:
                cursor.execute("DELETE FROM items")
                cursor.execute("DELETE FROM bulk_items")

    def stop(self) -> None:
        """Stop all servers, whatever their state."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(MariaDB.stop, (*self.heads, *self.servers)))


@contextlib.contextmanager
def running_shards(heads: int = 2, servers: int = 3) -> Iterator[Shards]:
    """Run heads and data servers in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="shards-") as folder:
        shards = Shards(Path(folder), heads, servers)
        try:
            shards.start()
            yield shards
        finally:
            shards.stop()
