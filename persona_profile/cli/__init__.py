"""The `persona-profile` command. Exit status: 0, 1 (it failed), 2 (wrong usage or settings)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from backends import BackendError
from persona_profile.cli import capacity, doctor, imports, keys, pictures, profiles, serve, storage
from persona_profile.cli.failures import CommandFailed
from persona_profile.cli.parts import reporting_faults_of
from persona_profile.keys.keyring import KeyringError
from persona_profile.keys.service import KeysUnavailable
from persona_profile.runtime.build import PACKAGE
from persona_profile.runtime.dumps import forbid_dumps
from persona_profile.runtime.logs import configure_command
from persona_profile.settings import InvalidSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    forbid_dumps()  # before the keyring or a setting is read
    _replace_closed_streams()
    options = _parser().parse_args(arguments)
    log = configure_command()  # the server changes it with its settings
    status, message = 1, ""
    try:
        with reporting_faults_of(options):
            status = options.run(options)
    except InvalidSettings as error:
        status, message = 2, f"{options.config}: {error}"
    except CommandFailed as failure:
        status, message = failure.status, str(failure)
    except (BackendError, KeyringError, KeysUnavailable) as error:
        message = "" if str(error) in log.said else str(error)
    except BrokenPipeError as error:
        # The reader of the output has closed it: discard the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        message = f"{error.filename}: {error.strerror}" if error.filename else ""
    except OSError as error:
        message = f"{error.filename or 'the output'}: {error.strerror}"
    except KeyboardInterrupt:
        status = 130
    if message:
        print(f"persona-profile: {message}", file=sys.stderr)
    return status


def _replace_closed_streams() -> None:
    """Give each closed standard stream a file and a descriptor, so that no opened file gets its number.

    The descriptor is read-only: an archive for a closed standard output still fails.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest number that is free
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="persona-profile", description="Persona Profile Server.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version(PACKAGE)}")
    parser.add_argument(
        "-c",
        "--config",
        metavar="INI",
        default="development.ini",
        help="settings file (default: %(default)s)",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (serve, doctor, storage, keys, profiles, imports, pictures, capacity):
        module.add_to(commands)
    return parser
