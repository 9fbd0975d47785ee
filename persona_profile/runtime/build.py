"""Which build this is (Dockerflow, `version.json`)."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGE: Final = "persona-profile-server"

MEMBERS: Final = ("source", "version", "commit", "build")
_MADE_AT_BUILD: Final = Path(__file__).parents[1] / "version.json"


def describe_build(path: Path | None) -> dict[str, str]:
    """Return the members of Dockerflow's version object; empty what is not known.

    Args:
        path: a `version.json` that the deployment wrote; else that of the package's build, if it has
            one.

    Raises:
        ValueError: it can't be read, or is another thing.
    """
    file = path or _MADE_AT_BUILD
    told: object = {}
    if path is not None or file.exists():
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}") from None
        except ValueError:
            raise ValueError(f"{file}: not JSON") from None
    if not isinstance(told, dict) or not all(isinstance(told.get(m, ""), str) for m in MEMBERS):
        raise ValueError(f"{file}: not an object with {', '.join(MEMBERS)}")
    known = {"source": "", "version": version(PACKAGE), "commit": "", "build": ""}
    return known | {name: told[name] for name in MEMBERS if told.get(name)}
