"""The configuration files that are shipped, with a value in each of their places (`@NAME@`)."""

from __future__ import annotations

import re
from pathlib import Path

SHIPPED = Path(__file__).parent


def fill(name: str, path: Path, **values: str) -> None:
    """Write a shipped file, filled in, where its reader alone may read it.

    Raises:
        ValueError: the file has other places than there are values for.
    """
    write(path, filled((SHIPPED / name).read_text(), **values))


def filled(text: str, **values: str) -> str:
    """Return a text with a value in each of its places.

    Raises:
        ValueError: it has other places than there are values for.
    """
    places = set(re.findall(r"@([A-Z]+[0-9]*)@", text))
    if places != values.keys():
        raise ValueError(f"places {sorted(places)}, values {sorted(values)}")
    for place, value in values.items():
        text = text.replace(f"@{place}@", value)
    return text


def write(path: Path, text: str) -> None:
    """Write a file that its owner alone may read: whole, or not at all."""
    made = path.with_name(f"{path.name}.new")
    made.touch(mode=0o600)
    made.chmod(0o600)
    made.write_text(text)
    made.replace(path)
