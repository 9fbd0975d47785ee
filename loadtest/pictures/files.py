"""Files of pictures: encoded once by a library, then made different for each upload.

Metadata differs, not a pixel: a number in a comment, and the way in which the camera was held.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import Final

import pillow_heif
from PIL import Image

MEDIA_TYPES: Final = {"jpeg": "image/jpeg", "png": "image/png", "heic": "image/heic"}

ORIENTATIONS: Final = (1, 6, 3, 8)
"""EXIF's by quarter turns clockwise (EXIF 2.32, 4.6.4.A): the four that cameras write."""

_JFIF_END: Final = 20
_PNG_HEADER_END: Final = 33
_MAX_HEIC_HEADER: Final = 4096
_ENDS: Final = {"jpeg": b"\xff\xd9", "png": b"IEND\xaeB`\x82", "heic": b"free" + bytes(8)}
_ORIENTATION_TAG, _MAKE_TAG, _MODEL_TAG = 0x0112, 0x010F, 0x0110


def encoded(picture: Image.Image, format_name: str, quality: int) -> bytes:
    """Return a picture as a file for `stamped`."""
    file = io.BytesIO()
    if format_name == "jpeg":
        picture.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    elif format_name == "png":
        picture.convert("RGB").save(file, "PNG")
    else:
        heic = pillow_heif.from_pillow(picture.convert("RGB"))
        # The encoder writes the property that says how the camera was held if it was not upright.
        heic[0].info["exif"] = _exif(turn=2)
        heic.save(file, quality=quality, enc_params={"preset": "veryfast"})
        file.write(_free_box(0))
    return file.getvalue()


def is_whole(file: memoryview, format_name: str) -> bool:
    """Return whether a file of `encoded` has its end."""
    end = _ENDS[format_name]
    return file[-len(end) :] == end


def stamped(file: memoryview, format_name: str, number: int, turn: int) -> bytes:
    """Return a file of `encoded` with a number of 8 bytes in it.

    The picture becomes upright by some quarter turns clockwise; 0 for PNG.
    """
    if format_name == "jpeg":
        # Phones write EXIF instead of JFIF.
        exif, comment = _segment(0xE1, _exif(turn)), _segment(0xFE, b"%016x" % number)
        return b"".join((b"\xff\xd8", exif, comment, file[_JFIF_END:]))
    if format_name == "png":
        text = b"tEXtComment\0%016x" % number
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        return b"".join((file[:_PNG_HEADER_END], chunk, file[_PNG_HEADER_END:]))
    at = bytes(file[:_MAX_HEIC_HEADER]).index(b"irot") + 4
    angle = bytes([-turn % 4])  # anticlockwise (ISO/IEC 23008-12, 6.5.10)
    return b"".join((file[:at], angle, file[at + 1 : -len(_free_box(0))], _free_box(number)))


def _segment(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data


def _free_box(number: int) -> bytes:
    return struct.pack(">I4sQ", 16, b"free", number)


@cache
def _exif(turn: int) -> bytes:
    exif = Image.Exif()
    exif[_MAKE_TAG], exif[_MODEL_TAG] = "Load Test", "Synthetic 1"
    exif[_ORIENTATION_TAG] = ORIENTATIONS[turn]
    return exif.tobytes()
