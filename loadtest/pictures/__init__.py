"""Huge pictures as phones make them, each upload another one, at the speed of copying memory.

A folder of files is made once (`python -m loadtest.pictures make --folder DIR`) and shared by all
processes of a machine, in memory too. A picture follows from its number alone: which kind, how it is
turned, and which cells over its middle are tinted warm or cool. No two numbers have the same bytes, or
the same pixels; the number can be read from any rendition that a server makes of it (`number_in`).

    library = PictureLibrary.open(folder)
    for number in numbers(seed, worker=0, workers=4):
        picture = library.picture(number)
        ...
        assert picture.matches(rendition)
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from loadtest.pictures.marks import CELLS, NUMBERS, cells_of, number_in
from loadtest.pictures.mosaics import (
    COLUMNS,
    MCU,
    HeicMosaic,
    JpegMosaic,
    PngMosaic,
    heic_pair,
    jpeg_pair,
    screenshot,
)

__all__ = ["KINDS", "PREPARED", "Kind", "Picture", "PictureLibrary", "number_in", "numbers"]

VERSION: Final = 1
"""Of what is made from the same parameters; part of the files' names."""

ORIENTATIONS: Final = (1, 3, 6, 8)
"""Of JPEGs (EXIF 2.32, 4.6.4.A), equally often: a phone held any way. HEIC and PNG are upright."""

_SHARES: Final = 100
_SCREENSHOT_COLUMNS: Final = 9  # eight cells and half a cell on either side


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of picture.

    Attributes:
        name: for people, and for files.
        format: `jpeg`, `heic` or `png`.
        share: of all pictures, in percent.
        width, height: pixels as stored. A photo's width is a multiple of 192, a HEIC's height of a
            twelfth of its width, a screenshot's width of 9.
        quality: the encoder's.
        noise, texture: see `scenes.photo`.

    Raises:
        ValueError: the size does not suit the format.
    """

    name: str
    format: str
    share: int
    width: int
    height: int
    quality: int = 0
    noise: float = 0.0
    texture: float = 0.0

    def __post_init__(self) -> None:
        side, cell = self.width // COLUMNS, self.width // _SCREENSHOT_COLUMNS
        suits = {
            "jpeg": not self.width % (COLUMNS * MCU) and CELLS * side <= self.height <= self.width,
            "heic": not self.width % (COLUMNS * MCU) and self.height == _SCREENSHOT_COLUMNS * side,
            "png": not self.width % _SCREENSHOT_COLUMNS and cell % 8 == 0 and self.height > self.width,
        }
        if not suits.get(self.format):
            raise ValueError(f"{self.name}: no {self.format} of {self.width} x {self.height} pixels")


# The mix of the capacity model: assumed, as no service has published what people upload. Noise and
# texture give a file the bytes per pixel of a phone's, and the processor time per byte to decode it.
KINDS: Final = (
    Kind("phone-12mp", "jpeg", 60, 4032, 3024, quality=90, noise=6.0, texture=8.0),
    Kind("phone-24mp", "jpeg", 20, 5760, 4320, quality=89, noise=5.5, texture=8.0),
    Kind("phone-48mp", "jpeg", 10, 8064, 6048, quality=88, noise=5.0, texture=7.0),
    Kind("screenshot", "png", 5, 1224, 2664),
    Kind("phone-heic", "heic", 5, 4032, 3024, quality=60, noise=2.0, texture=6.0),
)

PREPARED: Final = Kind("prepared", "jpeg", 0, 768, 576, quality=85, noise=4.0, texture=6.0)
"""Of the pictures that are there when a run begins: soon decoded, while the renditions are those of
any picture."""

MEDIA_TYPES: Final = {"jpeg": "image/jpeg", "png": "image/png", "heic": "image/heic"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to upload.

    Attributes:
        number: identifies it; no other picture shows the same.
        kind: its name.
        content_type: its media type.
        body: the file.
        width, height: pixels as stored, before it is turned upright.
        orientation: EXIF's.
    """

    number: int
    kind: str
    content_type: str
    body: bytes
    width: int
    height: int
    orientation: int

    def matches(self, rendition: bytes) -> bool:
        """Tell whether a server's rendition (whole picture, centred square) is of this picture."""
        return number_in(rendition) == self.number


class _Mosaic(Protocol):
    def body(self, cells: Sequence[bool], orientation: int) -> bytes: ...


class PictureLibrary:
    """Makes any picture of a mix; see `open`."""

    def __init__(self, mosaics: Sequence[tuple[Kind, _Mosaic]]) -> None:
        self._mosaics = mosaics
        self._by_share = [mosaic for mosaic in mosaics for _ in range(mosaic[0].share)]
        if len(self._by_share) != _SHARES:
            raise ValueError(f"the shares of the kinds add up to {len(self._by_share)} percent")

    @classmethod
    def open(
        cls,
        folder: Path,
        kinds: Sequence[Kind] = KINDS,
        *,
        seed: int = 1,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> PictureLibrary:
        """Map the files of a folder into memory; make those that are missing.

        Several processes may do so at once: one makes them, the others wait.

        Args:
            folder: is made if it is missing.
            kinds: the mix; their shares add up to 100.
            seed: of what the pictures show.
            tell: gets a line before each file that is made.

        Raises:
            OSError: the folder can't be used.
            ValueError: the shares do not add up, or a file was damaged: remove it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return cls([(kind, _mosaic(folder, kind, seed, tell)) for kind in kinds])

    def picture(self, number: int) -> Picture:
        """Return the picture of a number, the same at every call.

        Raises:
            ValueError: there is no such number.
        """
        draw = hashlib.blake2b(number.to_bytes(8), digest_size=4, person=b"kind").digest()
        kind, mosaic = self._by_share[int.from_bytes(draw[:3]) % _SHARES]
        return self._made(kind, mosaic, number, draw[3])

    def picture_of_kind(self, number: int, name: str) -> Picture:
        """Return a picture of that number and of a kind of one's choice.

        Raises:
            KeyError: there is no such kind.
            ValueError: there is no such number.
        """
        kind, mosaic = {kind.name: (kind, mosaic) for kind, mosaic in self._mosaics}[name]
        return self._made(kind, mosaic, number, number)

    def _made(self, kind: Kind, mosaic: _Mosaic, number: int, draw: int) -> Picture:
        orientation = ORIENTATIONS[draw % len(ORIENTATIONS)] if kind.format == "jpeg" else 1
        body = mosaic.body(cells_of(number, orientation), orientation)
        media_type = MEDIA_TYPES[kind.format]
        return Picture(number, kind.name, media_type, body, kind.width, kind.height, orientation)


def numbers(seed: int, worker: int = 0, workers: int = 1) -> Iterator[int]:
    """Return the numbers of pictures that a process uploads, in order and without end.

    The same seed gives the same ones; no two of the workers have one in common.

    Raises:
        ValueError: there is no such worker.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"no worker {worker} of {workers}")
    start = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest())
    return (number % NUMBERS for number in itertools.count(start + worker, workers))


def _mosaic(folder: Path, kind: Kind, seed: int, tell: Callable[[str], None]) -> _Mosaic:
    if kind.format == "png":
        panels, tile_row, tile_height = screenshot(kind.width, kind.height, seed)
        return PngMosaic(panels, tile_row, tile_height)
    parameters = json.dumps([VERSION, asdict(kind) | {"share": None}, seed], sort_keys=True)
    name = f"{kind.name}-{hashlib.sha256(parameters.encode()).hexdigest()[:16]}"
    paths = [folder / f"{name}-{tint}.{kind.format}" for tint in ("cool", "warm")]
    if not all(path.exists() for path in paths):
        tell(f"making {kind.name}")
        make = jpeg_pair if kind.format == "jpeg" else heic_pair
        pair = make(
            kind.width,
            kind.height,
            quality=kind.quality,
            noise=kind.noise,
            texture=kind.texture,
            seed=seed,
        )
        for path, data in zip(paths, pair, strict=True):
            _write(path, data)
    cool, warm = map(_mapped, paths)
    made = JpegMosaic if kind.format == "jpeg" else HeicMosaic
    return made(cool, warm, kind.width, kind.height)


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; the folder's lock is held."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)
