"""Writes production.txt: what setup.py asks for, and all that asks for, each with its hashes.

For every CPython that setup.py names, on any platform that there are wheels for. `make lock` runs it.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

LOCK = Path(__file__).with_name("production.txt")
HEADER = """\
# What production installs, made by `make lock` from setup.py. Install it with
#     pip install --require-hashes --only-binary :all: -r requirements/production.txt
# then this package with `pip install --no-deps`.
"""


def main() -> int:
    """Renew the file; return the exit status."""
    wanted = [each for each in requires("persona-profile-server") or () if "extra ==" not in each]
    resolver = [sys.executable, "-m", "uv", "pip", "compile", "-", "--upgrade", "--universal"]
    options = ["--python-version", "3.11", "--generate-hashes", "--no-header", "--no-build", "--quiet"]
    found = subprocess.run(  # noqa: S603 - the command is our own
        [*resolver, *options], input="\n".join(wanted), capture_output=True, text=True, check=False
    )
    if found.returncode:
        sys.stderr.write(found.stderr)
        return 1
    text = found.stdout.replace("# via -r -\n", "# via setup.py\n").replace(
        "#   -r -\n", "#   setup.py\n"
    )
    LOCK.write_text(HEADER + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
