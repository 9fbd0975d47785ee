"""Independent JavaScript implementations of BrowserID (Mozilla) and JOSE, each in a process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import ROOT

FOLDER = ROOT / "tests" / "oracle"
_LIBRARY = FOLDER / "node_modules" / "browserid-crypto"
_INSTALL = ("install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")


SECONDS = 30
"""The limit for an answer; the slowest takes a second."""


class Oracle:
    """Sends requests to the process, one at a time. Silence ends the process and fails the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, op: str, **request: Any) -> Any:
        """Return the result of an operation of the script.

        Raises:
            ValueError: the library rejects the input; the message is its own.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        patience = threading.Timer(SECONDS, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        if not line:
            pytest.fail(f"the oracle ended, or did not answer for {SECONDS} seconds: {op}")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["result"]


@contextlib.contextmanager
def running_oracle() -> Iterator[Oracle]:
    """Install the library if necessary, and run it."""
    node = _program("node")
    with _alone():
        _install(node)
    with _running("mint.js") as oracle:
        yield oracle


@contextlib.contextmanager
def running_jose() -> Iterator[Oracle]:
    """Install the npm package `jose` if necessary, and run a minter of ID tokens with it."""
    install_packages(FOLDER / "node_modules" / "jose" / "package.json")
    with _running("jose.js") as oracle:
        yield oracle


@contextlib.contextmanager
def _running(script: str) -> Iterator[Oracle]:
    with subprocess.Popen(
        [_program("node"), str(FOLDER / script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Oracle(process)
        process.terminate()


def install_packages(needed: Path) -> None:
    """Install the packages of `package.json` into its folder, unless a needed file exists."""
    with _alone():
        if not needed.exists():
            _run(_program("npm"), *_INSTALL)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock against other processes of the run that need the same packages."""
    with (FOLDER / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(node: str) -> None:
    built = [_LIBRARY / "libs" / name for name in ("all.js", "minimal.js")]
    done = _LIBRARY / "libs" / "built"
    if done.exists():
        return
    _run(_program("npm"), *_INSTALL)
    for path in built:
        path.unlink(missing_ok=True)  # the script appends to existing files
    _run(node, str(_LIBRARY / "scripts" / "package.js"))
    done.touch()


def _run(*command: str) -> None:
    result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed in tests/oracle:\n{result.stderr[-2000:]}")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: these tests need Node.js 18 or later, with npm")
    return path
