"""`python -m loadtest.pictures make --folder DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.pictures import KINDS, PREPARED, PictureLibrary


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the files of pictures before a run; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.pictures", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="make the files that are missing")
    make.add_argument("--folder", type=Path, required=True)
    make.add_argument("--seed", type=int, default=1, help="of what the pictures show (default: 1)")
    options = parser.parse_args(arguments)
    try:
        # All that a run needs: a process that has to make some is silent too long for its leader.
        PictureLibrary.open(options.folder, (*KINDS, PREPARED), seed=options.seed, report=print)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{options.folder}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
