"""The work of `persona-profile pictures process`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from persona_profile.cli.contact_sheet import Band, draw
from persona_profile.errors import ServiceError
from persona_profile.images import Crop, PictureOptions
from persona_profile.images.pipeline import encode_squares, squares_of

SHEET: Final = "contact-sheet.png"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file without renditions, and the reason.

    Attributes:
        code: of the API; `file_unreadable` or `output_unwritable` if no picture was the reason.
        members: numbers of the reason, as in the API.
    """

    name: str
    code: str
    detail: str
    members: Mapping[str, Any] = field(default_factory=dict)


def process(
    files: Sequence[Path], out: Path, crop: Crop | None, options: PictureOptions, *, as_json: bool
) -> int:
    """Write the renditions of files into folders of their names, and a contact sheet; return 0 or 1.

    Each folder is `DIR/<name of the file>`, or `<name>-2` and so on where several have the same name.
    With `as_json`, the output has an element for each file, in their order.
    """
    results: list[Band | Rejected] = []
    folders: set[Path] = set()
    for file in files:
        result = _processed(file, out, folders, crop, options)
        results.append(result)
        if isinstance(result, Band) and not as_json:
            _print(result)
    if as_json:
        print(json.dumps([_document(result) for result in results], indent=2), flush=True)
    bands = [result for result in results if isinstance(result, Band)]
    if bands:
        draw(bands, options.encoding.formats, out / SHEET)
        if not as_json:
            print(f"contact sheet: {out / SHEET}")
    return 0 if len(bands) == len(results) else 1


def _processed(
    file: Path, out: Path, folders: set[Path], crop: Crop | None, options: PictureOptions
) -> Band | Rejected:
    """Write the renditions of a file, or print why there are none."""
    try:
        band = _rendered(file, crop, options)
    except ServiceError as rejection:
        print(f"{file}: {rejection.code}: {rejection.detail}", file=sys.stderr)
        return Rejected(_name(file), rejection.code, rejection.detail, rejection.members)
    except OSError as error:
        print(f"{error.filename or file}: {error.strerror}", file=sys.stderr)
        return Rejected(_name(file), "file_unreadable", _reason(error))
    try:
        _write(band, _free_folder(out, file.name, folders))
    except OSError as error:
        print(f"{error.filename or out}: {error.strerror}", file=sys.stderr)
        detail = f"{error.filename or out}: {_reason(error)}"
        return Rejected(_name(file), "output_unwritable", detail)
    return band


def _name(file: Path) -> str:
    return file.name or str(file)  # the folder `.` has no name


def _reason(error: OSError) -> str:
    return f"{error.strerror or error}."


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


def _document(result: Band | Rejected) -> dict[str, object]:
    if isinstance(result, Rejected):
        return {"file": result.name, "code": result.code, "detail": result.detail, **result.members}
    return {
        "file": result.name,
        "bytes": result.file_bytes,
        "decoding_seconds": round(result.decoding_seconds, 4),
        "encoding_seconds": round(result.encoding_seconds, 4),
        "renditions": [
            {"size": each.size, "format": each.format, "bytes": len(each.data)}
            for each in result.renditions
        ],
    }
