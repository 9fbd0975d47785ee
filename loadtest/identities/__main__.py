"""`python -m loadtest.identities make --users N --folder DIR`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.identities import DEFAULT_DOMAIN, DEFAULT_EMAILS, KEY_SHARES, make, mint


def main(arguments: Sequence[str] | None = None) -> int:
    """Make users of the load test, and all of their certificates, before a run."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.identities", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make", help="make users, or change how many there are")
    command.add_argument("--folder", type=Path, required=True)
    command.add_argument("--users", type=int, required=True)
    command.add_argument("--domain", default=DEFAULT_DOMAIN, help="default: %(default)s")
    command.add_argument("--emails", type=int, default=DEFAULT_EMAILS, help="default: %(default)s")
    command.add_argument("--processes", type=int, default=os.cpu_count(), help="default: all cores")
    command.add_argument(
        "--rs256-only", action="store_true", help="no DS128 keys, for a server that rejects them"
    )
    command.add_argument(
        "--no-certificates", action="store_true", help="each is made when it is needed first"
    )
    options = parser.parse_args(arguments)
    shares = {"RS256": 100} if options.rs256_only else KEY_SHARES
    try:
        make(
            options.folder,
            users=options.users,
            domain=options.domain,
            emails=options.emails,
            shares=shares,
        )
        if not options.no_certificates:
            mint(options.folder, max(1, options.processes), _report)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    return 0


def _report(done: int, count: int) -> None:
    sys.stderr.write(f"\rcertificates of {done} of {count} users" + "\n" * (done == count))


if __name__ == "__main__":
    sys.exit(main())
