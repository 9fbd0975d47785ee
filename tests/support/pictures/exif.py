"""EXIF blocks of every kind, and files that carry them, or another orientation, in every place.

Bytes are put together here, as no library writes most of these.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from PIL import Image

from support.pictures.pictures import encode, png_chunk

BYTE, ASCII, SHORT, LONG, RATIONAL, SBYTE, SSHORT, SLONG = 1, 2, 3, 4, 5, 6, 8, 9
"""Types of EXIF 2.32, 4.6.2."""

ORIENTATION: Final = 0x0112
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
EXIF_IFD: Final = 0x8769
PIXEL_X, PIXEL_Y = 0xA002, 0xA003
_DESCRIPTION: Final = 0x010E

QUADRANTS: Final = ((220, 40, 40), (40, 180, 60), (40, 70, 210), (230, 200, 40))
"""Red, green above blue, yellow."""

_FORMATS: Final = {BYTE: "B", SHORT: "H", LONG: "I", SBYTE: "b", SSHORT: "h", SLONG: "i"}

Entry = tuple[int, int, object]
"""A tag, a type, a value: a number, several, a fraction, bytes."""


def orientation_entry(value: object, kind: int = SHORT) -> Entry:
    """Return the entry of an orientation."""
    return ORIENTATION, kind, value


def ifd(entries: list[Entry], at: int, order: str = "<", following: int = 0) -> bytes:
    """Return an IFD that begins at an offset of its block; longer values follow it."""
    table, longer = b"", b""
    data_at = at + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        count, data = _data(kind, value, order)
        if len(data) > 4:
            field = struct.pack(order + "I", data_at + len(longer))
            longer += data + b"\0" * (len(data) % 2)
        else:
            field = data.ljust(4, b"\0")
        table += struct.pack(order + "HHI", tag, kind, count) + field
    return struct.pack(order + "H", len(entries)) + table + struct.pack(order + "I", following) + longer


def _data(kind: int, value: object, order: str) -> tuple[int, bytes]:
    if isinstance(value, bytes):
        return len(value), value
    values = value if isinstance(value, tuple) else (value,)
    if kind == RATIONAL:
        pairs = [
            each if isinstance(each, list) else Fraction(each).as_integer_ratio() for each in values
        ]
        return len(values), b"".join(struct.pack(order + "II", *pair) for pair in pairs)
    return len(values), b"".join(struct.pack(order + _FORMATS[kind], each) for each in values)


def tiff(
    entries: list[Entry],
    order: str = "<",
    *,
    exif: list[Entry] | None = None,
    thumbnail: list[Entry] | None = None,
) -> bytes:
    """Return a TIFF block with a first IFD and, on request, an Exif IFD and a second IFD."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    listed = [*entries, (EXIF_IFD, LONG, 0)] if exif is not None else entries
    length = len(ifd(listed, 8, order))
    second = ifd(exif, 8 + length, order) if exif is not None else b""
    third = ifd(thumbnail, 8 + length + len(second), order) if thumbnail is not None else b""
    if exif is not None:
        listed = [*entries, (EXIF_IFD, LONG, 8 + length)]
    following = 8 + length + len(second) if thumbnail is not None else 0
    return head + ifd(listed, 8, order, following) + second + third


def density(
    x: object,
    y: object,
    width: object,
    height: object,
    *,
    unit: int | None = 2,
    turn: int = 1,
    order: str = "<",
) -> bytes:
    """Return a TIFF block with a resolution in pixels per inch, and the size that it stands for."""
    first: list[Entry] = [orientation_entry(turn)] if turn != 1 else []
    first += [
        (tag, RATIONAL, each)
        for tag, each in ((X_RESOLUTION, x), (Y_RESOLUTION, y))
        if each is not None
    ]
    first += [(RESOLUTION_UNIT, SHORT, unit)] if unit is not None else []
    sizes = ((PIXEL_X, width), (PIXEL_Y, height))
    return tiff(first, order, exif=[(tag, LONG, each) for tag, each in sizes if each is not None])


def turned_tiff(turn: int = 6) -> bytes:
    """Return the TIFF block of an orientation."""
    return tiff([orientation_entry(turn)])


def xmp(turn: int = 6) -> bytes:
    """Return an XMP packet with an orientation."""
    description = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>'
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        + description % turn
        + b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def patterned(width: int = 96, height: int = 64) -> Image.Image:
    """Return a picture of QUADRANTS; its sides are unequal."""
    picture = Image.new("RGB", (width, height))
    for index, colour in enumerate(QUADRANTS):
        left, top = width // 2 * (index % 2), height // 2 * (index // 2)
        picture.paste(colour, (left, top, left + width - width // 2, top + height - height // 2))
    return picture


def segment(marker: int, payload: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2) + payload


def app1(block: bytes) -> bytes:
    """Return the segment of an EXIF block."""
    return segment(0xE1, b"Exif\0\0" + block)


def xmp_app1(turn: int = 6) -> bytes:
    """Return the segment of an XMP packet."""
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(turn))


def jpeg(
    *segments: bytes, before: bytes | None = None, size: tuple[int, int] = (96, 64), **options: object
) -> bytes:
    """Return a JPEG with segments before its first marker of a kind, or at its start."""
    data = encode(patterned(*size), quality=95, **options)
    at = 2 if before is None else data.index(before)
    return data[:at] + b"".join(segments) + data[at:]


def png(
    *chunks: bytes, after: bool = False, size: tuple[int, int] = (96, 64), **options: object
) -> bytes:
    """Return a PNG with chunks before its pixels, or after them."""
    data = encode(patterned(*size), "PNG", **options)
    at = data.index(b"IEND" if after else b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def raw_profile(name: str, data: bytes) -> bytes:
    """Return a text in ImageMagick's form of a profile, in hexadecimal digits."""
    digits = data.hex()
    lines = [digits[at : at + 72] for at in range(0, len(digits), 72)]
    return f"\n{name}\n{len(data):8}\n{chr(10).join(lines)}\n".encode()


def webp(
    *chunks: tuple[bytes, bytes], flags: int = 0, picture: Image.Image | None = None, **options: object
) -> bytes:
    """Return an extended WebP with chunks after its pixels."""
    picture = picture or patterned()
    data = encode(picture, "WEBP", **options)
    width, height = picture.size
    head = (
        bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    parts = [(b"VP8X", head), (data[12:16], data[20:]), *chunks]
    body = b"WEBP" + b"".join(
        kind + len(each).to_bytes(4, "little") + each + b"\0" * (len(each) % 2) for kind, each in parts
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def avif(*, irot_imir: int = 1, exif: int | None = None, picture: Image.Image | None = None) -> bytes:
    """Return an AVIF with an orientation in its properties, and on request another in its EXIF."""
    # The library moves the orientation to the properties, and keeps the other entry.
    block = tiff([orientation_entry(irot_imir), (_DESCRIPTION, ASCII, b"text\0\0\0\0")])
    buffer = io.BytesIO()
    (picture or patterned()).save(buffer, "AVIF", quality=100, speed=10, exif=block)
    data = buffer.getvalue()
    if exif is None:
        return data
    described = struct.pack("<HHI", _DESCRIPTION, ASCII, 8)
    at = data.index(described, data.index(b"II*\0"))
    entry = struct.pack("<HHIHH", ORIENTATION, SHORT, 1, exif, 0)
    data = data[:at] + entry + data[at + 12 :]
    first = struct.pack("<HHIH", ORIENTATION, SHORT, 1, irot_imir)
    return (
        data.replace(first, struct.pack("<HHIH", _DESCRIPTION, SHORT, 1, 0))
        if exif != irot_imir
        else data
    )


def gif(turn: int = 6) -> bytes:
    """Return a GIF with an orientation in XMP."""
    data = encode(patterned().quantize(16), "GIF")
    at = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    return data[:at] + b"\x21\xff\x0bXMP DataXMP" + xmp(turn) + trailer + data[at:]


def text_chunks(turn: int = 6) -> Mapping[str, bytes]:
    """Return PNG chunks whose text has an orientation."""
    block = b"Exif\0\0" + turned_tiff(turn)
    profile = raw_profile("exif", block)
    return {
        "tEXt": png_chunk(b"tEXt", b"Raw profile type exif\0" + profile),
        "zTXt": png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile)),
        "app1": png_chunk(
            b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(raw_profile("generic", block))
        ),
        "iTXt": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(turn)),
    }
