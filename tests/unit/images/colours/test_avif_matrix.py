"""AVIF of 10 bits in PQ, with the pixels that Chromium 156.0.8078.108 shows."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support.pictures.shown import foreign

from persona_profile.images.colours.avif_matrix import with_film_matrix
from persona_profile.images.colours.srgb import to_srgb
from persona_profile.images.metadata import Cicp, Colours, Contents, Metadata

PQ = foreign("c-cicp-pq.avif")
EXPECTED = ((161, 26, 26), (28, 131, 42), (26, 49, 153), (169, 146, 27))
POINTS = ((150, 100), (450, 100), (150, 300), (450, 300))


def _contents(data, primaries=9, transfer=16) -> Contents:
    return Contents(data, Metadata(colours=Colours(cicp=Cicp(primaries, transfer))))


def _with_codes(*codes) -> bytes:
    position = PQ.index(b"nclx") + 4
    return PQ[:position] + struct.pack(">HHH", *codes) + PQ[position + 6 :]


def _shown(contents) -> list[tuple[int, ...]]:
    image = Image.open(io.BytesIO(contents.data)).convert("RGB")
    converted = to_srgb(image, contents.metadata.colours, grey=False, video=True)
    return [converted.getpixel(point) for point in POINTS]


def test_ten_bits():
    """All of the 10 bits of a file count: every channel is within 4 of the browser's."""
    error = np.subtract(_shown(with_film_matrix(_contents(PQ))), EXPECTED)
    assert np.abs(error).max() <= 4


def test_eight_bits_are_not_enough():
    """Without the other matrix, the library's error is far larger."""
    assert np.abs(np.subtract(_shown(_contents(PQ)), EXPECTED)).max() > 8


def test_nothing_else_changes():
    """The code points are six bytes; every other byte stays."""
    changed = with_film_matrix(_contents(PQ)).data
    assert len(changed) == len(PQ)
    differing = [at for at in range(len(PQ)) if changed[at] != PQ[at]]
    position = PQ.index(b"nclx") + 4
    assert set(differing) <= set(range(position, position + 6))


@pytest.mark.parametrize(
    "contents",
    [
        Contents(PQ),
        Contents(PQ, Metadata()),
        Contents(PQ, Metadata(colours=Colours(icc=b"x"))),
        _contents(PQ, transfer=13),
        _contents(_with_codes(9, 16, 1)),
        _contents(PQ + b"colrnclx" + bytes(6)),
        _contents(PQ[: PQ.index(b"nclx") + 9]),
        _contents(b""),
    ],
    ids=["unread", "srgb", "icc", "sdr", "matrix", "two matrices", "cut", "empty"],
)
def test_other_files_stay(contents):
    """Other matrices, other transfers and damaged files are left to the library."""
    assert with_film_matrix(contents) == contents


def test_all_boxes_change():
    """The boxes of all tiles name the same matrix."""
    box = PQ[PQ.index(b"colrnclx") :][:15]
    changed = with_film_matrix(_contents(PQ + box * 3)).data
    assert changed.count(b"colrnclx" + struct.pack(">HHH", 8, 16, 12)) == 4
