"""Builders of HEIF and AVIF files with derived images (ISO/IEC 14496-12, 23008-12)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from PIL import Image

from support.pictures.pictures import encode, heic

TILE = 64
COLOUR = (90, 120, 40)
_FAST = {"preset": "ultrafast"}
_ESSENTIAL = frozenset({b"av1C", b"hvcC", b"clap", b"irot", b"imir"})
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box."""
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full_box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box with version and flags, both 0."""
    return box(kind, bytes(4), *parts)


@dataclass(frozen=True)
class Item:
    """An item of a file; its number is its place in the list, counted from 1.

    Attributes:
        kind: `hvc1`, `av01`, or the type of a derived image, whose description is `data`.
        size: the claimed width and height.
        data: the content; in `idat` for a derived image, otherwise behind the boxes.
        inputs: numbers of the source items.
        configuration: the decoder's configuration box.
        alpha_of: the number of the item that this alpha plane belongs to.
        properties: further property boxes, in their order.
    """

    kind: bytes
    size: tuple[int, int]
    data: bytes
    inputs: Sequence[int] = ()
    configuration: bytes = b""
    alpha_of: int | None = None
    properties: tuple[bytes, ...] = ()


@cache
def tile(codec: str = "AVIF", side: int = TILE, claimed: int | None = None) -> Item:
    """Return a coded image of one colour.

    Args:
        codec: `AVIF` or `HEIC`.
        side: its width and height in pixels.
        claimed: width and height in its boxes; by default the real ones.
    """
    picture = Image.new("RGB", (side, side), COLOUR)
    made = coded(picture, codec, **({"speed": 10} if codec == "AVIF" else {"enc_params": _FAST}))
    return replace(made, size=(claimed or side,) * 2)


def coded(picture: Image.Image, codec: str, **options: Any) -> Item:
    """Return a coded image; width and height must be multiples of 8."""
    file = encode(picture, "AVIF", **options) if codec == "AVIF" else heic(picture, **options)
    kind, name = (b"av01", b"av1C") if codec == "AVIF" else (b"hvc1", b"hvcC")
    at = file.index(name)
    configuration = file[at - 4 : at - 4 + int.from_bytes(file[at - 4 : at])]
    return Item(kind, picture.size, _payload(file), (), configuration)


def grid(columns: int, rows: int, inputs: Sequence[int], size: tuple[int, int] | None = None) -> Item:
    """Return a grid of tiles; the default size fits small tiles."""
    width, height = size or (columns * TILE, rows * TILE)
    data = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    return Item(b"grid", (width, height), data, inputs)


def overlay(inputs: Sequence[int], size: tuple[int, int] = (TILE, TILE)) -> Item:
    """Return an overlay of images."""
    data = bytes(2) + b"\0\0\0\0\0\0\xff\xff" + struct.pack(">HH", *size) + bytes(4) * len(inputs)
    return Item(b"iovl", size, data, inputs)


def identity(item: int, size: tuple[int, int] = (TILE, TILE)) -> Item:
    """Return an identity item of an image."""
    return Item(b"iden", size, b"", (item,))


def heif(items: Sequence[Item], *boxes: bytes, extents: int = 1) -> bytes:
    """Return a file of items; the first is the primary picture.

    Args:
        items: items in the order of their numbers.
        boxes: further boxes inside `meta`.
        extents: pieces of each item; all but the last are empty.
    """
    properties, belongs = [], struct.pack(">I", len(items))
    for number, item in enumerate(items, 1):
        mine = [full_box(b"ispe", struct.pack(">II", *item.size)), full_box(b"pixi", b"\3\x08\x08\x08")]
        mine += [item.configuration] * bool(item.configuration)
        mine += [full_box(b"auxC", ALPHA)] * (item.alpha_of is not None)
        mine += item.properties
        properties += [each for each in mine if each not in properties]
        # Essential: a reader that can't use the property must not decode the item.
        indices = [properties.index(each) + 1 | 0x80 * (each[4:8] in _ESSENTIAL) for each in mine]
        belongs += struct.pack(">HB", number, len(indices)) + bytes(indices)
    kinds = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0), item.kind, b"\0")
        for number, item in enumerate(items, 1)
    ]
    tables = (
        full_box(b"hdlr", bytes(4), b"pict", bytes(12), b"\0"),
        full_box(b"pitm", b"\0\1"),
        full_box(b"iinf", struct.pack(">H", len(items)), *kinds),
        full_box(b"iref", *_references(items)),
        box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", belongs)),
        *boxes,
    )
    brand = b"avif" if any(item.kind == b"av01" for item in items) else b"heic"
    head = box(b"ftyp", brand, bytes(4), brand + b"mif1miaf")
    derived = b"".join(item.data for item in items if not item.configuration)
    coded = b"".join(dict.fromkeys(item.data for item in items if item.configuration))

    def meta(offset: int) -> bytes:
        places = _places(items, derived, coded, offset, extents)
        return full_box(b"meta", *tables, places, box(b"idat", derived) if derived else b"")

    offset = len(head) + len(meta(0)) + 8
    return head + meta(offset) + box(b"mdat", coded)


def _references(items: Sequence[Item]) -> list[bytes]:
    found = []
    for number, item in enumerate(items, 1):
        if item.inputs:
            count = len(item.inputs)
            found.append(box(b"dimg", struct.pack(f">HH{count}H", number, count, *item.inputs)))
        if item.alpha_of is not None:
            found.append(box(b"auxl", struct.pack(">HHH", number, 1, item.alpha_of)))
    return found


def _places(items: Sequence[Item], derived: bytes, coded: bytes, offset: int, extents: int) -> bytes:
    """Return the box with the items' locations: in `idat`, or at an offset of the file."""
    places = struct.pack(">H", len(items))
    in_idat = 0
    for number, item in enumerate(items, 1):
        start = offset + coded.index(item.data) if item.configuration else in_idat
        places += struct.pack(">HHHH", number, not item.configuration, 0, extents)
        places += struct.pack(">II", start, 0) * (extents - 1)
        places += struct.pack(">II", start, len(item.data))
        in_idat += 0 if item.configuration else len(item.data)
    return box(b"iloc", b"\1\0\0\0", b"\x44\0", places)


def _payload(file: bytes) -> bytes:
    """Return the content of a file's `mdat` box."""
    at = 0
    while file[at + 4 : at + 8] != b"mdat":
        at += int.from_bytes(file[at : at + 4])
    return file[at + 8 : at + int.from_bytes(file[at : at + 4])]
