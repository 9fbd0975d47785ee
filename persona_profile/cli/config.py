"""Settings files, as `pserve` reads them."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Final

import plaster
from paste.deploy import loadwsgi

from persona_profile.cli.settings_file import check_settings_file
from persona_profile.settings import InvalidSettings, Settings, parse_settings

APP: Final = "app:main"
SERVER: Final = "server:main"
_KINDS: Final = {APP: loadwsgi.APP, SERVER: loadwsgi.SERVER}


def load_settings(config: str) -> Settings:
    """Return the settings of a file.

    Raises:
        InvalidSettings: the file or what it holds can't be used.
    """
    return parse_settings(loader(config).get_wsgi_app_settings(), os.environ)


def loader(config: str, *needed: str) -> plaster.ILoader:
    """Return what reads a settings file that has an application, and other needed sections.

    Raises:
        InvalidSettings: the file can't be read, or lacks a section, or nothing can use it.
    """
    check_settings_file(Path(config))
    faults = [fault for section in (APP, *needed) if (fault := _fault(config, section))]
    if faults:
        raise InvalidSettings("\n".join(["this file can't be used:", *faults]))
    try:
        return plaster.get_loader(config, protocols=["wsgi"])
    except (plaster.InvalidURI, plaster.LoaderNotFound):
        raise InvalidSettings("the name of a settings file ends in .ini") from None


def _fault(config: str, section: str) -> str | None:
    """Return why a section can't be loaded. Messages of PasteDeploy may quote values."""
    uri = f"config:{Path(config).absolute()}"
    try:
        loadwsgi.loadcontext(_KINDS[section], uri, name="main")
    except ModuleNotFoundError:  # also of a distribution
        return f"  [{section}]: use: there is no such package"
    except configparser.Error:
        return f"  [{section}]: a reference such as %(here)s can't be resolved"
    except LookupError as error:
        missing = str(error).startswith("No section")
        return (
            f"  [{section}]: missing"
            if missing
            else f"  [{section}]: use: there is no such entry point"
        )
    except Exception as error:  # noqa: BLE001 - whatever an operator's `use` raises
        return f"  [{section}]: can't be loaded ({type(error).__name__})"
    return None
