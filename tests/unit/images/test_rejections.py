from __future__ import annotations

import pytest

from persona_profile.errors import UnprocessablePicture
from persona_profile.images.rejections import parsing, too_many_pixels


def code_of(step) -> str:
    """Return the code with which a step rejects a file."""
    with pytest.raises(UnprocessablePicture) as caught:
        parsing(step)
    return caught.value.code


def test_memory():
    """A file for which memory is missing is too complex; it is not damaged."""
    assert code_of(lambda: bytearray(1 << 62)) == "picture_too_complex"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Memory allocation error: Security limit exceeded: too many items", "picture_too_complex"),
        ("Unsupported feature: Unsupported codec", "picture_too_complex"),
        ("Invalid input: End of file", "picture_broken"),
    ],
)
def test_messages_of_decoders(message, code):
    """Limits and missing features of a library are not reported as damage."""

    def decode() -> None:
        raise OSError(message)

    assert code_of(decode) == code


def test_other_results():
    """A rejection passes as it is, and so does a result."""

    def reject() -> None:
        raise too_many_pixels(5)

    assert code_of(reject) == "picture_too_many_pixels"
    assert parsing(lambda: 5) == 5
