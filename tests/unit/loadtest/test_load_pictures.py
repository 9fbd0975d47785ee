from __future__ import annotations

import collections
import io
import itertools
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps
from support.pictures.pictures import decoded, encode, photo

from loadtest.pictures import KINDS, Kind, PictureLibrary, mark_in, numbers
from loadtest.pictures.files import ORIENTATIONS
from persona_profile.images import Encoding, Limits, PictureOptions
from persona_profile.images.formats import FORMATS, SIZES
from persona_profile.images.pipeline import render_picture

SMALL = (
    Kind("photo", "jpeg", 80, 768, 576, 3, quality=90, noise=6, texture=8),
    Kind("screenshot", "png", 10, 576, 1248, 5),
    Kind("heic", "heic", 10, 768, 576, 2, quality=60, noise=2, texture=6),
)
MARKS = 120  # a multiple of those of each kind
OPTIONS = PictureOptions(Limits(100_000_000, 50_000_000, 2**30), Encoding(FORMATS), SIZES)
# The orientation of a picture of a given kind goes by its number: four in a row are all there are.
TURNED = range(10**9, 10**9 + 4)
NUMBERS = (0, 1, 2**64 - 1, 2**39, 0x5A5A5A5A5A)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the files of the small kinds."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def library(folder):
    """Return the pictures of the small kinds."""
    return PictureLibrary.open(folder, SMALL)


def upright(body: bytes) -> np.ndarray:
    """Return all pixels of a file as they are shown."""
    if body[4:8] == b"ftyp":
        return pixels(body)
    return np.asarray(ImageOps.exif_transpose(decoded(body)))


def pixels(body: bytes) -> np.ndarray:
    """Return all pixels of a file, as stored; fail if it is not complete and sound."""
    if body[4:8] == b"ftyp":
        return np.asarray(pillow_heif.open_heif(io.BytesIO(body)))
    return np.asarray(decoded(body))


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *(("photo", number) for number in TURNED),
        ("screenshot", 2**40 - 7),
        *(("heic", number) for number in TURNED),
    ],
)
def test_number_in_every_rendition(library, kind, number):
    """Each size and format that the server makes shows the mark, and no other picture's."""
    picture = library.picture_of_kind(number, kind)
    other = library.picture_of_kind(number + 4, kind)
    renditions = render_picture(io.BytesIO(picture.body), None, OPTIONS)
    assert {each.size for each in renditions} == set(SIZES)
    assert {each.format for each in renditions} >= {"jpeg", "webp"}
    for each in renditions:
        assert mark_in(each.data) == picture.mark
        assert picture.matches(each.data)
        assert not other.matches(each.data)


def test_every_way_of_holding_a_phone(library):
    """The photos that were tested are of all four orientations, and say so in their EXIF."""
    pictures = [library.picture_of_kind(number, "photo") for number in TURNED]
    assert sorted(ORIENTATIONS[picture.turn] for picture in pictures) == [1, 3, 6, 8]
    for picture in pictures:
        opened = decoded(picture.body)
        assert opened.getexif()[0x0112] == ORIENTATIONS[picture.turn]
        assert opened.size == (picture.kind.width, picture.kind.height)
        assert ImageOps.exif_transpose(opened).size == (
            opened.size if picture.turn % 2 == 0 else opened.size[::-1]
        )


@pytest.mark.parametrize("kind", ["photo", "screenshot", "heic"])
def test_every_upload_differs(library, kind):
    """No two uploads have the same bytes; two of other marks have other pixels."""
    pictures = [library.picture_of_kind(number, kind) for number in NUMBERS]
    again = [library.picture_of_kind(number + MARKS, kind) for number in NUMBERS[:2]]
    assert [picture.mark for picture in again] == [picture.mark for picture in pictures[:2]]
    assert len({picture.body for picture in pictures + again}) == len(NUMBERS) + 2
    seen = {picture.mark: upright(picture.body).astype(int) for picture in pictures}
    for one, other in itertools.combinations(seen.values(), 2):
        assert one.shape != other.shape or np.abs(one - other).mean() > 3


def test_photo_is_put_together_without_loss(library, folder):
    """An upload decodes to the pixels of a stored picture."""
    stored = [pixels(path.read_bytes()) for path in sorted(folder.glob("photo-*.jpeg"))]
    for number in range(12):
        found = pixels(library.picture_of_kind(number, "photo").body)
        assert (found == stored[number // 4]).all()


def test_screenshot_has_all_checksums(library):
    """A PNG's chunks have their CRC, its pixels their Adler-32, and nothing follows."""
    body = library.picture_of_kind(NUMBERS[-1], "screenshot").body
    at, data, kinds = 8, b"", []
    while at < len(body):
        length = int.from_bytes(body[at : at + 4])
        kind, payload = body[at + 4 : at + 8], body[at + 8 : at + 8 + length]
        at += 12 + length
        assert int.from_bytes(body[at - 4 : at]) == zlib.crc32(kind + payload)
        data += payload if kind == b"IDAT" else b""
        kinds.append(kind)
    assert (kinds[:2], kinds[-1], set(kinds[2:-1])) == ([b"IHDR", b"tEXt"], b"IEND", {b"IDAT"})
    assert len(zlib.decompress(data)) == 1248 * (1 + 3 * 576)  # which checks the Adler-32


def test_heic_is_one_picture(library):
    """A HEIC is one picture of its full size, turned by the decoder; its boxes fill the file."""
    for number in range(4):
        picture = library.picture_of_kind(number, "heic")
        opened = pillow_heif.open_heif(io.BytesIO(picture.body))
        assert (len(opened), opened.size) == (1, (768, 576) if picture.turn % 2 == 0 else (576, 768))
        at = 0
        while at < len(picture.body):
            at += int.from_bytes(picture.body[at : at + 4])
        assert at == len(picture.body)


def test_same_seed_same_sequence(library, tmp_path):
    """A machine that makes its files itself hands out the same bytes in the same order."""
    kinds = [kind for kind in SMALL if kind.format != "heic"]
    kinds[0] = replace(kinds[0], share=90)
    one, other = (PictureLibrary.open(tmp_path / name, kinds) for name in ("one", "other"))
    for number in itertools.islice(numbers(seed=3, worker=1, workers=2), 12):
        assert one.picture(number) == other.picture(number)
    another = PictureLibrary.open(tmp_path / "one", kinds, seed=2)
    assert another.picture_of_kind(1, "photo").body != one.picture_of_kind(1, "photo").body


def test_numbers_of_workers():
    """Workers share the numbers of a seed out among them; another seed has others."""
    one, other = (list(itertools.islice(numbers(7, worker, 2), 500)) for worker in range(2))
    assert not set(one) & set(other)
    assert sorted(one + other) == sorted(itertools.islice(numbers(7), 1000))
    assert not set(one) & set(itertools.islice(numbers(8), 1000))
    with pytest.raises(ValueError, match="no worker 2 of 2"):
        numbers(7, 2, 2)


def test_mix(library, folder):
    """Kinds come as often as their shares say."""
    drawn = collections.Counter(
        library.picture(number).kind.name for number in itertools.islice(numbers(1), 2000)
    )
    assert {name: pytest.approx(drawn[name] / 20, abs=3) for name in drawn} == {
        kind.name: kind.share for kind in SMALL
    }
    assert sum(kind.share for kind in KINDS) == 100
    with pytest.raises(ValueError, match="add up to 80 percent"):
        PictureLibrary.open(folder, SMALL[:1])


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", encode(Image.new("RGB", (64, 64), "red")), photo(320, 320), b"\xff\xd8\xff\xe0"],
    ids=["nothing", "no picture", "plain", "photo", "cut off"],
)
def test_no_number_in_other_pictures(data):
    """A picture without a number differs from a picture with another number."""
    assert mark_in(data) is None


def test_no_number_in_a_truncated_rendition(library):
    """A rendition that came back incomplete does not pass."""
    picture = library.picture_of_kind(9, "screenshot")
    rendition = encode(ImageOps.fit(decoded(picture.body), (256, 256)))
    assert picture.matches(rendition)
    assert mark_in(rendition[: len(rendition) // 2]) is None


def test_files_are_made_once(tmp_path):
    """Several that open an empty folder at once get the same files, made by one of them."""
    reports: list[str] = []
    kinds = [replace(SMALL[0], share=100)]
    with ThreadPoolExecutor(3) as threads:
        opened = list(
            threads.map(lambda _: PictureLibrary.open(tmp_path, kinds, report=reports.append), range(3))
        )
    assert reports == ["making photo"]
    assert len({library.picture(4).body for library in opened}) == 1
    assert not list(tmp_path.glob("*.new"))


def test_damaged_files_are_refused(tmp_path):
    """A truncated file is rejected when the folder is opened, not sent to a server."""
    kinds = [replace(SMALL[0], share=100)]
    PictureLibrary.open(tmp_path, kinds)
    path = next(tmp_path.glob("photo-*.jpeg"))
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(ValueError, match="is cut off"):
        PictureLibrary.open(tmp_path, kinds)


def test_command_without_a_folder(tmp_path):
    """`python -m loadtest.pictures make` reports a folder that can't be made, with status 1."""
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "loadtest.pictures", "make", "--folder", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{tmp_path / 'file'}: ")
    assert done.stderr.count("\n") == 1


def test_size_of_a_phones_photo(tmp_path):
    """The commonest picture has the bytes per pixel of a phone's photo, and can be decoded whole."""
    kind = replace(KINDS[0], share=100, stored=1)
    picture = PictureLibrary.open(tmp_path, [kind]).picture(1)
    assert 0.2 < len(picture.body) / (kind.width * kind.height) < 0.5
    assert decoded(picture.body).size == (4032, 3024)


@pytest.mark.parametrize("change", [{"width": 0}, {"height": -1}, {"format": "gif"}, {"stored": 0}])
def test_sizes_that_do_not_suit(change):
    """A kind of which no picture can be made is rejected when it is described."""
    with pytest.raises(ValueError, match="photo: no pictures"):
        replace(SMALL[0], **change)
