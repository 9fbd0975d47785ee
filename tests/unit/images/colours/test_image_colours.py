from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.pictures.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    decoded,
    encode,
    heic,
    png,
    png_chunk,
    quadrants,
    with_segment,
)
from support.pictures.profiles import cmyk_profile, grey_profile, rgb_profile, swapped_profile

from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.formats import FORMATS
from persona_profile.images.pipeline import render_picture

LIMITS = Limits(100_000_000, 50_000_000, 2**30)
POINTS = {(12, 12): RED, (52, 12): GREEN, (12, 52): BLUE, (52, 52): WHITE}


def render(data, formats=("jpeg",)) -> dict[str, Image.Image]:
    """Return the decoded squares of 64 pixels by their format."""
    renditions = render_picture(
        io.BytesIO(data), None, PictureOptions(LIMITS, Encoding(formats), (64,))
    )
    return {each.format: decoded(each.data) for each in renditions}


def colour(data, point=(32, 32)) -> tuple[int, ...]:
    """Return the colour of a point of the 64 pixel JPEG."""
    return render(data)["jpeg"].getpixel(point)


def near(expected, tolerance=4):
    """Compare channels within the error of lossy compression."""
    return pytest.approx(expected, abs=tolerance)


def filled(mode, value) -> Image.Image:
    """Return a picture of one colour."""
    return Image.new(mode, (80, 80), value)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_profile_of_swapped_colours(name):
    """Colours are converted by the embedded profile."""
    data = encode(filled("RGB", (255, 0, 0)), name, icc_profile=swapped_profile(), quality=95)
    assert colour(data) == near((0, 255, 0), 8)


def test_profile_in_heic():
    """A phone's picture is converted by its profile too."""
    assert colour(heic(filled("RGB", (255, 0, 0)), icc_profile=swapped_profile())) == near(
        (0, 255, 0), 8
    )


def test_wide_gamut():
    """Display P3, which phones use, comes out as its own library converts it."""
    # XYZ at D50 of the primaries of SMPTE RP 431-2 with a white of D65.
    display_p3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
    profile = rgb_profile(display_p3)
    picture = filled("RGB", (200, 100, 80))
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))
    expected = converted.getpixel((0, 0))
    assert expected[0] > 208
    assert colour(encode(picture, "PNG", icc_profile=profile)) == near(expected)


def test_profile_of_a_transparent_picture():
    """The profile changes colours and leaves alpha as it is."""
    picture = filled("RGBA", (255, 0, 0, 128))
    found = render(encode(picture, "PNG", icc_profile=swapped_profile()), ("webp", "jpeg"))
    assert found["webp"].getpixel((32, 32)) == near((0, 255, 0, 128), 8)


def test_profile_of_a_palette_picture():
    """The colours of a palette are subject to the profile."""
    picture = filled("RGB", (255, 0, 0)).quantize(4)
    assert colour(encode(picture, "PNG", icc_profile=swapped_profile())) == near((0, 255, 0))


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_grey_profile(name):
    """A grey picture with linear values is converted by its profile."""
    data = encode(filled("L", 55), name, icc_profile=grey_profile(1.0))
    assert colour(data) == near((128, 128, 128))


@pytest.mark.parametrize(
    "profile",
    [
        b"junk",
        b"\0" * 4096,
        swapped_profile()[:200],
        swapped_profile()[:128] + b"\xff" * 352,
        swapped_profile() + bytes(5 * 1024 * 1024),
        grey_profile(1.0),
        cmyk_profile(lambda *_inks: (0, 0, 0)),
        swapped_profile().replace(b"RGB ", b"Lab "),
        swapped_profile().replace(b"RGB ", b"\xff\xfe\xfd "),
    ],
    ids=["junk", "zeros", "cut", "no-tags", "huge", "grey", "cmyk", "lab", "unknown"],
)
def test_unusable_profile(profile):
    """A profile that is broken, huge or of other channels is ignored."""
    data = encode(filled("RGB", (220, 30, 30)), "JPEG", quality=95, icc_profile=profile)
    assert colour(data) == near((220, 30, 30))


def test_srgb_profile():
    """The profile of sRGB itself changes nothing."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert colour(encode(filled("RGB", GREEN), "PNG", icc_profile=profile)) == near(GREEN)


@pytest.mark.parametrize("ink", range(4))
def test_cmyk_without_profile(ink):
    """A print shop's JPEG (CMYK, stored inverted) is not a negative."""
    inks = [0, 0, 0, 0]
    inks[ink] = 255
    expected = [(0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0)][ink]
    assert colour(encode(filled("CMYK", tuple(inks)), quality=95)) == near(expected)
    assert colour(encode(filled("CMYK", (0, 0, 0, 0)))) == near(WHITE)


def test_cmyk_with_profile():
    """Inks have the colours that their profile gives them."""
    profile = cmyk_profile(lambda cyan, *_inks: (50, 60, 0) if cyan else (100, 0, 0))
    assert colour(encode(filled("CMYK", (255, 0, 0, 0)), icc_profile=profile)) == near(
        (205, 62, 121), 6
    )
    assert colour(encode(filled("CMYK", (0, 0, 0, 0)), icc_profile=profile)) == near(WHITE)


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_grey(name):
    """Grey pictures become RGB of the same values."""
    assert colour(encode(filled("L", 77), name)) == near((77, 77, 77), 2)


def test_one_bit():
    """A 1-bit picture stays black and white."""
    picture = filled("1", 0)
    picture.paste(1, (40, 0, 80, 80))
    found = render(encode(picture, "PNG"))["jpeg"]
    assert (found.getpixel((8, 32)), found.getpixel((56, 32))) == (near((0, 0, 0)), near(WHITE))


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_palette(name):
    """A picture of few colours keeps them."""
    found = render(encode(quadrants(80, 80).quantize(8), name))["jpeg"]
    for point, expected in POINTS.items():
        assert found.getpixel(point) == near(expected, 8)


def _half_transparent_palette() -> Image.Image:
    picture = Image.new("P", (80, 80), 1)
    picture.putpalette([0, 0, 0, *RED, *GREEN])
    picture.paste(2, (40, 0, 80, 80))
    return picture


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_transparent_colour_of_a_palette(name):
    """The transparent colour of a palette is transparent in WebP and white in JPEG."""
    found = render(encode(_half_transparent_palette(), name, transparency=2), ("webp", "jpeg"))
    assert found["webp"].getpixel((8, 32)) == near((*RED, 255), 12)
    assert found["webp"].getpixel((56, 32))[3] == 0
    assert found["jpeg"].getpixel((8, 32)) == near(RED, 8)
    assert found["jpeg"].getpixel((56, 32)) == near(WHITE)


def test_partly_transparent_palette():
    """Each colour of a palette may have its own alpha."""
    data = encode(_half_transparent_palette(), "PNG", transparency=bytes((255, 255, 64)))
    found = render(data, ("webp", "jpeg"))
    assert found["webp"].getpixel((56, 32))[3] == near(64)
    assert found["jpeg"].getpixel((56, 32)) == near((199, 236, 199), 8)


def test_transparent_colour():
    """The transparent colour of an RGB or grey PNG becomes transparent, and no other."""
    row = b"\0" + bytes(GREEN) * 40 + bytes(RED) * 40
    data = png(80, 80, 8, 2, row * 80, png_chunk(b"tRNS", struct.pack(">3H", *GREEN)))
    grey = png(80, 80, 8, 0, (b"\0" + b"\x50" * 40 + b"\xa0" * 40) * 80, png_chunk(b"tRNS", b"\0\x50"))
    for picture in (data, grey):
        found = render(picture, ("webp", "jpeg"))["webp"]
        assert (found.getpixel((8, 32))[3], found.getpixel((56, 32))[3]) == (0, 255)


def test_grey_with_alpha():
    """Grey with alpha keeps both."""
    picture = filled("LA", (77, 128))
    found = render(encode(picture, "PNG"), ("webp", "jpeg"))
    assert found["webp"].getpixel((32, 32)) == near((77, 77, 77, 128))
    assert found["jpeg"].getpixel((32, 32)) == near((166, 166, 166))


@pytest.mark.parametrize(
    ("colour_type", "sample"),
    [
        (0, (0x8080,)),
        (2, (0x8080, 0x4040, 0xC0C0)),
        (4, (0x8080, 0xFFFF)),
        (6, (0x8080, 0x4040, 0xC0C0, 0xFFFF)),
    ],
)
def test_sixteen_bits(colour_type, sample):
    """Of 16 bits the upper eight count: a middle grey stays a middle grey."""
    row = b"\0" + struct.pack(f">{len(sample)}H", *sample) * 80
    expected = (0x80, 0x40, 0xC0) if len(sample) > 2 else (0x80, 0x80, 0x80)
    assert colour(png(80, 80, 16, colour_type, row * 80)) == near(expected, 2)


def test_sixteen_bit_ramp():
    """The values of a 16-bit grey picture keep their order, from black to white."""
    ramp = np.linspace(0, 65535, 64).astype(">u2").tobytes()
    row = np.asarray(render(png(64, 64, 16, 0, (b"\0" + ramp) * 64))["jpeg"].convert("L"))[32]
    assert np.abs(row - np.linspace(0, 255, 64)).max() < 6


@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF", "HEIC"])
def test_alpha(name):
    """Alpha stays in AVIF and WebP; in JPEG the picture stands on white."""
    picture = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    picture.paste((*RED, 255), (0, 0, 40, 80))
    data = heic(picture) if name == "HEIC" else encode(picture, name)
    found = render(data, FORMATS)
    for made in found.keys() - {"jpeg"}:
        assert found[made].getpixel((8, 32)) == near((*RED, 255), 12)
        assert found[made].getpixel((56, 32))[3] == 0
    assert "webp" in found
    assert found["jpeg"].getpixel((8, 32)) == near(RED, 8)
    assert found["jpeg"].getpixel((56, 32)) == near(WHITE)


def test_alpha_in_avif():
    """AVIF has the alpha too where it is kept."""
    noise = Image.effect_noise((64, 64), 90)
    picture = Image.merge("RGBA", (noise, noise.rotate(90), noise.rotate(180), noise.rotate(270)))
    for made in ("webp", "avif"):
        found = render(encode(picture, "PNG"), (made, "jpeg"))
        alpha = np.asarray(found[made].getchannel("A"), np.int16)
        assert np.abs(alpha - np.asarray(picture.getchannel("A"), np.int16)).mean() < 20


def test_no_dark_fringes():
    """Colours under full transparency do not bleed into visible areas."""
    picture = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (0, 0, 203, 400))
    assert np.asarray(render(encode(picture, "PNG"))["jpeg"]).min() > 250


def test_fully_transparent():
    """A fully transparent picture stays so, and is white in JPEG."""
    found = render(encode(filled("RGBA", (10, 20, 30, 0)), "PNG"), ("webp", "jpeg"))
    assert found["webp"].getchannel("A").getextrema() == (0, 0)
    assert found["jpeg"].getpixel((32, 32)) == near(WHITE)


def test_idle_alpha():
    """An opaque alpha channel is not stored, and the formats compete by size."""
    noise = Image.effect_noise((64, 64), 60).convert("RGBA")
    renditions = render_picture(
        io.BytesIO(encode(noise, "PNG")), None, PictureOptions(LIMITS, sizes=(64,))
    )
    assert all(decoded(each.data).mode == "RGB" for each in renditions)
    lengths = [len(each.data) for each in renditions]
    assert lengths == sorted(set(lengths), reverse=True)


def test_adobe_marker():
    """A JPEG stored as RGB, marked only by Adobe's segment, keeps its colours."""
    picture = filled("RGB", GREEN)
    plain = encode(picture, quality=95, keep_rgb=True)
    assert colour(plain) == near(GREEN)
    marked = with_segment(encode(picture, quality=95), 0xEE, b"Adobe\0\x64\0\0\0\0\x01")
    assert colour(marked) == near(GREEN)


@pytest.mark.parametrize(("depth", "value"), [(1, 1), (2, 2), (4, 9), (8, 80)])
def test_transparent_grey_of_any_depth(depth, value):
    """The transparent value of a grey PNG has the depth of the file; no other value is transparent."""
    other = 0
    samples = [value] * 40 + [other] * 40
    packed = sum(sample << (depth * (79 - at)) for at, sample in enumerate(samples))
    row = b"\0" + packed.to_bytes(80 * depth // 8)
    data = png(80, 80, depth, 0, row * 80, png_chunk(b"tRNS", struct.pack(">H", value)))
    found = render(data, ("webp", "jpeg"))["webp"]
    assert (found.getpixel((8, 32))[3], found.getpixel((56, 32))) == (0, near((0, 0, 0, 255)))


def test_transparent_value_of_sixteen_bits():
    """The transparent value of a 16-bit PNG counts: of grey all bits, of colours the upper eight."""
    greys = struct.pack(">40H", *[0x8081] * 40) + struct.pack(">40H", *[0x8080] * 40)
    grey = png(80, 80, 16, 0, (b"\0" + greys) * 80, png_chunk(b"tRNS", struct.pack(">H", 0x8081)))
    colours = struct.pack(">3H", 0x8080, 0x4040, 0xC0C0) * 40 + struct.pack(">3H", 0, 0x4040, 0) * 40
    key = png_chunk(b"tRNS", struct.pack(">3H", 0x8080, 0x4040, 0xC0C0))
    for data in (grey, png(80, 80, 16, 2, (b"\0" + colours) * 80, key)):
        found = render(data, ("webp", "jpeg"))["webp"]
        assert (found.getpixel((8, 32))[3], found.getpixel((56, 32))[3]) == (0, 255)


def test_grey_profile_with_alpha():
    """The profile of a grey picture applies with and without alpha."""
    data = encode(filled("LA", (55, 128)), "PNG", icc_profile=grey_profile(1.0))
    assert render(data, ("webp", "jpeg"))["webp"].getpixel((32, 32)) == near((128, 128, 128, 128))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "I;16", "1"])
@pytest.mark.parametrize("size", [(3000, 2500), (2600, 900)])
def test_large_pictures_of_any_mode(mode, size):
    """Pictures that are converted in bands come out whole, with their edges in place."""
    width, height = size
    grey = Image.new("L", size, 0)
    grey.paste(255, (width // 2, 0, width, height // 2))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    elif mode == "P":
        picture = grey.convert("RGB").quantize(4)
    else:
        picture = grey.convert(mode)
    metadata = {"transparency": 3} if mode == "P" else {}
    found = np.asarray(
        render(encode(picture, "PNG", compress_level=1, **metadata))["jpeg"].convert("L"), float
    )
    right, above = found[:, 34:], found[:30]
    assert found[34:].max() < 40
    assert found[:, :30].max() < 40
    assert right[:30].min() > 215
    assert above[:, 34:].min() > 215
    assert found.mean() == pytest.approx(255 / 4, abs=4)


def _drawing() -> Image.Image:
    """Return red on blue with hard edges, whose colours a photo's encoders would smear."""
    picture = Image.new("RGB", (512, 512), (20, 20, 200))
    for left in range(0, 512, 16):
        picture.paste((220, 20, 20), (left + 1, 0, left + 4, 512))
    return picture


def test_drawings_are_not_smeared():
    """A drawing of few colours keeps them exactly in WebP, and sharp in all formats."""
    picture = _drawing()
    options = PictureOptions(LIMITS, sizes=(512,))
    made = render_picture(io.BytesIO(encode(picture, "PNG")), None, options)
    found = {each.format: np.asarray(decoded(each.data), np.int16) for each in made}
    assert (found["webp"] == np.asarray(picture)).all()
    for pixels in found.values():
        assert np.abs(pixels - np.asarray(picture)).max() < 60
    smeared = np.asarray(decoded(encode(picture, quality=80)), np.int16)
    assert np.abs(smeared - np.asarray(picture)).max() > 100


def test_photos_take_the_usual_path():
    """A photo is no drawing: its colours have half the resolution, which nobody sees."""
    noise = Image.effect_noise((512, 512), 60)
    scene = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    [made] = render_picture(
        io.BytesIO(encode(scene, "PNG")), None, PictureOptions(LIMITS, Encoding(("jpeg",)), (512,))
    )
    sampling = [layer[1:3] for layer in Image.open(io.BytesIO(made.data)).layer]
    assert sampling == [(2, 2), (1, 1), (1, 1)]
