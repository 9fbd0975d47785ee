"""Mozilla's own implementation of BrowserID in JavaScript, as a process that mints and verifies."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "oracle"
_LIBRARY = FOLDER / "node_modules" / "browserid-crypto"
_INSTALL = ("install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")


class Oracle:
    """Asks the process one thing at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, op: str, **request: Any) -> Any:
        """Return what the oracle answers to an operation of `mint.js`.

        Raises:
            ValueError: it refuses, in its own words.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["result"]


@contextlib.contextmanager
def running_oracle() -> Iterator[Oracle]:
    """Install the library if need be, and run it."""
    node = _program("node")
    _install(node)
    with subprocess.Popen(
        [node, str(FOLDER / "mint.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Oracle(process)
        process.terminate()


def install_packages() -> None:
    """Install what `package.json` names, into the folder beside it."""
    _run(_program("npm"), *_INSTALL)


def _install(node: str) -> None:
    built = [_LIBRARY / "libs" / name for name in ("all.js", "minimal.js")]
    done = _LIBRARY / "libs" / "built"
    if done.exists():
        return
    install_packages()
    for path in built:
        path.unlink(missing_ok=True)  # the script appends to what is there
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
