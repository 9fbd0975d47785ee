"""Keeps, for the end of a run, what services logged and counted, what commands printed, and what people
told them.

`RECORD` in the environment names the folder, so that processes which tests start find it as well;
without it nothing is kept. `support.leaks` searches it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from persona_profile.app import Application
from persona_profile.profiles.claims import CLAIMS
from persona_profile.runtime.logs import TextFormatter

RECORD = "RECORDED_BY_TESTS"
LOGGERS = ("persona_profile", "backends", "waitress")
MOST_BYTES = 10_000
"""Of a body that is looked into; WebOb would put more into a file."""
LOGS, METRICS, RECEIVED = "logs", "metrics", "received"


class Recorder:
    """Writes into a folder what this process has to keep.

    Args:
        folder: of the run.
        loggers: whose records are kept, with those of their children.
    """

    def __init__(self, folder: Path, loggers: Sequence[str] = LOGGERS) -> None:
        self.folder, self._loggers = folder, loggers
        prepare(folder)
        self._received: set[str] = set()
        self._handler = logging.FileHandler(self._new(LOGS), delay=True)
        self._handler.setFormatter(TextFormatter())
        for name in loggers:
            logging.getLogger(name).addHandler(self._handler)
        logging.getLogger("persona_profile.requests").setLevel(logging.INFO)

    def metrics(self, exposition: str) -> None:
        """Keep what a service has counted."""
        self._new(METRICS).write_text(exposition)

    def log(self, path: Path) -> None:
        """Keep the log of another process, which may still write it."""
        self._new(LOGS).symlink_to(path.absolute())

    def printed(self, text: str) -> None:
        """Keep what a command has printed."""
        self._new(LOGS).write_text(text)

    def received(self, document: Any) -> None:
        """Keep the claims in what a client sends."""
        new = set(_texts(document)) - self._received
        if new:
            self._received |= new
            with (self.folder / RECEIVED / str(os.getpid())).open("a") as file:
                file.writelines(f"{json.dumps(text)}\n" for text in new)

    def close(self) -> None:
        """Keep no more."""
        for name in self._loggers:
            logging.getLogger(name).removeHandler(self._handler)
        self._handler.close()

    def _new(self, kind: str) -> Path:
        return self.folder / kind / uuid.uuid4().hex


def prepare(folder: Path) -> None:
    """Make a folder ready to record into."""
    for name in (LOGS, METRICS, RECEIVED):
        (folder / name).mkdir(exist_ok=True)


@cache
def _recorder_of(folder: str, _pid: int) -> Recorder:
    return Recorder(Path(folder))


def recorder() -> Recorder | None:
    """Return the recorder of this process, if the run is recorded."""
    folder = os.environ.get(RECORD)
    return _recorder_of(folder, os.getpid()) if folder else None


def recorded(app: Application) -> Application:
    """Record what an application logs, is told, and has counted when it is closed."""
    kept = recorder()
    if kept is None:
        return app
    metrics = app.services.metrics
    app = replace(app, closers=(lambda: kept.metrics(metrics.exposition()), *app.closers))
    invoke = app.router.invoke_request

    def invoke_and_record(request: Request, *arguments: Any, **options: Any) -> Response:
        if request.content_type.endswith("json") and 0 < (request.content_length or 0) < MOST_BYTES:
            with contextlib.suppress(OSError):  # the client has sent less than it said
                request.make_body_seekable()
                received(request.body)
        return invoke(request, *arguments, **options)

    app.router.invoke_request = invoke_and_record
    return app


def printed(done: CompletedProcess[str]) -> CompletedProcess[str]:
    """Record what a command has printed; return it as it is."""
    if kept := recorder():
        kept.printed(f"{done.stdout}\n{done.stderr}\n")
    return done


def received(body: bytes | None) -> None:
    """Record the claims in a body that a client sends, if it is JSON."""
    kept = recorder()
    if kept is not None and body and body[:1] == b"{":
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return
        kept.received(document)


def _texts(document: Any) -> Iterator[str]:
    if isinstance(document, Mapping):
        for name in CLAIMS:
            value = document.get(name)
            if isinstance(value, str):
                yield value
