"""The `persona-profile` command in a process of its own, which imports nothing again.

Importing the command takes half a second of processor time and the server a whole one, and tests
start them hundreds of times. So one process imports both, and each run is a fork with its own
arguments, environment, folder, output and memory. `test_cli.py` tests starts without that process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

WRITE_SECONDS = "TESTS_WRITE_SECONDS"
"""A variable of a command: the bound of a write in a database, for which `keys destroy` waits."""

SECONDS = 110
"""The limit of a run: less than that of a test."""


class Command:
    """A command that runs; its methods are those of `subprocess.Popen`.

    Args:
        arguments: arguments of the command.
        files: descriptors of standard input, output and error.
        folder: the working directory; by default the tests' own.
        environment: variables in addition to those of the tests.

    Attributes:
        pid: the process id.
        returncode: the exit status, once it is known.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        files: Sequence[int],
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.arguments = list(map(str, arguments))
        self.returncode: int | None = None
        request = {"arguments": self.arguments, "folder": str(folder or Path.cwd())}
        request["environment"] = os.environ | (environment or {})
        connection = socket.socket(socket.AF_UNIX)
        self.close = weakref.finalize(self, connection.close)
        connection.connect(_prepared())
        socket.send_fds(connection, [b"."], files)
        connection.sendall(json.dumps(request).encode() + b"\n")
        self._connection = connection
        self.pid = self._reply()

    def poll(self) -> int | None:
        """Return the exit status of a command that has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status once the command has ended.

        Raises:
            subprocess.TimeoutExpired: it takes longer.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.arguments, timeout or 0)
            self.returncode = self._reply()
            self.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the command has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Stop the command."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the command."""
        self.send_signal(signal.SIGKILL)

    def _reply(self) -> int:
        reply = b""
        while not reply.endswith(b"\n"):
            part = self._connection.recv(1)
            if not part:
                raise RuntimeError("the process that starts commands has ended")
            reply += part
        return int(reply)


def run_command(
    *arguments: object,
    folder: Path | None = None,
    stdin: bytes = b"",
    during: Callable[[int], None] = lambda _process: None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run `persona-profile` with arguments; return its status and output.

    Args:
        *arguments: arguments of the command.
        folder: the working directory; by default the tests' own.
        stdin: the standard input.
        during: called with the id of the process while it runs.
        **environment: variables in addition to those of the tests.

    Raises:
        subprocess.TimeoutExpired: the command took too long and was killed.
    """
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        tempfile.TemporaryFile() as given,
    ):
        given.write(stdin)
        given.seek(0)
        standard = [each.fileno() for each in (given, output, errors)]
        command = Command(arguments, standard, folder, environment)
        try:
            during(command.pid)
            status = command.wait(SECONDS)
        except BaseException:  # nobody waits for the command any more
            command.kill()
            raise
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(command.arguments, status, output.read(), errors.read())


@functools.cache
def _prepared() -> str:
    """Start the process whose forks run the commands; return the path of its socket."""
    folder = tempfile.TemporaryDirectory(prefix="persona-profile-commands-")
    path = f"{folder.name}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )

    def end() -> None:
        process.communicate()
        folder.cleanup()

    atexit.register(end)
    return path


def _fork_for(listener: socket.socket) -> int:
    """Fork for each request until the tests end; in a command, return its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while select.select([listener, sys.stdin], [], [])[0] == [listener]:
        connection, _ = listener.accept()
        with connection:
            if os.fork():
                continue
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _attend(connection)
    return 0


def _attend(connection: socket.socket) -> int:
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as asked:
        request = json.loads(asked.readline())
    if process := os.fork():
        with contextlib.suppress(BrokenPipeError):  # the client has closed the connection
            connection.sendall(f"{process}\n".encode())
            _, status = os.waitpid(process, 0)
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    connection.close()
    for standard, descriptor in enumerate(files):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if seconds := os.environ.pop(WRITE_SECONDS, None):
        for engine in (MysqlBackend, SqliteBackend):
            engine.write_seconds = float(seconds)  # type: ignore[assignment,method-assign]
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["persona-profile", *request["arguments"]]
    return main()


def _import_all_of(*packages: str) -> None:
    for name in packages:
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    from backends.engines.mysql import MysqlBackend
    from backends.engines.sqlite import SqliteBackend
    from persona_profile.cli import main

    # Modules that commands and the server import late, or by a name in settings.
    _import_all_of(*(f"persona_profile.{room}" for room in ("api", "auth", "development", "serving")))
    gc.freeze()  # otherwise each run collects all these objects as it ends
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        sys.exit(_fork_for(listening))
