"""One command for a whole load test: it prepares the data, runs Locust and judges the run.

    python -m loadtest.run smoke
    python -m loadtest.run promote --host https://profiles.example.com --users 1000000 --i-own-this-host

Arguments after `--` go to Locust.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from loadtest import identities
from loadtest.gate import gate
from loadtest.gate.verdict import Outcome
from loadtest.generator.options import DEFAULT_FOLDER, InvalidOptions, add_arguments, checked, new_name
from loadtest.generator.plan import kinds
from loadtest.generator.stages import LENGTHS
from loadtest.pictures import PictureLibrary

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")

SMOKE_USERS: Final = 20
"""Identities of a smoke run: their pictures are uploaded before its first request."""

SMOKE_ACTIVE_USERS: Final = 40_000
"""Active users of a smoke run: a few requests a second."""

PROMOTE_USERS: Final = 1_000
"""Identities of a run before promotion, unless the folder has some."""

SMALL_PICTURES: Final = "--small-pictures"

_START_SECONDS: Final = 60
_SETTINGS: Final = """\
[app:main]
use = egg:persona-profile-server
development = true
development.folder = {folder}
development.provider_listen = off
development.issuer_listen = off
backend = memory
public_origins = {origin}
browserid.pinned_issuers = {issuers}
metrics.listen = 127.0.0.1:{metrics_port}

[server:main]
use = egg:persona-profile-server
listen = 127.0.0.1:{port}
trusted_proxy = 127.0.0.1
trusted_proxy_headers = x-forwarded-for
"""


class NotStarted(Exception):
    """The server did not start; the message names its log."""


def free_port() -> int:
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def development_server(folder: Path, issuers: Path) -> Iterator[tuple[str, list[str]]]:
    """Run a server in memory that trusts the identities; stop it at the end.

    Yields its origin, and the options by which Locust observes it.

    Raises:
        NotStarted: it did not respond.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, metrics_port = free_port(), free_port()
    origin = f"http://127.0.0.1:{port}"
    settings, log = folder / "server.ini", folder / "server.log"
    places = {"folder": folder.resolve(), "issuers": issuers.resolve(), "origin": origin}
    settings.write_text(_SETTINGS.format(port=port, metrics_port=metrics_port, **places))
    command = Path(sys.executable).with_name("persona-profile")
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [command, "-c", settings, "serve"], stdout=output, stderr=output
        )
    try:
        _await(process, origin, log)
        metrics = f"http://127.0.0.1:{metrics_port}/metrics"
        yield origin, ["--server-pid", str(process.pid), "--metrics", metrics]
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _await(process: subprocess.Popen[bytes], origin: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{origin}/__lbheartbeat__", timeout=5):  # noqa: S310 - loopback
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    raise NotStarted(f"the server did not start; see {log}")


def make_data(folder: Path, users: int, *, small: bool = False) -> None:
    """Make the identities, unless the folder has some, and the files of pictures, huge or small.

    Raises:
        OSError, ValueError: the folder can't be used.
    """
    people = folder / "identities"
    if not (people / "users.json").exists():
        print(f"making {users} users in {people}", flush=True)
        identities.make(people, users=users)
        identities.mint(people, max(1, os.cpu_count() or 1))
    PictureLibrary.open(folder / "pictures", kinds(small=small), report=print)


def locust(folder: Path, record: Path, host: str, arguments: Sequence[str], workers: int) -> int:
    """Run Locust with so many workers on this machine; return its exit status."""
    common = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE)]
    data = ["--identities", str(folder / "identities"), "--pictures", str(folder / "pictures")]
    lead = ["--headless", "--only-summary", "--host", host, "--folder", str(record), *data, *arguments]
    if SMALL_PICTURES in arguments:
        data.append(SMALL_PICTURES)
    if workers <= 1:
        return subprocess.call([*common, *lead])  # noqa: S603 - our own command
    port = str(free_port())
    helpers = [
        subprocess.Popen(  # noqa: S603
            [*common, "--worker", "--master-host", "127.0.0.1", "--master-port", port, *data]
        )
        for _ in range(workers)
    ]
    try:
        bind = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        return subprocess.call([*common, *bind, "--expect-workers", str(workers), *lead])  # noqa: S603
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait(_START_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a load test and judge it; return the exit status."""
    options = _options(list(sys.argv[1:] if arguments is None else arguments))
    record = options.folder / new_name()
    asked = ["--shape", options.shape, "--users-active", str(options.users), *options.flags]
    asked += ["--i-own-this-host"] if options.i_own_this_host else []
    asked += options.more
    try:
        # Making data takes minutes: report mistakes before.
        check(options.host, asked)
        make_data(options.folder, options.identities, small=SMALL_PICTURES in asked)
        with contextlib.ExitStack() as ends:
            host, judged = options.host, ["--users", str(options.users)]
            if options.command == "smoke":
                issuers = options.folder / "identities" / "pinned-issuers.json"
                server = development_server(options.folder / "server", issuers)
                host, observed = ends.enter_context(server)
                asked, judged = observed + asked, []
            status = locust(options.folder, record, host, asked, options.workers)
    except InvalidOptions as error:
        print(error, file=sys.stderr)
        return gate.MISUSED
    except (NotStarted, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return Outcome.VOID.value
    except KeyboardInterrupt:
        print("interrupted: the run is void", file=sys.stderr)
        return Outcome.VOID.value
    if status == 0:
        return gate.main([str(record), *judged])
    # Locust has reported its own failures; it gives no verdict.
    return gate.MISUSED if status == gate.MISUSED else Outcome.VOID.value


def check(host: str, asked: Sequence[str]) -> None:
    """Check the arguments for Locust.

    Raises:
        InvalidOptions: there is a mistake.
        SystemExit: argparse has reported a mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m loadtest.run", allow_abbrev=False)
    parser.add_argument("--host", default=host)
    add_arguments(parser)
    given, _of_locust = parser.parse_known_args(asked)
    checked(given)


def _options(arguments: list[str]) -> argparse.Namespace:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    ours, more = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(prog="python -m loadtest.run", description=main.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    smoke = commands.add_parser("smoke", help="one minute against a server that it starts")
    smoke.set_defaults(users=SMOKE_ACTIVE_USERS, shape="smoke", host="http://127.0.0.1", flags=[])
    smoke.set_defaults(i_own_this_host=False)
    promote = commands.add_parser("promote", help="against a server before its promotion")
    promote.set_defaults(flags=["--at-peak"])
    promote.add_argument("--host", required=True)
    promote.add_argument(
        "--users", type=float, required=True, help="active users that the server must carry"
    )
    promote.add_argument(
        "--shape", choices=sorted(LENGTHS), default="average", help="default: %(default)s"
    )
    promote.add_argument("--i-own-this-host", action="store_true")
    for command, count in ((smoke, SMOKE_USERS), (promote, PROMOTE_USERS)):
        command.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="default: %(default)s")
        command.add_argument("--identities", type=int, default=count, help="to make, if there are none")
        command.add_argument("--workers", type=int, default=1, help="processes; default: %(default)s")
    options = parser.parse_args(ours)
    options.more = more
    return options


if __name__ == "__main__":
    sys.exit(main())
