"""The work of `persona-profile pictures process`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from persona_profile.cli.contact_sheet import Band, draw
from persona_profile.errors import ServiceError
from persona_profile.images import Crop, PictureOptions
from persona_profile.images.pipeline import encode_squares, squares_of

SHEET: Final = "contact-sheet.png"


def process(
    files: Sequence[Path], out: Path, crop: Crop | None, options: PictureOptions, *, as_json: bool
) -> int:
    """Write the renditions of files into folders of their names, and a contact sheet; return 0 or 1.

    Each folder is `DIR/<name of the file>`, or `<name>-2` and so on where several have the same name.
    """
    bands = []
    folders: set[Path] = set()
    status = 0
    for file in files:
        try:
            band = _rendered(file, crop, options)
            folder = _free_folder(out, file.name, folders)
            _write(band, folder)
        except ServiceError as rejection:
            print(f"{file}: {rejection.code}: {rejection.detail}", file=sys.stderr)
            status = 1
        except OSError as error:
            print(f"{error.filename or file}: {error.strerror}", file=sys.stderr)
            status = 1
        else:
            bands.append(band)
            if not as_json:
                _print(band)
    if bands:
        draw(bands, options.encoding.formats, out / SHEET)
    if as_json:
        print(json.dumps([_document(band) for band in bands], indent=2))
    elif bands:
        print(f"contact sheet: {out / SHEET}")
    return status


def _rendered(file: Path, crop: Crop | None, options: PictureOptions) -> Band:
    with file.open("rb") as source:
        began = time.process_time()
        squares = squares_of(source, crop, options)
        decoded = time.process_time()
    renditions = encode_squares(squares, options.encoding)
    encoded = time.process_time()
    reference = next(iter(squares.values()))
    size = file.stat().st_size
    return Band(file.name, size, reference, renditions, decoded - began, encoded - decoded)


def _free_folder(out: Path, name: str, used: set[Path]) -> Path:
    folder, number = out / name, 1
    while folder in used:
        number += 1
        folder = out / f"{name}-{number}"
    used.add(folder)
    return folder


def _write(band: Band, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in band.renditions:
        (folder / f"{each.size}.{each.format}").write_bytes(each.data)


def _print(band: Band) -> None:
    print(
        f"{band.name}: {band.file_bytes:,} bytes, decoded in {band.decoding_seconds * 1000:.0f} ms, "
        f"encoded in {band.encoding_seconds * 1000:.0f} ms of processor time"
    )
    for size in sorted({each.size for each in band.renditions}):
        made = ", ".join(
            f"{each.format} {len(each.data):,}" for each in band.renditions if each.size == size
        )
        print(f"  {size:4} px: {made} bytes")


def _document(band: Band) -> dict[str, object]:
    return {
        "file": band.name,
        "bytes": band.file_bytes,
        "decoding_seconds": round(band.decoding_seconds, 4),
        "encoding_seconds": round(band.encoding_seconds, 4),
        "renditions": [
            {"size": each.size, "format": each.format, "bytes": len(each.data)}
            for each in band.renditions
        ],
    }
