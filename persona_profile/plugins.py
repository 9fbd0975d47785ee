"""Plugins of other packages, found by entry points or dotted names."""

from __future__ import annotations

import functools
import pkgutil
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any


class PluginNotFound(Exception):
    """A name is neither that of an entry point nor a dotted name that can be imported."""


def load_plugin(group: str, name: str) -> Any:
    """Return the object of an entry point, or of a dotted name.

    Raises:
        PluginNotFound: there is none; the message lists the names of the group.
    """
    found = find_plugin(group, name)
    try:
        return found.load() if found else pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        message = f"neither one of {plugin_names(group)} nor a dotted name that can be imported"
        raise PluginNotFound(message) from None


def find_plugin(group: str, name: str) -> EntryPoint | None:
    """Return the entry point of a name in a group; None if no installed package has it."""
    return next(iter(_installed(group).select(name=name)), None)


def plugin_names(group: str) -> str:
    """Return the names of a group, separated by commas."""
    return ", ".join(sorted(_installed(group).names))


@functools.cache
def _installed(group: str) -> EntryPoints:
    return entry_points(group=group)  # reads a file of every installed package
