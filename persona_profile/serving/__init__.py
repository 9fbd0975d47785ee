"""waitress around the application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def make_app(global_config: Mapping[str, str] | None = None, **settings: str) -> Any:
    """Return the application of a settings file. See `persona_profile.app.main`.

    PasteDeploy loads this module also for a command that reads the settings alone. So the application
    and its views are imported only here.
    """
    from persona_profile.app import main  # noqa: PLC0415

    return main(global_config, **settings)
