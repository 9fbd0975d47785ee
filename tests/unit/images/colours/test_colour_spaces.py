"""Colours as Chromium 156.0.8078.108 shows them, read from the canvas of a page, with an sRGB monitor.

Each string lists the colours of `SAMPLES` after conversion. The numbers are measured, not calculated.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.pictures.profiles import (
    RGB_PRIMARIES,
    cmyk_profile,
    code_points,
    grey_profile,
    rgb_profile,
    swapped_profile,
)

from persona_profile.images.colours.srgb import to_srgb
from persona_profile.images.metadata import MAX_PROFILE_BYTES, Chromaticities, Cicp, Colours

SAMPLES = "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444"

CODE_POINTS = {
    (1, 13): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (4, 13): "ff0c08 00b12e 005bd8 f8c100 141414 888888 f5f5f5 8e5241",
    (5, 13): "e02828 06b43f 2646d1 e7c82e 141414 888888 f5f5f5 7f5444",
    (6, 13): "d63327 3bb13b 304bd3 e4c724 141414 888888 f5f5f5 7c5544",
    (7, 13): "d63327 3bb13b 304bd3 e4c724 141414 888888 f5f5f5 7c5544",
    (8, 13): "fa0012 00b927 0b41d9 f0c800 141414 888888 f5f5f5 895241",
    (9, 13): "ff0017 00be0e 0046dc fcc500 141414 888888 f5f5f5 934d40",
    (10, 13): "ff0048 00f000 0063de ff9e00 141414 888888 f5f5f5 b80046",
    (11, 13): "ea0017 00b71e 1f46da eac700 141414 888888 f5f5f5 835241",
    (12, 13): "f00015 00b71e 1d47da ecc700 141414 888888 f5f5f5 855241",
    (22, 13): "de3427 19b03c 2850d2 e7c626 141414 888888 f5f5f5 7f5544",
    (1, 1): "da1c1c 1cb031 1c3cd0 e5c51c 070707 818181 f4f4f4 774b3a",
    (1, 4): "dd2323 23b539 2344d3 e7c923 0c0c0c 898989 f5f5f5 7f5342",
    (1, 5): "d41111 11a524 112ec8 e0bd11 030303 737373 f3f3f3 683c2c",
    (1, 6): "da1c1c 1cb031 1c3cd0 e5c51c 070707 818181 f4f4f4 774b3a",
    (1, 7): "e03a3a 3abc4d 3a57d7 e9ce3a 262626 949494 f6f6f6 8b6455",
    (1, 8): "ef6e6e 6edb85 6e8fea f4e56e 4f4f4f c1c1c1 fbfbfb bb9b8d",
    (1, 11): "da1c1c 1cb031 1c3cd0 e5c51c 070707 818181 f4f4f4 774b3a",
    (1, 14): "da1c1c 1cb031 1c3cd0 e5c51c 070707 818181 f4f4f4 774b3a",
    (1, 15): "da1c1c 1cb031 1c3cd0 e5c51c 070707 818181 f4f4f4 774b3a",
    (1, 17): "e01717 17b12c 1737d4 ebc817 050505 7f7f7f fdfdfd 744635",
    (9, 1): "ff0000 00ba00 003bd9 fbc100 070707 818181 f4f4f4 8c4336",
    (12, 8): "ff646a 33de7c 6590f1 f7e456 4f4f4f c1c1c1 fbfbfb c19a8b",
    (9, 16): "ff0000 00ff00 0000ff ff8b00 010101 999999 ffffff 9c1f1a",
    (12, 16): "ff0000 00fb00 000dff ffa500 010101 999999 ffffff 8a2f1a",
    (1, 16): "ff0202 05f812 020dff ffb401 010101 999999 ffffff 7f3522",
    (9, 18): "ff0000 00aa00 0032c6 ffa700 050505 6b6b6b f7f7f7 6c392f",
    (12, 18): "f40000 00a411 1234c7 fab300 050505 6b6b6b f7f7f7 623c2f",
    (1, 18): "e11e1e 1fa232 1b33bf f4b91d 050505 6b6b6b f7f7f7 5c3e32",
    (6, 16): "ff3100 3ff606 1d29ff ffb900 010101 999999 ffffff 7c3721",
}
"""Code points of primaries and transfer in a PNG's `cICP`."""

UNSUPPORTED = (
    (0, 13),
    (2, 16),
    (9, 2),
    (9, 9),
    (23, 13),
    (3, 16),
    (255, 255),
    (9, 12),
)

PEAKS = {
    (16, 100): "ff0000 00ff00 0000ff ffff00 030303 d0d0d0 ffffff d52e28",
    (16, 400): "ff0000 00ff00 0000ff ff8b00 020202 bbbbbb ffffff c02822",
    (16, 1000): "ff0000 00ff00 0000ff ff8b00 010101 999999 ffffff 9c1f1a",
    (16, 4000): "ff0000 00e500 0000fb ff8b00 010101 999999 ffffff 9c1f1a",
    (16, 10000): "ff0000 00db00 0000eb ff8100 010101 999999 f7f8f8 9c1f1a",
    (18, 100): "ff0000 00e800 0047ff ffff00 0a0a0a 949494 ffffff 955144",
    (18, 400): "ff0000 00d000 003ff2 ffb900 080808 848484 ffffff 85483c",
    (18, 1000): "ff0000 00aa00 0032c6 ffa700 050505 6b6b6b f7f7f7 6c392f",
    (18, 4000): "fc0000 00aa00 0032c6 f09800 050505 6b6b6b dcdcdc 6c392f",
    (18, 10000): "ff0000 00aa00 0032c6 e89300 050505 6b6b6b d1d1d1 6c392f",
}
"""Transfer and maximum content light level (`cLLI`), with the primaries of BT.2020."""

_D65 = (0.3127, 0.3290)
_SRGB = Chromaticities(_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_P3 = Chromaticities(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_D50 = _SRGB._replace(white=(0.3457, 0.3585))
_XYZ = Chromaticities((0.33333, 0.33333), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
_LINE = Chromaticities(_D65, (0.1, 0.1), (0.2, 0.2), (0.3, 0.3))
_OUTSIDE = _SRGB._replace(red=(1.64, 0.33))

GAMMAS = {
    (0, None): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (1, None): "000000 000000 000000 000000 000000 000000 000000 000000",
    (20000, None): "b80000 007402 0005a5 cb9400 000000 3b3b3b e9e9e9 300d04",
    (38462, None): "d71616 16aa2a 1634cc e3c116 040404 7a7a7a f4f4f4 6f4332",
    (43181, None): "db1f1f 1fb235 1f3fd1 e5c71f 090909 858585 f5f5f5 7a4e3d",
    (43182, None): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (45455, None): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (47727, None): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (47728, None): "de2727 27b83e 2749d5 e8cc27 0f0f0f 8d8d8d f6f6f6 835847",
    (55556, None): "e33535 35c14d 3558db ebd235 1a1a1a 9a9a9a f7f7f7 916756",
    (100000, None): "ef6e6e 6edb85 6e8fea f4e56e 4f4f4f c1c1c1 fbfbfb bb9b8d",
    (500000, None): "fcd9d9 d9f7e0 d9e4fb fdfad9 cccccc f1f1f1 fefefe f0e7e3",
    (100000, _SRGB): "ef6e6e 6edb85 6e8fea f4e56e 4f4f4f c1c1c1 fbfbfb bb9b8d",
    (45455, _SRGB): "dd2323 23b539 2344d3 e7c923 0c0c0c 898989 f5f5f5 7f5342",
    (100000, _P3): "ff646a 33de7c 6590f1 f7e456 4f4f4f c1c1c1 fbfbfb c19a8b",
    (45455, _P3): "f1000a 00b917 1545db edc800 0c0c0c 898989 f5f5f5 86513f",
    (100000, _D50): "f87071 5bdb88 688ee7 f6e676 4f4f4f c1c1c1 fbfbfb be9c8e",
    (45455, _D50): "e7272b 00b541 1042d0 eaca39 0c0c0c 898989 f5f5f5 835444",
    (100000, _XYZ): "ff007c 00ff65 00acf3 ffd24b 4f4f4f c1c1c1 fbfbfb f1708d",
    (45455, _XYZ): "ff0046 00f300 0062df ffa000 0c0c0c 898989 f5f5f5 bb0044",
    (100000, _LINE): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (45455, _LINE): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (100000, _OUTSIDE): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (45455, _OUTSIDE): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
    (None, _P3): "dc2828 28b43c 2846d2 e6c828 141414 888888 f5f5f5 7e5444",
}
"""Values of a PNG's `gAMA`, and chromaticities of its `cHRM`."""

VIDEO_SAMPLES = "dd2827 26b53b 2747d1 e6c827 141414 888888 f5f5f5 7e5543"

VIDEO = {
    (1, 1): "dd2827 26b53b 2747d1 e6c827 141414 888888 f5f5f5 7e5543",
    (9, 14): "ff0015 00bf07 0047db fcc500 141414 888888 f5f5f5 924e3f",
    (2, 2): "dd2827 26b53b 2747d1 e6c827 141414 888888 f5f5f5 7e5543",
    (12, 2): "f10013 00b81c 1b48d9 ecc700 141414 888888 f5f5f5 85533f",
    (2, 16): "ff0202 04f911 020eff ffb401 010101 999999 ffffff 7f3621",
    (2, 18): "e31e1d 1da331 1a34bd f4b91d 050505 6b6b6b f7f7f7 5c3f31",
    (255, 8): "ef6e6d 6cdb84 6d90ea f4e56d 4f4f4f c1c1c1 fbfbfb bb9c8c",
    (9, 0): "dd2827 26b53b 2747d1 e6c827 141414 888888 f5f5f5 7e5543",
    (0, 16): "dd2827 26b53b 2747d1 e6c827 141414 888888 f5f5f5 7e5543",
    (9, 19): "ff0015 00bf07 0047db fcc500 141414 888888 f5f5f5 924e3f",
    (9, 16): "ff0000 00ff00 0000ff ff8b00 010101 999999 ffffff 9c2118",
    (12, 13): "f10013 00b81c 1b48d9 ecc700 141414 888888 f5f5f5 85533f",
}
"""Code points of an AVIF's `nclx`, with the colours of `VIDEO_SAMPLES`."""


def _colours(text) -> list[tuple[int, ...]]:
    return [tuple(bytes.fromhex(each)) for each in text.split()]


def _row(colours, mode="RGB") -> Image.Image:
    row = Image.new(mode, (len(colours), 1))
    row.putdata(colours)
    return row


def _pixels(image) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()]


def _converted(samples, colours, *, video=False) -> list[tuple[int, ...]]:
    converted = to_srgb(_row(_colours(samples)), colours, grey=False, video=video)
    assert converted.mode == "RGB"
    return _pixels(converted)


def _error(found, expected) -> int:
    return int(np.abs(np.subtract(found, expected)).max())


@pytest.mark.parametrize("codes", CODE_POINTS)
def test_code_points(codes):
    """Each primaries and each transfer comes out as in the browser, to a level; in HDR, to two."""
    found = _converted(SAMPLES, Colours(cicp=Cicp(*codes)))
    assert _error(found, _colours(CODE_POINTS[codes])) <= (2 if codes[1] in (16, 18) else 1)


@pytest.mark.parametrize("codes", UNSUPPORTED)
def test_unsupported_code_points(codes):
    """Code points of a PNG that are reserved, unspecified or unknown change nothing."""
    assert _converted(SAMPLES, Colours(cicp=Cicp(*codes))) == _colours(SAMPLES)


@pytest.mark.parametrize("codes", VIDEO)
def test_code_points_of_video(codes):
    """In AVIF and HEIF, unspecified codes are sRGB, and so are the curves of cameras."""
    found = _converted(VIDEO_SAMPLES, Colours(cicp=Cicp(*codes)), video=True)
    assert _error(found, _colours(VIDEO[codes])) <= 3  # the browser's decoder rounds differently


@pytest.mark.parametrize(("transfer", "peak"), PEAKS)
def test_peak(transfer, peak):
    """The brightest light of the content decides how far PQ and HLG are darkened."""
    found = _converted(SAMPLES, Colours(cicp=Cicp(9, transfer), peak_nits=peak))
    assert _error(found, _colours(PEAKS[transfer, peak])) <= 2


@pytest.mark.parametrize("peak", [0.0001, 203.0, 203.0000001, 203.1, 429496.7])
def test_any_peak(peak):
    """A peak at the reference white, far below or far above it has colours too."""
    found = _converted(SAMPLES, Colours(cicp=Cicp(9, 16), peak_nits=peak))
    assert found[4][0] < found[5][0] < found[6][0]


@pytest.mark.parametrize(("gamma", "chromaticities"), GAMMAS)
def test_gamma_and_chromaticities(gamma, chromaticities):
    """A gamma counts with or without chromaticities, these alone do not; nonsense changes nothing."""
    colours = Colours(gamma=None if gamma is None else gamma / 100_000, chromaticities=chromaticities)
    assert _error(_converted(SAMPLES, colours), _colours(GAMMAS[gamma, chromaticities])) <= 1


def test_white_without_luminance():
    """Chromaticities without a white are ignored, as Firefox 153 does; Chromium shows black."""
    chromaticities = _SRGB._replace(white=(0.3, 0.0))
    found = _converted(SAMPLES, Colours(gamma=1.0, chromaticities=chromaticities))
    assert _error(found, _colours(GAMMAS[100000, None])) <= 1


_COORDINATE = st.integers(0, 100_000) | st.integers(0, 20)


@given(st.lists(_COORDINATE, min_size=8, max_size=8), st.integers(1, 2**32 - 1))
def test_any_chromaticities(values, gamma):
    """Black stays black with every gamma and all chromaticities that a PNG can have."""
    points = [(values[at] / 100_000, values[at + 1] / 100_000) for at in range(0, 8, 2)]
    colours = Colours(gamma=gamma / 100_000, chromaticities=Chromaticities(*points))
    assert _converted("000000", colours) == [(0, 0, 0)]


@given(st.lists(st.floats(0.2, 0.45), min_size=2, max_size=2), st.integers(10_000, 1_000_000))
def test_any_white(white, gamma):
    """White and greys stay neutral with any white point."""
    chromaticities = _SRGB._replace(white=tuple(white))
    colours = Colours(gamma=gamma / 100_000, chromaticities=chromaticities)
    for red, green, blue in _converted("111111 888888 ffffff", colours):
        assert max(red, green, blue) - min(red, green, blue) <= 1


GREYS = {
    (9, 16): (1, 30, 153, 255, 255),
    (9, 18): (5, 43, 107, 202, 247),
    (12, 13): (20, 64, 136, 200, 245),
    (1, 1): (7, 54, 129, 197, 244),
    (1, 8): (79, 137, 193, 229, 251),
}
"""The greys 20, 64, 136, 200 and 245 for code points."""


@pytest.mark.parametrize("codes", GREYS)
def test_grey_of_a_colour_space(codes):
    """Grey has the curve of its space and stays grey."""
    row = _row((20, 64, 136, 200, 245), "L")
    converted = to_srgb(row, Colours(cicp=Cicp(*codes)), grey=True)
    expected = [(level, level, level) for level in GREYS[codes]]
    assert _error(_pixels(converted), expected) <= 1


@pytest.mark.parametrize(
    ("colours", "expected"),
    [
        (Colours(cicp=Cicp(12, 13)), (240, 0, 21)),
        (Colours(cicp=Cicp(9, 16)), (255, 0, 0)),
        (Colours(gamma=1.0), (239, 110, 110)),
    ],
)
def test_alpha_of_a_colour_space(colours, expected):
    """Colours are converted as if opaque, and every alpha stays."""
    row = _row([(220, 40, 40, alpha) for alpha in range(256)], "RGBA")
    converted = to_srgb(row, colours, grey=False)
    assert converted.getchannel("A").tobytes() == bytes(range(256))
    assert _error(_pixels(converted), [expected] * 256) <= 1


@pytest.mark.parametrize(
    "colours",
    [
        Colours(),
        Colours(cicp=Cicp(1, 13)),
        Colours(cicp=Cicp(5, 99)),
        Colours(gamma=0.45455),
        Colours(chromaticities=_P3),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_srgb_keeps_every_pixel(colours, mode):
    """A picture of sRGB, under whichever name, is not touched."""
    pixels = np.random.default_rng(7).integers(0, 256, (64, 64, len(mode)), np.uint8)
    converted = to_srgb(Image.fromarray(pixels), colours, grey=False)
    assert np.array_equal(np.asarray(converted), pixels)


def _with_tag(value) -> bytes:
    """Return a profile of sRGB's primaries and gamma 2.2 with a tag `cicp`."""
    return rgb_profile(RGB_PRIMARIES, cicp=value)


@pytest.mark.parametrize("codes", [(9, 16), (9, 18), (12, 13), (1, 8)])
def test_code_points_in_a_profile(codes):
    """Code points of a profile go before its curves, as JPEG XL and HDR pictures rely on."""
    profile = _with_tag(code_points(*codes))
    found = _converted(SAMPLES, Colours(profile))
    assert _error(found, _colours(CODE_POINTS[codes])) <= 2


def test_camera_curve_in_a_profile():
    """BT.709 in a profile is shown as sRGB, as in video."""
    profile = _with_tag(code_points(1, 1))
    assert _converted(SAMPLES, Colours(profile)) == _colours(SAMPLES)


@pytest.mark.parametrize(
    "value",
    [code_points(9, 0), b"cicp\0\0\0\0\x09", b"xxxx\0\0\0\0\x09\x10\0\1", b""],
)
def test_unusable_code_points_in_a_profile(value):
    """Code points that are unknown, cut or of another type leave the profile as it is."""
    expected = GAMMAS[45455, _SRGB]  # gamma 2.2
    assert _error(_converted(SAMPLES, Colours(_with_tag(value))), _colours(expected)) <= 1


GREY_LEVELS = (0, 20, 64, 136, 200, 255)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (rgb_profile(RGB_PRIMARIES, 1.0), (0, 79, 137, 193, 229, 255)),
        (swapped_profile(), (0, 12, 62, 137, 201, 255)),
        (grey_profile(1.0), (0, 79, 137, 193, 229, 255)),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_profile_of_grey_images(profile, expected, mode):
    """A profile of RGB counts for a grey file too; its primaries leave grey as it is."""
    row = _row(GREY_LEVELS, "L").convert(mode)
    converted = to_srgb(row, Colours(profile), grey=True).convert("RGB")
    assert _error(_pixels(converted), [(level,) * 3 for level in expected]) <= 1


def _lab(cyan, magenta, yellow, black) -> tuple[int, int, int]:
    return max(20, 100 - 20 * (cyan + magenta + yellow) - 70 * black), 0, 0


@pytest.mark.parametrize("profile", [grey_profile(1.0), cmyk_profile(_lab)])
def test_profile_of_other_channels(profile):
    """A profile of grey or of inks changes nothing in an RGB file."""
    assert _converted(SAMPLES, Colours(profile)) == _colours(SAMPLES)


def _changed(profile, offset, value) -> bytes:
    return profile[:offset] + value + profile[offset + len(value) :]


BROKEN = {
    "half": swapped_profile()[: len(swapped_profile()) // 2],
    "header": swapped_profile()[:128],
    "larger size": _changed(swapped_profile(), 0, b"\0\1\0\0"),
    "version 9": _changed(swapped_profile(), 8, b"\x09"),
    "no signature": _changed(swapped_profile(), 36, b"xxxx"),
    "unknown connection space": _changed(swapped_profile(), 20, b"zzzz"),
    "last bytes missing": swapped_profile()[:-3],
    "a byte": b"x",
    "no curve": swapped_profile().replace(b"rTRC", b"rXXX"),
    "no blue": swapped_profile().replace(b"bXYZ", b"bXXX"),
}


@pytest.mark.parametrize("profile", BROKEN.values(), ids=BROKEN)
def test_broken_profile(profile):
    """A broken profile changes nothing."""
    assert _converted(SAMPLES, Colours(profile)) == _colours(SAMPLES)


@pytest.mark.parametrize("device", [b"zzzz", b"link", b"abst", b"prtr", b"scnr", b"spac", b"nmcl"])
def test_device_class_of_a_profile(device):
    """The class of a profile's device makes no difference."""
    profile = _changed(swapped_profile(), 12, device)
    assert _error(_converted("c80000", Colours(profile)), [(0, 201, 0)]) <= 1


def test_black_of_inks_is_not_adapted():
    """The black of a profile is as light as the profile says."""
    row = _row([(0, 0, 0, 0), (0, 0, 0, 255)], "CMYK")
    white, black = _pixels(to_srgb(row, Colours(cmyk_profile(_lab)), grey=False))
    assert white == (255, 255, 255)
    assert _error([black], [(70, 70, 70)]) <= 3  # L* of 30


def test_profile_without_bound():
    """A profile of more bytes than any monitor's is not used."""
    red = Image.new("RGB", (4, 4), (220, 40, 40))
    profile = swapped_profile()
    padded = Colours(profile + bytes(MAX_PROFILE_BYTES))
    assert to_srgb(red, Colours(profile), grey=False).getpixel((0, 0)) != (220, 40, 40)
    assert to_srgb(red, padded, grey=False).getpixel((0, 0)) == (220, 40, 40)
