"""A search of a real service for the secrets of people and operators."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clients.searching import encodings, found_in, texts
from support.forgeries import independent_keys as independent
from support.forgeries.independent_store import open_data_key, open_items, picture_names
from support.pictures.pictures import photo
from support.servers.services import Answer, Client, Service

from backends.copying.transfer import read_partition, walk
from backends.engines.sqlite import SqliteBackend

MARK = "Xochiquetzal"
"""Part of every email, name and website, so that one search finds any of them."""

PLAIN, PROTECTED = (f"{name}.{MARK.lower()}@{MARK.lower()}.example" for name in ("plain", "protected"))
FIRST_KEY, SECOND_KEY, WRONG_KEY, ADDED_KEY, REMOVED_KEY = (os.urandom(32) for _ in range(5))
KEYS = (FIRST_KEY, SECOND_KEY, WRONG_KEY, ADDED_KEY, REMOVED_KEY)


class Kept:
    """The secrets of a service, and all its traces.

    Attributes:
        places: files, archive, and all that was printed, by name.
        tokens: of sessions.
        capabilities: the last parts of the URLs of pictures, by email.
        answers: bodies that held the secrets, as the people got them.
        older_items: the items of the protected profile from before a key was removed.
    """

    def __init__(self, folder: Path) -> None:
        self.service = Service(folder)
        self.places: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.capabilities: dict[str, list[str]] = {PLAIN: [], PROTECTED: []}
        self.pictures: list[bytes] = []
        self.answers: list[bytes] = []
        self.older_items: dict[str, bytes] = {}

    def use(self) -> None:
        """Do with the service what people and operators do, mistakes among it."""
        self.service.start()
        self._write(Client(self.service, PLAIN), None, seed=1)
        protected = Client(self.service, PROTECTED)
        self._write(protected, None, seed=2)
        for profile_key in (FIRST_KEY, SECOND_KEY):
            self._expect(protected.protect(text(profile_key)), 200)
            self.tokens.add(protected.token)
        self._write(protected, SECOND_KEY, seed=3)
        [removed, _] = [self._add_key(protected, each) for each in (REMOVED_KEY, ADDED_KEY)]
        self._err(protected)
        self._operate()
        self.service.kill()
        self.service.start()
        self._write(Client(self.service, PLAIN), None, seed=4)
        _, self.older_items = self.partition(PROTECTED)
        again = Client(self.service, PROTECTED)
        again.sign_in(text(SECOND_KEY))
        self.tokens.add(again.token)
        self._expect(again.call("DELETE", f"{again.profile}/profile-keys/{removed}"), 204)
        self._write(Client(self.service, PROTECTED), ADDED_KEY, seed=5)
        self.service.kill()
        for path in self.service.folder.glob("items.sqlite*"):
            self.places[path.name] = path.read_bytes()
        self.places["log"] = self.service.log.encode()

    @property
    def keyring(self) -> dict[int, bytes]:
        """The secrets of the encryption keys, by version."""
        return self._secrets("encryption_keys")

    @property
    def secrets(self) -> list[bytes]:
        """All secrets of the keyring."""
        return [*self.keyring.values(), *self._secrets("index_keys").values()]

    def partition(self, email: str) -> tuple[bytes, dict[str, bytes]]:
        """Return where an email is, and the values of its items."""
        [(version, secret)] = self._secrets("index_keys").items()
        partition = independent.partition_of(version, secret, email)
        backend = SqliteBackend.from_url(self.service.url)
        try:
            assert partition in set(walk(backend))
            items = read_partition(backend, partition)
        finally:
            backend.close()
        return partition, {name: item.value for name, item in items.items()}

    def _secrets(self, kind: str) -> dict[int, bytes]:
        keys = json.loads(self.service.keyring.read_text())[kind]
        return {key["version"]: independent.from_base64url(key["secret"]) for key in keys}

    def _write(self, client: Client, profile_key: bytes | None, seed: int) -> None:
        client.sign_in(profile_key and text(profile_key))
        self.tokens.add(client.token)
        self._expect(client.set_name(f"{MARK} Ünïcode {seed}"), 200)
        upload = photo(600, 600, seed)
        urls = self._expect(client.upload(upload), 200).json["picture"]["urls"]
        capabilities = [url.rpartition("/")[2] for url in urls.values()]
        self.capabilities[client.email] += capabilities
        paths = [f"/v1/pictures/{each}" for each in capabilities]
        self.pictures += [upload, *(self._expect(client.call("GET", path), 200).body for path in paths)]
        self._expect(client.call("GET", "/v1/profiles?thumbnails=64"), 200)
        self._expect(client.call("GET", f"{client.profile}/export"), 200)

    def _add_key(self, client: Client, profile_key: bytes) -> str:
        body = json.dumps({"profile_key": text(profile_key)}).encode()
        path = f"{client.profile}/profile-keys"
        key_id: str = self._expect(client.call("POST", path, body, "application/json"), 201).json["id"]
        return key_id

    def _err(self, client: Client) -> None:
        wrong = Client(self.service, PROTECTED)
        wrong.sign_in(text(WRONG_KEY))
        self.tokens.add(wrong.token)
        mistakes = [
            *(client.protect(each) for each in (text(WRONG_KEY) + MARK, text(WRONG_KEY[:31]), MARK)),
            wrong.set_name(MARK),
            wrong.call("GET", wrong.profile),
            wrong.call("GET", f"/v1/profiles/{PLAIN}"),
            wrong.call("GET", f"/v1/pictures/{client.token}"),
            wrong.call("PATCH", wrong.profile, MARK.encode(), "application/json"),
        ]
        assert all(400 <= each.status < 500 for each in mistakes)
        self.places["errors"] = b"".join(each.body for each in mistakes)

    def _operate(self) -> None:
        archive = self.service.folder / "backup"
        for arguments in (
            ("keys", "rotate"),
            ("keys", "rotate", "--promote"),
            ("keys", "rewrap"),
            ("keys", "status"),
            ("storage", "verify"),
            ("storage", "backup", str(archive)),
        ):
            done = self.service.run(*arguments)
            assert done.returncode == 0, done
            self.places[" ".join(arguments[:2])] = (done.stdout + done.stderr).encode()
        self.places["archive"] = archive.read_bytes()

    def _expect(self, answer: Answer, status: int) -> Answer:
        assert answer.status == status, answer
        self.answers.append(answer.body)
        return answer


def text(profile_key: bytes) -> str:
    """Return a person's own key as it is sent."""
    return independent.base64url(profile_key)


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Iterator[Kept]:
    """A service that was used and is gone."""
    kept = Kept(tmp_path_factory.mktemp("secrecy") / "service")
    try:
        kept.use()
        yield kept
    finally:
        kept.service.close()


@pytest.fixture(scope="module")
def profile_keys(kept) -> set[bytes]:
    """The person's own keys, as they look in files of many kinds."""
    return set().union(*map(encodings, KEYS))


@pytest.fixture(scope="module")
def keyring_secrets(kept) -> set[bytes]:
    """The keyring's secrets, likewise."""
    return set().union(*map(encodings, kept.secrets))


@pytest.fixture(scope="module")
def pieces(kept) -> set[bytes]:
    """Pieces of every picture that was sent or fetched, likewise."""
    return {
        needle
        for picture in kept.pictures
        for place in (len(picture) // 3, len(picture) // 2)
        for needle in encodings(picture[place : place + 15])
    }


def bearers(kept: Kept) -> list[str]:
    """Return all tokens of sessions and capabilities of pictures."""
    return [*kept.tokens, *kept.capabilities[PLAIN], *kept.capabilities[PROTECTED]]


def leaks(kept: Kept, needles: set[bytes]) -> dict[str, list[bytes]]:
    """Return the found secrets by place: traces of the service, and people's tokens."""
    carried = {each: each.encode() + b" " + independent.from_base64url(each) for each in bearers(kept)}
    everywhere = kept.places | carried
    found = {name: found_in([content], needles) for name, content in everywhere.items()}
    return {name: needles for name, needles in found.items() if needles}


def test_places(kept):
    """Database, archive, log and prints are looked at; sealed records are found as they are."""
    assert {"items.sqlite", "items.sqlite-wal", "archive", "log", "errors"} <= kept.places.keys()
    assert all(kept.places[name] for name in ("log", "errors", "keys status", "storage verify"))
    database = kept.places["items.sqlite"] + kept.places["items.sqlite-wal"]
    assert b"PPR\x02" in database
    assert b"PPR\x02" in kept.places["archive"]
    assert len(bearers(kept)) > 10


def test_who_is_protected(kept):
    """Key item and profile have the same form, protected or not, for all emails."""
    (_, plain), (_, protected) = (kept.partition(email) for email in (PLAIN, PROTECTED))
    assert len(PLAIN) != len(PROTECTED)
    for name, start in (("key", 8), ("profile", 4)):
        assert len(plain[name]) == len(protected[name])
        assert plain[name][:start] == protected[name][:start]


def test_names(kept):
    """No email, name or website is anywhere, however written."""
    assert leaks(kept, texts(MARK)) == {}


def test_profile_keys(kept, profile_keys):
    """No person's own key is anywhere, also none that was wrong or replaced."""
    assert leaks(kept, profile_keys) == {}


def test_keyring_secrets(kept, keyring_secrets):
    """No key of the keyring is anywhere but in the keyring, and no command prints one."""
    assert len(kept.secrets) == 3
    assert leaks(kept, keyring_secrets) == {}


def test_data_keys(kept):
    """No data key and no content key is anywhere in the clear."""
    partition, items = kept.partition(PROTECTED)
    data_key, owner = open_data_key(partition, items["key"], kept.keyring)
    content_key = independent.open_content_key(data_key, SECOND_KEY, owner)
    assert leaks(kept, encodings(data_key) | encodings(content_key)) == {}


def test_pictures(kept, pieces):
    """No piece of a picture is anywhere, however written."""
    assert len(pieces) > 10 * len(kept.pictures) > 100
    assert leaks(kept, pieces) == {}


def test_tokens(kept):
    """No token of a session and no capability of a picture is in database, archive, log or prints."""
    needles = {each.encode() for each in bearers(kept)}
    needles |= {
        needle for each in bearers(kept) for needle in encodings(independent.from_base64url(each))
    }
    found = {name: found_in([content], needles) for name, content in kept.places.items()}
    assert not any(found.values()), found


def test_search_finds(kept, profile_keys, keyring_secrets, pieces):
    """The searches above do find what stands there as it is: in the answers, requests and keyring."""
    assert found_in(kept.answers, texts(MARK))
    assert found_in(kept.pictures, pieces)
    assert found_in([text(key).encode() for key in KEYS], profile_keys)
    assert len(found_in([kept.service.keyring.read_bytes()], keyring_secrets)) >= len(kept.secrets)
    assert any(each.encode() in b"".join(kept.answers) for each in bearers(kept))


def test_keyring_and_database(kept):
    """Who has both reads a plain profile."""
    partition, items = kept.partition(PLAIN)
    opened = open_items(partition, items, kept.keyring)
    assert opened.email == PLAIN
    assert opened.profile["claims"]["name"] == f"{MARK} Ünïcode 4"
    assert opened.pictures
    assert set(opened.pictures.values()) <= set(kept.pictures)


def test_neither_opens_a_protected_profile(kept):
    """Who has both opens the email of a protected profile, but neither claims nor picture."""
    partition, items = kept.partition(PROTECTED)
    data_key, owner = open_data_key(partition, items["key"], kept.keyring)
    assert owner.email == PROTECTED
    opened = open_items(partition, items, kept.keyring, SECOND_KEY)
    assert opened == open_items(partition, items, kept.keyring, ADDED_KEY)
    assert opened.profile["claims"]["name"] == f"{MARK} Ünïcode 5"
    assert set(opened.pictures.values()) <= set(kept.pictures)
    names = ["profile", *picture_names(opened.profile)]
    assert len(names) > 1
    picture_id = independent.from_base64url(opened.profile["picture"]["id"])
    known = [part for wrap in owner.wraps for part in (wrap.wrapped[:32], wrap.wrapped[8:])]
    held = [data_key, *kept.secrets, *known, bytes(32), FIRST_KEY, WRONG_KEY, REMOVED_KEY]
    for key in held:
        with pytest.raises(independent.Rejected):
            independent.open_content_key(data_key, key, owner)
        for candidate in (key, independent.picture_key_of(key, picture_id)):
            for name in names:
                for role in (independent.DATA_KEY, independent.CONTENT_KEY, independent.PICTURE_KEY):
                    with pytest.raises(independent.Rejected):
                        independent.open_record(role, candidate, name, items[name])


def test_keyring_and_database_show_the_keys(kept):
    """Who has both sees how many keys a protected profile has, and when they were added."""
    partition, items = kept.partition(PROTECTED)
    _, owner = open_data_key(partition, items["key"], kept.keyring)
    times = [wrap.added_at for wrap in owner.wraps]
    assert len(times) == 2
    assert times == sorted(times)


def test_removed_key_and_an_older_copy(kept):
    """A removed key opens an older copy, and by it the profile until a new key is set."""
    partition, items = kept.partition(PROTECTED)
    older = open_items(partition, kept.older_items, kept.keyring, REMOVED_KEY)
    assert older.profile["claims"]["name"] == f"{MARK} Ünïcode 3"
    with pytest.raises(independent.Rejected):
        open_items(partition, items, kept.keyring, REMOVED_KEY)
    data_key, owner = open_data_key(partition, kept.older_items["key"], kept.keyring)
    content_key = independent.open_content_key(data_key, REMOVED_KEY, owner)
    opened = independent.open_profile(independent.CONTENT_KEY, content_key, items["profile"])
    assert opened["claims"]["name"] == f"{MARK} Ünïcode 5"


def test_keyring_alone_or_database_alone(kept):
    """Without the keyring no data key opens; another keyring's keys do not help."""
    partition, items = kept.partition(PROTECTED)
    for keyring in ({}, {version: os.urandom(32) for version in kept.keyring}):
        with pytest.raises(independent.Rejected):
            open_data_key(partition, items["key"], keyring)


def test_keyring_database_and_a_picture_url(kept):
    """With a picture's URL besides, that picture opens, and not the profile."""
    _, items = kept.partition(PROTECTED)
    token = kept.capabilities[PROTECTED][-1]
    held = independent.split_picture(independent.open_token("picture", kept.keyring, token))
    name = f"picture/{independent.base64url(held.picture_id)}/{held.size}.jpeg"
    image = independent.open_record(independent.PICTURE_KEY, held.picture_key, name, items[name])
    assert image in kept.pictures
    for role in (independent.DATA_KEY, independent.CONTENT_KEY, independent.PICTURE_KEY):
        with pytest.raises(independent.Rejected):
            independent.open_record(role, held.picture_key, "profile", items["profile"])
