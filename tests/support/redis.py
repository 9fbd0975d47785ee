"""A private Redis server: its own data folder, a free port of loopback."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import redis

from support.daemons import Daemon
from support.services import free_port


class RedisServer(Daemon):
    """A server that a test starts, stops, freezes and kills.

    Args:
        folder: for its data and its Unix socket `s`.
        options: more of its options; those of names with `tls` take the place of its port.
    """

    def __init__(self, folder: Path, **options: str) -> None:
        if shutil.which("redis-server") is None:
            raise RuntimeError(
                "these tests need Redis: apt-get install --no-install-recommends redis-server"
            )
        self._folder = folder
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, empty; return when it answers."""
        ports = {"port": str(self.port)}
        if any(name.startswith("tls") for name in self._options):
            ports = {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
        options = {
            **ports,
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "unixsocket": str(self._folder / "s"),
            "save": "",
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
        """Connect, to look into it."""
        return redis.Redis(port=self.port)
