"""The gate over real runs: of a server that is frozen, a generator that is starved, and two builds."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.services import Service

from loadtest import gate, identities, run
from loadtest.record import InvalidRecord, Step, read

pytestmark = pytest.mark.alone

MIX = ("replacements=330", "edits=800", "take_aways=300", "erases=100", "launch_days=0")
STOPPED_SECONDS = 3
ATTEMPTS = 3
"""What a void run asks for is to be repeated: other processes of this machine may make it void."""


class Trial:
    """A server with users of its own, and runs against it."""

    def __init__(self, folder, formats="jpeg"):
        self.folder = folder
        self.record = folder / "none"
        identities.make(folder / "identities", users=8, pool=2, shares={"RS256": 100})
        issuers = folder / "identities" / "pinned-issuers.json"
        more = f"pictures.formats = {formats}\nbrowserid.pinned_issuers = {issuers}"
        self.service = Service(folder / "service", "memory", "", more=more)
        self.service.start()

    def run(self, seconds):
        """Run for some seconds, and return the gate's exit status and report."""
        self.record = self.folder / f"record-{time.monotonic_ns()}"
        arguments = ["--small-pictures", "--shape=smoke", "--users-active=60000", "--warm-up=2"]
        arguments += [f"--measured={seconds}", *(f"--model-set={each}" for each in MIX)]
        arguments += ["--server-pid", str(self.service.pid)]
        assert run.locust(self.folder, self.record, self.service.origin, arguments, 1) == 0
        return self.judge()

    def judge(self, *arguments):
        """Return the gate's exit status and report."""
        given = [str(self.record), "--accepted", str(self.folder / "none"), *map(str, arguments)]
        status = gate.main(given)
        return status, json.loads((self.record / "report.json").read_text())

    def stop(self, send):
        """Once a step is measured, stop a process for some seconds."""
        deadline = time.monotonic() + 60
        while not self._is_measured():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        send(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        send(signal.SIGCONT)

    def signal_generator(self, number):
        """Send a signal to the process that makes the load."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if bytes(self.record) in words:
                os.kill(int(path.parent.name), number)

    def _is_measured(self):
        try:
            steps = [line for line in read(self.record) if isinstance(line, Step)]
        except InvalidRecord:
            return False
        return any(step.is_measured and step.at + 2 < time.time() for step in steps)


def frozen(trial):
    """Return what is said of a run in which the server stood still."""
    with ThreadPoolExecutor(1) as pool:
        for _ in range(ATTEMPTS):
            running = pool.submit(trial.run, 30)
            time.sleep(1)
            trial.stop(trial.service.signal)
            status, report = running.result()
            if status != 3:
                break
    return status, report


def starved(trial):
    """Return what is said of a run whose generator got no processor for a while."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trial.run, 12)
        time.sleep(1)
        trial.stop(trial.signal_generator)
        return running.result()


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Return what the gate says of four runs at the same time, and of the two builds side by side."""
    formats = {"frozen": "jpeg", "starved": "jpeg", "quick": "jpeg", "slow": "avif webp jpeg"}
    trials = {}
    try:
        for name, each in formats.items():
            trials[name] = Trial(tmp_path_factory.mktemp(name), each)
        with ThreadPoolExecutor(4) as pool:
            running = {
                "frozen": pool.submit(frozen, trials["frozen"]),
                "starved": pool.submit(starved, trials["starved"]),
                "quick": pool.submit(trials["quick"].run, 25),
                "slow": pool.submit(trials["slow"].run, 25),
            }
            made = {name: each.result() for name, each in running.items()}
        quick = trials["quick"].record / "report.json"
        made["slow beside quick"] = trials["slow"].judge("--baseline", quick)
        baseline = trials["slow"].record / "report.json"
        made["quick beside slow"] = trials["quick"].judge("--baseline", baseline)
    finally:
        for trial in trials.values():
            trial.service.close()
    return made


@pytest.mark.timeout(300)
def test_frozen_server_is_not_promoted(said):
    """A server that stands still for three seconds of thirty fails by the latency of those who came."""
    status, report = said["frozen"]
    assert status == 1, report["reasons"]
    missed = {(each["endpoint"], each["figure"]) for each in report["steps"][0]["breaches"]}
    assert ("dialog_open", "p99") in missed
    assert report["steps"][0]["errors"] == {}


def test_starved_generator_voids(said):
    """What a generator without a processor saw says nothing of the server."""
    status, report = said["starved"]
    assert status == 3
    assert "generator_late" in {each["code"] for each in report["doubts"]}


def test_slower_build_is_told_apart(said):
    """Two builds of which one does more with each picture differ in what a request costs, both ways."""
    for name, word in (("slow beside quick", "slower"), ("quick beside slow", "faster")):
        rows = {
            (each["endpoint"], each["figure"]): each for each in said[name][1]["comparison"]["rows"]
        }
        assert rows["", "seconds_per_request"]["word"] == word, rows
