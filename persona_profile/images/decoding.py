"""Formats and headers of files, the cost of decoding them, and their decoders.

The content alone decides the format, and its one decoder is called directly: no upload can reach any
other decoder of the library.
"""

from __future__ import annotations

import io
import math
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif.as_plugin import HeifImageFile

from persona_profile.images import Limits
from persona_profile.images.colours.avif_matrix import with_film_matrix
from persona_profile.images.colours.srgb import flattened
from persona_profile.images.metadata import Canvas, Colours, Contents, Metadata
from persona_profile.images.readers.boxes import brands_of
from persona_profile.images.readers.dng import MAGICS as DNG_MAGICS
from persona_profile.images.readers.dng import read_dng
from persona_profile.images.readers.gif import read_gif
from persona_profile.images.readers.heif import read_avif, read_heic
from persona_profile.images.readers.jpeg import END, ENDINGS, read_jpeg
from persona_profile.images.readers.jxl import CODESTREAM_MAGIC, CONTAINER_MAGIC
from persona_profile.images.readers.jxl_image import JxlImageFile, read_jxl
from persona_profile.images.readers.png import read_png
from persona_profile.images.readers.png_decoder import PngDecoder
from persona_profile.images.readers.webp import read_webp
from persona_profile.images.rejections import broken, empty, parsing, too_many_pixels, unknown_format

_SNIFFED_BYTES: Final = 1024

# The library warns of damaged metadata and odd sizes, which do not concern operators.
warnings.filterwarnings("ignore", module=r"PIL\.")

_Decoder = Callable[[BinaryIO], ImageFile]


class DngImageFile(JpegImageFile):
    """The JPEG preview of a DNG."""

    format = "DNG"


_MAGIC: Final[dict[bytes, _Decoder]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngDecoder,
    b"GIF87a": GifImageFile,
    b"GIF89a": GifImageFile,
    CODESTREAM_MAGIC: JxlImageFile,
    CONTAINER_MAGIC: JxlImageFile,
    **dict.fromkeys(DNG_MAGICS, DngImageFile),
}

_BRANDS: Final[dict[bytes, _Decoder]] = {
    **dict.fromkeys((b"avif", b"avis"), AvifImageFile),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), HeifImageFile),
}
_ANY_CODEC: Final = {b"mif1", b"mif2", b"msf1", b"miaf"}
"""Brands of files without a brand of their codec."""

_READERS: Final[dict[_Decoder, Callable[[bytes], Contents]]] = {
    JpegImageFile: read_jpeg,
    PngDecoder: read_png,
    GifImageFile: read_gif,
    WebPImageFile: read_webp,
    AvifImageFile: lambda data: with_film_matrix(read_avif(data)),
    HeifImageFile: read_heic,
    JxlImageFile: read_jxl,
    DngImageFile: read_dng,
}

_BYTES_PER_PIXEL: Final[dict[type, int]] = {
    # Measured maxima of decoding: the library's image and the copies of its decoder.
    PngDecoder: 5,
    GifImageFile: 6,
    WebPImageFile: 18,  # two canvases of its animation decoder, a copy of bytes, alpha
    AvifImageFile: 14,
    HeifImageFile: 14,
}
_LIBRARY_BYTES: Final = 4
"""Bytes of a pixel in the library's image, whatever its channels."""

_COEFFICIENT_BYTES: Final = 2
_BAND_ROWS: Final = 256
"""Rows that are converted or compared at a time."""

_LIBRARY_PIXELS: Final = 16_384 * 16_384
"""The limit of the AVIF library, which does not report it as such."""


@dataclass(slots=True)
class OpenedImage:
    """An image whose header was read, and no pixel.

    Attributes:
        image: of the library.
        width, height: pixels that are shown of the stored image, before it is turned.
        contents: of the file.
        metadata: as browsers apply it.
        pixels: pixels to decode: width x height, or all tiles and alpha planes, up to the limit.
        bytes_needed: memory that `load` takes.
        scales: the decoded size as a part of the stored one, across and down. It is not quite the
            quotient of the sizes: the last column and row of a reduced JPEG may stand for fewer pixels.
    """

    image: ImageFile
    width: int
    height: int
    contents: Contents
    metadata: Metadata
    pixels: int
    bytes_needed: int
    scales: tuple[float, float]

    @property
    def format(self) -> str:
        """One of `formats.FORMATS_IN`."""
        return str(self.image.format).lower()

    def load(self, limits: Limits) -> Image.Image:
        """Decode the pixels, or raise an error of `rejections`; return the image on its canvas."""
        if not self.contents.has_end:
            parsing(lambda: _check_ending(self.contents.data))
        parsing(self.image.load)
        # Some decoders learn the profile and the true size of the first frame only now.
        if isinstance(self.image, JxlImageFile) and self.metadata.colours == Colours():
            colours = Colours(self.image.info.get("icc_profile"))
            self.metadata = replace(self.metadata, colours=colours)
        _check_pixels(self.image, max(limits.max_pixels_jpeg, limits.max_pixels_other))
        canvas = self.contents.canvas
        return parsing(lambda: _on_canvas(self.image, canvas)) if canvas else self.image


def read_header(
    source: BinaryIO, limits: Limits, side_of: Callable[[tuple[int, int], Metadata], int], wanted: int
) -> OpenedImage:
    """Read and check the header of a seekable file at its start; decode no pixel.

    A JPEG will be decoded in the DCT domain at the smallest size at which the square has at least
    `wanted` pixels; `side_of` returns its side. A file is rejected by an error of `rejections`.
    """
    decoder = _sniff(source.read(_SNIFFED_BYTES))
    if decoder is None:
        raise unknown_format() if source.tell() else empty()
    is_jpeg = decoder in (JpegImageFile, DngImageFile)
    limit = limits.max_pixels_jpeg if is_jpeg else limits.max_pixels_other

    source.seek(0)
    contents = parsing(lambda: _READERS[decoder](source.read()))
    if contents.extent.pixels > _LIBRARY_PIXELS:
        raise too_many_pixels(limit, pixels=contents.extent.pixels)
    image = parsing(lambda: decoder(io.BytesIO(contents.data)))
    _check_pixels(image, limit)
    width, height = contents.canvas[:2] if contents.canvas else image.size
    _check_size(width, height, limit)
    decoded = max(width * height, contents.extent.pixels)
    if contents.shown_size:
        width, height = min(width, contents.shown_size[0]), min(height, contents.shown_size[1])
    metadata = contents.metadata
    side = side_of((width, height), metadata)  # rejects a crop before any pixel is decoded
    # The file is there twice: as it was, and for its decoder.
    needed = source.tell() + len(contents.data)
    scales = (1.0, 1.0)
    if isinstance(image, JpegImageFile):
        largest = image.size
        needed += _coefficient_bytes(image, contents.scans)
        scales = parsing(lambda: _reduce_jpeg(image, side, wanted))
        if contents.has_end:
            largest = image.size
        needed += largest[0] * largest[1] * _LIBRARY_BYTES
    else:
        needed += _bytes_of_pixels(image, contents)
    if needed > limits.memory:
        raise too_many_pixels(decoded * limits.memory // needed, pixels=decoded)
    charged = min(limit, decoded + contents.extent.alpha_pixels)
    return OpenedImage(image, width, height, contents, metadata, charged, needed, scales)


def _bytes_of_pixels(image: ImageFile, contents: Contents) -> int:
    """Return the memory for the pixels of any format but JPEG."""
    stored = image.width * image.height
    if contents.bytes_per_pixel:
        return stored * contents.bytes_per_pixel
    needed = max(stored, *contents.extent) * _BYTES_PER_PIXEL[type(image)]
    if contents.canvas:
        needed += contents.canvas.width * contents.canvas.height * _LIBRARY_BYTES
    return needed


def _on_canvas(image: Image.Image, canvas: Canvas) -> Image.Image:
    """Return an image on a transparent canvas, in mode RGBA."""
    whole = Image.new("RGBA", (canvas.width, canvas.height))
    for top in range(0, image.height, _BAND_ROWS):
        band = image.crop((0, top, image.width, min(top + _BAND_ROWS, image.height)))
        band.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
        whole.paste(flattened(band).convert("RGBA"), (canvas.left, canvas.top + top))
    return whole


def _check_ending(data: bytes) -> None:
    """Raise UnprocessablePicture if pixels of a JPEG without end marker are missing.

    They are if they depend on the bits behind the file.
    """
    found = None
    for ending in ENDINGS:
        image = JpegImageFile(io.BytesIO(data.removesuffix(END) + ending + END))
        image.load()
        checksum = 0
        for top in range(0, image.height, _BAND_ROWS):
            band = image.crop((0, top, image.width, min(top + _BAND_ROWS, image.height)))
            checksum = zlib.crc32(band.tobytes(), checksum)
        if found is not None and checksum != found:
            raise broken()
        found = checksum


def _check_pixels(image: Image.Image, limit: int) -> None:
    """Raise UnprocessablePicture if an image has no pixels or too many."""
    _check_size(image.width, image.height, limit)


def _check_size(width: int, height: int, limit: int) -> None:
    pixels = width * height
    if pixels > limit:
        raise too_many_pixels(limit, pixels=pixels)
    if not pixels:
        raise broken()


def _coefficient_bytes(image: JpegImageFile, scans: int) -> int:
    """Return the bytes of DCT coefficients that stay in memory; 0 for a single scan."""
    if scans < 2 and "progressive" not in image.info:
        return 0
    samples = [(layer[1], layer[2]) for layer in image.layer]
    largest = max((h for h, _ in samples), default=1) * max((v for _, v in samples), default=1)
    density = sum(h * v for h, v in samples) / max(1, largest)
    return round(image.width * image.height * density * _COEFFICIENT_BYTES)


def _reduce_jpeg(image: JpegImageFile, side: int, wanted: int) -> tuple[float, float]:
    """Reduce the size at which a JPEG will be decoded; return the parts of its width and height."""
    width, height = image.size
    scale = min(wanted, side) / side
    drafted = image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
    _, box = drafted or (None, (0, 0, width, height))
    return box[2] / width, box[3] / height


def _sniff(head: bytes) -> _Decoder | None:
    if head[4:8] == b"ftyp":
        brands = brands_of(head)
        codec = next((_BRANDS[each] for each in brands if each in _BRANDS), None)
        return codec or (HeifImageFile if _ANY_CODEC.intersection(brands) else None)
    if head[:4] == b"RIFF":
        return WebPImageFile if head[8:12] == b"WEBP" else None
    return next((decoder for magic, decoder in _MAGIC.items() if head.startswith(magic)), None)
