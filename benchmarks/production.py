"""The service as it is served: `persona-profile serve` with the shipped `production.ini`.

Variables change what a benchmark needs: the storage, addresses, trusted issuers, and limits that all
its requests together would reach. Each limit still counts every request.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.clients.identities import AUDIENCE
from support.clients.metrics import Exposition
from support.servers.ports import free_port

INI = Path(__file__).parent.parent / "production.ini"
COMMAND = (str(Path(sys.executable).with_name("persona-profile")),)
START_SECONDS = 90
UNREACHED = "1000000000000/minute"
LIMITS = (
    *("sessions_per_address", "failures_per_address", "proofs_per_issuer", "writes_per_email"),
    *("bytes_per_address", "bytes_per_email", "reads_per_picture", "pixels_per_email"),
    *("picture_ms_per_email", "picture_ms_per_address", "picture_ms_per_issuer"),
)


@dataclass(frozen=True, eq=False)
class Served:
    """A server: its process id, and the ports of loopback of its answers and its metrics.

    Attributes:
        command, environment: start `persona-profile` with the settings of the service.
    """

    pid: int
    port: int
    metrics_port: int = 0
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Its origin, which is one of its public origins."""
        return f"http://127.0.0.1:{self.port}"

    def metrics(self) -> Exposition:
        """Scrape the metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            return Exposition(answer.read().decode())

    def run(self, *words: str) -> str:
        """Run a command with the settings of the service; return its output."""
        return subprocess.check_output([*self.command, *words], env=self.environment, text=True)


@contextlib.contextmanager
def production(
    folder: Path,
    settings: Mapping[str, str],
    *arguments: str,
    cores: set[int] | None = None,
    command: Sequence[str] = COMMAND,
) -> Iterator[Served]:
    """Run the service until the end of the block; its log is `service.log`.

    Args:
        folder: a new folder, for its files.
        settings: those that differ from `production.ini`; by default it stores in memory, keyring and
            ledger in the folder.
        arguments: more of `serve`.
        cores: the cores that it may use; all by default.
        command: starts it.
    """
    folder.mkdir()
    (folder / INI.name).write_text(INI.read_text())
    port, metrics_port = free_port(), free_port()
    given = {
        "backend": "memory",
        "backend.url": "",
        "ledger.url": f"sqlite:///{folder}/ledger.sqlite",
        "public_origins": f"{AUDIENCE} http://127.0.0.1:{port}",
        "metrics.listen": f"127.0.0.1:{metrics_port}",
        "listen": f"127.0.0.1:{port}",
        **{f"ratelimit.{name}": UNREACHED for name in LIMITS},
    } | settings
    variables = {f"PERSONA_{name.upper().replace('.', '_')}": value for name, value in given.items()}
    environment = os.environ | variables

    def run(*words: str, **options) -> subprocess.Popen[bytes]:
        line = [*command, "-c", str(folder / INI.name), *words]
        return subprocess.Popen(line, env=environment, **options)

    needed = {("keys", "init"): "keyring.path" not in given}
    needed["storage", "init"] = given["backend"] != "memory"
    for words in (words for words, is_needed in needed.items() if is_needed):
        assert run(*words, stdout=subprocess.DEVNULL).wait(START_SECONDS) == 0, words
    with (folder / "service.log").open("wb") as log:
        service = run(
            "serve",
            *arguments,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, cores) if cores else None,
        )
    try:
        _wait(service, port, folder / "service.log")
        words = [*command, "-c", str(folder / INI.name)]
        yield Served(service.pid, port, metrics_port, words, environment)
    finally:
        service.terminate()
        service.wait(60)


def _wait(service: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the service is healthy."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/__heartbeat__")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")
