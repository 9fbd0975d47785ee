"""Huge pictures as phones make them; each upload has its own bytes, at the speed of copying memory.

A folder of marked pictures is made once (`python -m loadtest.pictures make --folder DIR`) and shared by
all processes of a machine, in memory too. An upload's number stands in its file, and decides its kind,
its picture and how the camera was held. `mark_in` reads from a server's rendition which picture it is.

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
from typing import Final

from loadtest.pictures import scenes
from loadtest.pictures.files import MEDIA_TYPES, encoded, is_whole, stamped
from loadtest.pictures.marks import TURNS, cells_of, mark_in

__all__ = ["KINDS", "PREPARED", "Kind", "Picture", "PictureLibrary", "mark_in", "numbers"]

VERSION: Final = 2
"""Of the pictures that the same parameters give; part of the files' names."""

_NUMBERS: Final = 2**64
_SHARES: Final = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of picture.

    Attributes:
        name: for people, and for files.
        format: `jpeg`, `heic` or `png`.
        share: of all uploads, in percent.
        width, height: pixels as stored.
        stored: different pictures of this kind. Photos are turned four ways.
        quality: the encoder's.
        noise, texture: see `scenes.photo`.

    Raises:
        ValueError: no picture of this kind can be made.
    """

    name: str
    format: str
    share: int
    width: int
    height: int
    stored: int
    quality: int = 0
    noise: float = 0.0
    texture: float = 0.0

    def __post_init__(self) -> None:
        if self.format not in MEDIA_TYPES or min(self.stored, self.width, self.height) < 1:
            raise ValueError(
                f"{self.name}: no pictures of {self.width} x {self.height} as {self.format}"
            )

    @property
    def marks(self) -> int:
        """The number of marks that pictures of this kind show."""
        return self.stored * (1 if self.format == "png" else TURNS)


# The mix of the capacity model: assumed, as no service has published its own. Noise and
# texture give a file the bytes per pixel of a phone's, and the processor time per byte to decode it.
# In more than 99 of 100 cases two uploads have different marks.
KINDS: Final = (
    Kind("phone-12mp", "jpeg", 60, 4032, 3024, 24, quality=90, noise=4.7, texture=6.5),
    Kind("phone-24mp", "jpeg", 20, 5760, 4320, 12, quality=89, noise=4.3, texture=6.5),
    Kind("phone-48mp", "jpeg", 10, 8064, 6048, 6, quality=88, noise=3.9, texture=6.0),
    Kind("screenshot", "png", 5, 1224, 2664, 8),
    Kind("phone-heic", "heic", 5, 4032, 3024, 1, quality=60, noise=1.4, texture=5.0),
)

PREPARED: Final = Kind("prepared", "jpeg", 0, 768, 576, 64, quality=85, noise=4.0, texture=6.0)
"""The kind of the pictures at the beginning of a run: quick to decode, with ordinary renditions."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to upload.

    Attributes:
        number: stands in the file: no other file has it.
        mark: that its renditions show. Some other uploads have the same.
        turn: quarter turns clockwise by which it becomes upright.
    """

    number: int
    kind: Kind
    mark: int
    turn: int
    content_type: str
    body: bytes

    def matches(self, rendition: bytes) -> bool:
        """Return whether a server's rendition (whole picture, centred square) is of this picture."""
        return mark_in(rendition) == self.mark


class PictureLibrary:
    """The pictures of a mix; see `open`."""

    def __init__(self, files: Sequence[tuple[Kind, Sequence[memoryview]]]) -> None:
        self._by_share = [kind for kind, _ in files for _ in range(kind.share)]
        if len(self._by_share) != _SHARES:
            raise ValueError(f"the shares of the kinds add up to {len(self._by_share)} percent")
        self._files: dict[str, tuple[Kind, int, Sequence[memoryview]]] = {}
        first = 0
        for kind, own in files:
            self._files[kind.name] = (kind, first, own)
            first += kind.stored

    @classmethod
    def open(
        cls,
        folder: Path,
        kinds: Sequence[Kind] = KINDS,
        *,
        seed: int = 1,
        report: Callable[[str], None] = lambda _line: None,
    ) -> PictureLibrary:
        """Map the files of a folder into memory; make the missing ones, with a report of each kind.

        Several processes may do so at once: one makes them, the others wait.

        Raises:
            OSError: the folder can't be used.
            ValueError: the shares do not add up, or a file is damaged: remove it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            first, files = 0, []
            for kind in kinds:
                paths = _paths(folder, kind, first, seed)
                if not all(path.exists() for path in paths):
                    report(f"making {kind.name}")
                    _make(paths, kind, first, seed)
                files.append((kind, [_mapped(path, kind.format) for path in paths]))
                first += kind.stored
        return cls(files)

    def picture(self, number: int) -> Picture:
        """Return the picture of a number of 64 bits, the same at every call."""
        draw = hashlib.blake2b(number.to_bytes(8), digest_size=8, person=b"kind").digest()
        kind = self._by_share[int.from_bytes(draw[:4]) % _SHARES]
        return self._picture(kind.name, number, int.from_bytes(draw[4:]))

    def picture_of_kind(self, number: int, name: str) -> Picture:
        """Return a picture of that number and kind; the next number has the next mark.

        Raises:
            KeyError: there is no such kind.
        """
        return self._picture(name, number, number)

    def _picture(self, name: str, number: int, draw: int) -> Picture:
        kind, first, files = self._files[name]
        stored, turn = divmod(draw % kind.marks, kind.marks // kind.stored)
        body = stamped(files[stored], kind.format, number, turn)
        mark = TURNS * (first + stored) + turn
        return Picture(number, kind, mark, turn, MEDIA_TYPES[kind.format], body)


def numbers(seed: int, worker: int = 0, workers: int = 1) -> Iterator[int]:
    """Return the numbers of pictures that a process uploads, in order and without end.

    The same seed gives the same numbers; no two workers have one in common.

    Raises:
        ValueError: there is no such worker.
    """
    if not 0 <= worker < workers:
        raise ValueError(f"no worker {worker} of {workers}")
    start = int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest())
    return (number % _NUMBERS for number in itertools.count(start + worker, workers))


def _paths(folder: Path, kind: Kind, first: int, seed: int) -> list[Path]:
    parameters = json.dumps([VERSION, asdict(kind) | {"share": None}, first, seed], sort_keys=True)
    name = f"{kind.name}-{hashlib.sha256(parameters.encode()).hexdigest()[:16]}"
    return [folder / f"{name}-{index:02}.{kind.format}" for index in range(kind.stored)]


def _make(paths: Sequence[Path], kind: Kind, first: int, seed: int) -> None:
    """Write the pictures of a kind: one scene, marked and encoded for each path."""
    if kind.format == "png":
        scene = scenes.screenshot(kind.width, kind.height, seed)
    else:
        scene = scenes.photo(kind.width, kind.height, noise=kind.noise, texture=kind.texture, seed=seed)
    for stored, path in enumerate(paths, first):
        data = encoded(scenes.tinted(scene, cells_of(stored)), kind.format, kind.quality)
        # A file is there whole or not at all.
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(path)


def _mapped(path: Path, format_name: str) -> memoryview:
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if not is_whole(data, format_name):
        raise ValueError(f"{path} is cut off")
    return data
