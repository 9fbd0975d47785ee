"""The errors of files that are not rendered, and the step that turns decoders' exceptions into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from persona_profile.images import PictureRefused

_T = TypeVar("_T")


def broken_picture() -> PictureRefused:
    """Return the error for a file that begins like a picture and does not go on like one."""
    return PictureRefused("picture_broken", "The file is damaged or not complete.")


def too_complex() -> PictureRefused:
    """Return the error for a file that takes more time or memory than its size explains."""
    return PictureRefused("picture_too_complex", "The picture takes too much time or memory to decode.")


def too_many_pixels(limit: int, **members: int) -> PictureRefused:
    """Return the error for a picture of more pixels than are decoded.

    Args:
        limit: the number of pixels that would be decoded.
        members: further members of the error, as `pixels`.
    """
    detail = f"The picture has too many pixels; at most {limit} are taken."
    return PictureRefused("picture_too_many_pixels", detail, limit=limit, **members)


def reading(step: Callable[[], _T]) -> _T:
    """Carry out a step that parses hostile bytes.

    Raises:
        PictureRefused: `picture_too_complex` if memory was short; else `picture_broken`, whichever
            exception of the decoder it was: they raise OSError, SyntaxError, ValueError, struct.error,
            IndexError and more.
    """
    try:
        return step()
    except PictureRefused:
        raise
    except MemoryError:
        raise too_complex() from None
    except Exception:  # noqa: BLE001 - see above
        raise broken_picture() from None
