from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from support.pictures.pictures import decoded, encode, photo, quadrants

from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.formats import DEFAULT_QUALITIES, FORMATS, SIZES
from persona_profile.images.pipeline import render_picture, squares_of

LIMITS = Limits(100_000_000, 50_000_000, 2**30)
FULL_COLOUR, HALF_COLOUR = [(1, 1)] * 3, [(2, 2), (1, 1), (1, 1)]


def render(picture, formats=FORMATS, qualities=DEFAULT_QUALITIES) -> dict[int, dict[str, bytes]]:
    """Return the renditions of a picture by size and format."""
    options = PictureOptions(LIMITS, Encoding(formats, qualities))
    made: dict[int, dict[str, bytes]] = {size: {} for size in SIZES}
    for each in render_picture(io.BytesIO(encode(picture, "PNG")), None, options):
        made[each.size][each.format] = each.data
    return made


def squares(picture) -> dict[int, Image.Image]:
    """Return the squares of a picture before they are encoded."""
    return squares_of(io.BytesIO(encode(picture, "PNG")), None, PictureOptions(LIMITS))


def pixels(picture) -> np.ndarray:
    """Return the pixels on white, as JPEG shows them."""
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture.convert("RGBA"))
    return np.asarray(white.convert("RGB"), np.float64)


def error(data, picture) -> float:
    """Return the root mean square of a rendition's error, in levels of 255."""
    return float(np.sqrt(((pixels(decoded(data)) - pixels(picture)) ** 2).mean()))


def sampling(jpeg) -> list[tuple[int, int]]:
    """Return the sampling factors of a JPEG's components."""
    return [layer[1:3] for layer in Image.open(io.BytesIO(jpeg)).layer]


def is_lossless(webp) -> bool:
    """Whether a WebP has a lossless bitstream."""
    return b"VP8L" in webp[:64]


def pixel_art(side) -> Image.Image:
    """Return random pixels of 24 colours."""
    random = np.random.default_rng(side)
    palette = random.integers(0, 256, (24, 3), dtype=np.uint8)
    return Image.fromarray(palette[random.integers(0, 24, (side, side))])


def sprite(side) -> Image.Image:
    """Return symmetric pixels of four colours on transparency."""
    random = np.random.default_rng(side)
    colours = [(20, 20, 30, 0), (250, 200, 40, 255), (230, 40, 60, 255), (40, 90, 230, 255)]
    half = random.integers(0, 4, (side, side // 2))
    return Image.fromarray(np.array(colours, np.uint8)[np.hstack([half, half[:, ::-1]])])


def letters(side, ink=(230, 0, 30), paper=(0, 20, 200)) -> Image.Image:
    """Return letters with smooth edges, as large as a quarter of the picture."""
    picture = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(side / 4)
    draw.text((side / 2, side / 2), "R&B\nred", ink, font, anchor="mm", align="center")
    return picture


def on_white(scene, radius) -> Image.Image:
    """Return a scene within a soft circle on white."""
    mask = Image.new("L", scene.size)
    centre = scene.width / 2
    ImageDraw.Draw(mask).circle((centre, centre), radius, fill=255)
    return Image.composite(
        scene, Image.new("RGB", scene.size, "white"), mask.filter(ImageFilter.GaussianBlur(2))
    )


@pytest.mark.parametrize("draw", [pixel_art, sprite])
@pytest.mark.parametrize("side", [8, 16, 24, 32, 48, 64])
def test_pixel_art(side, draw):
    """Small pixel art keeps every pixel in WebP, has no larger AVIF, and an invisible error in JPEG."""
    picture = draw(side)
    for made in render(picture).values():
        assert made.keys() == {"jpeg", "webp"}
        assert error(made["webp"], picture) == 0
        assert error(made["jpeg"], picture) < 2.5
        assert len(made["webp"]) < len(made["jpeg"]) < 16 * 1024


@pytest.mark.parametrize("draw", [pixel_art, sprite])
@pytest.mark.parametrize("side", [8, 32, 64])
def test_pixel_art_in_avif(side, draw):
    """Where AVIF is the best format, the error of pixel art in it is invisible too."""
    picture = draw(side)
    made = render(picture, ("avif", "jpeg"))[64]
    assert all(error(data, picture) < 2.5 for data in made.values())
    assert "avif" in made or len(made["jpeg"]) < 16 * 1024


@pytest.mark.parametrize("side", [40, 100, 200, 512, 1500])
def test_letters(side):
    """Red letters with smooth edges on blue stay sharp in each size and format."""
    picture = letters(side)
    expected = squares(picture)
    for size, made in render(picture).items():
        assert error(made["webp"], expected[size]) == 0
        assert all(error(data, expected[size]) < 2.5 for data in made.values())
    smeared = encode(expected[64], quality=DEFAULT_QUALITIES["jpeg"])
    assert error(smeared, expected[64]) > 10


def test_grey_letters():
    """A page of small grey letters keeps every pixel, in fewer bytes than a lossy format needs."""
    picture = Image.new("L", (512, 512), 250)
    draw = ImageDraw.Draw(picture)
    for top in range(0, 512, 16):
        draw.text((3, top), "The quick brown fox jumps over the lazy dog. " * 3, 20)
    made = render(picture)[512]
    assert error(made["webp"], picture) == 0
    assert "avif" not in made or len(made["avif"]) < len(made["webp"])


def test_screenshot_with_a_photo():
    """Text beside a photo keeps its colours in full resolution, whatever the photo's colours."""
    picture = Image.new("RGB", (800, 800), (24, 25, 28))
    picture.paste(decoded(photo(240, 240)), (20, 20))
    draw = ImageDraw.Draw(picture)
    for top in range(20, 780, 40):
        draw.text((280, top), "Words beside a photo, and more words", (102, 170, 255), font_size=24)
    expected = squares(picture)
    for size, made in render(picture).items():
        assert sampling(made["jpeg"]) == FULL_COLOUR
        assert error(made["webp"], expected[size]) == 0
        assert error(made.get("avif", made["webp"]), expected[size]) < 2.5


def test_shaded_drawing():
    """A shaded drawing of very many colours on a plain ground is precise in small squares."""
    light = Image.radial_gradient("L").resize((1200, 1200))
    picture = Image.merge(
        "RGB", (light, light.rotate(90).point(range(255, -1, -1)), light.transpose(1))
    )
    picture = on_white(picture, 380)
    expected, made = squares(picture), render(picture)
    for size in (64, 128):
        assert all(error(data, expected[size]) < 2.5 for data in made[size].values())


def test_no_format_is_visibly_worse():
    """Formats that clients prefer have no more error than JPEG, or an error that is invisible."""
    for picture in (quadrants(700, 700), letters(600), letters(128, (0, 0, 0), (255, 255, 255))):
        expected = squares(picture)
        for size, made in render(picture).items():
            worst = max(2.5, error(made["jpeg"], expected[size]))
            assert all(error(data, expected[size]) <= worst for data in made.values())


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_photos(mode):
    """A photo is no graphic, nor is one in grey or with a palette, in spite of few colours."""
    scene = decoded(photo(900, 900))
    noise = Image.merge("RGB", [Image.effect_noise(scene.size, 30)] * 3)
    picture = Image.blend(scene, noise, 0.2).convert(mode)
    for made in render(picture).values():
        assert sampling(made["jpeg"]) == HALF_COLOUR
        assert not is_lossless(made.get("webp", b""))


@pytest.mark.parametrize(("radius", "sizes"), [(300, SIZES), (180, (256, 512))])
def test_photo_on_white(radius, sizes):
    """A photo on white stays a photo; if it is mostly white, then in its large squares."""
    made = render(on_white(decoded(photo(700, 700)), radius))
    for size in sizes:
        assert sampling(made[size]["jpeg"]) == HALF_COLOUR


def test_small_photo():
    """A photo of a few pixels is precise in a few kilobytes."""
    picture = decoded(photo(400, 400)).resize((48, 48))
    for made in render(picture).values():
        assert all(error(data, picture) < 2.5 for data in made.values())
        assert min(map(len, made.values())) < 6 * 1024


def test_sizes_above_its_own():
    """A small picture has the same renditions in all larger sizes."""
    made = render(sprite(32))
    assert all(made[size] == made[64] for size in SIZES)


def test_configured_quality():
    """A configured quality above that of graphics holds for them too."""
    picture = letters(700)
    made = render(picture, ("jpeg",), {**DEFAULT_QUALITIES, "jpeg": 97})[512]
    tables = decoded(made["jpeg"]).quantization
    assert tables == decoded(encode(picture, quality=98)).quantization
