"""A MariaDB server and an asynchronous replica with a lag that tests control."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.servers.applications import wait_for
from support.servers.mariadb import MariaDB


class Replication:
    """Two private servers; the second replays the writes of the first."""

    def __init__(self, folder: Path) -> None:
        homes = [folder / "primary", folder / "replica"]
        for home in homes:
            home.mkdir()
        self.primary = MariaDB(homes[0], server_id="1", log_bin=f"{homes[0]}/log", sync_binlog="0")
        self.replica = MariaDB(homes[1], server_id="2", relay_log=f"{homes[1]}/relay", read_only="1")
        self.primary.install()
        shutil.copytree(homes[0] / "data", homes[1] / "data")

    def start(self) -> None:
        """Start both servers and the replication."""
        self.primary.start()
        self.replica.start()
        self.primary.query("CREATE USER follower@'127.0.0.1' IDENTIFIED BY 'secret'")
        self.primary.query("GRANT REPLICATION SLAVE ON *.* TO follower@'127.0.0.1'")
        self.replica.query(
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {self.primary.port},"
            " MASTER_USER = 'follower', MASTER_PASSWORD = 'secret', MASTER_USE_GTID = slave_pos,"
            " MASTER_CONNECT_RETRY = 1"
        )
        self.replica.query("START SLAVE")
        self.primary.create_database()
        self.catch_up()

    def hold(self) -> None:
        """Stop the replay, so that the replica lags without bound."""
        self.catch_up()

        def is_held() -> bool:
            self.replica.query("STOP SLAVE SQL_THREAD")
            return self.replica.query("SHOW GLOBAL STATUS LIKE 'Slave_running'")[0][1] == "OFF"

        wait_for(is_held)

    def catch_up(self) -> None:
        """Resume the replay; return once the replica has all of the primary's writes."""
        self.replica.query("START SLAVE")
        [(position,)] = self.primary.query("SELECT @@gtid_binlog_pos")
        assert self.replica.query(f"SELECT MASTER_GTID_WAIT('{position}', 30)") == [(0,)]

    def stop(self) -> None:
        """Stop both servers."""
        self.replica.stop()
        self.primary.stop()
