from __future__ import annotations

import io

import pytest
from PIL import Image
from support.pictures.jxl import codestream, container, frame, jxl, metadata, section_of
from support.pictures.pictures import exif_orientation
from support.pictures.shown import foreign
from support.stores.derived import box

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Limits, PictureOptions
from persona_profile.images.metadata import Cicp
from persona_profile.images.pipeline import open_image, squares_of
from persona_profile.images.readers.jxl_image import read_jxl

OPTIONS = PictureOptions(Limits(100_000_000, 50_000_000, 864 * 1024 * 1024), sizes=(64,))
RED, GREEN, BLUE, YELLOW = (220, 40, 40), (40, 180, 60), (40, 70, 210), (230, 200, 40)
SCENE = Image.new("RGB", (96, 64))
for place, colour in zip(((0, 0), (48, 0), (0, 32), (48, 32)), (RED, GREEN, BLUE, YELLOW), strict=True):
    SCENE.paste(colour, (*place, place[0] + 48, place[1] + 32))


def square(data: bytes, crop: Crop | None = None) -> Image.Image:
    """Return the square of a file."""
    [found] = squares_of(io.BytesIO(data), crop, OPTIONS).values()
    return found


def corners(data: bytes) -> list[tuple[int, ...]]:
    """Return the colours of a square, from the top left to the bottom right."""
    found = square(data)
    low, high = found.width // 4, found.width * 3 // 4
    return [found.getpixel(point) for point in ((low, low), (high, low), (low, high), (high, high))]


def close_to(*colours: tuple[int, ...]) -> list[object]:
    """Return colours that equal those of a lossy encoder."""
    return [pytest.approx(each, abs=4) for each in colours]


def rejection(data: bytes) -> str:
    """Return the code with which a file is rejected before anything of it is decoded."""
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), None, OPTIONS)
    return caught.value.code


def test_grey_of_sixteen_bits_with_alpha():
    """Grey with alpha of 16 bits comes with the upper eight."""
    found = corners(foreign("j-grey-alpha-16.jxl"))
    assert found == close_to(*((each, each, each, 128) for each in (94, 124, 78, 191)))


@pytest.mark.parametrize("name", ["j-turned", "j-jpeg-turned"])
def test_crop_of_a_turned_image(name):
    """Crops count in the upright image, which the decoder turns."""
    data = foreign(f"{name}.jxl")
    opened = open_image(io.BytesIO(data), None, OPTIONS)
    assert (opened.width, opened.height, opened.metadata.orientation) == (64, 96, 1)
    assert square(data, Crop(34, 66, 28)).getpixel((14, 14)) == pytest.approx(GREEN, abs=4)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [True, False])
def test_modes(mode, lossless):
    """Grey and colours, with and without alpha, by quality and lossless."""
    scene = SCENE.convert(mode)
    if "A" in mode:
        scene.putalpha(128)
    expected = scene.crop((16, 0, 80, 64)).convert("RGBA" if "A" in mode else "RGB")
    points = ((16, 16), (48, 16), (16, 48), (48, 48))
    found = corners(jxl(scene, lossless=lossless, quality=98))
    assert found == close_to(*(expected.getpixel(point) for point in points))


def test_containers():
    """A codestream is the same in one box, in several, and bare; other boxes are ignored."""
    bare = jxl(SCENE, lossless=True)
    exif = box(b"Exif", bytes(4), exif_orientation(6)[6:])
    parts = [bare[:10], bare[10:30], bare[30:]]
    numbers = [0, 1, 2 | 1 << 31]
    pieces = [box(b"jxlp", n.to_bytes(4), part) for n, part in zip(numbers, parts, strict=True)]
    for boxes in (
        [box(b"jxlc", bare)],
        [exif, box(b"jxlc", bare), exif],
        [box(b"brob", b"Exif", bytes(1000)), box(b"jbrd", bytes(1000)), box(b"jxlc", bare)],
        [box(b"jxll", b"\x0a"), pieces[0], exif, pieces[1], box(b"free"), pieces[2]],
    ):
        assert read_jxl(container(*boxes)).data == bare
        assert corners(container(*boxes)) == [RED, GREEN, BLUE, YELLOW]
    for boxes in ([], [pieces[1], pieces[0], pieces[2]], [pieces[0], pieces[2]], [exif]):
        assert rejection(container(*boxes)) == "picture_broken"


SECTIONS = [
    section_of(jxl(Image.new("RGB", (64, 64), colour), lossless=True)) for colour in (RED, BLUE)
]


def animation(*durations: int, is_animation: bool = True) -> bytes:
    """Return frames of red, the last one blue."""
    frames = [
        frame(
            SECTIONS[number == len(durations) - 1],
            is_last=number == len(durations) - 1,
            is_animation=is_animation,
            duration=duration,
        )
        for number, duration in enumerate(durations)
    ]
    return codestream(64, 64, *metadata(is_animation=is_animation), frames=b"".join(frames))


def test_first_frame():
    """The first frame with a duration is shown, on its layers; the others are not decoded."""
    assert corners(animation(5, 5)) == [RED] * 4
    assert corners(animation(5, 5, 0)) == [RED] * 4
    assert corners(animation(0, 5)) == [BLUE] * 4
    assert corners(animation(5)) == [BLUE] * 4
    assert corners(animation(0, 0, is_animation=False)) == [BLUE] * 4
    data = animation(*[5] * 1000)
    assert open_image(io.BytesIO(data), None, OPTIONS).pixels == 64 * 64
    assert len(read_jxl(data).data) < len(data) // 100


def test_layers_cost_their_pixels():
    """Each layer of an image costs its pixels; too many are rejected."""
    assert (
        open_image(io.BytesIO(animation(0, 0, 0, is_animation=False)), None, OPTIONS).pixels == 3 * 4096
    )
    for is_animation in (True, False):
        assert rejection(animation(*[0] * 100, is_animation=is_animation)) == "picture_too_complex"


def test_animation_with_a_profile():
    """The first frame behind a profile can't be found; the rejection says how to go on."""
    data = codestream(64, 64, *metadata(is_animation=True, has_profile=True), frames=bytes(100))
    with pytest.raises(ServiceError) as caught:
        open_image(io.BytesIO(data), None, OPTIONS)
    assert caught.value.code == "picture_too_complex"
    assert "Save the picture as JPEG" in caught.value.detail


def test_sizes_are_limited_by_the_header():
    """Pixels, channels and memory are checked before a pixel is decoded."""
    assert rejection(codestream(60_000, 60_000)) == "picture_too_many_pixels"
    assert rejection(codestream(2**30, 2**30)) == "picture_too_many_pixels"
    profiled = metadata(has_profile=True)
    assert rejection(codestream(7_100, 7_100, *profiled)) == "picture_too_many_pixels"
    deep = metadata(has_profile=True, extra_channels=4)
    assert rejection(codestream(7_000, 7_000, *deep)) == "picture_too_many_pixels"
    assert rejection(codestream(64, 64, *metadata(extra_channels=5))) == "picture_too_complex"
    assert rejection(codestream(64, 64, *metadata(extra_channels=4096))) == "picture_too_complex"


def test_lossy_needs_less_memory():
    """A photo of 48 megapixels is within the limit of memory, as its transforms need little."""
    photo = read_jxl(jxl(Image.effect_noise((256, 256), 40).convert("RGB"), quality=90))
    lossless = read_jxl(jxl(SCENE, lossless=True))
    assert photo.bytes_per_pixel * 48_000_000 < OPTIONS.limits.memory
    assert lossless.bytes_per_pixel * 12_000_000 < OPTIONS.limits.memory
    assert photo.bytes_per_pixel < lossless.bytes_per_pixel


def test_cut_headers():
    """A header that is cut anywhere is rejected."""
    data = animation(5, 5)
    for length in range(2, 20):
        assert rejection(data[:length]) == "picture_broken"


def test_code_points():
    """The colour space of the header is that of the file."""
    for name, expected in (
        ("j-p3", Cicp(12, 13)),
        ("j-pq", Cicp(9, 16)),
        ("j-hlg", Cicp(9, 18)),
        ("j-exif6", Cicp(1, 13)),
        ("j-gamma", None),
        ("j-profile", None),
    ):
        assert read_jxl(foreign(f"{name}.jxl")).metadata.colours.cicp == expected
