"""Which files are pictures, what their headers say, and what it takes to decode them.

A format is told by content alone, and its one decoder is called directly: no other decoder of the
library can be reached by any upload.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif.as_plugin import HeifImageFile

from persona_profile.images import Limits
from persona_profile.images.boxes import extent_of
from persona_profile.images.rejections import broken, parsing, too_many_pixels, unknown_format
from persona_profile.images.structures import check_gif, check_png, check_webp, count_scans

_SNIFFED_BYTES: Final = 32
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_ORIENTATION_TAG: Final = 0x0112

# Damaged metadata and odd sizes make the library warn; they are none of the operator's business.
warnings.filterwarnings("ignore", module=r"PIL\.")

_Decoder = Callable[[BinaryIO], ImageFile]

_MAGIC: Final[dict[bytes, _Decoder]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
}

_CHECKS: Final[dict[_Decoder, Callable[[bytes], None]]] = {
    PngImageFile: check_png,
    GifImageFile: check_gif,
    WebPImageFile: check_webp,
}

_BYTES_PER_PIXEL: Final[dict[type, int]] = {
    # What decoding takes at its worst, measured: the library's picture and its decoder's own copies.
    PngImageFile: 5,
    GifImageFile: 6,
    WebPImageFile: 18,  # two canvases of its animation decoder, a copy of bytes, alpha
    AvifImageFile: 14,
    HeifImageFile: 14,
}
_LIBRARY_BYTES: Final = 4
"""Of a pixel in the library's own memory, whatever its channels."""

_COEFFICIENT_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class OpenedPicture:
    """A picture of which the header was read, and no pixel.

    Attributes:
        picture: the library's.
        width, height: pixels as stored, not turned.
        pixels: that are decoded: width x height, or those of all tiles and alpha planes, but no more
            than the limit.
        bytes_needed: memory that `load` takes.
        scales: the size to which it will be decoded, across and down, as a part of what is stored:
            not quite the quotient of the sizes, as the last column and row of a reduced JPEG may stand
            for less than the others.
    """

    picture: ImageFile
    width: int
    height: int
    pixels: int
    bytes_needed: int
    scales: tuple[float, float]

    @property
    def format(self) -> str:
        """One of `formats.FORMATS_IN`."""
        return str(self.picture.format).lower()

    @property
    def may_turn_later(self) -> bool:
        """Whether `orientation` is known only after `load`: the EXIF of a PNG may follow its pixels."""
        return isinstance(self.picture, PngImageFile)

    def orientation(self) -> int:
        """Return how it is to be turned, 1 to 8 (EXIF 2.32, 4.6.4.A); 1 if it does not say."""
        try:
            value = self.picture.getexif().get(_ORIENTATION_TAG, 1)
        except Exception:  # noqa: BLE001 - whatever a damaged block of metadata does to its parser
            return 1
        return value if isinstance(value, int) and 1 <= value <= 8 else 1

    def load(self, limits: Limits) -> None:
        """Decode the pixels.

        Raises:
            UnprocessablePicture: `picture_broken`, `picture_too_many_pixels` or `picture_too_complex`.
        """
        parsing(self.picture.load)
        # Some decoders learn the true size of the first frame only now.
        _check_pixels(self.picture, max(limits.max_pixels_jpeg, limits.max_pixels_other))


def read_header(source: BinaryIO, limits: Limits, side: int | None, wanted: int) -> OpenedPicture:
    """Open a picture and check what its header says, without decoding any pixel.

    Args:
        source: seekable, at its start.
        limits: what is decoded at all.
        side: length of the side of the square that is wanted, in pixels of the picture; None for the
            largest. A JPEG will be decoded in the DCT domain at the smallest size at which that square
            has at least `wanted` pixels a side.
        wanted: see `side`.

    Raises:
        UnprocessablePicture: `unsupported_media_type`, `picture_broken`, `picture_too_complex` or
            `picture_too_many_pixels`.
    """
    decoder = _sniff(source.read(_SNIFFED_BYTES))
    if decoder is None:
        raise unknown_format()
    limit = limits.max_pixels_jpeg if decoder is JpegImageFile else limits.max_pixels_other

    def open_file() -> ImageFile:
        try:
            return decoder(source)
        except Image.DecompressionBombError:  # twice as many as the library itself would take
            raise too_many_pixels(limit) from None

    source.seek(0)
    bounds = parsing(lambda: _bounds(decoder, source.read()))
    source.seek(0)
    picture = parsing(open_file)
    _check_pixels(picture, limit)
    width, height = picture.size
    decoded = max(width * height, bounds.pixels)
    scales, needed = (1.0, 1.0), 0
    if isinstance(picture, JpegImageFile):
        needed = _coefficient_bytes(picture, bounds.scans)
        scales = parsing(lambda: _reduce_jpeg(picture, side or min(width, height), wanted))
        needed += picture.width * picture.height * _LIBRARY_BYTES
    else:
        needed = max(decoded, bounds.alpha_pixels) * _BYTES_PER_PIXEL[type(picture)]
    if needed > limits.memory:
        raise too_many_pixels(decoded * limits.memory // needed, pixels=decoded)
    charged = min(limit, decoded + bounds.alpha_pixels)
    return OpenedPicture(picture, width, height, charged, needed, scales)


class _Bounds(NamedTuple):
    """Numbers that a file's structures give before its library reads them.

    Attributes:
        scans: of a JPEG.
        pixels, alpha_pixels: see `boxes.Extent`.
    """

    scans: int = 0
    pixels: int = 0
    alpha_pixels: int = 0


def _bounds(decoder: _Decoder, data: bytes) -> _Bounds:
    """Bound the structures of a file.

    Raises:
        UnprocessablePicture: `picture_too_complex` or `picture_broken`.
    """
    if decoder is JpegImageFile:
        return _Bounds(scans=count_scans(data))
    if decoder in (AvifImageFile, HeifImageFile):
        return _Bounds(0, *extent_of(data))
    _CHECKS[decoder](data)
    return _Bounds()


def _check_pixels(picture: Image.Image, limit: int) -> None:
    """Raise UnprocessablePicture if a picture has no or too many pixels."""
    pixels = picture.width * picture.height
    if pixels > limit:
        raise too_many_pixels(limit, pixels=pixels)
    if not pixels:
        raise broken()


def _coefficient_bytes(picture: JpegImageFile, scans: int) -> int:
    """Return the bytes of DCT coefficients that stay in memory; none if they come in a single scan."""
    if scans < 2 and "progressive" not in picture.info:
        return 0
    samples = [(layer[1], layer[2]) for layer in picture.layer]
    largest = max((h for h, _ in samples), default=1) * max((v for _, v in samples), default=1)
    density = sum(h * v for h, v in samples) / max(1, largest)
    return round(picture.width * picture.height * density * _COEFFICIENT_BYTES)


def _reduce_jpeg(picture: JpegImageFile, side: int, wanted: int) -> tuple[float, float]:
    """Have a JPEG decoded at reduced size; return at which part of its width and height."""
    width, height = picture.size
    scale = min(wanted, side) / side
    drafted = picture.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
    _, box = drafted or (None, (0, 0, width, height))
    return box[2] / width, box[3] / height


def _sniff(head: bytes) -> _Decoder | None:
    if head[4:8] == b"ftyp":
        brands = {head[position : position + 4] for position in (8, 16, 20, 24, 28)}
        if brands & _AVIF_BRANDS:
            return AvifImageFile
        return HeifImageFile if brands & _HEIF_BRANDS else None
    if head[:4] == b"RIFF":
        return WebPImageFile if head[8:12] == b"WEBP" else None
    return next((decoder for magic, decoder in _MAGIC.items() if head.startswith(magic)), None)
