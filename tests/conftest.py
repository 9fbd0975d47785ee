from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import webtest
from hypothesis import HealthCheck, settings
from support.clients.leaks import Searched, search
from support.clients.recording import RECORD, prepare
from support.servers.applications import application, development_server
from support.servers.galera import Galera, galera_cluster
from support.servers.mariadb import MariaDB
from support.servers.redis import RedisServer
from support.servers.spider import Shards, running_shards

AUDIENCE = "http://127.0.0.1:6543"
MAX_LEAKS = 20
OBJECTS_BEFORE_COLLECTION = 50_000
"""Tests make and drop so many objects that Python's own threshold costs a quarter of their time."""

SEARCHED = pytest.StashKey[Searched]()

# The duration of an example is a property of the machine.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options that let some tests run longer than usual."""
    crashes = "crashes in each test of crashes; tests of keys under load share the number"
    parser.addoption("--crashes", type=int, default=8, help=crashes)
    kills = "kills of each storage job, and of the database under it"
    parser.addoption("--job-kills", type=int, default=1, help=kills)
    parser.addoption("--node-losses", type=int, default=1, help="losses of a node of each kind")
    parser.addoption("--examples", type=int, default=3_000, help="generated API calls")
    parser.addoption(
        "--store-examples",
        type=int,
        default=150,
        help="generated runs of people and operators on one store",
    )
    parser.addoption("--mutations", type=int, default=5_000, help="damaged pictures that are uploaded")
    parser.addoption(
        "--slow-connections", type=int, default=300, help="slow uploads while other people sign in"
    )
    parser.addoption("--faces", type=int, default=40, help="generated faces that are imported")
    parser.addoption("--profiles", type=int, default=1000, help="profiles in the search for leaks")


def pytest_configure(config: pytest.Config) -> None:
    """Record the logs and metrics of all services of the run; workers inherit the environment."""
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells start background jobs so; interrupted commands of the tests would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if RECORD not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="persona-profile-record-"))
        os.environ[RECORD] = str(folder)
        prepare(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder))
        config.add_cleanup(lambda: os.environ.pop(RECORD))


def pytest_collection_finish() -> None:
    """Take the thousands of collected tests, which live to the end, out of garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Search the recorded logs and metrics for personal data; a leak fails the run.

    A run without tests passes if a marker is given: `make test ARGS=...` runs twice.
    """
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.getoption("markexpr"):
        session.exitstatus = pytest.ExitCode.OK
    if not hasattr(session.config, "workerinput"):
        session.config.stash[SEARCHED] = searched = search(Path(os.environ[RECORD]))
        if searched.leaks and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report the extent of the search, and the leaks."""
    searched = config.stash.get(SEARCHED, None)
    if searched is None or not searched.lines:
        return
    terminalreporter.write_line(
        f"searched for personal data: {searched.lines} lines of {searched.logs} logs and "
        f"{searched.expositions} expositions, {searched.claims} claims"
    )
    for leak in searched.leaks[:MAX_LEAKS]:
        terminalreporter.write_line(f"LEAK: {leak.kind} {leak.what!r} in {leak.line!r}", red=True)
    if searched.leaks:
        terminalreporter.write_line(f"LEAKED: {len(searched.leaks)} times", red=True)


@pytest.fixture(scope="session")
def development_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the development identity provider keeps its key during the run."""
    return tmp_path_factory.mktemp("development")


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """A MariaDB server for the run."""
    with MariaDB(tmp_path_factory.mktemp("db")).running() as server:
        yield server


@pytest.fixture(scope="session")
def galera() -> Iterator[Galera]:
    """A cluster of three nodes for the run. Its tests have the marker `alone` and leave it whole."""
    with galera_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shards() -> Iterator[Shards]:
    """Two heads and three data servers for the run. Their tests have the marker `alone`."""
    with running_shards() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server for the run."""
    with RedisServer(tmp_path_factory.mktemp("redis")).running() as server:
        yield server


@pytest.fixture
def app(development_folder: Path) -> Iterator[webtest.TestApp]:
    """A development application with an empty store, driven without a network."""
    app = application(development_folder)
    yield webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})
    app.close()


@pytest.fixture
def assertion(app: webtest.TestApp) -> Callable[..., str]:
    """Mints assertions of the development identity provider."""
    provider = app.app.development.identity_provider
    return lambda email, audience=AUDIENCE: provider.bundle(email, audience)


@pytest.fixture
def sign_in(app: webtest.TestApp, assertion: Callable[..., str]) -> Callable[..., dict[str, str]]:
    """Opens a session of some emails; returns the headers that carry it."""

    def open_session(*emails: str) -> dict[str, str]:
        proofs = [{"assertion": assertion(email)} for email in emails]
        answer = app.post_json("/v1/sessions", {"proofs": proofs}, status=201).json
        return {"Authorization": f"Bearer {answer['token']}"}

    return open_session


@pytest.fixture
def server(development_folder: Path) -> Iterator[str]:
    """The origin of a real waitress server on loopback."""
    with development_server(development_folder) as origin:
        yield origin
