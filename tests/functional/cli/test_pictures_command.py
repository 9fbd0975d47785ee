from __future__ import annotations

import json
import subprocess

import pytest
from PIL import Image
from support.clients.commands import run_command
from support.pictures.pictures import decoded, encode, photo, png_bomb, quadrants

from persona_profile.images.formats import SIZES

INI = """
[app:main]
use = egg:persona-profile-server
development = true
public_origins = http://127.0.0.1:6543
"""


@pytest.fixture
def process(tmp_path):
    """Runs `pictures process` on files in the folder of the test; returns what came of it."""
    (tmp_path / "test.ini").write_text(INI)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ("-c", "test.ini", "pictures", "process", *arguments, "--out", "out")
        return run_command(*command, folder=tmp_path)

    return run


def test_renditions_and_sheet(process, tmp_path):
    """Each file gets a folder of renditions, and all of them a band of the contact sheet."""
    (tmp_path / "photo.jpg").write_bytes(photo(700, 560))
    (tmp_path / "drawing.png").write_bytes(encode(quadrants(600, 600), "PNG"))
    done = process("photo.jpg", "drawing.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "photo.jpg" in done.stdout
    for name in ("photo.jpg", "drawing.png"):
        for size in SIZES:
            made = decoded((tmp_path / "out" / name / f"{size}.jpeg").read_bytes())
            assert (made.format, made.size) == ("JPEG", (size, size))
    sheet = decoded((tmp_path / "out" / "contact-sheet.png").read_bytes())
    colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert {(220, 30, 30), (30, 180, 30), (30, 30, 220)} <= colours
    assert process("photo.jpg").returncode == 0
    alone = decoded((tmp_path / "out" / "contact-sheet.png").read_bytes())
    assert alone.height < sheet.height


def test_json(process, tmp_path):
    """Programs read bytes and times of each rendition."""
    (tmp_path / "photo.jpg").write_bytes(photo(700, 560))
    [document] = json.loads(process("photo.jpg", "--json").stdout)
    assert document["file"] == "photo.jpg"
    assert document["decoding_seconds"] > 0 < document["encoding_seconds"]
    for each in document["renditions"]:
        file = tmp_path / "out" / "photo.jpg" / f"{each['size']}.{each['format']}"
        assert file.stat().st_size == each["bytes"]


def test_options(process, tmp_path):
    """Quality, effort and crop are tried without a change of the settings file."""
    (tmp_path / "photo.jpg").write_bytes(photo(700, 560))

    def bytes_of(*arguments: str) -> dict[str, int]:
        [document] = json.loads(process("photo.jpg", "--json", *arguments).stdout)
        return {each["format"]: each["bytes"] for each in document["renditions"] if each["size"] == 512}

    usual = bytes_of()
    assert bytes_of("--quality", "jpeg=50")["jpeg"] < usual["jpeg"]
    assert bytes_of("--effort", "max")["webp"] < usual["webp"]
    process("photo.jpg", "--crop", "0,0,100")
    assert decoded((tmp_path / "out" / "photo.jpg" / "512.jpeg").read_bytes()).size == (100, 100)


def test_same_name_twice(process, tmp_path):
    """Files of the same name in two folders don't overwrite each other's renditions."""
    for folder, colour in (("a", "red"), ("b", "lime")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "me.png").write_bytes(encode(Image.new("RGB", (80, 80), colour), "PNG"))
    process("a/me.png", "b/me.png")
    found = [
        decoded((tmp_path / "out" / name / "64.jpeg").read_bytes()) for name in ("me.png", "me.png-2")
    ]
    assert [each.getpixel((9, 9)) for each in found] == [
        pytest.approx((254, 0, 0), abs=3),
        pytest.approx((0, 255, 0), abs=3),
    ]


def test_refused_and_missing(process, tmp_path):
    """A file that can't be used is named with the reason; the others are made, the status is 1."""
    (tmp_path / "photo.jpg").write_bytes(photo(700, 560))
    (tmp_path / "cut.jpg").write_bytes(photo(700, 560)[:5000])
    done = process("cut.jpg", "nowhere.jpg", "photo.jpg")
    assert done.returncode == 1
    assert "cut.jpg: picture_broken" in done.stderr
    assert "nowhere.jpg: No such file" in done.stderr
    assert (tmp_path / "out" / "photo.jpg" / "512.jpeg").exists()
    assert "Traceback" not in done.stderr


def test_json_of_rejected_files(process, tmp_path):
    """Programs read the code and the detail of each rejected file, in the order of all files."""
    (tmp_path / "photo.jpg").write_bytes(photo(700, 560))
    (tmp_path / "cut.jpg").write_bytes(photo(700, 560)[:5000])
    (tmp_path / "huge.png").write_bytes(png_bomb(12_000, 12_000))
    (tmp_path / "note.txt").write_bytes(b"No picture.")
    (tmp_path / "empty.heic").write_bytes(b"")
    files = ("cut.jpg", "nowhere.jpg", ".", "photo.jpg", "huge.png", "note.txt", "empty.heic")
    done = process(*files, "--json")
    documents = {each["file"]: each for each in json.loads(done.stdout)}
    assert (done.returncode, tuple(documents)) == (1, files)
    assert {name: each.get("code") for name, each in documents.items()} == {
        "cut.jpg": "picture_broken",
        "nowhere.jpg": "file_unreadable",
        ".": "file_unreadable",
        "photo.jpg": None,
        "huge.png": "picture_too_many_pixels",
        "note.txt": "unsupported_media_type",
        "empty.heic": "picture_empty",
    }
    assert documents["nowhere.jpg"]["detail"] == "No such file or directory."
    assert documents["."]["detail"] == "Is a directory."
    assert documents["huge.png"]["pixels"] == 144_000_000
    assert documents["photo.jpg"]["renditions"]
    assert all(each["detail"] in done.stderr for each in documents.values() if "limit" in each)


def test_json_without_a_folder_for_it(process, tmp_path):
    """A file whose renditions can't be written is listed with that reason."""
    (tmp_path / "photo.jpg").write_bytes(photo(700, 560))
    (tmp_path / "out").write_bytes(b"A file, and no folder.")
    done = process("photo.jpg", "--json")
    [document] = json.loads(done.stdout)
    assert (done.returncode, document["code"]) == (1, "output_unwritable")
    assert document["detail"] == "out/photo.jpg: Not a directory."


@pytest.mark.parametrize(
    "arguments",
    [
        ("--crop", "1,2"),
        ("--crop", "1,2,0"),
        ("--quality", "jpeg=0"),
        ("--quality", "gif=50"),
        ("--quality", "jpeg"),
        ("--effort", "more"),
    ],
)
def test_wrong_usage(process, arguments):
    """What can't be meant is wrong usage."""
    done = process("photo.jpg", *arguments)
    assert (done.returncode, "usage:" in done.stderr) == (2, True)
