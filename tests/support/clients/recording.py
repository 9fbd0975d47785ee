"""Records of a run: logs, metrics, the output of commands, and claims that clients send.

The environment variable `RECORD` names the folder, so that child processes of tests find it;
without it nothing is recorded. `support.clients.leaks` searches the records.
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
MAX_BYTES = 10_000
"""The limit of a parsed body; WebOb spools larger ones to a file."""
LOGS, METRICS, RECEIVED = "logs", "metrics", "received"


class Recorder:
    """Writes the records of this process into a folder.

    Args:
        folder: the run's folder.
        loggers: loggers whose records are kept, with their children's.
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
        """Record a service's metrics."""
        self._new(METRICS).write_text(exposition)

    def log(self, path: Path) -> None:
        """Record the log of another process, which may still write it."""
        self._new(LOGS).symlink_to(path.absolute())

    def printed(self, text: str) -> None:
        """Record a command's output."""
        self._new(LOGS).write_text(text)

    def received(self, document: Any) -> None:
        """Record the claims in a document of a client."""
        new = set(_texts(document)) - self._received
        if new:
            self._received |= new
            with (self.folder / RECEIVED / str(os.getpid())).open("a") as file:
                file.writelines(f"{json.dumps(text)}\n" for text in new)

    def close(self) -> None:
        """Stop recording."""
        for name in self._loggers:
            logging.getLogger(name).removeHandler(self._handler)
        self._handler.close()

    def _new(self, kind: str) -> Path:
        return self.folder / kind / uuid.uuid4().hex


def prepare(folder: Path) -> None:
    """Create the folders of records."""
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
    """Record an application's log, received claims, and its metrics when it closes."""
    kept = recorder()
    if kept is None:
        return app
    metrics = app.services.metrics
    app = replace(app, closers=(lambda: kept.metrics(metrics.exposition()), *app.closers))
    invoke = app.router.invoke_request

    def invoke_and_record(request: Request, *arguments: Any, **options: Any) -> Response:
        if request.content_type.endswith("json") and 0 < (request.content_length or 0) < MAX_BYTES:
            with contextlib.suppress(OSError):  # the client sent less than its Content-Length
                request.make_body_seekable()
                received(request.body)
        return invoke(request, *arguments, **options)

    app.router.invoke_request = invoke_and_record
    return app


def printed(done: CompletedProcess[str]) -> CompletedProcess[str]:
    """Record the output of a command; return the command."""
    if kept := recorder():
        kept.printed(f"{done.stdout}\n{done.stderr}\n")
    return done


def received(body: bytes | None) -> None:
    """Record the claims in a JSON body of a client."""
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
