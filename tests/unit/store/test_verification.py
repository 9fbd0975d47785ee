import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from support.clients.sessions import session_of
from support.stores.sealed_store import ALICE, BOB, CAROL, FOREVER, Store, key, renditions
from support.stores.stores import WithDefaults

from backends import MAX_OPERATIONS, Put
from backends.copying.transfer import READ_BYTES
from persona_profile.encoding import json_encode
from persona_profile.errors import UnreadableProfile
from persona_profile.keys.keyring import Key, Keyring, KeyState
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.store.items import KEY_ITEM, NOT_BEFORE_ITEM, PROFILE_ITEM, Owner, picture_item
from persona_profile.store.maintenance.partition_check import FindingKind
from persona_profile.store.maintenance.verification import MEANINGS, Verification, Verified
from persona_profile.store.profile import Picture, ProfileDocument


@pytest.fixture
def store() -> Store:
    """A store of two profiles with pictures, one without, a used proof and an ended session."""
    store = Store(Keyring([key(1)], [key(9)]))
    for email in (ALICE, BOB):
        store.write(email)
        store.put_picture(email)
    store.write(CAROL)
    store.backend.apply(b"\x00" + b"p" * 32, [Put("used", b"", expires_at=2**40)])
    store.put(ALICE, NOT_BEFORE_ITEM, bytes(8))
    store.put("gone@example.com", NOT_BEFORE_ITEM, bytes(8))
    return store


class TestClean:
    def test_counts(self, store):
        """A store that the service wrote has no findings, and all of it was read."""
        findings, verified = store.verify()
        assert findings == []
        assert (verified.partitions, verified.profiles, verified.renditions) == (5, 3, 12)
        assert (verified.used_proofs, verified.stale_keys) == (1, 0)
        assert verified.key_versions == {"1": 3}
        sealed = sum(
            info.size
            for partition in store.backend.scan(None, 10)
            for info in store.backend.list(partition)
            if info.name != NOT_BEFORE_ITEM
        )
        assert verified.bytes_read >= sealed

    def test_empty(self):
        """An empty store is clean."""
        findings, verified = Store(Keyring([key(1)], [key(9)])).verify()
        assert (findings, verified) == ([], Verified())

    def test_goes_on(self, store):
        """A run after the last partition of another run checks the following ones."""
        partitions = store.backend.scan(None, 10)
        done = []
        Verification(store.backend, store.keys, pytest.fail).run(
            partitions[1], lambda *each: done.append(each[-1])
        )
        assert done == partitions[2:]

    def test_large_renditions(self, store):
        """Pictures of more bytes than one read are checked completely."""
        store.put_picture(CAROL, READ_BYTES // 5)
        findings, verified = store.verify()
        assert findings == []
        assert verified.renditions == 18

    def test_key_versions(self, store):
        """Data keys are counted by the key that wraps them; stale ones are no findings."""
        store.keyring = Keyring([key(1, KeyState.DECRYPT_ONLY), key(2)], [key(9)])
        store.__post_init__()
        store.profiles.erase(FOREVER, CAROL)
        store.write(CAROL)
        findings, verified = store.verify()
        assert findings == []
        assert (verified.key_versions, verified.stale_keys) == ({"1": 2, "2": 1}, 2)


class TestFindings:
    @pytest.mark.parametrize("position", [5, 20, 48 + 20, 48 + 90, -1])
    def test_flipped_byte_in_key(self, store, position):
        """An altered `key` item is one finding, in the wrapped key or in the owner record."""
        flip(store, BOB, KEY_ITEM, position)
        assert store.only_finding() == ("unreadable_key", BOB, "key")

    def test_other_keyring(self, store):
        """Under another keyring each key is unreadable, and its version is reported nevertheless."""
        other = KeyWrapper(Keyring([Key(1, KeyState.PRIMARY, b"x" * 32)], [key(9)]))
        findings = []
        verified = Verification(store.backend, other, findings.append).run()
        assert {finding.kind for finding in findings} == {"unreadable_key"}
        assert (len(findings), verified.key_versions) == (3, {"1": 3})

    @pytest.mark.parametrize("owner", [b"[]", b"{}", b'{"email": 1}', b"\xff"])
    def test_key_without_email(self, store, owner):
        """A key whose owner record has no email is found."""
        record = store.data_key(BOB).seal(KEY_ITEM, owner)
        store.put(BOB, KEY_ITEM, store.key_item(BOB).wrapped + record)
        assert store.only_finding() == ("unreadable_key", BOB, "key")

    def test_owner_in_another_spelling(self, store):
        """An owner record that opens and has bytes after the email is found."""
        record = store.data_key(BOB).seal(KEY_ITEM, Owner(BOB).to_bytes()[:-1] + b"x")
        store.put(BOB, KEY_ITEM, store.key_item(BOB).wrapped + record)
        assert store.only_finding() == ("unreadable_key", BOB, "key")

    @pytest.mark.parametrize("position", [0, 20, 50, 80, -1])
    def test_flipped_byte_in_profile(self, store, position):
        """An altered profile is found, and its renditions are no orphans."""
        flip(store, BOB, PROFILE_ITEM, position)
        assert store.only_finding() == ("unreadable_profile", BOB, "profile")

    @pytest.mark.parametrize(
        "plaintext",
        [
            b"",
            b"[]",
            b"{}",
            b'{"picture": {"id": 5}}',
            b"\xff",
            json_encode(
                {
                    "claims": {},
                    "picture": {"id": "AAAA", "formats": {"64": ["jpeg"]}},
                    "updated_at": 1,
                    "version": 1,
                }
            ),
        ],
    )
    def test_malformed_profile(self, store, plaintext):
        """A profile that opens and has an unknown layout is found."""
        store.seal(CAROL, PROFILE_ITEM, plaintext)
        assert store.only_finding() == ("unreadable_profile", CAROL, "profile")

    @pytest.mark.parametrize("missing", [KEY_ITEM, PROFILE_ITEM])
    def test_half_profile(self, store, missing):
        """A key without profile, or a profile without key, is found by the name of the missing item."""
        store.delete(BOB, missing)
        assert store.only_finding() == ("half_profile", BOB, missing)
        assert store.profiles.profiles(FOREVER)[1].problem == "profile_unreadable"

    def test_no_record(self, store):
        """Bytes that are no record are an unreadable profile, for the session too."""
        store.put(BOB, PROFILE_ITEM, b"junk")
        assert store.only_finding() == ("unreadable_profile", BOB, "profile")
        assert store.profiles.profiles(FOREVER)[1].problem == "profile_unreadable"

    def test_altered_rendition(self, store):
        """An altered rendition is left out of a list, and an error by itself; others are readable."""
        profiles = store.profiles.profiles(FOREVER)
        for name in store.pictures(BOB):
            flip(store, BOB, name, -1)
        thumbnails = store.pictures_service.thumbnails(profiles, 64, ["jpeg"])
        assert thumbnails.keys() == {ALICE}
        text = store.pictures_service.capabilities(profiles[1], FOREVER)[64]
        capability, _ = store.pictures_service.open_capability(text)
        with pytest.raises(UnreadableProfile, match="can't be read now"):
            store.pictures_service.read(capability, "jpeg")

    def test_wrong_partition(self, store):
        """An email in the partition of another one is found."""
        owner = Owner(BOB).seal(store.data_key(CAROL))
        store.put(CAROL, KEY_ITEM, store.key_item(CAROL).wrapped + owner)
        assert store.only_finding() == ("wrong_partition", CAROL, "key")

    def test_old_index_key(self, store):
        """A profile that is left under an older index key is in the wrong partition."""
        findings = []
        destroyed = Key(9, KeyState.DESTROYED, None)
        keys = KeyWrapper(Keyring([key(1)], [destroyed, key(10)]))
        Verification(store.backend, keys, findings.append).run()
        kinds = Counter(finding.kind for finding in findings)
        # The fourth email has nothing but the mark of an ended session.
        assert kinds == {"wrong_partition": 3, "unknown_partition": 1}

    def test_dangling_picture(self, store):
        """A missing rendition of a profile is found by its name."""
        name = store.pictures(BOB)[3]
        store.delete(BOB, name)
        assert store.only_finding() == ("dangling_picture", BOB, name)

    @pytest.mark.parametrize("position", [0, 20, 50, 80, -1])
    @pytest.mark.parametrize("index", range(6))
    def test_flipped_byte_in_picture(self, store, index, position):
        """An altered rendition is found by its name."""
        name = store.pictures(BOB)[index]
        flip(store, BOB, name, position)
        assert store.only_finding() == ("unreadable_picture", BOB, name)

    @pytest.mark.parametrize("index", range(6))
    @pytest.mark.parametrize("content", [b"", b"<svg/>", b"GIF89a" + bytes(20)])
    def test_no_image(self, store, index, content):
        """A rendition that opens and is no image of its format is found."""
        name = store.pictures(BOB)[index]
        store.seal(BOB, name, content)
        assert store.only_finding() == ("unreadable_picture", BOB, name)

    def test_unknown_format(self, store):
        """A rendition of a format that the service never makes is unreadable."""
        picture = Picture(bytes(16), {64: ("bmp",)})
        store.seal(CAROL, PROFILE_ITEM, ProfileDocument(picture=picture).to_bytes())
        name = picture_item(picture.id, 64, "bmp")
        store.seal(CAROL, name, b"BM" + bytes(50))
        assert store.only_finding() == ("unreadable_picture", CAROL, name)

    def test_orphan(self, store):
        """A rendition that no profile names is found, with or without a profile beside it."""
        name = picture_item(bytes(16), 64, "jpeg")
        store.put(BOB, name, b"x")
        assert store.only_finding() == ("orphan_item", BOB, name)
        store.delete(BOB, name)
        store.profiles.erase(FOREVER, CAROL)
        store.put(CAROL, name, b"x")
        assert store.only_finding() == ("orphan_item", CAROL, name)

    def test_more_orphans_than_a_batch_takes(self, store):
        """An erasure also removes all orphans, however many there are."""
        for number in range(2 * MAX_OPERATIONS):
            store.put(BOB, f"picture/{number}", b"")
        store.profiles.erase(FOREVER, BOB)
        assert list(store.backend.list(store.keys.partition(BOB))) == []

    @pytest.mark.parametrize("name", ["Key", "profile2", "picture/x/64.jpeg", "picture/64.jpeg"])
    def test_unknown_item(self, store, name):
        """An item with an unknown name is found."""
        store.put(BOB, name, b"x")
        assert store.only_finding() == ("unknown_item", BOB, name)

    def test_each_has_a_meaning(self):
        """Each kind of finding has a meaning for people."""
        assert MEANINGS.keys() == set(FindingKind)

    def test_unknown_item_of_a_proof(self, store):
        """The partition of a used proof has one item; others are found."""
        partition = b"\x00" + b"p" * 32
        store.backend.apply(partition, [Put("key", b"x")])
        assert store.only_finding() == ("unknown_item", partition, "key")

    @pytest.mark.parametrize("partition", [b"\x07" + b"x" * 32, b"\xff", b"\x08alice"])
    def test_unknown_partition(self, store, partition):
        """A partition of an unknown kind is one finding, whatever its items are."""
        store.backend.apply(partition, [Put("key", b"x"), Put("profile", b"x"), Put("other", b"x")])
        assert store.only_finding() == ("unknown_partition", partition, "")


class TestMovedItems:
    def test_key(self, store):
        """Another owner's key does not open."""
        store.put(BOB, KEY_ITEM, store.get(ALICE, KEY_ITEM))
        assert store.only_finding() == ("unreadable_key", BOB, "key")

    def test_profile(self, store):
        """Another owner's profile does not open."""
        store.put(BOB, PROFILE_ITEM, store.get(ALICE, PROFILE_ITEM))
        assert store.only_finding() == ("unreadable_profile", BOB, "profile")

    def test_picture(self, store):
        """A rendition of another owner, or of another size, does not open."""
        first, *_, last = store.pictures(BOB)
        whole = store.get(BOB, last)
        store.put(BOB, last, store.get(ALICE, store.pictures(ALICE)[-1]))
        assert store.only_finding() == ("unreadable_picture", BOB, last)
        store.put(BOB, last, store.get(BOB, first))
        assert store.only_finding() == ("unreadable_picture", BOB, last)
        store.put(BOB, last, whole)
        assert store.verify()[0] == []

    def test_whole_partition(self, store):
        """All items of one owner do not open in the partition of another."""
        partition = store.keys.partition(ALICE)
        puts = [Put(info.name, store.get(ALICE, info.name)) for info in store.backend.list(partition)]
        store.backend.apply(store.keys.partition("dave@example.com"), puts)
        kind, owner, item = store.only_finding()
        assert (kind, owner, item) == (
            "unreadable_key",
            store.keys.partition("dave@example.com"),
            "key",
        )


class SlowBackend(WithDefaults):
    """Waits a little between reads, so that writers can write meanwhile."""

    def get_many(self, addresses):
        time.sleep(random.uniform(0, 0.002))
        return super().get_many(addresses)

    def list(self, partition):
        found = super().list(partition)
        time.sleep(random.uniform(0, 0.002))
        return found


class WrittenBackend(WithDefaults):
    """Writes at each read."""

    between = staticmethod(lambda: None)

    def get_many(self, addresses):
        found = super().get_many(addresses)
        self.between()
        return found

    def list(self, partition):
        found = super().list(partition)
        self.between()
        return found


class TestInUse:
    SECONDS = 3.0
    EMAILS = tuple(f"user{number}@example.com" for number in range(6))

    def test_no_false_findings(self):
        """While others write, erase and replace pictures for seconds, there are only true findings."""
        store = Store(Keyring([key(1)], [key(9)]), SlowBackend())
        session = session_of(*self.EMAILS)
        stop = threading.Event()

        def write(seed: int) -> int:
            choose = random.Random(seed)
            for written in count():
                if stop.is_set():
                    return written
                owner, chance = choose.choice(self.EMAILS), choose.random()
                if chance < 0.2:
                    store.profiles.erase(session, owner)
                elif chance < 0.5:
                    store.profiles.write_claims(session, owner, {})
                elif chance < 0.6:
                    store.profiles.delete_picture(session, owner)
                else:
                    store.profiles.write_picture(session, owner, renditions())
            return 0

        with ThreadPoolExecutor(4) as pool:
            writers = [pool.submit(write, seed) for seed in range(4)]
            try:
                deadline = time.monotonic() + self.SECONDS
                runs = checked = 0
                while time.monotonic() < deadline:
                    findings, verified = store.verify()
                    assert findings == []
                    runs, checked = runs + 1, checked + verified.renditions
            finally:
                stop.set()
            written = sum(writer.result(30) for writer in writers)
        assert runs > 5
        assert checked > 50
        assert written > 50

    @pytest.mark.parametrize("at", range(1, 7))
    @pytest.mark.parametrize("action", ["erase", "replace", "remove", "claims"])
    def test_one_write_between_two_reads(self, at, action):
        """A write between any two reads of a profile causes no finding."""
        backend = WrittenBackend()
        store = Store(Keyring([key(1)], [key(9)]), backend)
        store.put_picture(BOB)
        actions = {
            "erase": lambda: store.profiles.erase(FOREVER, BOB),
            "replace": lambda: store.put_picture(BOB),
            "remove": lambda: store.profiles.delete_picture(FOREVER, BOB),
            "claims": lambda: store.write(BOB),
        }
        reads = count(1)

        def write() -> None:
            if next(reads) == at:
                backend.between = lambda: None
                actions[action]()

        backend.between = write
        assert store.verify()[0] == []


def flip(store: Store, email: str, name: str, position: int) -> None:
    """Alter one byte of an item."""
    value = bytearray(store.get(email, name))
    value[position] ^= 1
    store.put(email, name, bytes(value))
