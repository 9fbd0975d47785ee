"""Readers of bits: AV1 counts from the highest bit of a byte, JPEG XL from the lowest."""

from __future__ import annotations

from typing import Final

from persona_profile.images.rejections import broken

_MAX_CODED_ZEROS: Final = 32


class HighBits:
    """Bits from the highest of each byte on (AV1, 4.10)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        """Return the next bits as a number; its first bit is the highest."""
        start = self._position
        self.skip(count)
        end = (self._position + 7) // 8
        taken = int.from_bytes(self._data[start // 8 : end])
        return taken >> 8 * end - self._position & (1 << count) - 1

    def skip(self, count: int) -> None:
        """Pass over bits."""
        self._position += count
        if self._position > 8 * len(self._data):
            raise broken()

    def read_uvlc(self) -> int:
        """Return a number of variable length (AV1, 4.10.3)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > _MAX_CODED_ZEROS:
                raise broken()
        return self.read(zeros) + (1 << zeros) - 1


class LowBits:
    """Bits from the lowest of each byte on (ISO/IEC 18181-1, 9.2)."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    def read(self, count: int) -> int:
        """Return the next bits as a number; its first bit is the lowest."""
        start, self.position = self.position, self.position + count
        if self.position > 8 * len(self._data):
            raise broken()
        taken = self._data[start // 8 : (self.position + 7) // 8]
        return int.from_bytes(taken, "little") >> start % 8 & (1 << count) - 1

    def flag(self) -> bool:
        """Return the next bit."""
        return bool(self.read(1))

    def skip(self, count: int) -> None:
        """Pass over bits."""
        self.position += count
        if self.position > 8 * len(self._data):
            raise broken()

    def align(self) -> None:
        """Go on at the next whole byte."""
        self.position += -self.position % 8
