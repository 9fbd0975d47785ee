"""The load test itself, and the gate over it: short runs against real servers, good ones and others."""

import collections
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from spoiling import SpoilingProxy
from support.servers.services import Service

from loadtest import identities, record, run
from loadtest.gate import gate
from loadtest.generator.plan import SMALL_KINDS
from loadtest.pictures import PictureLibrary
from persona_profile.capacity.model import ACTIVITIES

pytestmark = pytest.mark.alone

USERS = 60_000
SECONDS = 8
MIX = {
    "sign_ins": 25,
    "replacements": 330,
    "edits": 800,
    "exports": 300,
    "erases": 100,
    "launch_days": 0,
}
"""Every activity comes within these seconds, and dialogs often enough for a 99th percentile."""

STOPPED_SECONDS = 2
ATTEMPTS = 3
"""What a void run asks for is to be repeated: other processes of this machine may make it void."""


class Trial:
    """A server with users of its own, and runs against it."""

    def __init__(self, folder, pictures, settings):
        self.folder = folder
        self.record = folder / "none"
        (folder / "pictures").symlink_to(pictures)
        identities.make(folder / "identities", users=8, pool=2, shares={"RS256": 100})
        issuers = folder / "identities" / "pinned-issuers.json"
        more = f"{settings}\nbrowserid.pinned_issuers = {issuers}"
        self.service = Service(folder / "service", "memory", "", more=more)
        self.service.start()

    def run(self, host=None, workers=1):
        """Run, and return the gate's exit status and report."""
        self.record = self.folder / f"record-{time.monotonic_ns()}"
        arguments = ["--small-pictures", "--shape=smoke", f"--users-active={USERS}", "--warm-up=1"]
        arguments += [f"--measured={SECONDS}"]
        arguments += [f"--model-set={name}={value}" for name, value in MIX.items()]
        arguments += ["--audience", self.service.origin, "--server-pid", str(self.service.pid)]
        host = host or self.service.origin
        assert run.locust(self.folder, self.record, host, arguments, workers) == 0
        return self.judge()

    def judge(self, *arguments):
        """Return the gate's exit status and report."""
        given = [str(self.record), "--accepted", str(self.folder / "none"), *map(str, arguments)]
        status = gate.main(given)
        return status, json.loads((self.record / "report.json").read_text())

    def of(self, kind):
        """Return the lines of a kind that the record has."""
        return [line for line in record.read(self.record) if isinstance(line, kind)]

    def seconds(self):
        """Return what was planned in measured steps, by endpoint."""
        steps = sorted(self.of(record.Step), key=lambda step: step.at)
        [(start, end)] = [
            (step.at, after.at) for step, after in itertools.pairwise(steps) if step.is_measured
        ]
        found = collections.defaultdict(list)
        for second in self.of(record.Second):
            if start <= second.at < end:
                found[second.endpoint].append(second)
        return found

    def run_with_a_stop(self, send, host=None):
        """Run, and stop a process for some seconds of the measured step; return what `run` does."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.run, host)
            deadline = time.monotonic() + 60
            while not self._is_measured():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            # Late in a second, so that the next one is wholly within.
            time.sleep((0.9 - time.time()) % 1)
            self.stopped_at = time.time()
            send(signal.SIGSTOP)
            time.sleep(STOPPED_SECONDS)
            self.continued_at = time.time()
            send(signal.SIGCONT)
            return running.result()

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
            return any(step.is_measured and step.at < time.time() for step in self.of(record.Step))
        except record.InvalidRecord:
            return False


def frozen(trial):
    """Return what is said of a run in which the server stood still."""
    for _ in range(ATTEMPTS):
        status, report = trial.run_with_a_stop(trial.service.signal)
        if status != 3:
            break
    return status, report


def total(seconds, name):
    """Return a count of all seconds together."""
    return sum((collections.Counter(getattr(each, name)) for each in seconds), collections.Counter())


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Return three runs that were made at the same time, each with what the gate says of it.

    `good` has two workers. The server of `slow` does more with each picture, and is frozen for a while.
    Between the server of `spoiled` and its generator is a proxy that spoils answers, and the generator
    gets no processor for a while.
    """
    pictures = tmp_path_factory.mktemp("pictures")
    PictureLibrary.open(pictures, SMALL_KINDS)
    quick = "pictures.formats = jpeg\npictures.effort = fast"
    formats = {"good": quick, "slow": "pictures.formats = avif webp jpeg", "spoiled": quick}
    made = {}
    with contextlib.ExitStack() as ends:
        for name, each in formats.items():
            made[name] = Trial(tmp_path_factory.mktemp(name), pictures, each)
            ends.callback(made[name].service.close)
        good, slow, spoiled = made.values()
        proxy = SpoilingProxy(spoiled.service.port)
        ends.callback(proxy.close)
        spoiled.networks = proxy.networks
        with ThreadPoolExecutor(3) as pool:
            said = {
                good: pool.submit(good.run, workers=2),
                slow: pool.submit(frozen, slow),
                spoiled: pool.submit(spoiled.run_with_a_stop, spoiled.signal_generator, proxy.origin),
            }
            for trial, each in said.items():
                trial.status, trial.report = each.result()
    return made


@pytest.mark.timeout(180)
def test_record_of_two_workers_is_complete(trials):
    """What was planned has an outcome, was right, and is what the model's rates say."""
    trial = trials["good"]
    [begun] = trial.of(record.Run)
    assert (begun.workers, begun.shape, begun.host) == (2, "smoke", trial.service.origin)
    assert len(trial.of(record.End)) == 1
    every = trial.of(record.Second)
    assert total(every, "errors") == {}
    planned = sum(second.planned for second in every)
    assert planned == sum(total(every, "latencies").values()) + sum(second.shed for second in every)
    parts = trial.seconds().values()
    measured = sum(second.planned + second.withdrawn for part in parts for second in part)
    [step] = [step for step in trial.of(record.Step) if step.is_measured]
    expected = sum(step.rates.values()) * SECONDS
    assert abs(measured - expected) < 5 * expected**0.5  # of a Poisson distribution
    assert {second.endpoint for second in every} >= set(ACTIVITIES) - {"first_upload", "launch_upload"}
    assert {each.process for each in trial.of(record.GeneratorSample)} == {"worker-0", "worker-1"}


def test_server_is_watched(trials):
    """Its processor time grows, and its start is one instant."""
    looks = trials["good"].of(record.ServerSample)
    assert looks[-1].cpu_seconds > looks[0].cpu_seconds > 0
    assert len({look.started_at for look in looks}) == 1
    assert looks[-1].resident_bytes > 10_000_000
    assert abs(looks[-1].clock_offset) < 30


def test_wrong_pictures_are_noticed(trials):
    """A picture that is another one than was uploaded is wrong content."""
    seconds = trials["spoiled"].seconds()
    assert total(seconds["picture_read"], "errors")["wrong_content"] > 0
    assert total(seconds["replacement"], "errors")["wrong_content"] > 0
    assert total(seconds["dialog_open"], "errors") == {}


def test_shedding_is_told_from_breaking(trials):
    """503 with Retry-After is shed and no error, 503 without is an error."""
    seconds = trials["spoiled"].seconds()
    edits, exports = seconds["edit"], seconds["export"]
    assert sum(each.shed for each in edits) == sum(each.planned for each in edits) > 0
    assert total(edits, "errors") == {}
    assert total(exports, "errors") == {"status_503": sum(each.planned for each in exports)}


def test_shed_uploads_are_sent_again(trials):
    """An upload is sent again as the server asks for, and is not shed: each first try was."""
    uploads = trials["spoiled"].seconds()["replacement"]
    assert sum(each.planned for each in uploads) > 0
    assert sum(each.repeated for each in uploads) > 0
    assert sum(each.shed for each in uploads) == 0


def test_users_have_networks(trials):
    """Each user comes from a network of their own, as a server knows it that trusts the generator."""
    assert trials["spoiled"].networks == {f"198.18.0.{number}" for number in range(8)} | {None}


def test_frozen_server_shows(trials):
    """Those who came while it was frozen waited until it went on: nothing is hidden."""
    trial = trials["slow"]
    # The second that began just after it was: who was planned last in it waited shortest.
    [waited] = [
        second
        for second in trial.seconds()["dialog_open"]
        if trial.stopped_at < second.at < trial.stopped_at + 1
    ]
    assert sum(waited.latencies.values()) == waited.planned > 0
    shortest = 1000 * (trial.continued_at - (waited.at + 1))
    assert shortest > 500
    assert all(record.upper_bound(number) >= shortest for number in waited.latencies)


def test_frozen_server_is_not_promoted(trials):
    """A server that stands still for two seconds of eight fails by the latency of those who came."""
    trial = trials["slow"]
    assert trial.status == 1, trial.report["reasons"]
    [step] = trial.report["steps"]
    missed = {(each["endpoint"], each["figure"]) for each in step["breaches"]}
    assert ("dialog_open", "p99") in missed
    assert step["errors"] == {}


def test_starved_generator_voids(trials):
    """What a generator without a processor saw says nothing of the server, be it ever so wrong."""
    trial = trials["spoiled"]
    assert trial.status == 3
    assert "generator_late" in {each["code"] for each in trial.report["doubts"]}


@pytest.mark.parametrize(
    ("one", "other", "word"), [("slow", "good", "slower"), ("good", "slow", "faster")]
)
def test_slower_build_is_told_apart(trials, one, other, word):
    """Two builds of which one does more with each picture differ in what a request costs, both ways."""
    _, report = trials[one].judge("--baseline", trials[other].record / "report.json")
    rows = {(each["endpoint"], each["figure"]): each for each in report["comparison"]["rows"]}
    assert rows["", "seconds_per_request"]["word"] == word, rows


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--host", "http://127.0.0.1:9", "--model-set", "nonsense=1"], 2, "no such parameter"),
        (["--host", "http://127.0.0.1:9"], 3, "connection_refused"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, arguments, status, message):
    """A wrong command and an absent server have different reports, and nothing is recorded."""
    identities.make(tmp_path / "identities", users=1, pool=1, shares={"RS256": 100})
    command = [sys.executable, "-m", "locust", "-f", run.LOCUSTFILE, "--headless", *arguments]
    done = subprocess.run(
        [*command, "--identities", tmp_path / "identities", "--folder", tmp_path / "record"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "record").exists()
