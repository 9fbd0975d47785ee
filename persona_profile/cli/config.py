"""Settings files, as `pserve` reads them."""

from __future__ import annotations

import os
from pathlib import Path

import plaster

from persona_profile.settings import InvalidSettings, Settings, parse_settings


def load_settings(config: str) -> Settings:
    """Return the settings of a file.

    Raises:
        InvalidSettings: the file or what it holds can't be used.
    """
    return parse_settings(loader(config).get_wsgi_app_settings(), os.environ)


def loader(config: str) -> plaster.ILoader:
    """Return what reads a settings file.

    Raises:
        InvalidSettings: there is no such file.
    """
    if not Path(config).is_file():
        raise InvalidSettings("there is no such file; name one with -c")
    return plaster.get_loader(config, protocols=["wsgi"])
