"""A private Redis server: its own data folder, a free port of loopback, ended by process id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

from support.recording import recorder


class RedisServer:
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
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if kept := recorder():
            kept.log(folder / "log")

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
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *arguments], stdout=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
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

    def signal(self, number: signal.Signals) -> None:
        """Freeze (SIGSTOP), thaw (SIGCONT) or kill the server."""
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait(30)

    def stop(self) -> None:
        """End the server, however it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(30)
