"""Plugins of other packages, found by entry points."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, EntryPoints, entry_points


def find_plugin(group: str, name: str) -> EntryPoint | None:
    """Return the entry point of a name in a group; None if no installed package has it."""
    return next(iter(_installed(group).select(name=name)), None)


def plugin_names(group: str) -> str:
    """Return the names of a group, separated by commas."""
    return ", ".join(sorted(_installed(group).names))


@functools.cache
def _installed(group: str) -> EntryPoints:
    return entry_points(group=group)  # reads a file of every installed package
