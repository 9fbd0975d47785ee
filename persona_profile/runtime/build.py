"""The build of the running software (Dockerflow, `version.json`)."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Final

PACKAGE: Final = "persona-profile-server"

MEMBERS: Final = ("source", "version", "commit", "build")
_MADE_AT_BUILD: Final = Path(__file__).parents[1] / "version.json"


def describe_build(path: Path | None) -> dict[str, str]:
    """Return the members of Dockerflow's version object; unknown members are empty.

    Args:
        path: a `version.json` of the deployment; by default that of the package's build, if any.

    Raises:
        ValueError: the file can't be read, or is not a version object.
    """
    file = path or _MADE_AT_BUILD
    document: object = {}
    if path is not None or file.exists():
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}") from None
        except ValueError:
            raise ValueError(f"{file}: not JSON") from None
    if not isinstance(document, dict) or not all(isinstance(document.get(m, ""), str) for m in MEMBERS):
        raise ValueError(f"{file}: not an object with {', '.join(MEMBERS)}")
    known = {"source": "", "version": version(PACKAGE), "commit": "", "build": ""}
    return known | {name: document[name] for name in MEMBERS if document.get(name)}
