"""Profiles of other systems: a CSV and a folder of pictures become stored profiles.

A row passes these modules in this order: `table` (the CSV), `job` (its claims, its profile), `folder`
(its picture's file), the picture workers of `images`, and `profiles.service`. `progress_file` remembers
the rows that were imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

EMAIL: Final = "email"
PICTURE_FILE: Final = "picture_file"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the CSV.

    Attributes:
        line: the number of its first line.
        cells: the cells that are not empty, by the names of their columns.
    """

    line: int
    cells: Mapping[str, str]


class RowRejected(Exception):
    """A row is not imported.

    Attributes:
        code: of the API for what an upload can be rejected for too; see docs/how-to/import.md.
        reason: for the operator; without personal data, as it is printed.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason
