from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from support.browsers.abilities import in_other_engines
from support.pictures.orientations import dense_files, turned_files
from support.pictures.pictures import decoded
from support.pictures.workers import LIMITS

from persona_profile.images import Crop, Encoding, PictureOptions
from persona_profile.images.pipeline import squares_of

OPTIONS = PictureOptions(LIMITS, Encoding(("jpeg",)))

SHOW = """
const [texts, done] = arguments;
(async () => {
  const shown = [];
  for (const text of texts) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([bytes]));
    await image.decode();
    const canvas = document.createElement("canvas");
    const { naturalWidth, naturalHeight } = image;
    Object.assign(canvas, { width: naturalWidth, height: naturalHeight });
    canvas.getContext("2d").drawImage(image, 0, 0, naturalWidth, naturalHeight);
    const bitmap = await createImageBitmap(new Blob([bytes]));
    shown.push([naturalWidth, naturalHeight, canvas.toDataURL(), bitmap.width]);
  }
  return shown;
})().then(done, (error) => done(String(error)));
"""

ORIENTATIONS = turned_files()
DENSITIES = dense_files()
# An orientation as cameras write it; docs/explanation/pictures.md has all differences of engines.
PLAIN = re.compile(r"short-[1-8]-(big|little)|[1-8]\.avif")
TURNED = {"firefox": (".jpg", ".png", ".avif"), "webkit": (".jpg",)}


@pytest.fixture(scope="module")
def shown(browser):
    """Each file in an `<img>`: its size, its pixels, and the width of its `ImageBitmap`."""
    browser.set_script_timeout(60)
    browser.get("about:blank")
    files = ORIENTATIONS | DENSITIES
    texts = [base64.b64encode(data).decode() for data in files.values()]
    found = {}
    answers = browser.execute_async_script(SHOW, texts)
    for name, (width, height, url, bitmap) in zip(files, answers, strict=True):
        if not width:
            continue  # Firefox obeys a density that leaves nothing
        picture = decoded(base64.b64decode(url.partition(",")[2])).convert("RGB")
        found[name] = (width, height), picture, bitmap
    return found


def is_same(data, size, picture):
    """Hold a card of four unequal quarters against the pixels that the browser shows."""
    width, height = size
    side = round(min(size) * 0.7)
    crop = Crop(round(width / 2 - 0.3 * side), round(height / 2 - 0.6 * side), side, size)
    card = squares_of(io.BytesIO(data), crop, OPTIONS)[64].convert("RGB").resize((32, 32))
    box = (crop.x, crop.y, crop.x + side, crop.y + side)
    wanted = picture.resize((32, 32), Image.Resampling.BICUBIC, box)
    return np.abs(np.asarray(card, int) - np.asarray(wanted, int)).mean() < 12


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_orientation_as_in_the_browser(shown, name):
    """The card is turned as the browser turns, by the same entries in the same places."""
    size, picture, _ = shown[name]
    assert is_same(ORIENTATIONS[name], size, picture)


@pytest.mark.parametrize("name", DENSITIES)
def test_density_as_in_the_browser(shown, name):
    """The size of an `<img>` is a size that the server knows, by the same entries."""
    size, picture, _ = shown[name]
    assert is_same(DENSITIES[name], size, picture)


def test_that_density_matters(shown):
    """The browser corrects some densities, and those of no bitmap."""
    sizes = {
        name: (*shown[name][0], shown[name][2])
        for name in ("density-half.jpg", "density-stretched.jpg", "density-twice.jpg")
    }
    assert sizes == {
        "density-half.jpg": (48, 32, 96),
        "density-stretched.jpg": (48, 64, 96),
        "density-twice.jpg": (192, 128, 96),
    }


@in_other_engines
def test_other_engines(shown, engine):
    """Other engines turn the files of cameras in the same way, in the formats that they turn at all."""
    formats = TURNED[engine.name]
    names = [name for name in ORIENTATIONS if PLAIN.match(name) and name.endswith(formats)]
    assert len(names) >= 8 * len(formats)
    turned = [name for name in names if is_same(ORIENTATIONS[name], *shown[name][:2])]
    assert turned == names
