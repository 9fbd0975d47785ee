"""The load test itself: short runs against real servers, one that does well and some that do not."""

import collections
import itertools
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.services import Service
from support.spoiling import SpoilingProxy

from loadtest import identities, record, run
from loadtest.model import ACTIVITIES

pytestmark = pytest.mark.alone

MIX = ("replacements=1500", "edits=2000", "take_aways=800", "erases=300", "launch_days=0")
MEASURED = 6
BRIEF = [
    "--small-pictures",
    "--shape=smoke",
    "--users-active=50000",
    "--warm-up=1",
    f"--measured={MEASURED}",
    *(f"--model-set={each}" for each in MIX),
]
FROZEN_SECONDS = 3


class Trial:
    """A server with users of its own, and a run against it."""

    def __init__(self, folder):
        self.folder = folder
        identities.make(folder / "identities", users=8, pool=2, shares={"RS256": 100})
        issuers = folder / "identities" / "pinned-issuers.json"
        more = f"pictures.formats = jpeg\nbrowserid.pinned_issuers = {issuers}"
        self.service = Service(folder / "service", "memory", "", more=more)
        self.service.start()
        self.record = folder / "record"

    def run(self, host=None, workers=1):
        arguments = [*BRIEF, "--audience", self.service.origin, "--server-pid", str(self.service.pid)]
        host = host or self.service.origin
        return run.locust(self.folder, self.record, host, arguments, workers)

    def of(self, kind):
        return [line for line in record.read(self.record) if isinstance(line, kind)]

    def seconds(self):
        """What was planned in measured steps, by endpoint."""
        steps = sorted(self.of(record.Step), key=lambda step: step.at)
        [(start, end)] = [
            (step.at, after.at) for step, after in itertools.pairwise(steps) if step.is_measured
        ]
        found = collections.defaultdict(list)
        for second in self.of(record.Second):
            if start <= second.at < end:
                found[second.endpoint].append(second)
        return found

    def freeze(self):
        """Stop the server for some seconds in the middle of the measured step; return since when."""
        deadline = time.monotonic() + 60
        while not (self.record / "leader.jsonl").exists() or not any(
            step.is_measured and step.at + 1 < time.time() for step in self.of(record.Step)
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.service.signal(signal.SIGSTOP)
        frozen_at = time.time()
        time.sleep(FROZEN_SECONDS)
        self.service.signal(signal.SIGCONT)
        return frozen_at


def total(seconds, name):
    """Return a count of all seconds together."""
    return sum((collections.Counter(getattr(each, name)) for each in seconds), collections.Counter())


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """Three runs at the same time: two workers, an answer-spoiling proxy, a server that is frozen."""
    made = {name: Trial(tmp_path_factory.mktemp(name)) for name in ("good", "spoiled", "frozen")}
    proxy = SpoilingProxy(made["spoiled"].service.port)
    try:
        with ThreadPoolExecutor(4) as pool:
            runs = [
                pool.submit(made["good"].run, workers=2),
                pool.submit(made["spoiled"].run, host=proxy.origin),
                pool.submit(made["frozen"].run),
            ]
            made["frozen"].frozen_at = pool.submit(made["frozen"].freeze).result()
            assert [each.result() for each in runs] == [0, 0, 0]
    finally:
        proxy.close()
        for trial in made.values():
            trial.service.close()
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
    measured = sum(second.planned for part in trial.seconds().values() for second in part)
    [step] = [step for step in trial.of(record.Step) if step.is_measured]
    expected = sum(step.rates.values()) * MEASURED
    assert abs(measured - expected) < 5 * expected**0.5  # of a Poisson distribution
    assert {second.endpoint for second in every} >= set(ACTIVITIES) - {"first_upload", "launch_upload"}
    assert {each.process for each in trial.of(record.Generator)} == {"worker-0", "worker-1"}


def test_server_is_watched(trials):
    """Its processor time grows, and its start is one instant."""
    looks = trials["good"].of(record.Server)
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
    edits, exports = seconds["edit"], seconds["take_away"]
    assert sum(each.shed for each in edits) == sum(each.planned for each in edits) > 0
    assert total(edits, "errors") == {}
    assert total(exports, "errors") == {"status_503": sum(each.planned for each in exports)}


def test_frozen_server_shows(trials):
    """Those who came while it was frozen waited until it went on: nothing is hidden."""
    trial = trials["frozen"]
    waited = [
        second
        for second in trial.seconds()["dialog_open"]
        if trial.frozen_at < second.at < trial.frozen_at + 1
    ]
    latencies = total(waited, "latencies")
    assert sum(latencies.values()) == sum(second.planned for second in waited) > 0
    # They were planned two seconds before its end at the latest; a wait of one would be hiding.
    assert all(record.upper_bound(number) >= 1000 for number in latencies)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--host", "http://192.0.2.1"], 2, "not this machine"),
        (["--host", "127.0.0.1:80"], 2, "must be an origin"),
        (["--host", "http://127.0.0.1:9", "--model-set", "nonsense=1"], 2, "no such parameter"),
        (["--host", "http://127.0.0.1:9", "--users-active", "nan"], 2, "--users-active"),
        (["--host", "http://127.0.0.1:9"], 3, "connection_refused"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, arguments, status, message):
    """Each refusal says why, and nothing is asked of the host."""
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
