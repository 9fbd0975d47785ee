"""Log formats: mozlog for programs, lines of text for people.

No log record has the values of an exception, as they may be personal data: it has the type and the
place in the code. The module imports the standard library alone.

mozlog: https://wiki.mozilla.org/Firefox/Services/Logging
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import sys
import threading
import traceback
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, TextIO

FORMATS: Final = ("mozlog", "text")
LEVELS: Final = ("debug", "info", "warning", "error")

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The id of the request that the thread answers."""

_LOGGER: Final = "persona-profile"
_FRAMES: Final = 8
_SYSLOG: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}

_QUIET: Final = {
    "alembic": logging.WARNING,  # logs each step that it skips
    "waitress": logging.WARNING,  # logs each client that disconnects
    "sqlalchemy": logging.WARNING,  # logs statements
    "urllib3": logging.WARNING,  # logs addresses
}


class MozlogFormatter(logging.Formatter):
    """One JSON object for each record; `extra={"fields": {...}}` becomes `Fields`."""

    def __init__(self) -> None:
        super().__init__()
        # The constant members are encoded once: there is a line for each request.
        self._middle = (
            f',"Logger":"{_LOGGER}","Hostname":{_encode(socket.gethostname())},"EnvVersion":"2.0"'
        )

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = getattr(record, "fields", None)
        kind = record.name
        if fields is None:
            fields = {"msg": record.getMessage()}
        else:
            kind = record.msg
        request_id = REQUEST_ID.get()
        if request_id:
            fields["rid"] = request_id
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = type(record.exc_info[1]).__name__
            fields["stack"] = place_of(record.exc_info[2])
        start = f'{{"Timestamp":{int(record.created * 1e9)},"Type":{_encode(kind)}{self._middle}'
        severity = _SYSLOG.get(record.levelno, 2)
        return f'{start},"Severity":{severity},"Pid":{os.getpid()},"Fields":{_encode(fields)}}}'


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_encode: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


class TextFormatter(logging.Formatter):
    """One line of text for each record; values can neither begin a new line nor control a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = getattr(record, "fields", {})
        parts = [record.levelname, record.name.removeprefix("persona_profile.") + ":"]
        parts.append(record.getMessage())
        parts += [f"{name}={value}" for name, value in fields.items()]
        if request_id := REQUEST_ID.get():
            parts.append(f"rid={request_id}")
        if record.exc_info and record.exc_info[1] is not None:
            parts.append(f"({type(record.exc_info[1]).__name__} at {place_of(record.exc_info[2])})")
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], " ".join(parts))


class CommandHandler(logging.StreamHandler[TextIO]):
    """Prints warnings of a command, and keeps them in `said`, so that no message is printed twice."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.said: set[str] = set()
        # Storage backends raise their errors, too, with the same text.
        self.addFilter(lambda record: not record.name.startswith("backends."))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        message = record.getMessage()
        self.said.add(message)
        return f"persona-profile: {message}"


def configure(form: str, level: str) -> None:
    """Configure the logs from `level` on: mozlog to standard output, text to standard error."""
    is_mozlog = form == "mozlog"
    handler = logging.StreamHandler(sys.stdout if is_mozlog else sys.stderr)
    handler.setFormatter(MozlogFormatter() if is_mozlog else TextFormatter())
    _install(handler, level.upper())
    # Neither format needs these, so they are not looked up for each record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def configure_command() -> CommandHandler:
    """Print the warnings of a command; return the handler, which keeps them."""
    handler = CommandHandler()
    _install(handler, "WARNING")
    return handler


def place_of(trace: TracebackType | None) -> str:
    """Return the innermost lines of a stack, without values."""
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))


def _install(handler: logging.Handler, level: str) -> None:
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name, minimum in _QUIET.items():
        logging.getLogger(name).setLevel(max(minimum, logging.root.level))


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> Any:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error, trace))
