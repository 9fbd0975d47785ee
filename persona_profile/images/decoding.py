"""Which files are pictures, and what their headers say.

A format is told by content alone, and its one decoder is called directly: no other decoder of the
library can be reached by any upload.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import BinaryIO, Final, TypeVar

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif.as_plugin import HeifImageFile

from persona_profile.errors import UnprocessablePicture, UnsupportedMediaType
from persona_profile.images import Limits

ACCEPTED_MEDIA_TYPES: Final = (
    "image/jpeg",
    "image/png",
    "image/webp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/avif",
)

_SNIFFED_BYTES: Final = 32
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_ORIENTATION_TAG: Final = 0x0112

_MAX_SCANS: Final = 100
"""In one JPEG; encoders write up to about 20. An empty scan has 10 bytes and costs as much as any."""

_END_OF_IMAGE: Final = b"\xd9"
_START_OF_SCAN: Final = b"\xda"
# Those that stand in front of a segment, and the end; not the restarts and escapes inside of scans.
_MARKER: Final = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")

# Damaged metadata and odd sizes make the library warn; they are none of the operator's business.
warnings.filterwarnings("ignore", module=r"PIL\.")

_Decoder = Callable[[BinaryIO], ImageFile]
_T = TypeVar("_T")

_MAGIC: Final[dict[bytes, _Decoder]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
}


def open_picture(source: BinaryIO, limits: Limits) -> ImageFile:
    """Open a picture and check what its header says, without decoding any pixel.

    Raises:
        UnsupportedMediaType: this is no picture of a format that is taken.
        UnprocessablePicture: `picture_broken` or `picture_too_many_pixels`.
    """
    decoder = _sniff(source.read(_SNIFFED_BYTES))
    if decoder is None:
        taken = ", ".join(ACCEPTED_MEDIA_TYPES)
        raise UnsupportedMediaType(f"This is not a picture of a format that is taken: {taken}.")
    limit = limits.max_pixels_jpeg if decoder is JpegImageFile else limits.max_pixels_other

    def read_header() -> ImageFile:
        try:
            return decoder(source)
        except Image.DecompressionBombError:  # twice as many as the library itself would take
            raise _too_many_pixels(limit) from None

    source.seek(0)
    picture = reading(read_header)
    check_pixels(picture, limit)
    if decoder is JpegImageFile:
        source.seek(0)
        _check_scans(source.read())
    return picture


def check_pixels(picture: Image.Image, limit: int) -> None:
    """Raise UnprocessablePicture if a picture has no or too many pixels."""
    pixels = picture.width * picture.height
    if pixels > limit:
        raise _too_many_pixels(limit, pixels=pixels)
    if not pixels:
        raise broken_picture()


def orientation(picture: ImageFile) -> int:
    """Return how the picture is to be turned, 1 to 8 (EXIF 2.32, 4.6.4.A); 1 if it does not say.

    Raises:
        UnprocessablePicture: `picture_broken`; a PNG is decoded, as its EXIF may follow the pixels.
    """
    if isinstance(picture, PngImageFile):
        reading(picture.load)
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - whatever a damaged block of metadata does to its parser
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def broken_picture() -> UnprocessablePicture:
    """Return the error for a file that begins like a picture and does not go on like one."""
    return UnprocessablePicture("picture_broken", "The file is damaged or not complete.")


def reading(step: Callable[[], _T]) -> _T:
    """Carry out a step that parses hostile bytes.

    Raises:
        UnprocessablePicture: `picture_broken`, whichever exception of the decoder it was: they raise
            OSError, SyntaxError, ValueError, struct.error, IndexError and more.
    """
    try:
        return step()
    except UnprocessablePicture:
        raise
    except Exception:  # noqa: BLE001 - see above
        raise broken_picture() from None


def _too_many_pixels(limit: int, **members: int) -> UnprocessablePicture:
    detail = f"The picture has too many pixels; at most {limit} are taken."
    return UnprocessablePicture("picture_too_many_pixels", detail, limit=limit, **members)


def _check_scans(data: bytes) -> None:
    """Raise UnprocessablePicture if a JPEG has so many scans that it can but be made for harm."""
    position = scans = 0
    while (marker := _MARKER.search(data, position)) and marker[1] != _END_OF_IMAGE:
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        scans += marker[1] == _START_OF_SCAN
        if scans > _MAX_SCANS:
            raise broken_picture()


def _sniff(head: bytes) -> _Decoder | None:
    if head[4:8] == b"ftyp":
        brands = {head[position : position + 4] for position in (8, 16, 20, 24, 28)}
        if brands & _AVIF_BRANDS:
            return AvifImageFile
        return HeifImageFile if brands & _HEIF_BRANDS else None
    if head[:4] == b"RIFF":
        return WebPImageFile if head[8:12] == b"WEBP" else None
    return next((decoder for magic, decoder in _MAGIC.items() if head.startswith(magic)), None)
