from __future__ import annotations

import pytest
from PIL import Image
from support.pictures.pictures import encode

from persona_profile.errors import UnsupportedMediaType
from persona_profile.images import Encoding, Limits, PictureOptions, Preview, Rendition
from persona_profile.images.formats import PREVIEW_SIDE
from persona_profile.images.workers.answers import (
    max_preview_bytes,
    max_rendition_bytes,
    max_renditions,
    read_failure,
    read_header,
    read_preview,
    read_rejection,
    read_renditions,
)
from persona_profile.images.workers.channel import MalformedMessage

LIMITS = Limits(1000, 500, 10_000)
OPTIONS = PictureOptions(LIMITS, Encoding(("jpeg", "webp", "avif")), (64,))
NOISE = Image.effect_noise((64, 64), 40).convert("RGB")
ALL = ("jpeg", "webp", "avif")


def files(picture: Image.Image = NOISE) -> list[bytes]:
    """Return a picture in each format."""
    return [encode(picture, name.upper()) for name in ALL]


def read(blobs: list[bytes], names: tuple[str, ...] = ALL) -> tuple[Rendition, ...]:
    """Return the renditions of 64 pixels of a message."""
    return read_renditions([[64, name] for name in names], blobs, OPTIONS)


def test_renditions():
    """Renditions of each format are accepted, WebP of each kind too."""
    blobs = files()
    assert read(blobs) == tuple(map(Rendition, (64, 64, 64), ALL, blobs))
    blobs[1] = encode(NOISE, "WEBP", lossless=True)
    assert blobs[1][12:16] == b"VP8L"
    assert read(blobs)[1].data == blobs[1]
    faded = NOISE.copy()
    faded.putalpha(Image.linear_gradient("L").resize(faded.size))
    blobs[1] = encode(faded, "WEBP")
    assert blobs[1][12:16] == b"VP8X"
    assert read(blobs)[1].data == blobs[1]


@pytest.mark.parametrize("place", range(3))
def test_damaged_files(place):
    """A file that is cut in its header, of another format, or no square is malformed."""
    whole = files()
    for wrong in (
        b"",
        whole[place][:1],
        whole[place][:20],
        whole[place][:16] + bytes(8) + whole[place][24:][:1],
        whole[place - 1],
        encode(NOISE.crop((0, 0, 64, 63)), ALL[place].upper()),
        encode(NOISE.resize((65, 65)), ALL[place].upper()),
        whole[place] + bytes(max_rendition_bytes(OPTIONS)),
    ):
        blobs = [*whole]
        blobs[place] = wrong
        with pytest.raises(MalformedMessage):
            read(blobs)


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L", b"VP8X", b"ALPH"])
def test_webp_without_its_header(kind):
    """A WebP whose first chunk has no size is malformed."""
    whole = files()
    whole[1] = b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(12)
    with pytest.raises(MalformedMessage):
        read(whole)


@pytest.mark.parametrize(
    "made",
    [
        None,
        5,
        [],
        [[64, "jpeg"]],
        [["64", "jpeg"], [64, "webp"], [64, "avif"]],
        [[True, "jpeg"], [64, "webp"], [64, "avif"]],
        [[64], [64, "webp"], [64, "avif"]],
        [[64, "gif"], [64, "webp"], [64, "avif"]],
        [[64, []], [64, "webp"], [64, "avif"]],
        [[128, "jpeg"], [64, "webp"], [64, "avif"]],
        [[64, "jpeg"], [64, "webp"], [64, "avif"], [64, "avif"]],
    ],
)
def test_malformed_lists(made):
    """A list of renditions that does not fit the files or the request is malformed."""
    with pytest.raises(MalformedMessage):
        read_renditions(made, files(), OPTIONS)


def test_missing_and_doubled_renditions():
    """Each size has a JPEG, and each rendition comes once."""
    jpeg, webp, avif = files()
    assert len(read([jpeg, webp], ("jpeg", "webp"))) == 2
    for blobs, names in (
        ([webp, avif], ("webp", "avif")),
        ([jpeg, jpeg], ("jpeg", "jpeg")),
        ([], ()),
    ):
        with pytest.raises(MalformedMessage):
            read(blobs, names)


def test_preview():
    """A preview has a header of an expected size and format."""
    jpeg, webp, _ = files()
    assert read_preview("jpeg", [jpeg]) == Preview("jpeg", jpeg)
    for made, blobs in (
        ("jpeg", [webp]),
        ("avif", files()[2:]),
        ("jpeg", []),
        ("jpeg", [jpeg, jpeg]),
        (None, [jpeg]),
        ("jpeg", [encode(Image.new("L", (5000, 8)))]),
    ):
        with pytest.raises(MalformedMessage):
            read_preview(made, blobs)


def test_header():
    """A header has an accepted format, and numbers within the limits."""
    document = {"format": "png", "needs": 10_000, "pixels": 1000}
    assert read_header(document, LIMITS) == ("png", 10_000, 1000)
    for wrong in (
        {"format": "exe"},
        {"format": None},
        {"needs": 10_001},
        {"needs": -1},
        {"needs": True},
        {"pixels": 1001},
        {"pixels": 0},
        {"pixels": 1.0},
    ):
        with pytest.raises(MalformedMessage):
            read_header({**document, **wrong}, LIMITS)
    with pytest.raises(MalformedMessage):
        read_header({}, LIMITS)


def test_unknown_media_type():
    """The rejection of a file of no accepted format is its own class of error."""
    rejected = {"code": "unsupported_media_type", "detail": "No picture.", "members": {}}
    assert isinstance(read_rejection({"rejected": rejected}), UnsupportedMediaType)
    rejected = {"code": "picture_broken", "detail": "Damaged.", "members": {"width": 3}}
    found = read_rejection({"rejected": rejected})
    assert (found.code, found.detail, found.members) == ("picture_broken", "Damaged.", {"width": 3})
    for wrong in ({"code": "x"}, {"detail": "\n"}, {"members": {"width": -1}}, {"more": 1}):
        with pytest.raises(MalformedMessage):
            read_rejection({"rejected": {**rejected, **wrong}})


def test_failure():
    """A programming error has a place in the code, without a byte of the file."""
    assert read_failure({"failed": "KeyError at pipeline.py:40"}) == "KeyError at pipeline.py:40"
    for wrong in (None, 5, "", "KeyError", "KeyError at \n", "Key\u00e9 at x", "E at " + "x" * 401):
        with pytest.raises(MalformedMessage):
            read_failure({"failed": wrong})


def test_limits():
    """The largest rendition and preview that encoders make are within the limits."""
    assert max_renditions(OPTIONS) == 3
    assert all(len(data) <= max_rendition_bytes(OPTIONS) for data in files())
    noise = Image.effect_noise((PREVIEW_SIDE, PREVIEW_SIDE), 80)
    assert len(encode(noise, quality=100)) <= max_preview_bytes()
