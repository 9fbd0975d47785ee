"""Files of the browser client and the demo, which servers publish in one folder, `/static/`."""

from __future__ import annotations

from pathlib import Path

import persona_profile

CLIENT, DEMO = (
    Path(persona_profile.__file__).with_name("static") / name for name in ("client", "demo")
)


def static_file(name: str) -> Path:
    """Return the path of a file, which may be missing."""
    path = CLIENT / name
    return path if path.exists() else DEMO / name
