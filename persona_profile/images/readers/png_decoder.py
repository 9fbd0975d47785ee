"""The library's decoder of PNGs, with a decompression that judges a file as browsers do.

Wrong or missing checksums at the end of the compressed pixels, bytes behind them, and a window that is
claimed too small cost nothing. A file with too few pixels is rejected; the library would fill in zeros.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from PIL.PngImagePlugin import PngImageFile

_MAX_BLOCK: Final = 65_535
"""Bytes of a stored block (RFC 1951, 3.2.4)."""
_READ_BYTES: Final = 65_536
_HEADER_BYTES: Final = 2
_DEFLATE: Final = 8
_MAX_WINDOW: Final = 7
_HAS_DICTIONARY: Final = 0x20
_NEW_HEADER: Final = b"\x78\x01"


class PngDecoder(PngImageFile):
    """A PNG whose pixels are decompressed here and given to the library as stored blocks.

    The library stops at the last pixel. It never sees the end of the compressed data, so that it can't
    take that end for the end of the pixels.
    """

    def load_prepare(self) -> None:
        """Prepare to read the pixels."""
        super().load_prepare()
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._pending: bytes | None = None

    def load_read(self, read_bytes: int) -> bytes:  # noqa: ARG002 - the library's interface
        """Return a stored block of pixels; nothing at the end of the compressed data."""
        head = b""
        if self._pending is None:
            self._pending, head = self._without_header(), _NEW_HEADER
        pixels, is_last = b"", False
        while not (pixels or is_last or self._inflater.eof):
            if not self._pending:
                self._pending = super().load_read(_READ_BYTES)
                is_last = not self._pending
            pixels = self._inflater.decompress(self._pending, _MAX_BLOCK)
            self._pending = self._inflater.unconsumed_tail
        if not pixels:
            return b""
        length = len(pixels)
        return head + struct.pack("<BHH", 0, length, length ^ 0xFFFF) + pixels

    def _without_header(self) -> bytes:
        """Return the first compressed bytes behind the header of zlib (RFC 1950)."""
        data = super().load_read(_READ_BYTES)
        method, flags = data[:_HEADER_BYTES]
        is_valid = method & 15 == _DEFLATE and method >> 4 <= _MAX_WINDOW
        if not is_valid or flags & _HAS_DICTIONARY or (method << 8 | flags) % 31:
            msg = "not compressed by zlib"
            raise ValueError(msg)
        return data[_HEADER_BYTES:]
