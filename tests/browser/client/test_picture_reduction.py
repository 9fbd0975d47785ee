from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw
from support.browsers.abilities import ENCODE_WEBP, in_three_engines
from support.clients.scripts import Scripts
from support.pictures.exif import (
    LONG,
    app1,
    avif,
    density,
    orientation_entry,
    patterned,
    segment,
    text_chunks,
    tiff,
    turned_tiff,
    webp,
    xmp_app1,
)
from support.pictures.pictures import (
    decoded,
    encode,
    exif_orientation,
    heic,
    photo,
    png_chunk,
    quadrants,
)
from support.pictures.shown import FOREIGN, foreign
from support.pictures.workers import LIMITS
from support.servers.answering import answering
from support.servers.applications import development_server

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, PictureOptions
from persona_profile.images.pipeline import squares_of

OPTIONS = PictureOptions(LIMITS, Encoding(("jpeg",)))

REDUCE = """
const { blob, side } = await module.reduce(file ?? tools.file(), crop);
return [side, blob.type, await tools.base64(blob)];
"""


@pytest.fixture(scope="module")
def server(development_folder: Path) -> Iterator[str]:
    """The origin of one server for all tests: it serves the modules, and nothing is stored."""
    with development_server(development_folder) as origin:
        yield origin


@pytest.fixture
def scripts(browser, server):
    """An empty page of the server's origin."""
    browser.set_script_timeout(60)
    made = Scripts(browser)
    made.open(f"{server}/v1/")
    return made


@pytest.fixture
def reduce(scripts, tmp_path):
    """Returns the browser's reduction of a file: side, media type, bytes."""
    return lambda data, crop=None: reduced_by(scripts, tmp_path, data, crop)


def reduced_by(scripts, folder, data, crop):
    """Return a page's reduction of a file."""
    (folder / "picture").write_bytes(data)
    scripts.choose(folder / "picture")
    side, kind, text = scripts.run(REDUCE, file=None, crop=crop)
    return side, kind, base64.b64decode(text)


SHOW = """
const image = new Image();
image.src = URL.createObjectURL(tools.file());
document.body.append(image);
await image.decode();
const of = { width: image.naturalWidth, height: image.naturalHeight };
const side = Math.floor(Math.min(of.width, of.height) / 2);
const [left, top] = [of.width / 2 - 0.3 * side, of.height / 2 - 0.6 * side].map(Math.round);
const crop = { left, top, side, of };
const canvas = new OffscreenCanvas(256, 256);
canvas.getContext("2d").drawImage(image, crop.left, crop.top, side, side, 0, 0, 256, 256);
image.remove();
return [crop, await tools.base64(await canvas.convertToBlob())];
"""


def square(data, crop=None):
    """Return the largest size that the server makes of a file."""
    place = None
    if crop:
        of = crop.get("of")
        place = Crop(crop["left"], crop["top"], crop["side"], of and (of["width"], of["height"]))
    return squares_of(io.BytesIO(data), place, OPTIONS)[512]


@cache
def scene(width=3000, height=2000):
    """Return a photo with coloured quarters."""
    return Image.blend(decoded(photo(width, height)), patterned(width, height), 0.4)


@cache
def scene_jpeg():
    """Return the scene as a JPEG that is reduced."""
    return encode(scene(), quality=90)


def photo_jpeg(*segments):
    """Return a JPEG that is reduced, with segments at its start."""
    data = scene_jpeg()
    return data[:2] + b"".join(segments) + data[2:]


def photo_png(*chunks):
    """Return a PNG that is reduced, with chunks before its pixels."""
    data = encode(scene(1500, 1000), "PNG", compress_level=1)
    return data[:33] + b"".join(chunks) + data[33:]


def photo_webp(*chunks):
    """Return a WebP that is reduced, with chunks after its pixels."""
    return webp(*chunks, flags=8, picture=scene(2600, 1800), quality=100)


def difference(one, other):
    """Return the mean absolute difference of two pictures, in levels of 255."""
    assert one.size == other.size
    assert one.mode == other.mode
    return float(np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean())


def in_display_p3(picture):
    """Return a picture as a JPEG with a Display P3 profile."""
    # The matrix and curve of the standard: SMPTE EG 432-1 primaries, white D65, the curve of sRGB.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    replaced = bytearray(profile)
    columns = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for index in range(int.from_bytes(profile[128:132])):
        entry = 132 + 12 * index
        name, offset = profile[entry : entry + 4], int.from_bytes(profile[entry + 4 : entry + 8])
        for position, value in enumerate(columns.get(name, ())):
            at = offset + 8 + 4 * position
            replaced[at : at + 4] = round(value * 65536).to_bytes(4, signed=True)
    return encode(picture, quality=95, icc_profile=bytes(replaced))


class TestPhotos:
    @pytest.mark.parametrize("orientation", [1, 6, 7])
    @pytest.mark.parametrize("crop", [None, {"left": 301, "top": 422, "side": 2345}])
    def test_of_twelve_megapixels(self, reduce, orientation, crop):
        """A photo is reduced to under 300 kB; the server's result is the same except for noise."""
        turned = decoded(photo())
        data = encode(turned, quality=90, exif=exif_orientation(orientation))
        side, kind, sent = reduce(data, crop)
        assert (side, kind) == (1024, "image/jpeg")
        assert decoded(sent).size == (1024, 1024)
        assert len(sent) < 300_000 < len(data)
        assert b"SECRET-CAMERA" not in sent
        own = square(data, crop)
        assert difference(square(sent), own) < 2
        # The bound is tight: a shift by one pixel exceeds it.
        assert difference(own.transform(own.size, Image.Transform.AFFINE, (1, 0, 1, 0, 1, 0)), own) > 2

    def test_small_square(self, reduce):
        """A small crop keeps all its pixels."""
        data, crop = photo(), {"left": 900, "top": 700, "side": 400}
        side, kind, sent = reduce(data, crop)
        assert (side, kind) == (400, "image/jpeg")
        assert len(sent) < 300_000
        own = squares_of(io.BytesIO(data), Crop(900, 700, 400), OPTIONS)[512]
        assert difference(square(sent), own) < 1.5

    @in_three_engines
    def test_wide_colours(self, reduce):
        """A photo in Display P3 is converted to sRGB with the server's colours."""
        patches = Image.new("RGB", (1600, 1600))
        draw = ImageDraw.Draw(patches)
        for index, colour in enumerate([(200, 90, 60), (90, 200, 90), (60, 90, 200), (128, 128, 128)]):
            left, top = 800 * (index % 2), 800 * (index // 2)
            draw.rectangle((left, top, left + 799, top + 799), colour)
        noise = Image.effect_noise((1600, 1600), 12)
        data = in_display_p3(Image.blend(patches, Image.merge("RGB", [noise] * 3), 0.2))
        side, _, sent = reduce(data)
        assert side == 1024
        own, made = square(data), square(sent)
        assert difference(made, own) < 2
        unconverted = squares_of(io.BytesIO(encode(decoded(data), quality=95)), None, OPTIONS)[512]
        assert difference(unconverted, own) > 4

    def test_in_grey(self, reduce):
        """A grey photo is no graphic, in spite of its few colours."""
        data = encode(decoded(photo(2000, 2000)).convert("L"), quality=95)
        side, kind, sent = reduce(data)
        assert (side, kind) == (1024, "image/jpeg")
        assert difference(square(sent), square(data)) < 2


class TestGraphics:
    def test_with_few_colours(self, reduce):
        """A screenshot stays lossless, like the server's own renditions."""
        picture = Image.new("RGB", (3000, 2000), "white")
        draw = ImageDraw.Draw(picture)
        random = np.random.default_rng(1)
        for row in range(60):
            letters = "".join(map(chr, random.integers(33, 127, 300)))
            draw.text((int(random.integers(20)), 33 * row), letters, fill=(20, 20, 60), font_size=22)
        data = encode(picture, "PNG", compress_level=1)
        side, kind, sent = reduce(data)
        assert (side, kind) == (1024, "image/png")
        assert difference(square(sent), square(data)) < 4
        assert square(sent).getcolors(4096)

    def test_of_pixel_art(self, reduce):
        """A small square of a sheet of sprites keeps every pixel, and so does a larger one."""
        random = np.random.default_rng(3)
        palette = random.integers(0, 256, (24, 3), dtype=np.uint8)
        sheet = Image.fromarray(palette[random.integers(0, 24, (2200, 2200))])
        data = encode(sheet, "PNG", compress_level=1)
        for left, side in ((40, 32), (300, 250)):
            reduced, kind, sent = reduce(data, {"left": left, "top": 8, "side": side})
            assert (reduced, kind) == (side, "image/png")
            expected = sheet.crop((left, 8, left + side, 8 + side))
            assert np.array_equal(np.asarray(decoded(sent).convert("RGB")), np.asarray(expected))

    def test_beside_a_photo(self, reduce):
        """A page of text stays lossless, whatever colours a photo on it has."""
        page = Image.new("RGB", (2600, 2600), (24, 25, 28))
        page.paste(decoded(photo(700, 700)), (60, 60))
        draw = ImageDraw.Draw(page)
        for top in range(60, 2500, 120):
            draw.text((820, top), "Words beside a photo, and more words", (102, 170, 255), font_size=80)
        side, kind, sent = reduce(encode(page, "PNG", compress_level=1))
        assert (side, kind) == (1024, "image/png")
        assert len(sent) < 2_000_000

    @in_three_engines
    def test_with_transparency(self, engine, reduce):
        """Photos and graphics keep their transparency."""
        alpha = Image.linear_gradient("L").resize((1600, 1600))
        clear = decoded(photo(1600, 1600)).copy()
        clear.putalpha(alpha)
        photo_type = "image/webp" if engine.can(ENCODE_WEBP) else "image/png"
        for picture, expected in ((clear, photo_type), (quadrants(1600, 1600), "image/png")):
            picture.putalpha(alpha)
            data = encode(picture, "PNG", compress_level=0)
            side, kind, sent = reduce(data)
            assert (side, kind) == (1024, expected)
            made, own = square(sent), square(data)
            assert made.mode == "RGBA"
            assert difference(made.getchannel("A"), own.getchannel("A")) < 1

    def test_of_which_the_first_frame_counts(self, reduce):
        """The first frame of an animation is reduced, as on the server."""
        frames = [decoded(photo(1300, 1300, seed)) for seed in (7, 8)]
        data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
        side, _, sent = reduce(data)
        assert side == 1024
        assert difference(square(sent).convert("RGB"), square(data).convert("RGB")) < 3


def on_white(picture):
    """Return a picture on a white ground."""
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def padded(data):
    """Return a file with bytes that mean nothing, so that it is large enough to be reduced."""
    if data.startswith(b"\xff\xd8"):
        return data[:2] + 5 * segment(0xFE, bytes(65_000)) + data[2:]
    if data.startswith(b"\x89PNG"):
        return data[:-12] + png_chunk(b"prVt", bytes(300_000)) + data[-12:]
    if data[4:8] == b"ftyp":
        return data + (300_008).to_bytes(4) + b"free" + bytes(300_000)
    return data + bytes(300_000)


UNREDUCED = {"s-noeoi.jpg"}  # an `<img>` shows a JPEG without its end, createImageBitmap rejects it
SHOWN = sorted(each.name for each in FOREIGN.iterdir() if each.suffix != ".heic")


class TestSquareThatWasSeen:
    """A square is chosen in an `<img>`; the browser's and the server's cards show what it showed."""

    @pytest.fixture
    def seen(self, scripts, tmp_path):
        """Returns the crop of a file in an `<img>`, and its pixels there."""

        def show(data):
            (tmp_path / "picture").write_bytes(data)
            scripts.choose(tmp_path / "picture")
            crop, text = scripts.run(SHOW)
            return crop, on_white(decoded(base64.b64decode(text)))

        return show

    def assert_same(self, seen, reduce, data, *, reduced):
        """Hold the cards of both ways against what the person saw; return the size of the `<img>`."""
        crop, shown = seen(data)
        side, _, sent = reduce(data, crop)
        assert (side is not None) == reduced
        own = on_white(square(data, crop)).resize(shown.size)
        made = on_white(square(sent, None if reduced else crop)).resize(shown.size)
        # Unequal parts of all quarters: a square of another place, size or turn differs by more.
        assert difference(own, shown) < 5
        assert difference(made, shown) < 5
        assert difference(shown.transpose(Image.Transpose.ROTATE_90), shown) > 20
        return crop["of"]["width"], crop["of"]["height"]

    @pytest.mark.parametrize(
        ("segments", "size"),
        [
            ([app1(turned_tiff(6))], (2000, 3000)),
            ([app1(turned_tiff(2))], (3000, 2000)),
            ([app1(tiff([orientation_entry(6, LONG)]))], (3000, 2000)),
            ([xmp_app1(6)], (3000, 2000)),
            ([app1(density(144, 144, 1500, 1000))], (1500, 1000)),
            ([app1(density(300, 300, 720, 480))], (720, 480)),
            ([app1(density(36, 36, 6000, 4000))], (6000, 4000)),
            ([app1(density(144, 144, 1500, 1000, turn=6))], (1000, 1500)),
            ([app1(density(144, 144, 1501, 1000))], (3000, 2000)),
        ],
        ids=["6", "2", "LONG", "XMP", "144dpi", "300dpi", "36dpi", "144dpi-6", "other-size"],
    )
    def test_of_a_jpeg(self, seen, reduce, segments, size):
        """EXIF orientation turns, nothing else does; a density changes the size of an `<img>`."""
        assert self.assert_same(seen, reduce, photo_jpeg(*segments), reduced=True) == size

    def test_of_a_jpeg_that_is_stretched(self, seen, reduce):
        """A density of two resolutions is left to the server, which covers what was seen."""
        data = photo_jpeg(app1(density(144, 72, 1500, 2000)))
        assert self.assert_same(seen, reduce, data, reduced=False) == (1500, 2000)

    def test_of_a_jpeg_that_browsers_turn_differently(self, seen, reduce):
        """EXIF after XMP turns in some browsers only: the server decides."""
        data = photo_jpeg(xmp_app1(3), app1(turned_tiff(6)))
        assert self.assert_same(seen, reduce, data, reduced=False) == (2000, 3000)
        upright = photo_jpeg(xmp_app1(3), app1(turned_tiff(1)))
        assert self.assert_same(seen, reduce, upright, reduced=True) == (3000, 2000)

    def test_of_a_png(self, seen, reduce):
        """EXIF of a PNG turns in some browsers only; its texts never do."""
        turned = photo_png(png_chunk(b"eXIf", turned_tiff(6)))
        assert self.assert_same(seen, reduce, turned, reduced=False) == (1000, 1500)
        upright = photo_png(png_chunk(b"eXIf", turned_tiff(1)), *text_chunks(6).values())
        assert self.assert_same(seen, reduce, upright, reduced=True) == (1500, 1000)

    def test_of_a_webp(self, seen, reduce):
        """EXIF of a WebP never turns."""
        data = photo_webp((b"EXIF", turned_tiff(6)))
        assert self.assert_same(seen, reduce, data, reduced=True) == (2600, 1800)

    @pytest.mark.parametrize("turn", range(1, 9))
    def test_of_an_avif(self, seen, reduce, turn):
        """Its properties turn an AVIF in some browsers only; its EXIF never does."""
        data = avif(irot_imir=turn, exif=3, picture=scene(2400, 1600))
        size = (2400, 1600) if turn < 5 else (1600, 2400)
        assert self.assert_same(seen, reduce, data, reduced=turn == 1) == size

    @pytest.mark.parametrize("name", SHOWN)
    def test_of_a_foreign_file(self, seen, reduce, name):
        """A file of another program looks the same on a card, however it was uploaded."""
        data = foreign(name)
        for each in (data, padded(data)):
            crop, shown = seen(each)
            side, _, sent = reduce(each, crop)
            assert difference(on_white(square(each, crop)).resize(shown.size), shown) < 5
            assert (side is not None) == (each is not data and name not in UNREDUCED)
            if side is not None:
                assert difference(on_white(square(sent)).resize(shown.size), shown) < 5

    def test_without_its_size(self, reduce):
        """Older callers count pixels of the upright picture."""
        data = photo_jpeg(app1(turned_tiff(6)))
        crop = {"left": 900, "top": 100, "side": 1000}
        sized = {**crop, "of": {"width": 2000, "height": 3000}}
        assert reduce(data, crop) == reduce(data, sized)
        assert square(data, crop).tobytes() == square(data, sized).tobytes()

    def test_of_another_picture(self, reduce):
        """A square of a picture of another shape is left to the server, which rejects it."""
        crop = {"left": 0, "top": 0, "side": 100, "of": {"width": 300, "height": 210}}
        data = photo_jpeg()
        assert reduce(data, crop)[0] is None
        with pytest.raises(ServiceError) as caught:
            square(data, crop)
        assert caught.value.code == "crop_of_other_picture"


class TestAsItIs:
    def test_what_the_browser_cannot_decode(self, reduce):
        """HEIC, broken files and other files are left to the server."""
        whole = photo(1600, 1200)
        for data in (heic(decoded(whole)), whole[: len(whole) // 2], b"text " * 20_000):
            assert reduce(data) == (None, "", data)

    def test_what_is_small(self, reduce):
        """A picture with few bytes and pixels is not encoded again."""
        data = encode(decoded(photo(1000, 800)), quality=80)
        assert len(data) > 64 * 1024
        assert reduce(data)[0] is None

    def test_crop_outside(self, reduce):
        """A crop outside the picture is left to the server, which rejects it."""
        assert reduce(photo(), {"left": 3000, "top": 0, "side": 2000})[0] is None

    def test_inks(self, reduce):
        """CMYK is left to the server, because browsers disagree on its colours."""
        assert reduce(encode(decoded(photo(1600, 1200)).convert("CMYK"), quality=95))[0] is None

    def test_more_pixels_than_a_page_can_hold(self, reduce):
        """A picture of 400 megapixels is left to the server untried."""
        flat = Image.new("L", (20_000, 20_000))
        assert reduce(encode(flat, "PNG", compress_level=1))[0] is None


class TestWorker:
    @in_three_engines
    def test_leaves_the_page_free(self, scripts, tmp_path):
        """A picture of 48 megapixels is reduced in a worker, off the page's thread."""
        data = encode(decoded(photo()).resize((8064, 6048)), quality=60)
        (tmp_path / "picture").write_bytes(data)
        scripts.choose(tmp_path / "picture")
        script = """
            const [names, Original, decode] = [[], window.Worker, window.createImageBitmap];
            window.Worker = class extends Original {
              constructor(url, options) {
                super(url, options);
                names.push(options.name);
              }
            };
            window.createImageBitmap = () => { throw new Error("on the thread of the page"); };
            try {
              const { side } = await module.reduce(tools.file());
              return [side, names];
            } finally {
              [window.Worker, window.createImageBitmap] = [Original, decode];
            }
        """
        assert scripts.run(script) == [1024, ["persona-profile-reduction"]]

    @in_three_engines
    def test_of_another_origin(self, scripts, tmp_path):
        """Modules of another origin may start no worker, so the page reduces the picture itself."""
        with answering() as elsewhere:
            script = "window.module = await import(`${origin}/static/persona-profile.js`)"
            scripts.run(script, origin=elsewhere.origin)
            assert reduced_by(scripts, tmp_path, photo(), None)[0] == 1024

    @in_three_engines
    def test_that_the_page_forbids(self, scripts, tmp_path):
        """Under a policy without workers the page reduces the picture itself."""
        (tmp_path / "picture").write_bytes(photo())
        made = []
        with answering() as elsewhere:
            for policy in ("worker-src 'self'", "worker-src 'none'"):
                elsewhere.page_headers = {"Content-Security-Policy": policy}
                scripts.open(f"{elsewhere.origin}/")
                made.append(reduced_by(scripts, tmp_path, photo(), None))
            # Overrides the page's own pixel reads with noise, as some browsers do for all.
            noisy = """
                const { prototype } = OffscreenCanvasRenderingContext2D;
                const { getImageData } = prototype;
                prototype.getImageData = function (...place) {
                  const read = getImageData.apply(this, place);
                  read.data[5] ^= 1;
                  return read;
                };
            """
            scripts.run(noisy)
            assert reduced_by(scripts, tmp_path, photo(), None)[0] is None
        assert made[0][0] == 1024
        assert made[0] == made[1]
