"""The squares of the pipeline, by real confined workers.

Run as a program this is a fork server whose workers encode the largest square without loss, so that
a comparison sees what the decoders have made and not what the encoders have done to it.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.workers import LIMITS

from persona_profile.errors import BodyTooLarge, ServiceError
from persona_profile.images import Encoding, PictureOptions, Rendition
from persona_profile.images.admission import Admission
from persona_profile.images.formats import FORMATS, SIZES
from persona_profile.images.renderer import Renderer
from persona_profile.images.workers import fork_server, worker
from persona_profile.images.workers.pool import WorkerPool
from persona_profile.images.workers.worker_process import WorkerProcess
from persona_profile.settings import MAX_PICTURE_BYTES

SIZE = max(SIZES)
PROCESSOR_SECONDS = 20
DEADLINE_SECONDS = 60.0


class Made(NamedTuple):
    """A square of a file, or the code of its rejection."""

    format: str
    square: Image.Image | None
    code: str = ""


class PipelineSquares:
    """Makes the largest square of files; `with` ends the workers."""

    def __init__(self, *, encoded: bool) -> None:
        """Choose the largest rendition as a current browser gets it, or the square before encoding."""
        formats = FORMATS if encoded else ("webp",)
        options = PictureOptions(LIMITS, Encoding(formats), (SIZE,))
        admission = Admission(1, 1, 60, LIMITS.memory)
        self._pool = WorkerPool(1, WorkerProcess if encoded else start_lossless)
        self._renderer = Renderer(options, admission, self._pool, PROCESSOR_SECONDS, DEADLINE_SECONDS)
        self._mistakes = _Mistakes()

    def __enter__(self) -> Self:
        logging.getLogger("persona_profile.images").addHandler(self._mistakes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("persona_profile.images").removeHandler(self._mistakes)
        self._pool.close()

    def make(self, path: Path) -> Made:
        """Return the square of a file."""
        if path.stat().st_size > MAX_PICTURE_BYTES:
            return Made("unknown", None, BodyTooLarge.code)
        self._mistakes.last = ""
        with path.open("rb") as source, self._renderer.upload(source) as upload:
            try:
                upload.open()
                made = {each.format: each.data for each in upload.render()}
            except ServiceError as error:
                # A mistake of the program is "overloaded" to clients; its place is in the log.
                return Made(upload.format, None, self._mistakes.last or error.code)
        best = next(made[name] for name in FORMATS if name in made)
        return Made(upload.format, Image.open(io.BytesIO(best)).convert("RGBA"))


class _Mistakes(logging.Handler):
    """Keeps the last message about a worker that has failed."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def start_lossless() -> WorkerProcess:
    """Start the fork server of this module."""
    return WorkerProcess([sys.executable, "-P", str(Path(__file__))])


def lossless(squares: Mapping[int, Image.Image], _encoding: Encoding) -> tuple[Rendition, ...]:
    """Return the largest square as lossless WebP, and the JPEG that the service demands."""
    size, square = max(squares.items())
    webp, jpeg = io.BytesIO(), io.BytesIO()
    square.save(webp, "webp", lossless=True, exact=True, quality=0, method=0)
    Image.new("L", square.size).save(jpeg, "jpeg")
    return Rendition(size, "webp", webp.getvalue()), Rendition(size, "jpeg", jpeg.getvalue())


if __name__ == "__main__":
    worker.encode_squares = lossless
    fork_server.main()
