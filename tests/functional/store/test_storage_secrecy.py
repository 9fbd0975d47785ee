from __future__ import annotations

import base64
import hashlib
import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.clients.searching import encodings, found_in, texts
from support.clients.sessions import session_of
from support.pictures.pictures import photo
from support.pictures.workers import render
from support.servers.applications import application
from support.servers.mariadb import MariaDB

from backends import Address, Backend, Put

MARK = "Xochiquetzal"
"""Part of every email, name and website, so that one search finds any of them."""

PICTURES = 3
MAGIC = (b"JFIF", b"WEBPVP8", b"ftypavif", b"Exif\0\0")


class Stored(NamedTuple):
    """The data that was given to a store, and copies of all its bytes."""

    backend: Backend
    emails: tuple[str, ...]
    pictures: tuple[bytes, ...]
    copies: Callable[[], Iterator[bytes]]


def mariadb_copies(server: MariaDB, folder: Path) -> Iterator[bytes]:
    """Yield the dump of a database, then, the server stopped, each of its files."""
    command = ["mariadb-dump", "--no-defaults", f"--socket={folder}/s", "--user=root", "--hex-blob"]
    yield subprocess.run([*command, "persona"], check=True, capture_output=True).stdout
    server.stop()
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()
    server.start()


def fill(app, count: int) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """Make profiles, some with a picture; return emails, and the bytes of uploads and renditions."""
    services = app.services
    uploads = [photo(600, 600, seed) for seed in range(PICTURES)]
    rendered = [render(services.renderer, io.BytesIO(upload)) for upload in uploads]
    emails = tuple(f"{MARK.lower()}{number}@{MARK.lower()}.example" for number in range(count))
    for number, email in enumerate(emails):
        session = session_of(email)
        claims = {"name": f"{MARK} Ünïcode {number}", "website": f"https://{MARK.lower()}.example/"}
        services.profiles.write_claims(session, email, claims)
        if number % 10 == 0:
            renditions = rendered[number // 10 % PICTURES]
            services.profiles.write_picture(session, email, renditions)
    return emails, (*uploads, *(each.data for renditions in rendered for each in renditions))


@pytest.fixture(scope="module", params=["sqlite", "mysql"])
def stored(request, development_folder, tmp_path_factory) -> Iterator[Stored]:
    """A store of many profiles."""
    folder = tmp_path_factory.mktemp("db")
    server = None
    if request.param == "mysql":
        server = MariaDB(folder, innodb_log_file_size="16M")
        server.start()
        server.create_database()
    try:
        url = server.url if server else f"sqlite:///{folder}/items.sqlite"
        app = application(development_folder, backend=request.param, backend__url=url)
        emails, pictures = fill(app, request.config.getoption("--profiles"))

        def copies() -> Iterator[bytes]:
            if server:
                return mariadb_copies(server, folder)
            return (path.read_bytes() for path in folder.iterdir())

        yield Stored(app.backend, emails, pictures, copies)
        app.close()
    finally:
        if server:
            server.stop()


def test_texts(stored):
    """No copy of the store has a name, an email or a website, in any spelling."""
    assert found_in(stored.copies(), texts(MARK)) == []


def test_pictures(stored):
    """No copy of the store has a piece of an upload or of a rendition, in any encoding."""
    needles = set()
    for picture in stored.pictures:
        for place in (len(picture) // 3, len(picture) // 2):
            needles |= encodings(picture[place : place + 15])
    assert len(needles) > 12 * len(stored.pictures)
    assert found_in(stored.copies(), needles) == []


def test_values(stored):
    """No value looks like a picture; no partition is a hash that others can compute."""
    partitions = stored.backend.scan(None, 10 * len(stored.emails))
    assert len(partitions) == len(stored.emails)
    hashes = {
        hashlib.new(name, email.encode()).digest()
        for email in stored.emails
        for name in ("md5", "sha1", "sha256", "sha512")
    }
    values = 0
    for partition in partitions:
        assert not any(each[: len(partition) - 1] == partition[1:] for each in hashes)
        names = [info.name for info in stored.backend.list(partition)]
        addresses = [Address(partition, name) for name in names]
        for item in stored.backend.get_many(addresses).values():
            values += 1
            assert not item.value.startswith((b"\xff\xd8\xff", b"RIFF"))
            assert not any(magic in item.value for magic in MAGIC)
    assert values > 2 * len(stored.emails)


def test_search_finds(stored):
    """The searches above find data that is stored in the clear, as text or base64."""
    secret = f"{MARK}: {base64.b64encode(b'??' + stored.pictures[0]).decode()}"
    stored.backend.apply(b"\x01", [Put("leak", secret.encode())])
    piece = stored.pictures[0][len(stored.pictures[0]) // 2 :][:15]
    copies = list(stored.copies())
    assert found_in(copies, texts(MARK))
    assert found_in(copies, encodings(piece))
    stored.backend.apply(b"\x01", [Put("leak", stored.pictures[0])])
    assert found_in(stored.copies(), encodings(piece))
