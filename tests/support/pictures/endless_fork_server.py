"""A fork server whose workers never finish one picture; they decode all others.

It simulates a file of unbounded cost on machines of any speed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from persona_profile.images import pipeline
from persona_profile.images.workers import fork_server
from persona_profile.images.workers.worker_process import WorkerProcess

SIDE = 97
"""Width and height in pixels of the endless picture, a PNG."""


def start() -> WorkerProcess:
    """Start the fork server."""
    return WorkerProcess([sys.executable, "-P", str(Path(__file__))])


def main() -> None:
    """Run the fork server, with workers that never finish the picture."""
    match_transparency = pipeline.match_transparency

    def never_end(picture: Image.Image) -> None:
        while picture.size == (SIDE, SIDE):
            pass
        match_transparency(picture)

    pipeline.match_transparency = never_end
    fork_server.main()


if __name__ == "__main__":
    main()
