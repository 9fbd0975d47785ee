"""The `persona-profile` command. Exit status: 0, 1 (it failed), 2 (wrong usage or settings)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import plaster

from persona_profile.auth.development import DevelopmentIdentityProvider
from persona_profile.settings import InvalidSettings, Settings, parse_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except InvalidSettings as error:
        print(f"persona-profile: {options.config}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="persona-profile", description="Persona Profile Server.")
    parser.add_argument(
        "-c",
        "--config",
        metavar="INI",
        default="development.ini",
        help="settings file (default: %(default)s)",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the server")
    serve.set_defaults(run=_serve)

    assertion = commands.add_parser(
        "assertion", help="print an assertion of the development identity provider"
    )
    assertion.add_argument("email", metavar="EMAIL")
    assertion.add_argument("--audience", metavar="ORIGIN", help="default: the first of public_origins")
    assertion.set_defaults(run=_assertion)
    return parser


def _serve(options: argparse.Namespace) -> int:
    loader = _loader(options.config)
    loader.setup_logging()
    app = loader.get_wsgi_app()
    try:
        loader.get_wsgi_server()(app)
    except OSError as error:
        print(f"persona-profile: cannot listen: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _assertion(options: argparse.Namespace) -> int:
    settings = load_settings(options.config)
    if not settings.development:
        raise InvalidSettings("development = true is needed: this provider vouches for anybody")
    try:
        provider = DevelopmentIdentityProvider.load(settings.development_folder)
        print(provider.bundle(options.email, options.audience or settings.public_origins[0]))
    except (ValueError, OSError) as error:
        print(f"persona-profile: {error}", file=sys.stderr)
        return 1
    return 0


def load_settings(config: str) -> Settings:
    """Return the settings of a file.

    Raises:
        InvalidSettings: the file or what it holds can't be used.
    """
    return parse_settings(_loader(config).get_wsgi_app_settings(), os.environ)


def _loader(config: str) -> plaster.ILoader:
    if not Path(config).is_file():
        raise InvalidSettings("there is no such file; name one with -c")
    return plaster.get_loader(config, protocols=["wsgi"])


if __name__ == "__main__":
    sys.exit(main())
