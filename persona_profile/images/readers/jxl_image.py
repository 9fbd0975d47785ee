"""JPEG XL: what its decoder needs, and its pixels."""

from __future__ import annotations

from typing import Any, Final

from PIL import Image
from PIL.ImageFile import ImageFile
from pillow_jxl import Decoder

from persona_profile.images.metadata import Colours, Contents, Extent, Metadata
from persona_profile.images.readers.jxl import ImageHeader, codestream_of, read_image_header
from persona_profile.images.readers.jxl_frames import Frames, frames_of
from persona_profile.images.rejections import unsupported_feature

_THIS_THREAD: Final = 0
_FLOAT_BYTES: Final = 4

# Measured maxima in bytes of a pixel, with the library's image.
_LOSSY_BYTES: Final = 12
_CHANNEL_BYTES: Final = 8
_OTHER_BYTES: Final = 8
_KEPT_BYTES: Final = 16
"""A frame that is kept for other frames: four channels of floating point."""

_MAX_PIXELS: Final = 1 << 30
"""An image with more pixels is rejected by any limit; its frames are not read."""

_MAX_KEPT_FRAMES: Final = 4


def read_jxl(data: bytes) -> Contents:
    """Return the contents of a JPEG XL: its codestream, up to the first frame of an animation.

    The decoder turns the image by itself; browsers ignore the orientation in EXIF.
    """
    codestream = codestream_of(data)
    header = read_image_header(codestream)
    width, height = header.size
    if width * height > _MAX_PIXELS:
        return Contents(codestream, Metadata(), Extent(width * height))
    frames = frames_of(codestream, header)
    if frames is None and header.is_animation:
        raise unsupported_feature()  # the decoder would decode all frames and return the last one
    frames = frames or Frames(codestream)
    return Contents(
        frames.codestream,
        Metadata(colours=Colours(cicp=header.cicp)),
        Extent(max(width * height, frames.pixels)),
        bytes_per_pixel=_bytes_per_pixel(header, frames),
    )


def _bytes_per_pixel(header: ImageHeader, frames: Frames) -> int:
    if frames.is_lossy and not header.extra_channels:
        needed = _LOSSY_BYTES
    else:
        needed = _CHANNEL_BYTES * (header.colour_channels + header.extra_channels) + _OTHER_BYTES
    return needed + _KEPT_BYTES * min(frames.count - 1, _MAX_KEPT_FRAMES)


class JxlImageFile(ImageFile):
    """An image of a codestream; the pixels are decoded by `load` in this thread.

    `info` has an ICC profile, `icc_profile`, once the pixels are decoded.
    """

    format = "JXL"
    format_description = "JPEG XL"

    def _open(self) -> None:
        assert self.fp is not None
        self._codestream = self.fp.read()
        header = read_image_header(self._codestream)
        self._size = header.size if header.orientation < 5 else header.size[::-1]
        self._mode = "RGB"
        self.tile = []

    def load(self) -> Any:
        """Decode the pixels."""
        if self._codestream:
            image = self._decoded()
            self._codestream = b""
            self.im, self._mode, self._size = image.im, image.mode, image.size
        return super().load()

    def _decoded(self) -> Image.Image:
        try:
            _, info, pixels, profile, _ = Decoder(num_threads=_THIS_THREAD)(self._codestream)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
            raise OSError(str(error)) from None
        if profile:
            self.info["icc_profile"] = profile
        return _image_of(info.mode, (info.width, info.height), pixels)


def _image_of(mode: str, size: tuple[int, int], pixels: bytes) -> Image.Image:
    """Return an image of samples of 8 or 16 bits or of floating point, in a mode of 8 or 16 bits."""
    width, height = size
    eight_bits = mode.removesuffix(";16").replace("I", "L").replace("F", "L")
    channels = len(eight_bits)
    sample_bytes = len(pixels) // (width * height * channels)
    if sample_bytes == _FLOAT_BYTES:
        samples = Image.frombytes("F", (width * channels, height), pixels)
        pixels = samples.point(lambda value: value * 255 + 0.5).convert("L").tobytes()
    elif mode == "I;16":
        return Image.frombytes(mode, size, pixels)
    elif sample_bytes == 2:
        pixels = pixels[1::2]  # the upper eight bits
    return Image.frombytes(eight_bits, size, pixels)
