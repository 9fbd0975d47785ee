"""`make cluster`, as somebody uses it who tries a cluster on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.applications import wait_for
from support.workers import is_alive

EMAIL = "alice@example.com"

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


class Trial:
    """A cluster in a folder, on addresses that nobody else has chosen.

    Attributes:
        said: all that it has printed since it was started last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cluster"
        self._network = f"127.{random.randint(8, 250)}.{random.randint(1, 250)}"
        self._log = folder / "said"
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def processes(self) -> list[int]:
        """The process ids of all that it has started and not ended."""
        return [int(pid) for pid in json.loads((self.folder / "processes.json").read_text())]

    def start(self) -> None:
        """Start it; return when it says that it runs."""
        arguments = f"ARGS=--folder {self.folder} --network {self._network}"
        with self._log.open("wb") as log:
            self._reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        with self._reader.stdin as said:
            self._process = subprocess.Popen(
                ["make", "--silent", "cluster", arguments], cwd=ROOT, stdout=said, stderr=said
            )
        wait_for(lambda: "The cluster runs." in self.said or self._process.poll() is not None, 120)
        assert self._process.poll() is None, self.said

    def why_not(self, folder: Path) -> str:
        """Start another one, at the same addresses, while it runs; return why it does not start."""
        program = ROOT / "deploy" / "cluster" / "cluster.py"
        done = subprocess.run(
            [sys.executable, program, "--folder", folder, "--network", self._network],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        return line

    def stop(self) -> None:
        """End what reads of it, as Ctrl-C does in `make cluster | tee log`, and it."""
        self._reader.kill()
        self._reader.wait(30)
        self._process.terminate()
        self._process.wait(120)
        wait_for(lambda: self.processes == [])

    def crash(self, *, but: str) -> None:
        """Kill it, `make`, and what it has started but for one machine."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        started = [each for each in self.processes if each != self.pid_of(but)]
        for each in [pid, *map(int, children), *started]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._process.wait(30)
        self._reader.wait(30)

    def pid_of(self, name: str) -> int:
        """Return the process id that it tells of a machine."""
        [found] = re.findall(rf"{name}, process (\d+)", self.said)
        return int(found)

    def sign_in(self) -> str:
        """Paste the commands that it prints; return the token."""
        commands = self.said.partition("example domains:")[2].partition("Kill a node")[0]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True, check=False
        )
        return json.loads(done.stdout)["token"]

    def ask(self, method: str, token: str, body: bytes | None = None) -> tuple[int, dict]:
        """Send a request about the profile to nginx; return status and JSON."""
        [api] = re.findall("API=(.*)", self.said)
        tls = ssl.create_default_context(cafile=self.folder / "ca" / "ca.pem")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{api}/profiles/{EMAIL}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=tls) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                problem, when = json.load(error), error.headers["Retry-After"]
        return (problem["status"] if int(when) > 0 else 0), problem


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    """A cluster that is over after the test, whatever it did."""
    made = Trial(tmp_path)
    yield made
    if made._process is not None and made._process.poll() is None:
        made.stop()


def test_make_cluster(trial):
    """It serves, goes on without a node, comes back from a crash of everything, and ends as a whole."""
    trial.start()
    assert trial.why_not(trial.folder) == f"cluster: a cluster runs in {trial.folder} already"
    assert "(Address already in use)" in trial.why_not(trial.folder.with_name("another"))
    token = trial.sign_in()
    os.kill(trial.pid_of("node1"), signal.SIGKILL)
    acknowledged = None
    deadline = time.monotonic() + 60
    number = 0
    while number < 20 and time.monotonic() < deadline:
        number += 1
        status, answer = trial.ask("PATCH", token, b'{"name": "%d"}' % number)
        assert status in (200, 503), answer
        acknowledged = str(number) if status == 200 else acknowledged
    assert acknowledged == "20"
    assert trial.ask("GET", token)[1]["name"] == acknowledged

    everything = trial.processes
    left = [trial.pid_of("nginx"), trial.pid_of("service2")]  # of nginx, what it has started
    trial.crash(but="service2")
    trial.start()
    [told] = re.findall("ended what an earlier run has left: (.*)", trial.said)
    assert told == ", ".join(map(str, left))
    status, profile = trial.ask("GET", trial.sign_in())
    assert (status, profile["name"]) == (200, acknowledged)

    everything += trial.processes
    trial.stop()
    assert [pid for pid in everything if is_alive(pid)] == []
