"""The command `persona-profile`, whose functions of sealing add their time to a file.

python benchmarks/timed_service.py FILE ARGUMENTS...
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from collections.abc import Callable
from pathlib import Path

from persona_profile.cli import main
from persona_profile.keys.keyring_service import KeyringService
from persona_profile.keys.records import RecordKey
from persona_profile.keys.wrapping import KeyWrapper

TIMED = (
    (KeyringService, "wrap"),
    (KeyringService, "unwrap"),
    (RecordKey, "seal"),
    (RecordKey, "open"),
    (KeyWrapper, "seal_token"),
    (KeyWrapper, "open_token"),
)


class Spent:
    """Seconds in a file, which two processes share."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(ctypes.sizeof(ctypes.c_double)))
        with path.open("r+b") as file:
            self._value = ctypes.c_double.from_buffer(mmap.mmap(file.fileno(), 0))

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        return self._value.value

    def timed(self, function: Callable[..., bytes]) -> Callable[..., bytes]:
        """Return a function that adds the seconds that it takes."""

        def timed(*arguments: object) -> bytes:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self._value.value += time.perf_counter() - began

        return timed


if __name__ == "__main__":
    spent = Spent(Path(sys.argv[1]))
    for owner, name in TIMED:
        setattr(owner, name, spent.timed(getattr(owner, name)))
    sys.exit(main(sys.argv[2:]))
