"""`persona-profile serve` and `persona-profile assertion`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from persona_profile.auth.development import DevelopmentIdentityProvider
from persona_profile.commands.settings import load_settings, loader
from persona_profile.settings import InvalidSettings


def add_to(commands: Any) -> None:
    """Add the commands to a parser's."""
    serve = commands.add_parser("serve", help="start the server")
    serve.set_defaults(run=_serve)

    assertion = commands.add_parser(
        "assertion", help="print an assertion of the development identity provider"
    )
    assertion.add_argument("email", metavar="EMAIL")
    assertion.add_argument("--audience", metavar="ORIGIN", help="default: the first of public_origins")
    assertion.set_defaults(run=_assertion)


def _serve(options: argparse.Namespace) -> int:
    ini = loader(options.config)
    ini.setup_logging()
    app = ini.get_wsgi_app()
    try:
        ini.get_wsgi_server()(app)
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
