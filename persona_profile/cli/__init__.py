"""The `persona-profile` command. Exit status: 0, 1 (it failed), 2 (wrong usage or settings)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from backends import BackendError
from persona_profile.cli import capacity, keys, pictures, profiles, serve, storage
from persona_profile.keys.keyring import KeyringError
from persona_profile.keys.service import KeysUnavailable
from persona_profile.runtime.build import PACKAGE
from persona_profile.runtime.dumps import forbid_dumps
from persona_profile.runtime.logs import configure_command
from persona_profile.settings import InvalidSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    forbid_dumps()  # before the keyring or a setting is read
    options = _parser().parse_args(arguments)
    log = configure_command()  # the server changes it with its settings
    try:
        status: int = options.run(options)
    except InvalidSettings as error:
        print(f"persona-profile: {options.config}: {error}", file=sys.stderr)
        return 2
    except (BackendError, KeyringError, KeysUnavailable) as error:
        if str(error) not in log.said:
            print(f"persona-profile: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has closed it: discard the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"persona-profile: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


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
    serve.add_to(commands)
    storage.add_to(commands)
    keys.add_to(commands)
    profiles.add_to(commands)
    pictures.add_to(commands)
    capacity.add_to(commands)
    return parser
