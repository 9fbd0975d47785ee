"""The formats of docs/reference/key-formats.md, implemented from that page alone on other primitives.

The service must open data sealed here, and vice versa: this proves the page complete.
Malformed data and wrong keys raise `Rejected`.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from Crypto.Cipher import AES

DATA_KEY, CONTENT_KEY, PICTURE_KEY, REMOVAL_KEY = 1, 2, 3, 4  # the roles of a record's key

_WRAPPED_SIZE = 48
_RECORD_OVERHEAD = 84
_OWNER_SIZE = 705
_FIRST_OWNER_SIZE = 296  # of the formats 0x01 and 0x02
_SLOTS, _SLOT_SIZE = 8, 56
_PARTITION_SIZE = 33
_ID_SIZE = 16
_KWP_CONSTANT = bytes.fromhex("a65959a6")


class Rejected(Exception):
    """The data violates the format, or is sealed under other keys."""


class KeyItem(NamedTuple):
    """The parts of a `key` item."""

    wrapped_key: bytes
    owner_record: bytes


class ContentKeyWrap(NamedTuple):
    """A slot of an owner record; `added_at` 0 is of the first format."""

    id: bytes
    added_at: int
    wrapped: bytes


class Owner(NamedTuple):
    """The content of an owner record; a protected profile has wraps."""

    email: str
    wraps: tuple[ContentKeyWrap, ...] = ()


class Removal(NamedTuple):
    """The content of a `picture_removal` item."""

    email: str
    removed_at: int
    expires_at: int
    is_locked: bool
    reason: str


class Moving(NamedTuple):
    """The parts of a moving item."""

    move_id: bytes
    origin: bytes
    key_item: bytes
    profile: bytes


class PictureToken(NamedTuple):
    """The content of a picture's URL; the last two members belong to a protected profile."""

    partition: bytes
    picture_id: bytes
    size: int
    formats: int
    expires_at: int
    picture_key: bytes | None = None
    sign_outs: tuple[tuple[bytes, int], ...] = ()


class Proof(NamedTuple):
    """A proof in the token of a session."""

    email: str
    issuer: str
    proved_at: int
    signed_out_at: int


class SessionToken(NamedTuple):
    """The content of a session's token."""

    expires_at: int
    profile_key: bytes | None
    proofs: tuple[Proof, ...]


def base64url(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Decode base64url without padding; reject all other spellings."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text) or len(text) % 4 == 1:
        raise Rejected("not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(data) != text:
        raise Rejected("base64url with bits left over")
    return data


def hkdf(key: bytes, info: bytes, length: int, salt: bytes = b"", algorithm: str = "sha256") -> bytes:
    """Derive bytes by RFC 5869."""
    size = hashlib.new(algorithm).digest_size
    extracted = hmac.digest(salt or bytes(size), key, algorithm)
    block, derived = b"", b""
    for counter in range(1, -(-length // size) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), algorithm)
        derived += block
    return derived[:length]


def kwp_wrap(key: bytes, plaintext: bytes) -> bytes:
    """Wrap by RFC 5649, section 4.1."""
    cipher = AES.new(key, AES.MODE_ECB)
    head = _KWP_CONSTANT + len(plaintext).to_bytes(4)
    padded = plaintext + bytes(-len(plaintext) % 8)
    if len(padded) == 8:
        return cipher.encrypt(head + padded)
    blocks = [padded[at : at + 8] for at in range(0, len(padded), 8)]
    for step in range(1, 6 * len(blocks) + 1):
        at = (step - 1) % len(blocks)
        out = cipher.encrypt(head + blocks[at])
        head, blocks[at] = _xor(out[:8], step), out[8:]
    return head + b"".join(blocks)


def kwp_unwrap(key: bytes, wrapped: bytes) -> bytes:
    """Unwrap by RFC 5649, section 4.2, with all the checks of section 3."""
    if len(wrapped) < 16 or len(wrapped) % 8:
        raise Rejected("not the length of a wrapped key")
    cipher = AES.new(key, AES.MODE_ECB)
    if len(wrapped) == 16:
        out = cipher.decrypt(wrapped)
        head, padded = out[:8], out[8:]
    else:
        head, *blocks = (wrapped[at : at + 8] for at in range(0, len(wrapped), 8))
        for step in range(6 * len(blocks), 0, -1):
            at = (step - 1) % len(blocks)
            out = cipher.decrypt(_xor(head, step) + blocks[at])
            head, blocks[at] = out[:8], out[8:]
        padded = b"".join(blocks)
    length = int.from_bytes(head[4:])
    _require(head[:4] == _KWP_CONSTANT, "a wrapped key does not open")
    _require(len(padded) - 8 < length <= len(padded), "a wrapped key's length")
    _require(not any(padded[length:]), "a wrapped key's padding")
    return padded[:length]


def partition_of(version: int, index_key: bytes, email: str) -> bytes:
    """Return the partition of an email."""
    return bytes([version]) + hmac.digest(index_key, email.encode(), "sha256")


def account_id_of(index_key: bytes, email: str) -> str:
    """Return the account identifier of an email for identity providers."""
    derived = hkdf(index_key, b"persona-profile/account/v1", 32)
    return base64url(hmac.digest(derived, email.encode(), "sha256")[:16])


def fingerprint(key: bytes) -> str:
    """Return a key's fingerprint as `keys status` prints it."""
    return hkdf(key, b"persona-profile/fingerprint/v1", 8).hex()


def wrap_data_key(version: int, encryption_key: bytes, partition: bytes, data_key: bytes) -> bytes:
    """Wrap a data key for its partition."""
    wrapping_key = hkdf(encryption_key, b"persona-profile/wrap/v1" + partition, 32)
    return b"PPK\x01" + version.to_bytes(4) + kwp_wrap(wrapping_key, data_key)


def unwrap_data_key(encryption_keys: Mapping[int, bytes], partition: bytes, wrapped: bytes) -> bytes:
    """Open a data key with the keyring's keys, by version."""
    _require(len(wrapped) == _WRAPPED_SIZE and wrapped.startswith(b"PPK\x01"), "not a wrapped key")
    encryption_key = _key_of_version(encryption_keys, wrapped[4:8])
    return _key(
        kwp_unwrap(hkdf(encryption_key, b"persona-profile/wrap/v1" + partition, 32), wrapped[8:])
    )


def wrap_content_key(
    data_key: bytes, profile_key: bytes, content_key: bytes, wrap_id: bytes, added_at: int
) -> ContentKeyWrap:
    """Wrap a content key by data key and profile key together, for a slot."""
    key = _content_wrapping_key(data_key, profile_key, wrap_id, added_at)
    return ContentKeyWrap(wrap_id, added_at, kwp_wrap(key, content_key))


def first_wrap(wrapped: bytes) -> ContentKeyWrap:
    """Return the slot of a wrapped content key of the first format."""
    digest = hashlib.sha256(b"persona-profile/profile-key/v1" + wrapped).digest()
    return ContentKeyWrap(digest[:8], 0, wrapped)


def unwrap_content_key(data_key: bytes, profile_key: bytes, wrap: ContentKeyWrap) -> bytes:
    """Open a content key by data key and profile key together."""
    _require(len(wrap.wrapped) == 40, "not a wrapped content key")
    key = _content_wrapping_key(data_key, profile_key, wrap.id, wrap.added_at)
    return _key(kwp_unwrap(key, wrap.wrapped))


def open_content_key(data_key: bytes, profile_key: bytes, owner: Owner) -> bytes:
    """Open a content key by the wrap of an owner that the profile key opens."""
    for wrap in owner.wraps:
        try:
            return unwrap_content_key(data_key, profile_key, wrap)
        except Rejected:
            continue
    raise Rejected("no wrap opens with this profile key")


def picture_key_of(content_key: bytes, picture_id: bytes) -> bytes:
    """Derive the key of a picture of a protected profile."""
    return hkdf(content_key, b"persona-profile/picture/v1" + picture_id, 32)


def seal_record(role: int, key: bytes, name: str, plaintext: bytes, salt: bytes) -> bytes:
    """Seal a record; `salt` must be new each time outside of tests."""
    cipher, commitment = _record_cipher(key, salt, role, name)
    ciphertext, tag = cipher.encrypt_and_digest(plaintext)
    return b"PPR\x02" + salt + commitment + ciphertext + tag


def open_record(role: int, key: bytes, name: str, record: bytes) -> bytes:
    """Open a record of a role and name."""
    _require(len(record) >= _RECORD_OVERHEAD and record.startswith(b"PPR\x02"), "not a record")
    cipher, commitment = _record_cipher(key, record[4:36], role, name)
    _require(hmac.compare_digest(commitment, record[36:68]), "a record is under another key")
    try:
        return cipher.decrypt_and_verify(record[68:-16], record[-16:])
    except ValueError:
        raise Rejected("a record does not open") from None


def pack_key_item(item: KeyItem) -> bytes:
    """Write a `key` item."""
    return item.wrapped_key + item.owner_record


def split_key_item(item: bytes) -> KeyItem:
    """Split a `key` item that the keyring wrapped."""
    _require(item.startswith(b"PPK\x01"), "not a key item")
    wrapped, rest = item[:_WRAPPED_SIZE], item[_WRAPPED_SIZE:]
    sizes = (_RECORD_OVERHEAD + _OWNER_SIZE, _RECORD_OVERHEAD + _FIRST_OWNER_SIZE)
    _require(len(rest) in sizes and rest.startswith(b"PPR\x02"), "a key item without an owner")
    return KeyItem(wrapped, rest)


def split_removed(item: bytes) -> tuple[bytes, list[bytes]]:
    """Split a `key` item of the present format from the ids of removed pictures behind it."""
    size = _WRAPPED_SIZE + _RECORD_OVERHEAD + _OWNER_SIZE
    _require(len(item) >= size and (len(item) - size) % _ID_SIZE == 0, "other bytes behind a key item")
    return item[:size], [item[at : at + _ID_SIZE] for at in range(size, len(item), _ID_SIZE)]


def pack_removal(
    version: int, encryption_key: bytes, partition: bytes, key: bytes, removal: Removal, salt: bytes
) -> bytes:
    """Write a `picture_removal` item."""
    email, reason = removal.email.encode(), removal.reason.encode()
    times = removal.removed_at.to_bytes(8) + removal.expires_at.to_bytes(8)
    plaintext = b"\x01" + bytes([removal.is_locked]) + times
    plaintext += bytes([len(email)]) + email.ljust(254, b"\0")
    plaintext += len(reason).to_bytes(2) + reason.ljust(800, b"\0")
    record = seal_record(REMOVAL_KEY, key, "picture_removal", plaintext, salt)
    return wrap_data_key(version, encryption_key, partition, key) + record


def open_removal(encryption_keys: Mapping[int, bytes], partition: bytes, item: bytes) -> Removal:
    """Open a `picture_removal` item."""
    key = unwrap_data_key(encryption_keys, partition, item[:_WRAPPED_SIZE])
    plaintext = open_record(REMOVAL_KEY, key, "picture_removal", item[_WRAPPED_SIZE:])
    head, locked, removed, expires, length, email, reason_length, reason = _cut(
        plaintext, 1, 1, 8, 8, 1, 254, 2, 800
    )
    _require(head == b"\x01", "an unknown version of a removal")
    return Removal(
        email[: length[0]].decode(),
        int.from_bytes(removed),
        int.from_bytes(expires),
        bool(locked[0]),
        reason[: int.from_bytes(reason_length)].decode(),
    )


def seal_owner(data_key: bytes, owner: Owner, salt: bytes) -> bytes:
    """Seal the owner record of a `key` item."""
    slots = b"".join(wrap.id + wrap.added_at.to_bytes(8) + wrap.wrapped for wrap in owner.wraps)
    unused = bytes(_SLOT_SIZE * (_SLOTS - len(owner.wraps)))
    plaintext = b"\x03" + bytes([len(owner.wraps)]) + slots + unused + _email(owner)
    return seal_record(DATA_KEY, data_key, "key", plaintext, salt)


def seal_first_owner(data_key: bytes, owner: Owner, salt: bytes) -> bytes:
    """Seal an owner record of the formats 0x01 and 0x02."""
    wraps = owner.wraps
    head = b"\x02" + wraps[0].wrapped if wraps else b"\x01" + bytes(40)
    return seal_record(DATA_KEY, data_key, "key", head + _email(owner), salt)


def open_owner(data_key: bytes, owner_record: bytes) -> Owner:
    """Return the content of an owner record."""
    owner = open_record(DATA_KEY, data_key, "key", owner_record)
    if len(owner) == _FIRST_OWNER_SIZE:
        _require(owner[0] in (1, 2), "not an owner")
        _require(owner[0] == 2 or not any(owner[1:41]), "an owner with a key that is not used")
        wraps = (first_wrap(owner[1:41]),) if owner[0] == 2 else ()
        return Owner(_split_email(owner[41:]), wraps)
    _require(len(owner) == _OWNER_SIZE and owner[0] == 3 and owner[1] <= _SLOTS, "not an owner")
    slots = [owner[at : at + _SLOT_SIZE] for at in range(2, 2 + _SLOTS * _SLOT_SIZE, _SLOT_SIZE)]
    _require(not any(map(any, slots[owner[1] :])), "an unused slot that is not empty")
    wraps = tuple(
        ContentKeyWrap(slot[:8], int.from_bytes(slot[8:16]), slot[16:]) for slot in slots[: owner[1]]
    )
    return Owner(_split_email(owner[2 + _SLOTS * _SLOT_SIZE :]), wraps)


def _email(owner: Owner) -> bytes:
    email = owner.email.encode()
    return bytes([len(email)]) + email + bytes(254 - len(email))


def _split_email(padded: bytes) -> str:
    email, padding = padded[1 : 1 + padded[0]], padded[1 + padded[0] :]
    _require(padded[0] <= 254 and not any(padding), "an owner's padding")
    return email.decode()


def open_profile(role: int, key: bytes, record: bytes) -> dict[str, Any]:
    """Return the document of a `profile` item."""
    profile = _from_json(open_record(role, key, "profile", record))
    members = {"claims", "picture", "updated_at", "version"}
    _require(isinstance(profile, dict) and set(profile) == members, "not a profile")
    return profile


def pack_forward(move_id: bytes, partition: bytes) -> bytes:
    """Write a forward to another partition."""
    return b"PPF\x01" + move_id + partition


def split_forward(item: bytes) -> tuple[bytes, bytes]:
    """Return the move's id and the partition that a forward names."""
    _require(
        len(item) == 4 + _ID_SIZE + _PARTITION_SIZE and item.startswith(b"PPF\x01"), "not a forward"
    )
    return item[4 : 4 + _ID_SIZE], item[4 + _ID_SIZE :]


def pack_moving(moving: Moving) -> bytes:
    """Write a moving item."""
    length = len(moving.key_item).to_bytes(4)
    parts = (moving.move_id, moving.origin, length, moving.key_item, moving.profile)
    return b"PPM\x01" + b"".join(parts)


def split_moving(item: bytes) -> Moving:
    """Split a moving item."""
    _require(item.startswith(b"PPM\x01"), "not a moving item")
    move_id, rest = item[4 : 4 + _ID_SIZE], item[4 + _ID_SIZE :]
    origin, rest = rest[:_PARTITION_SIZE], rest[_PARTITION_SIZE:]
    length = int.from_bytes(rest[:4])
    _require(len(rest) >= 4 + length, "not a moving item")
    return Moving(move_id, origin, rest[4 : 4 + length], rest[4 + length :])


def seal_token(purpose: str, version: int, encryption_key: bytes, payload: bytes) -> str:
    """Seal a token for a purpose."""
    head = b"\x01" + version.to_bytes(4)
    ciphertext, synthetic_iv = _token_cipher(purpose, encryption_key, head).encrypt_and_digest(payload)
    return base64url(head + synthetic_iv + ciphertext)


def open_token(purpose: str, encryption_keys: Mapping[int, bytes], token: str) -> bytes:
    """Return the payload of a token with a purpose."""
    data = from_base64url(token)
    _require(len(data) > 21 and data[0] == 1, "not a token")
    cipher = _token_cipher(purpose, _key_of_version(encryption_keys, data[1:5]), data[:5])
    try:
        return cipher.decrypt_and_verify(data[21:], data[5:21])
    except ValueError:
        raise Rejected("a token does not open") from None


def pack_session(session: SessionToken) -> bytes:
    """Write the payload of a session's token."""
    key = None if session.profile_key is None else base64url(session.profile_key)
    return _json([session.expires_at, key, *map(list, session.proofs)])


def split_session(payload: bytes) -> SessionToken:
    """Parse the payload of a session's token."""
    session = _from_json(payload)
    _require(isinstance(session, list) and len(session) >= 3, "not a session")
    expires_at, key, *proofs = session
    _require(type(expires_at) is int, "a session's end")
    profile_key = None if key is None else _key(from_base64url(_text(key)))
    return SessionToken(expires_at, profile_key, tuple(map(_proof, proofs)))


def _proof(proof: Any) -> Proof:
    _require(isinstance(proof, list) and len(proof) == 4, "not a proof")
    email, issuer, proved_at, signed_out_at = proof
    _require(type(proved_at) is int and type(signed_out_at) is int, "a proof's times")
    _require(len(from_base64url(_text(issuer))) == 16, "a proof's issuer")
    return Proof(_text(email), issuer, proved_at, signed_out_at)


def issuer_pseudonym(encryption_key: bytes, issuer: str) -> str:
    """Return the pseudonym of an issuer in session tokens."""
    derived = hkdf(encryption_key, b"persona-profile/pseudonym/v1", 32)
    return base64url(hmac.digest(derived, b"issuer\0" + issuer.encode(), "sha256")[:16])


def pack_nonce(random: bytes, issued_at: int, expires_at: int) -> bytes:
    """Write the payload of a nonce."""
    return random + issued_at.to_bytes(8) + expires_at.to_bytes(8)


def split_nonce(payload: bytes) -> tuple[bytes, int, int]:
    """Parse the payload of a nonce: random bytes, issued at, expires at."""
    _require(len(payload) == 32, "not a nonce")
    return payload[:16], int.from_bytes(payload[16:24]), int.from_bytes(payload[24:])


def pack_suggestion(expires_at: int, *texts: str) -> bytes:
    """Write the payload of a reference to a suggested picture."""
    return _json([expires_at, *texts])


def split_suggestion(payload: bytes) -> tuple[int, str, str, str, str]:
    """Parse the payload of a reference: expires at, email, kind of proof, issuer, URL."""
    suggestion = _from_json(payload)
    _require(isinstance(suggestion, list) and len(suggestion) == 5, "not a suggestion")
    expires_at, email, member, issuer, url = suggestion
    _require(type(expires_at) is int, "a suggestion's end")
    return expires_at, _text(email), _text(member), _text(issuer), _text(url)


def pack_picture(picture: PictureToken) -> bytes:
    """Write the payload of a picture's URL."""
    numbers = picture.size.to_bytes(2) + bytes([picture.formats]) + picture.expires_at.to_bytes(4)
    protected = b""
    if picture.picture_key is not None:
        sign_outs = (partition + instant.to_bytes(8) for partition, instant in picture.sign_outs)
        protected = picture.picture_key + b"".join(sign_outs)
    return picture.partition + picture.picture_id + numbers + protected


def split_picture(payload: bytes) -> PictureToken:
    """Parse the payload of a picture's URL."""
    partition, picture_id, size, formats, expires_at, key, *sign_outs = _cut(
        payload, 33, 16, 2, 1, 4, 32, *[33, 8] * (max(0, len(payload) - 88) // 41)
    )
    fits = len(payload) == 56 or (len(payload) > 88 and (len(payload) - 88) % 41 == 0)
    _require(fits, "not a picture's URL")
    _require(formats[0] in range(1, 8), "the formats of a picture's URL")
    number = int.from_bytes
    followed = tuple(zip(sign_outs[::2], map(number, sign_outs[1::2]), strict=True))
    return PictureToken(
        partition, picture_id, number(size), formats[0], number(expires_at), key or None, followed
    )


def _record_cipher(key: bytes, salt: bytes, role: int, name: str) -> tuple[Any, bytes]:
    derived = hkdf(_key(key), b"persona-profile/record/v1", 64, salt, "sha512")
    cipher = AES.new(derived[:32], AES.MODE_GCM, nonce=bytes(12), mac_len=16)
    cipher.update(b"PPR\x02" + role.to_bytes(4) + name.encode())
    return cipher, derived[32:]


def _token_cipher(purpose: str, encryption_key: bytes, head: bytes) -> Any:
    info = b"persona-profile/token/v1/" + purpose.encode()
    cipher = AES.new(hkdf(encryption_key, info, 64), AES.MODE_SIV)
    cipher.update(head)
    return cipher


def _content_wrapping_key(data_key: bytes, profile_key: bytes, wrap_id: bytes, added_at: int) -> bytes:
    info = b"persona-profile/profile-key/v2" + wrap_id + added_at.to_bytes(8)
    if added_at == 0:
        info = b"persona-profile/profile-key/v1"
    return hkdf(_key(profile_key), info, 32, _key(data_key))


def _key_of_version(keys: Mapping[int, bytes], version: bytes) -> bytes:
    try:
        return _key(keys[int.from_bytes(version)])
    except KeyError:
        raise Rejected("a key that is not in the keyring") from None


def _key(key: bytes) -> bytes:
    _require(len(key) == 32, "not the length of a key")
    return key


def _text(value: Any) -> str:
    _require(isinstance(value, str), "not a text")
    return value


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _from_json(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except ValueError:
        raise Rejected("not JSON in UTF-8") from None


def _cut(data: bytes, *sizes: int) -> Iterable[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]


def _xor(head: bytes, step: int) -> bytes:
    return (int.from_bytes(head) ^ step).to_bytes(8)


def _require(holds: bool, why: str) -> None:  # noqa: FBT001 - it reads as a statement
    if not holds:
        raise Rejected(why)
