from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.pictures.exif import QUADRANTS, app1, density, jpeg, patterned, png, turned_tiff
from support.pictures.pictures import decoded, encode, png_chunk
from support.pictures.workers import LIMITS

from persona_profile.errors import ServiceError
from persona_profile.images import Crop, Encoding, PictureOptions
from persona_profile.images.metadata import Metadata
from persona_profile.images.pipeline import squares_of
from persona_profile.images.squares import Box, is_scaled, stored_box

TURNS = tuple(range(1, 9))
OPTIONS = PictureOptions(LIMITS, Encoding(("jpeg",)))

sides = st.one_of(st.integers(1, 60), st.integers(1, 20_000))
rounding = st.sampled_from((math.floor, round, math.ceil))


def turned(size, turn):
    """Return a size after a turn."""
    return size[::-1] if turn >= 5 else size


def upright_box(box: Box, stored, turn):
    """Return a box of the stored image where it lies in the upright one, as the library turns it."""
    marks = Image.new("L", (9, 9))
    marks.putpixel((0, 0), 1)
    marks.putpixel((8, 0), 2)
    marks.putpixel((0, 8), 3)
    found = np.asarray(ImageOps.exif_transpose(decoded(encode(marks, "PNG", exif=_orientation(turn)))))
    corner = {int(found[y][x]): (x > 0, y > 0) for x in (0, 8) for y in (0, 8)}
    width, height = stored

    def placed(x, y):
        # The images of the stored image's corners span the upright image.
        (left, top), (right, above), (below_x, below) = (corner[mark] for mark in (1, 2, 3))
        upright = turned(stored, turn)
        origin = (left * upright[0], top * upright[1])
        across = ((right - left) * upright[0], (above - top) * upright[1])
        down = ((below_x - left) * upright[0], (below - top) * upright[1])
        return tuple(
            origin[axis] + across[axis] * x / width + down[axis] * y / height for axis in (0, 1)
        )

    (x1, y1), (x2, y2) = placed(box.left, box.top), placed(box.right, box.bottom)
    return tuple(map(round, (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))))


def _orientation(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif.tobytes()


def crop_in(draw, size, of):
    """Return any crop of a picture of a size."""
    side = draw.draw(st.integers(1, min(size)))
    return Crop(
        draw.draw(st.integers(0, size[0] - side)), draw.draw(st.integers(0, size[1] - side)), side, of
    )


class TestBox:
    @settings(deadline=None)
    @given(sides, sides, st.sampled_from(TURNS), st.data())
    def test_of_the_upright_picture(self, width, height, turn, draw):
        """A crop of the upright picture is exact, with its size or without."""
        stored, metadata = (width, height), Metadata(turn)
        upright = turned(stored, turn)
        crop = crop_in(draw, upright, draw.draw(st.sampled_from((None, upright))))
        box = stored_box(crop, stored, metadata)
        x, y, side = crop.x, crop.y, crop.side
        assert upright_box(box, stored, turn) == (x, y, x + side, y + side)

    @settings(deadline=None)
    @given(sides, sides, st.sampled_from(TURNS), st.floats(0.001, 4), rounding, rounding, st.data())
    def test_of_a_scaled_picture(self, width, height, turn, scale, across, down, draw):
        """A crop of a copy in another size covers the same part, within a pixel of either picture."""
        stored = (width, height)
        upright = turned(stored, turn)
        of = (max(1, across(upright[0] * scale)), max(1, down(upright[1] * scale)))
        if turn >= 5:
            assume(of not in (stored, upright))
        assert is_scaled(of, upright)
        crop = crop_in(draw, of, of)
        box = stored_box(crop, stored, Metadata(turn))
        left, top, right, bottom = upright_box(box, stored, turn)
        assert 0 <= left < right <= upright[0]
        assert 0 <= top < bottom <= upright[1]
        assert right - left == bottom - top
        by_x, by_y = upright[0] / of[0], upright[1] / of[1]
        assert abs(left - crop.x * by_x) <= 1.01 + by_x
        assert abs(right - (crop.x + crop.side) * by_x) <= 1.01 + by_x
        assert abs(top - crop.y * by_y) <= 1.01 + by_y
        assert abs(bottom - (crop.y + crop.side) * by_y) <= 1.01 + by_y

    @settings(deadline=None)
    @given(sides, sides, st.sampled_from(TURNS), st.floats(0.001, 4), rounding)
    def test_of_the_largest_square(self, width, height, turn, scale, rounded):
        """The largest square of a copy is the largest square of the picture."""
        stored = (width, height)
        of = tuple(max(1, rounded(each * scale)) for each in turned(stored, turn))
        box = stored_box(Crop(0, 0, min(of), of), stored, Metadata(turn))
        assert box.side == min(stored)

    @settings(deadline=None)
    @given(sides, sides, st.sampled_from(TURNS[4:]), st.data())
    def test_of_the_unturned_picture(self, width, height, turn, draw):
        """A crop that was counted in the unturned picture lies there."""
        assume(width != height)
        stored = (width, height)
        crop = crop_in(draw, stored, stored)
        x, y, side = crop.x, crop.y, crop.side
        assert stored_box(crop, stored, Metadata(turn)) == (x, y, x + side, y + side)

    def test_of_a_scaled_and_unturned_picture(self):
        """A copy may be unturned, too."""
        crop = Crop(10, 20, 30, (150, 100))
        assert stored_box(crop, (600, 400), Metadata(6)) == (40, 80, 160, 200)

    def test_of_almost_a_square(self):
        """An exact size wins over a size of the same shape."""
        crop = Crop(0, 0, 400, (401, 400))
        assert stored_box(crop, (401, 400), Metadata(6)) == (0, 0, 400, 400)
        turned_crop = Crop(0, 0, 400, (400, 401))
        assert stored_box(turned_crop, (401, 400), Metadata(6)) == (0, 0, 400, 400)
        lower = Crop(0, 1, 400, (400, 401))
        assert stored_box(lower, (401, 400), Metadata(6)) == (1, 0, 401, 400)

    @pytest.mark.parametrize("turn", TURNS)
    def test_of_a_density_that_stretches(self, turn):
        """Where pixels are not square, the box covers what was shown as a square."""
        natural = (300, 400)  # of 600 x 400: pixels are twice as high as wide
        shown = turned(natural, turn)
        crop = Crop(shown[0] - 100, shown[1] - 150, 100, shown)
        box = stored_box(crop, (600, 400), Metadata(turn, natural))
        left, top, right, bottom = upright_box(box, (600, 400), turn)
        by_x, by_y = turned((2, 1), turn)
        assert (left, right) == (crop.x * by_x, (crop.x + 100) * by_x)
        assert (top, bottom) == (crop.y * by_y, (crop.y + 100) * by_y)
        assert box.side == 100

    @pytest.mark.parametrize(
        ("of", "turn"),
        [
            ((600, 402), 1),
            ((300, 202), 1),
            ((400, 600), 1),
            ((1024, 686), 1),
            ((1, 4), 6),
            ((900, 1), 1),
        ],
    )
    def test_of_another_picture(self, of, turn):
        """A crop of a picture of another shape is rejected with both sizes."""
        with pytest.raises(ServiceError) as caught:
            stored_box(Crop(0, 0, 1, of), (600, 400), Metadata(turn))
        upright = turned((600, 400), turn)
        assert caught.value.code == "crop_of_other_picture"
        assert caught.value.members == {
            "width": upright[0],
            "height": upright[1],
            "of_width": of[0],
            "of_height": of[1],
        }

    @pytest.mark.parametrize(("x", "y", "side"), [(201, 0, 100), (0, 101, 100), (0, 0, 201), (0, 0, 0)])
    def test_outside(self, x, y, side):
        """A crop outside of the copy in which it was counted is rejected with the copy's size."""
        with pytest.raises(ServiceError) as caught:
            stored_box(Crop(x, y, side, (300, 200)), (600, 400), Metadata())
        assert caught.value.code == "crop_outside_picture"
        assert caught.value.members == {"width": 300, "height": 200}


class TestScaled:
    @pytest.mark.parametrize(
        ("size", "same"),
        [
            ((4001, 37), True),
            ((1024, 9), True),  # 9.47 rounded down
            ((1024, 10), True),  # and up
            ((1024, 8), False),
            ((1024, 11), False),
            ((37, 4001), False),
            ((100, 1), True),
            ((27, 1), True),
            ((1, 1), True),  # so small that it fits any shape
            ((8002, 74), True),
            ((8002, 76), False),
            ((4001, 38), True),  # both may come of a factor just over 1
            ((4001, 39), False),
        ],
    )
    def test_of_a_narrow_picture(self, size, same):
        """Each side may be rounded up or down, and no more."""
        assert is_scaled(size, (4001, 37)) == same

    @given(sides, sides, sides, sides)
    def test_is_mutual(self, width, height, other_width, other_height):
        """A factor that is found exists."""
        size, other = (width, height), (other_width, other_height)
        low = max((width - 1) / other_width, (height - 1) / other_height)
        high = min((width + 1) / other_width, (height + 1) / other_height)
        assume(abs(low - high) > 1e-9)
        assert is_scaled(size, other) == (low < high)


def colours_of(data, crop):
    """Return the colours of the corners of a card's square."""
    square = squares_of(io.BytesIO(data), crop, OPTIONS)[64].convert("RGB")
    low, high = square.width // 8, square.width - 1 - square.width // 8
    return [square.getpixel(place) for place in ((low, low), (high, low), (low, high), (high, high))]


def assert_colours(found, *expected):
    """Hold the colours of a square's corners against those expected of a JPEG."""
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=14)


class TestFiles:
    RED, GREEN, BLUE, YELLOW = QUADRANTS

    def test_of_corrected_density(self):
        """A square of a picture that its density halves is the square that the person saw."""
        data = jpeg(app1(density(144, 144, 300, 200)), size=(600, 400))
        assert_colours(
            colours_of(data, Crop(100, 50, 100, (300, 200))),
            self.RED, self.GREEN, self.BLUE, self.YELLOW,
        )  # fmt: skip

    def test_of_an_unturned_picture(self):
        """A client that does not turn names its own square, and gets it upright."""
        data = jpeg(app1(turned_tiff(6)), size=(600, 400))
        assert_colours(colours_of(data, Crop(0, 0, 200, (600, 400))), *[self.RED] * 4)
        assert_colours(colours_of(data, Crop(0, 0, 200, (400, 600))), *[self.BLUE] * 4)
        half = colours_of(data, Crop(200, 0, 200, (600, 400)))
        assert_colours(half, self.RED, self.RED, self.GREEN, self.GREEN)

    @pytest.mark.parametrize("of", [(600, 400), (1024, 683), (1024, 682), (75, 50), (1200, 800)])
    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF"])
    def test_of_a_preview(self, name, of):
        """The square around the middle has four colours in whatever size it was chosen."""
        data = encode(patterned(600, 400), name)
        side = of[1] // 2
        found = colours_of(data, Crop((of[0] - side) // 2, (of[1] - side) // 2, side, of))
        assert_colours(found, *QUADRANTS)

    def test_large_enough_for_its_square(self):
        """A JPEG is decoded as large as its square needs, whatever the size of the preview."""
        fine = Image.new("L", (4096, 4096))
        fine.paste(255, (0, 0, 2048, 4096))
        fine = Image.effect_mandelbrot((4096, 4096), (-2, -1.5, 1, 1.5), 60).convert("RGB")
        data = encode(fine, quality=90)
        exact = squares_of(io.BytesIO(data), Crop(1024, 1024, 1024), OPTIONS)[512]
        preview = squares_of(io.BytesIO(data), Crop(64, 64, 64, (256, 256)), OPTIONS)[512]
        assert preview.size == (512, 512)
        assert preview.tobytes() == exact.tobytes()

    def test_of_a_png_with_an_orientation(self):
        """A preview of a turned PNG is upright, or is not."""
        data = png(png_chunk(b"eXIf", turned_tiff(6)), size=(600, 400))
        assert_colours(colours_of(data, Crop(0, 0, 50, (100, 150))), *[self.BLUE] * 4)
        assert_colours(colours_of(data, Crop(0, 0, 50, (150, 100))), *[self.RED] * 4)
