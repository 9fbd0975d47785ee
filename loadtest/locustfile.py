"""The load test as Locust runs it: `locust -f loadtest/locustfile.py --host URL --shape NAME`.

Locust distributes the processes, has a page and statistics. Its users would wait for responses, so each
process has one Locust user (`Arrivals`), which starts the planned arrivals of many people (`scenarios`,
`pacer`). See `docs/how-to/load-test.md`.
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
from loadtest.generator.engine import Engine
from loadtest.generator.options import InvalidOptions, Options, add_arguments, checked
from loadtest.generator.plan import kinds
from loadtest.generator.preflight import Unfit, check
from loadtest.generator.tally import RIGHT, SHED
from loadtest.generator.watcher import PERIOD, Watcher
from loadtest.identities import Identities
from loadtest.pictures import PictureLibrary
from loadtest.record import RecordLine, Second, Writer, document_of, line_of

VOID = 3
"""Exit status of a void run."""

_log = logging.getLogger(__name__)


class RunProcess:
    """The part of this process in the run: leader, worker, or both."""

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
        # Folders of this machine: Locust's master replaces a worker's options by its own.
        self._identities, self._pictures = Path(given.identities), Path(given.pictures)
        self._has_small_pictures = bool(given.small_pictures)
        if not isinstance(environment.runner, WorkerRunner):
            self._lead()
        if not isinstance(environment.runner, MasterRunner):
            self.runner.register_message("prepare", self._on_prepare, concurrent=True)
            self.runner.register_message("rate", self._on_rate)
            self.runner.register_message("finish", self._on_finish)

    # The leader.

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
        self.conductor = Conductor(options, self._writer("leader"), self.runner.send_message)
        self.runner.register_message("lines", self._on_lines)
        self.runner.register_message("ready", self._on_ready)
        gevent.spawn(self._watch, options)
        _log.info("the record is written to %s", options.folder)

    def begin(self) -> None:
        """Send every worker its part of the plan."""
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
        """Number of workers."""
        return len(self.runner.clients) if isinstance(self.runner, MasterRunner) else 1

    def tick(self) -> bool:
        """Continue the run; return whether it goes on."""
        assert self.conductor is not None
        goes_on = self.conductor.tick()
        if self.conductor.failure is not None:
            _log.error("the run is void: %s", self.conductor.failure)
            self.environment.process_exit_code = VOID
        elif not goes_on:
            self._is_complete = True
            # The gate gives the verdict: an error of the server is no error of the run.
            self.environment.process_exit_code = 0
        return goes_on

    def close(self) -> None:
        """End the record."""
        if self.engine is not None:
            self.engine.end()
        if self.conductor is not None:
            self.conductor.close(is_complete=self._is_complete)
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _on_lines(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        assert self.conductor is not None
        process = str(msg.data["process"])
        lines = [line_of(document) for document in msg.data["lines"]]
        for line in lines:
            self._writer(process).write(line)
        seconds = [line for line in lines if isinstance(line, Second)]
        in_flight, overdue = int(msg.data["in_flight"]), int(msg.data["overdue"])
        self.conductor.hear(process, in_flight, overdue, seconds)

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

    # A worker.

    def _on_prepare(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        gevent.spawn(self._prepare, msg.data)

    def _prepare(self, part: Mapping[str, Any]) -> None:
        failure = None
        _log.info("opening the pictures; missing ones are made")
        try:
            self.engine = Engine(
                part["process"],
                part["host"],
                part["audience"],
                Identities.open(self._identities),
                PictureLibrary.open(self._pictures, kinds(small=self._has_small_pictures)),
                self._count,
            )
            self.engine.prepare(
                part["seed"], part["worker"], part["workers"], part["rates"], launch=part["launch"]
            )
        except Exception as error:  # noqa: BLE001 - the leader waits for a result in any case
            failure = f"{part['process']}: {type(error).__name__}: {error}"
        self.runner.send_message("ready", {"process": part["process"], "failure": failure})
        if failure is None:
            self._workers = part["workers"]
            gevent.spawn(self._report, self.engine)

    def _on_rate(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        if self.engine is not None:
            self.engine.change(msg.data["at"], msg.data["rate"] / self._workers)

    def _on_finish(self, environment: Environment, msg: Any, **_more: Any) -> None:  # noqa: ARG002
        self._is_finishing = True

    def _report(self, engine: Engine) -> None:
        while not self._is_finishing:
            gevent.sleep(1 - time.time() % 1)
            overdue = engine.tally.overdue(time.time())
            self._send_lines(engine, engine.lines(), engine.tally.in_flight, overdue)
        self._send_lines(engine, engine.tally.rest(), in_flight=0, overdue=0)

    def _send_lines(
        self, engine: Engine, lines: Sequence[RecordLine], in_flight: int, overdue: int
    ) -> None:
        documents = [document_of(line) for line in lines]
        counts = {"in_flight": in_flight, "overdue": overdue}
        self.runner.send_message("lines", {"process": engine.process, "lines": documents} | counts)

    def _count(self, activity: str, milliseconds: float, received: int, outcome: str) -> None:
        self.environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type=outcome if outcome == SHED else "",
            name=activity,
            response_time=milliseconds,
            response_length=received,
            exception=None if outcome in {RIGHT, SHED} else RuntimeError(outcome),
            context={},
        )


_processes: list[RunProcess] = []
"""One, after Locust's start."""


class Arrivals(User):
    """All arrivals of a process; each arrival is a greenlet."""

    @task
    def arrive(self) -> None:
        """Start planned arrivals until the run ends."""
        process = _processes[0]
        while process.engine is None:
            gevent.sleep(0.05)
        process.engine.run()


class Stages(LoadTestShape):
    """The shape for Locust, whose users are the processes."""

    _has_begun = False

    def tick(self) -> tuple[int, float] | None:
        """Continue the run; None ends it."""
        process = _processes[0]
        if not self._has_begun:
            self._has_begun = True
            process.begin()
        return (process.workers, 10.0) if process.tick() else None


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_arguments(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Environment, **_more: Any) -> None:
    _processes[:] = [RunProcess(environment)]


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _end(environment: Environment, **_more: Any) -> None:  # noqa: ARG001
    for process in _processes:
        process.close()


def _stop(status: int, message: str) -> Any:
    _log.error(message)
    raise SystemExit(status)
