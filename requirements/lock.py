"""Writes the locks of production: dependencies of pyproject.toml, and theirs, each with its hashes.

For every CPython that pyproject.toml names, on any platform that has wheels. `make lock` runs it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

FOLDER = Path(__file__).parent
LOCK = FOLDER / "production.txt"
HEADER = """\
# What production installs, made by `make lock` from pyproject.toml. Install it with
#     pip install --require-hashes --only-binary :all: -r requirements/production.txt
# then this package with `pip install --no-deps`.
"""
EXTRAS = {"redis": "ratelimit.url = redis://", "traces": "traces.endpoint"}
"""The extras that a setting needs."""

EXTRA_HEADER = """\
# What `{setting}` needs beside production.txt, made by `make lock` from pyproject.toml.
# Install both together:
#     pip install --require-hashes --only-binary :all: \\
#         -r requirements/production.txt -r requirements/{extra}.txt
"""


def main() -> int:
    """Renew the files; return the exit status."""
    wanted = requires("persona-profile-server") or ()
    always = [each for each in wanted if "extra ==" not in each]
    try:
        LOCK.write_text(HEADER + _resolved(always))
        for extra, setting in EXTRAS.items():
            needed = [each.partition(";")[0] for each in wanted if each.endswith(f'"{extra}"')]
            header = EXTRA_HEADER.format(extra=extra, setting=setting)
            # Of the same versions, as both are installed together.
            locked = _resolved(needed, f"--constraints={LOCK}")
            (FOLDER / f"{extra}.txt").write_text(header + locked)
    except subprocess.CalledProcessError as failure:
        sys.stderr.write(failure.stderr)
        return 1
    return 0


def _resolved(wanted: Sequence[str], *more: str) -> str:
    """Return the lines of a lock.

    Raises:
        subprocess.CalledProcessError: there are no versions that fit.
    """
    resolver = [sys.executable, "-m", "uv", "pip", "compile", "-", "--upgrade", "--universal"]
    options = ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-build", "--quiet"]
    found = subprocess.run(  # noqa: S603 - the command is our own
        [*resolver, *options, *more],
        input="\n".join(wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.replace("# via -r -\n", "# via pyproject.toml\n").replace(
        "#   -r -\n", "#   pyproject.toml\n"
    )


if __name__ == "__main__":
    sys.exit(main())
