"""`make cluster`, used as in a trial on a single machine."""

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
from support.pictures.workers import is_alive
from support.servers.applications import wait_for

EMAIL = "alice@example.com"

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


class Trial:
    """A cluster in a folder, on random addresses of loopback.

    Attributes:
        output: all output since the last start.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cluster"
        self._network = f"127.{random.randint(8, 250)}.{random.randint(1, 250)}"
        self._log = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def processes(self) -> list[int]:
        """The process ids of its running children."""
        return [int(pid) for pid in json.loads((self.folder / "processes.json").read_text())]

    def start(self, *more: str) -> None:
        """Start the cluster by `make` with more arguments; return once it reports that it runs."""
        arguments = f"ARGS=--folder {self.folder} --network {self._network}"
        with self._log.open("wb") as log:
            self._reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        with self._reader.stdin as output:
            self._process = subprocess.Popen(
                ["make", "--silent", "cluster", arguments, *more],
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )
        wait_for(lambda: "The cluster runs." in self.output or self._process.poll() is not None, 120)
        assert self._process.poll() is None, self.output

    def why_not(self, folder: Path) -> str:
        """Start a second cluster at the same addresses; return its error."""
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
        """Kill the output's reader, as Ctrl-C does in `make cluster | tee log`; stop the cluster."""
        self._reader.kill()
        self._reader.wait(30)
        self._process.terminate()
        self._process.wait(120)
        wait_for(lambda: self.processes == [])

    def crash(self, *, but: str) -> None:
        """Kill the cluster's command, `make`, and all children except one machine."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        started = [each for each in self.processes if each != self.pid_of(but)]
        for each in [pid, *map(int, children), *started]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._process.wait(30)
        self._reader.wait(30)

    def pid_of(self, name: str) -> int:
        """Return the process id that the output reports for a machine."""
        [found] = re.findall(rf"{name}, process (\d+)", self.output)
        return int(found)

    def sign_in(self) -> str:
        """Paste the printed commands; return the token."""
        commands = self.output.partition("example domains:")[2].partition("Kill a node")[0]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True, check=False
        )
        return json.loads(done.stdout)["token"]

    def ask(self, method: str, token: str, body: bytes | None = None) -> tuple[int, dict]:
        """Send a request for the profile to nginx; return status and JSON."""
        [api] = re.findall("API=(.*)", self.output)
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
    """A cluster that stops with the test."""
    made = Trial(tmp_path)
    yield made
    if made._process is not None and made._process.poll() is None:
        made.stop()


def test_make_cluster(trial):
    """The cluster serves without a node, recovers from a crash of all processes, and stops wholly."""
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

    started = trial.processes
    left = [trial.pid_of("nginx"), trial.pid_of("service2")]  # nginx as its children
    trial.crash(but="service2")
    trial.start()
    [ended] = re.findall("ended what an earlier run has left: (.*)", trial.output)
    assert ended == ", ".join(map(str, left))
    status, profile = trial.ask("GET", trial.sign_in())
    assert (status, profile["name"]) == (200, acknowledged)

    started += trial.processes
    trial.stop()
    assert [pid for pid in started if is_alive(pid)] == []


def test_make_cluster_of_shards(trial):
    """A cluster of shards keeps profiles while a head is lost, and stops wholly."""
    trial.start("SHARDS=3")
    token = trial.sign_in()
    assert trial.ask("PATCH", token, b'{"name": "Alice"}')[0] == 200
    os.kill(trial.pid_of("head1"), signal.SIGKILL)
    assert trial.ask("GET", token)[1]["name"] == "Alice"
    started = trial.processes
    trial.stop()
    assert [pid for pid in started if is_alive(pid)] == []
