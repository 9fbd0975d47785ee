"""Small portraits that differ by a number, each with a colour that shows whose it is."""

from __future__ import annotations

import colorsys
import io
import math
import random
from pathlib import Path

from PIL import Image, ImageDraw

from support.pictures.pictures import encode, resized_header

HUES = 40


def face(number: int, side: int = 96) -> Image.Image:
    """Return the portrait of a number: eyes and mouth on a skin of `colour_of` it."""
    randomness = random.Random(number)
    portrait = Image.new("RGB", (side, side), tuple(randomness.randrange(256) for _ in range(3)))
    drawn = ImageDraw.Draw(portrait)
    drawn.ellipse((side * 0.1, side * 0.05, side * 0.9, side * 0.95), colour_of(number))
    for left in (0.3, 0.6):
        drawn.ellipse((side * left, side * 0.3, side * (left + 0.1), side * 0.4), "white", "black")
    width = side * randomness.uniform(0.1, 0.25)
    drawn.arc((side / 2 - width, side * 0.6, side / 2 + width, side * 0.8), 0, 180, "black", 3)
    return portrait


def colour_of(number: int) -> tuple[int, int, int]:
    """Return the colour in the centre of a face."""
    red, green, blue = colorsys.hsv_to_rgb(number % HUES / HUES, 0.8, 0.9 if number % 2 else 0.6)
    return round(255 * red), round(255 * green), round(255 * blue)


def shows(data: bytes, number: int) -> bool:
    """Return whether the colour in a picture's centre is nearest to that of a face."""
    with Image.open(io.BytesIO(data)) as picture:
        found = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    return min(range(HUES), key=lambda each: math.dist(found, colour_of(each))) == number % HUES


def broken(number: int) -> bytes:
    """Return a face whose file ends too early."""
    data = encode(face(number))
    return data[: len(data) // 3]


def huge(number: int) -> bytes:
    """Return a face whose header claims more pixels than the limits."""
    return resized_header(encode(face(number)), 60_000, 60_000)


def write_people(folder: Path, count: int, max_bytes: int) -> dict[int, str]:
    """Write `people.csv` and `faces/` of some people; return the codes of bad rows by line.

    Every tenth row is bad; number N is in line N + 2.
    """
    faces = folder / "faces"
    faces.mkdir()
    expected = {}
    rows = ["email,name,picture_file"]
    bad = {1: "picture_broken", 2: "picture_too_many_pixels", 3: "body_too_large", 4: "email_repeated"}
    for number in range(count):
        email, name = f"p{number}@example.com", f"{number % 100:02}/{number}.jpg"
        (faces / name).parent.mkdir(exist_ok=True)
        code = bad[number // 10 % len(bad) + 1] if number % 10 == 9 else None
        if code:
            expected[number + 2] = code
        if code == "email_repeated":
            email = f"P{number - 1}@Example.com"
        content = encode(face(number), quality=90)
        content = broken(number) if code == "picture_broken" else content
        content = huge(number) if code == "picture_too_many_pixels" else content
        with (faces / name).open("wb") as file:
            file.write(content)
            if code == "body_too_large":
                file.truncate(max_bytes + 1)  # sparse
        rows.append(f"{email},Person {number},{name}")
    (folder / "people.csv").write_text("\n".join(rows) + "\n")
    return expected
