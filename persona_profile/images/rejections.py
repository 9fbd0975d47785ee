"""The ways to reject an upload for its content, and the codes that clients get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from persona_profile.errors import ServiceError, UnprocessablePicture, UnsupportedMediaType
from persona_profile.images.formats import ACCEPTED_MEDIA_TYPES

CODES: Final = frozenset(
    {
        "unsupported_media_type",
        "picture_empty",
        "picture_broken",
        "picture_too_complex",
        "picture_too_many_pixels",
        "crop_outside_picture",
        "crop_of_other_picture",
    }
)
"""The code of each error below."""

_T = TypeVar("_T")


def unknown_format() -> UnsupportedMediaType:
    """Return the error for a file that is no image of an accepted format."""
    accepted = ", ".join(ACCEPTED_MEDIA_TYPES)
    return UnsupportedMediaType(f"The file is not a picture of an accepted format: {accepted}.")


def empty() -> UnprocessablePicture:
    """Return the error for a file without a byte, as failed downloads leave them."""
    return UnprocessablePicture("picture_empty", "The file is empty: it has 0 bytes.")


def broken() -> UnprocessablePicture:
    """Return the error for a file that begins like an image and does not go on like one."""
    return UnprocessablePicture("picture_broken", "The file is damaged or incomplete.")


def too_complex() -> UnprocessablePicture:
    """Return the error for a file that takes more time or memory than its pixels explain."""
    detail = "The picture takes too much time or memory to decode."
    return UnprocessablePicture("picture_too_complex", detail)


def too_many_pixels(limit: int, **members: int) -> UnprocessablePicture:
    """Return the error for an image with more pixels than the limit; `members` are of the problem."""
    detail = f"The picture has too many pixels; the maximum is {limit}."
    return UnprocessablePicture("picture_too_many_pixels", detail, limit=limit, **members)


def crop_outside(width: int, height: int) -> UnprocessablePicture:
    """Return the error for a crop that leaves an image of the size in which it was counted."""
    detail = f"The crop leaves the picture of {width} x {height} pixels."
    return UnprocessablePicture("crop_outside_picture", detail, width=width, height=height)


def crop_of_other_picture(upright: tuple[int, int], of: tuple[int, int]) -> UnprocessablePicture:
    """Return the error for a crop that was counted in an image of another shape."""
    (width, height), (of_width, of_height) = upright, of
    return UnprocessablePicture(
        "crop_of_other_picture",
        f"The crop is of a picture of {of_width} x {of_height}, not of {width} x {height} pixels.",
        width=width,
        height=height,
        of_width=of_width,
        of_height=of_height,
    )


def parsing(step: Callable[[], _T]) -> _T:
    """Return the result of a step that parses hostile bytes, or raise the error of the file.

    Decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError and more.
    """
    try:
        return step()
    except ServiceError:
        raise
    except MemoryError:
        raise too_complex() from None
    except Exception:  # noqa: BLE001 - see above
        raise broken() from None
