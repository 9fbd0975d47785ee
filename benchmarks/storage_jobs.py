"""What storage jobs cost, over `mariadb-dump` of the same data, and what a running service feels.

A private MariaDB server and a SQLite file get the profiles of many emails; a tenth have a picture.
Each job runs as its command, in a process of its own: seconds, processor time, the largest memory.
Seconds on a machine that has other work are rough; ratios of one run compare.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.servers.mariadb import MariaDB

from backends import Address, Backend, Operation, Put
from backends.engines.mysql import MysqlBackend
from backends.engines.sqlite import SqliteBackend
from persona_profile.images import Rendition
from persona_profile.images.formats import SIZES
from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KEY_ITEM, PROFILE_ITEM, KeyItem
from persona_profile.store.profile import Picture, ProfileDocument

WITH_PICTURE: Final = 10
"""One email of so many has a picture."""

PICTURE_BYTES: Final = 125_000
"""The bytes of all renditions of a picture."""

STARTS: Final = {
    "avif": b"\x00\x00\x00\x1cftypavif",
    "webp": b"RIFF\x00\x00\x00\x00WEBP",
    "jpeg": b"\xff\xd8\xff\xe0",
}
GROUP: Final = 200
PAUSE: Final = 0.005
MIB: Final = 1024 * 1024

INI: Final = """[app:main]
use = egg:persona-profile-server
keyring.path = {folder}/keyring.json
public_origins = http://127.0.0.1:6543
backend = {kind}
backend.url = {url}
"""


@dataclass(frozen=True)
class Cost:
    """The cost of a command."""

    seconds: float
    processor_seconds: float
    memory_bytes: int
    status: int


def email_of(number: int) -> str:
    """Return the email of a number."""
    return f"person{number}@example.com"


def profile_of(keys: KeyWrapper, number: int) -> tuple[bytes, list[Operation]]:
    """Return partition and items of an email's profile."""
    email = email_of(number)
    partition = keys.partition(email)
    key_item, data_key = KeyItem.create(keys, partition, email)
    kinds = [(size, name) for size in SIZES for name in STARTS]
    total = sum(size for size, _ in kinds)
    images = [
        Rendition(size, name, STARTS[name] + os.urandom(PICTURE_BYTES * size // total))
        for size, name in (kinds if number % WITH_PICTURE == 0 else ())
    ]
    picture = Picture.of(os.urandom(16), images) if images else None
    document = ProfileDocument({"name": f"Person {number}"}, picture, 1_700_000_000_000, 1)
    puts: list[Operation] = [
        Put(KEY_ITEM, key_item.to_bytes()),
        Put(PROFILE_ITEM, data_key.seal(PROFILE_ITEM, document.to_bytes())),
    ]
    if picture:
        by_kind = {(each.size, each.format): each.data for each in images}
        for name in picture.item_names():
            size, _, kind = name.rpartition("/")[2].partition(".")
            puts.append(Put(name, data_key.seal(name, by_kind[int(size), kind])))
    return partition, puts


def fill(backend: Backend, keys: KeyWrapper, emails: int) -> None:
    """Write profiles."""
    for start in range(0, emails, GROUP):
        numbers = range(start, min(emails, start + GROUP))
        backend.apply_many(dict(profile_of(keys, number) for number in numbers))


def measured(command: Sequence[str], output: Path | None = None) -> Cost:
    """Run a command to its end; return its cost."""
    began = time.monotonic()
    with open(output or os.devnull, "wb") as file:
        process = subprocess.Popen(command, stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    processor = usage.ru_utime + usage.ru_stime
    return Cost(time.monotonic() - began, processor, 1024 * usage.ru_maxrss, process.returncode)
