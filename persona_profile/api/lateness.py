"""Refuses at once what has waited too long already: whoever comes next need not wait as well."""

from __future__ import annotations

from typing import Final

from pyramid.config import Configurator
from pyramid.events import ContextFound

from persona_profile.errors import Overloaded

WAITED: Final = "persona_profile.waited"
"""Of a WSGI environment: how long the request has waited for a thread, in seconds."""

MOST_SECONDS: Final = 5.0
"""For so long a request may wait: dialogs give up after 8 s, and later answers would be for nobody."""

RETRY_SECONDS = 5
OF_OPERATORS = "/__"
"""How the paths begin of heartbeats and the like: they tell of the process itself, and cost little."""


def refuse_late_request(event: ContextFound) -> None:
    """Go on with a request, unless it is late.

    Raises:
        Overloaded: it is.
    """
    waited = event.request.environ.get(WAITED, 0.0)
    if waited > MOST_SECONDS and not event.request.path_info.startswith(OF_OPERATORS):
        raise Overloaded("Too many requests are under way; try again.", RETRY_SECONDS)


def includeme(config: Configurator) -> None:
    """Look at each request before its view does."""
    config.add_subscriber(refuse_late_request, ContextFound)
