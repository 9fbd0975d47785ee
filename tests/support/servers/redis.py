"""A private Redis server with its own data folder and a free port on loopback."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import redis

from support.clients.recording import recorder
from support.servers.daemons import Daemon
from support.servers.ports import free_port


class RedisServer(Daemon):
    """A Redis server that a test starts, stops, freezes and kills.

    Args:
        folder: the folder of its data and its Unix socket `s`.
        options: further options; options with `tls` in their name replace the plain port.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        if shutil.which("redis-server") is None:
            raise RuntimeError(
                "these tests need Redis: apt-get install --no-install-recommends redis-server"
            )
        self._folder = folder
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self.port = free_port()
        if kept := recorder():
            kept.log(folder / "log")

    @property
    def url(self) -> str:
        """The clients' URL."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server with no data; return once it accepts connections."""
        ports = {"port": str(self.port)}
        if any(name.startswith("tls") for name in self._options):
            ports = {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
        options = {
            **ports,
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "unixsocket": str(self._folder / "s"),
            "save": "",
            "logfile": str(self._folder / "log"),
            **self._options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.launch(["redis-server", *arguments])
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.is_running:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError("Redis did not start")

    def client(self) -> redis.Redis:
        """Return a client for inspection."""
        return redis.Redis(port=self.port)
