"""The load test as Locust runs it: `locust -f loadtest/locustfile.py --host URL --shape NAME`.

Locust distributes the processes, shows what happens and keeps its own statistics. Who arrives when is
not its users' doing, as those wait for answers: each process has one Locust user (`Arrivals`), which
starts the planned activities of many people (`scenarios`, `pacing`). See `docs/how-to/load-test.md`.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gevent
from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.generator.client import Connections
from loadtest.generator.conductor import Conductor
from loadtest.generator.engine import Engine, as_documents
from loadtest.generator.options import InvalidOptions, Options, add_arguments, checked
from loadtest.generator.plan import kinds
from loadtest.generator.preflight import Unfit, check
from loadtest.generator.tally import RIGHT, SHED
from loadtest.generator.watcher import PERIOD, Watcher
from loadtest.identities import Identities
from loadtest.pictures import PictureLibrary
from loadtest.record import Line, Second, Writer, line_of

VOID = 3
"""Exit status of a run that says nothing of the server."""

_log = logging.getLogger(__name__)


class Session:
    """What this process does in the run: it leads, makes load, or both."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.runner = cast("Any", environment.runner)
        self.engine: Engine | None = None
        self.conductor: Conductor | None = None
        self._writers: dict[str, Writer] = {}
        self._version: Mapping[str, Any] = {}
        self._is_complete = self._is_finishing = False
        self._options: Options | None = None
        given = environment.parsed_options
        assert given is not None
        self._given = given
        # Of this machine: Locust's master overwrites a worker's options by its own.
        self._identities, self._pictures = Path(given.identities), Path(given.pictures)
        self._has_small_pictures = bool(given.small_pictures)
        if not isinstance(environment.runner, WorkerRunner):
            self._lead()
        if not isinstance(environment.runner, MasterRunner):
            self.runner.register_message("prepare", self._on_prepare, concurrent=True)
            self.runner.register_message("rate", self._on_rate)
            self.runner.register_message("finish", self._on_finish)

    # The process that leads.

    def _lead(self) -> None:
        try:
            options = checked(self._given)
        except InvalidOptions as error:
            _stop(2, str(error))
        self._options = options
        try:
            identities = Identities.open(options.identities)
        except (OSError, ValueError) as error:
            _stop(VOID, f"identities: {error}; make them by python -m loadtest.identities make")
        connections = Connections(options.host, 1)
        try:
            self._version = check(connections, identities, options.audience)
        except Unfit as error:
            _stop(VOID, str(error))
        finally:
            connections.close()
        self.environment.host = options.host
        self.conductor = Conductor(options, self._writer("leader"), self._tell_workers)
        self.runner.register_message("told", self._on_told)
        self.runner.register_message("ready", self._on_ready)
        gevent.spawn(self._watch, options)
        _log.info("the record is written to %s", options.folder)

    def begin(self) -> None:
        """Tell every worker which part is its own."""
        assert self.conductor is not None
        assert self._options is not None
        options = self._options
        ids = sorted(self.runner.clients) if isinstance(self.runner, MasterRunner) else [None]
        self.conductor.begin(len(ids), self._version)
        for index, client_id in enumerate(ids):
            message = {
                "process": f"worker-{index}",
                "worker": index,
                "workers": len(ids),
                "seed": options.seed,
                "host": options.host,
                "audience": options.audience,
                "rates": self.conductor.rates(options.users),
                "launch": options.shape == "launch",
            }
            self.runner.send_message("prepare", message, client_id)

    @property
    def workers(self) -> int:
        """Processes that make load."""
        return len(self.runner.clients) if isinstance(self.runner, MasterRunner) else 1

    def tick(self) -> bool:
        """Go on; return whether there is more to do."""
        assert self.conductor is not None
        goes_on = self.conductor.tick()
        if self.conductor.failure is not None:
            _log.error("the run is void: %s", self.conductor.failure)
            self.environment.process_exit_code = VOID
        elif not goes_on:
            self._is_complete = True
            # The verdict is the gate's: an error of the server is no error of the run.
            self.environment.process_exit_code = 0
        return goes_on

    def close(self) -> None:
        """End the record."""
        if self.engine is not None:
            self.engine.end()
        if self.conductor is not None:
            self.conductor.close(is_complete=self._is_complete)
        for name, writer in self._writers.items():
            if name != "leader":
                writer.close()
        self._writers.clear()

    def _tell_workers(self, kind: str, message: Mapping[str, Any]) -> None:
        self.runner.send_message(kind, dict(message))

    def _on_told(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        assert self.conductor is not None
        process = str(msg.data["process"])
        lines = [line_of(document) for document in msg.data["lines"]]
        writer = self._writer(process)
        for line in lines:
            writer.write(line)
        seconds = [line for line in lines if isinstance(line, Second)]
        self.conductor.hear(process, int(msg.data["in_flight"]), seconds)

    def _on_ready(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        assert self.conductor is not None
        self.conductor.hear_ready(msg.data["process"], msg.data["failure"])

    def _writer(self, process: str) -> Writer:
        assert self._options is not None
        if process not in self._writers:
            self._writers[process] = Writer(self._options.folder, process)
        return self._writers[process]

    def _watch(self, options: Options) -> None:
        watcher = Watcher(options.host, options.metrics, options.server_pid)
        writer = Writer(options.folder, "server")
        while True:
            writer.write(watcher.look())
            gevent.sleep(PERIOD)

    # A process that makes load.

    def _on_prepare(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        gevent.spawn(self._prepare, msg.data)

    def _prepare(self, told: Mapping[str, Any]) -> None:
        failure = None
        _log.info("pictures are read, and made where they are missing")
        try:
            self.engine = Engine(
                told["process"],
                told["host"],
                told["audience"],
                Identities.open(self._identities),
                self._library(),
                self._count,
            )
            self.engine.prepare(
                told["seed"], told["worker"], told["workers"], told["rates"], launch=told["launch"]
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the leader waits for a word
            failure = f"{told['process']}: {type(error).__name__}: {error}"
        self.runner.send_message("ready", {"process": told["process"], "failure": failure})
        if failure is None:
            self._workers = told["workers"]
            gevent.spawn(self._report, self.engine)

    def _library(self) -> PictureLibrary:
        return PictureLibrary.open(self._pictures, kinds(small=self._has_small_pictures))

    def _on_rate(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        if self.engine is not None:
            self.engine.change(msg.data["at"], msg.data["rate"] / self._workers)

    def _on_finish(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        self._is_finishing = True

    def _report(self, engine: Engine) -> None:
        while not self._is_finishing:
            gevent.sleep(1 - time.time() % 1)
            self._say(engine, engine.lines(), engine.tally.in_flight)
        self._say(engine, engine.tally.rest(), in_flight=0)

    def _say(self, engine: Engine, lines: Sequence[Line], in_flight: int) -> None:
        told = {"process": engine.process, "lines": as_documents(lines), "in_flight": in_flight}
        self.runner.send_message("told", told)

    def _count(self, activity: str, milliseconds: float, received: int, outcome: str) -> None:
        self.environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type=outcome if outcome == SHED else "",
            name=activity,
            response_time=milliseconds,
            response_length=received,
            exception=None if outcome in {RIGHT, SHED} else RuntimeError(outcome),
            context={},
        )


_sessions: list[Session] = []
"""Of this process: one, once Locust is ready."""


class Arrivals(User):
    """All arrivals of a process; the model's people are in it, each a greenlet when it acts."""

    @task
    def arrive(self) -> None:
        """Start what is planned until the run ends."""
        session = _sessions[0]
        while session.engine is None:
            gevent.sleep(0.05)
        session.engine.run()


class Stages(LoadTestShape):
    """The shape of the run: its users are Locust's, of which each process has one."""

    _has_begun = False

    def tick(self) -> tuple[int, float] | None:
        """Lead the run; None ends it."""
        session = _sessions[0]
        if not self._has_begun:
            self._has_begun = True
            session.begin()
        return (session.workers, 10.0) if session.tick() else None


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Environment, **_more: Any) -> None:
    _sessions[:] = [Session(environment)]


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _end(environment: Environment, **_more: Any) -> None:  # noqa: ARG001
    for session in _sessions:
        session.close()


def _stop(status: int, message: str) -> Any:
    _log.error(message)
    raise SystemExit(status)
