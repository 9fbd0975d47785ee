"""The `persona-profile` command, run to completion in a process of its own.

Importing the command takes half a second, and tests run it hundreds of times. So one process
imports it, and each run is a fork with its own arguments, environment, folder, output and memory.
`test_cli.py` tests starts without that process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

WRITE_SECONDS = "TESTS_SQLITE_WRITE_SECONDS"
"""A variable of a command: the bound of a write in SQLite, for which `keys destroy` waits."""

SECONDS = 110
"""The limit of a run: less than that of a test."""


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
    command = list(map(str, arguments))
    request = {"arguments": command, "folder": str(folder or Path.cwd())}
    request["environment"] = os.environ | environment
    with (
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        tempfile.TemporaryFile() as given,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        connection.connect(_prepared())
        connection.settimeout(SECONDS)
        given.write(stdin)
        given.seek(0)
        standard = [each.fileno() for each in (given, output, errors)]
        socket.send_fds(connection, [b"."], standard)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as replies:
            process = int(replies.readline())
            try:
                during(process)
                status = int(replies.readline())
            except BaseException as failure:  # nobody waits for the command any more
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                if isinstance(failure, TimeoutError):
                    raise subprocess.TimeoutExpired(command, SECONDS) from None
                raise
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(command, status, output.read(), errors.read())


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
        SqliteBackend.write_seconds = float(seconds)  # type: ignore[assignment,method-assign]
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["persona-profile", *request["arguments"]]
    return main()


if __name__ == "__main__":
    # Modules that commands import late, or by the name of a backend.
    import backends.engines.mysql  # noqa: F401
    from backends.engines.sqlite import SqliteBackend
    from persona_profile.cli import main

    gc.freeze()  # otherwise each run collects all these objects as it ends
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        sys.exit(_fork_for(listening))
