"""Parts that other packages may add, by entry points."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, EntryPoints, entry_points


def find_plugin(group: str, name: str) -> EntryPoint | None:
    """Return the entry point of that name, if a package that is installed has one."""
    return next(iter(_installed(group).select(name=name)), None)


def plugin_names(group: str) -> str:
    """Return the names of a group, for a message."""
    return ", ".join(sorted(_installed(group).names))


@functools.cache
def _installed(group: str) -> EntryPoints:
    return entry_points(group=group)  # reads a file of every package
