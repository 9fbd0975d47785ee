"""Files with an orientation or a density in every place and form, by name; browsers disagree on few."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from support.pictures.exif import (
    ASCII,
    BYTE,
    EXIF_IFD,
    LONG,
    PIXEL_X,
    PIXEL_Y,
    RATIONAL,
    RESOLUTION_UNIT,
    SBYTE,
    SHORT,
    SLONG,
    SSHORT,
    X_RESOLUTION,
    Y_RESOLUTION,
    Entry,
    app1,
    avif,
    density,
    gif,
    ifd,
    jpeg,
    orientation_entry,
    patterned,
    png,
    segment,
    text_chunks,
    tiff,
    turned_tiff,
    webp,
    xmp,
    xmp_app1,
)
from support.pictures.pictures import encode, interlaced_rows, png_chunk

_SIX, _THREE, _NINE = (orientation_entry(turn) for turn in (6, 3, 9))
_MAKER: Entry = (0x010F, ASCII, b"abc\0")


def turned_files() -> dict[str, bytes]:
    """Return the files whose orientation is in question, by name."""
    files = {f"{name}.jpg": jpeg(app1(block)) for name, block in _blocks()}
    files |= {f"{name}.png": png(png_chunk(b"eXIf", block)) for name, block in _blocks()}
    files |= {f"segments-{name}.jpg": data for name, data in _jpegs()}
    files |= {f"chunks-{name}.png": data for name, data in _pngs()}
    files |= {f"{turn}.avif": avif(irot_imir=turn) for turn in range(1, 9)}
    files |= {f"{turn}-exif.avif": avif(irot_imir=turn, exif=6) for turn in (1, 3, 8)}
    exif = (b"EXIF", turned_tiff())
    files |= {
        "exif.webp": webp(exif, flags=8),
        "exif-lossless.webp": webp(exif, flags=8, lossless=True),
        "exif-prefixed.webp": webp((b"EXIF", b"Exif\0\0" + turned_tiff()), flags=8),
        "exif-unflagged.webp": webp(exif),
        "xmp.webp": webp((b"XMP ", xmp()), flags=4),
        "xmp.gif": gif(),
    }
    return files


def _blocks() -> Iterator[tuple[str, bytes]]:
    """Yield EXIF blocks, with their names."""
    for order, name in (("<", "little"), (">", "big")):
        for turn in range(10):
            yield f"short-{turn}-{name}", tiff([orientation_entry(turn)], order)
        for kind in (BYTE, LONG, SBYTE, SSHORT, SLONG):
            yield f"type-{kind}-{name}", tiff([orientation_entry(6, kind)], order)
        yield f"two-values-{name}", tiff([orientation_entry((6, 0))], order)
    yield "three-values", tiff([orientation_entry((6, 6, 6))])
    yield "no-value", _patched(turned_tiff(), 14, bytes(4))
    yield "dirty-value", _patched(turned_tiff(), 20, b"\1\0")
    yield "undefined", _patched(turned_tiff(), 12, b"\7\0")
    yield "thumbnail", tiff([_MAKER], thumbnail=[_SIX])
    yield "thumbnail-too", tiff([_THREE], thumbnail=[_SIX])
    yield "exif-ifd", tiff([], exif=[_SIX])
    yield "exif-ifd-too", tiff([_THREE], exif=[_SIX])
    yield "exif-ifd-after-9", tiff([_NINE], exif=[_SIX])
    yield "exif-ifd-first", _ifd_first([_SIX], [_THREE])
    yield "gps-ifd", _start(8) + ifd([(0x8825, LONG, 26)], 8) + ifd([_SIX], 26)
    nested = ifd([(EXIF_IFD, LONG, 26)], 8) + ifd([(EXIF_IFD, LONG, 44)], 26)
    yield "exif-ifd-in-exif-ifd", _start(8) + nested + ifd([_SIX], 44)
    yield "twice", tiff([_SIX, _THREE])
    yield "twice-1-6", tiff([orientation_entry(1), _SIX])
    yield "twice-9-6", tiff([_NINE, _SIX])
    yield "twice-long-short", tiff([orientation_entry(3, LONG), _SIX])
    yield "unsorted", tiff([(0x0213, SHORT, 1), _SIX])
    yield "after-400-entries", tiff([(0x9000 + each, SHORT, 1) for each in range(400)] + [_SIX])
    yield "after-unknown-type", _patched(tiff([(0x0100, SHORT, 1), _SIX]), 12, b"\x63\0")
    for at in (0, 4, 9, 1000, 40_000, 0xFFFFFFF0):
        padding = bytes(at - 8) if 8 <= at < 65_000 else b""
        yield f"ifd-at-{at}", _start(at) + padding + turned_tiff()[8:]
    yield "ifd-after-the-end", _start(5000) + turned_tiff()[8:]
    for count in (0, 2, 65_535):
        yield f"{count}-entries", _patched(turned_tiff(), 8, struct.pack("<H", count))
    for cut in (4, 6, 8):
        yield f"cut-by-{cut}", turned_tiff()[:-cut]
    yield "next-ifd-in-a-circle", _patched(turned_tiff(), 22, struct.pack("<I", 8))
    yield "next-ifd-after-the-end", _patched(turned_tiff(), 22, struct.pack("<I", 99_999))
    yield "trailing", turned_tiff() + b"\xaa" * 100
    for magic in (b"II+\0", b"II\0\0", b"II\0*", b"IM*\0", b"XX*\0"):
        yield f"magic-{magic.hex()}", magic + turned_tiff()[4:]


def _jpegs() -> Iterator[tuple[str, bytes]]:
    """Yield JPEGs whose EXIF is in some segment, with their names."""
    six, three = app1(turned_tiff(6)), app1(turned_tiff(3))
    plain, progressive = jpeg(), jpeg(progressive=True)
    yield "two", jpeg(six, three)
    yield "two-without-a-value", jpeg(app1(tiff([_MAKER])), six)
    yield "two-broken", jpeg(app1(b"II"), six)
    yield "two-9", jpeg(app1(turned_tiff(9)), six)
    yield "two-empty", jpeg(segment(0xE1, b"Exif\0\0"), six)
    yield "xmp", jpeg(xmp_app1())
    yield "xmp-first", jpeg(xmp_app1(3), six)
    yield "xmp-second", jpeg(six, xmp_app1(3))
    yield "other-app1-first", jpeg(segment(0xE1, b"Other\0\0\0\0\0"), segment(0xE1, b"Ex"), six)
    for name, marker in (("tables", b"\xff\xdb"), ("frame", b"\xff\xc0"), ("codes", b"\xff\xc4")):
        yield f"before-the-{name}", jpeg(six, before=marker)
    yield "before-the-scan", jpeg(six, before=b"\xff\xda")
    second = progressive.index(b"\xff\xc4", progressive.index(b"\xff\xda"))
    yield "before-the-second-scan", progressive[:second] + six + progressive[second:]
    yield "before-the-end", plain[:-2] + six + plain[-2:]
    yield "after-the-end", plain + six
    for start in (b"Exif\0\1", b"Exif\0\xff", b"exif\0\0", b"EXIF\0\0", b"Exif\0"):
        yield f"start-{start.hex()}", jpeg(segment(0xE1, start + turned_tiff()))
    yield "app2", jpeg(segment(0xE2, b"Exif\0\0" + turned_tiff()))
    yield "comment", jpeg(segment(0xFE, b"Exif\0\0" + turned_tiff()))
    yield "filled", jpeg(b"\xff\xff" + six)
    yield "extension", jpeg(segment(0xE0, b"JFXX\0\x10"), six)


def _pngs() -> Iterator[tuple[str, bytes]]:
    """Yield PNGs whose EXIF is in some chunk, with their names."""
    six, three = (png_chunk(b"eXIf", turned_tiff(turn)) for turn in (6, 3))
    yield "two", png(six, three)
    yield "two-empty", png(png_chunk(b"eXIf", b""), six)
    yield "two-without-a-value", png(png_chunk(b"eXIf", tiff([_MAKER])), six)
    before = png(three)
    yield "before-and-after", before[:-12] + six + before[-12:]
    yield "after", png(six, after=True)
    yield "prefixed", png(png_chunk(b"eXIf", b"Exif\0\0" + turned_tiff()))
    yield "wrong-checksum", png(six[:-4] + b"\1\2\3\4")
    yield "other-name", png(png_chunk(b"zxIf", turned_tiff()))
    palette = encode(patterned().quantize(8), "PNG")
    yield "before-the-palette", palette[:33] + six + palette[33:]
    yield "animated", png(six, save_all=True, append_images=[patterned().rotate(180)])
    yield "interlaced", _interlaced(six)
    for name, chunk in text_chunks().items():
        yield f"text-{name}", png(chunk)


def dense_files() -> dict[str, bytes]:
    """Return the JPEGs of 96 x 64 pixels whose density is in question, by name."""
    blocks = {
        "half": density(144, 144, 48, 32),
        "half-big": density(144, 144, 48, 32, order=">"),
        "half-turned": density(144, 144, 48, 32, turn=6),
        "half-mirrored": density(144, 144, 48, 32, turn=2),
        "turned-size": density(144, 144, 32, 48, turn=6),
        "stretched": density(144, 72, 48, 64),
        "stretched-turned": density(144, 72, 48, 64, turn=6),
        "shrunk": density(144, 288, 48, 16),
        "twice": density(36, 36, 192, 128),
        "300": density(300, 300, 23, 15),
        "300-rounded-up": density(300, 300, 24, 16),
        "fraction": density(Fraction(2880, 7), Fraction(2880, 7), 17, 11),
        "same": density(72, 72, 96, 64),
        "centimetres": density(57, 57, 48, 32, unit=3),
        "no-unit": density(144, 144, 48, 32, unit=1),
        "without-unit": density(144, 144, 48, 32, unit=None),
        "without-width": density(144, 144, None, 32),
        "without-resolution": density(None, 144, 48, 32),
        "other-width": density(144, 144, 49, 32),
        "stored-size": density(144, 144, 96, 64),
        "over-zero": density([144, 0], [144, 0], 48, 32),
        "zero": density([0, 1], [0, 1], 48, 32),
        "nothing-left": density(72_000, 72_000, 0, 0),
        "short-sizes": tiff(_resolution(144), exif=_sizes(48, 32, SHORT)),
        "byte-sizes": tiff(_resolution(144), exif=_sizes(48, 32, BYTE)),
        "signed-sizes": tiff(_resolution(144), exif=_sizes(48, 32, SLONG)),
        "whole-resolutions": tiff(_resolution(144, LONG), exif=_sizes(48, 32)),
        "long-unit": tiff(_resolution(144, unit=LONG), exif=_sizes(48, 32)),
        "one-ifd": tiff([*_resolution(144), *_sizes(48, 32)]),
        "exif-ifd": tiff([], exif=[*_resolution(144), *_sizes(48, 32)]),
        "thumbnail": tiff([], exif=_sizes(48, 32), thumbnail=_resolution(144)),
        "two-resolutions": tiff([*_resolution(144), *_resolution(72)], exif=_sizes(48, 32)),
        "two-sizes": tiff(_resolution(144), exif=[*_sizes(96, 64), *_sizes(48, 32)]),
    }
    files = {f"density-{name}.jpg": jpeg(app1(block)) for name, block in blocks.items()}
    for width in (65, 66, 67):
        for natural in (width // 2, (width + 1) // 2):
            block = density(144, 144, natural, natural)
            files[f"density-{width}-as-{natural}.jpg"] = jpeg(app1(block), size=(width, width))
    files["density-jfif.jpg"] = encode(patterned(), quality=95, dpi=(144, 144))
    files["density-second.jpg"] = jpeg(app1(turned_tiff()), app1(blocks["half"]))
    return files


def _resolution(value: object, kind: int = RATIONAL, unit: int = SHORT) -> list[Entry]:
    return [(X_RESOLUTION, kind, value), (Y_RESOLUTION, kind, value), (RESOLUTION_UNIT, unit, 2)]


def _sizes(width: int, height: int, kind: int = LONG) -> list[Entry]:
    return [(PIXEL_X, kind, width), (PIXEL_Y, kind, height)]


def _start(at: int) -> bytes:
    """Return the header of a block whose first IFD is at an offset."""
    return b"II*\0" + struct.pack("<I", at)


def _ifd_first(exif: list[Entry], entries: list[Entry]) -> bytes:
    """Return a block whose first IFD begins with its pointer to the Exif IFD."""
    at = 8 + len(ifd([(EXIF_IFD, LONG, 0), *entries], 8))
    return _start(8) + ifd([(EXIF_IFD, LONG, at), *entries], 8) + ifd(exif, at)


def _patched(block: bytes, at: int, replacement: bytes) -> bytes:
    return block[:at] + replacement + block[at + len(replacement) :]


def _interlaced(chunk: bytes) -> bytes:
    """Return an interlaced PNG (PNG, 8.2)."""
    width, height = patterned().size
    rows = interlaced_rows(np.asarray(patterned()))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = (png_chunk(b"IHDR", header), chunk, png_chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")
