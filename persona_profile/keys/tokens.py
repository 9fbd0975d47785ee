"""Sealed, stateless tokens, which clients keep: sessions, pictures to read or to take, nonces."""

from __future__ import annotations

import hashlib
import secrets
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from persona_profile.encoding import base64url_decode, base64url_encode, json_decode_own, json_encode
from persona_profile.images.formats import FORMATS
from persona_profile.keys.records import KEY_BYTES, KeyRole, RecordKey
from persona_profile.keys.service import Unreadable
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.lifetimes import CLOCK_DIFFERENCE_SECONDS

MAX_TOKEN_CHARACTERS: Final = 12_000
"""A session of 20 emails of 254 bytes needs some 8,500."""

ISSUER_CHARACTERS: Final = 22

_CAPABILITY = struct.Struct(">33s16sHBI")
_SIGN_OUT = struct.Struct(">33sQ")
_NONCE = struct.Struct(">16sQQ")


@dataclass(frozen=True, slots=True)
class EmailProof:
    """A proved email of a session.

    Attributes:
        email: the canonical address.
        issuer: a keyed pseudonym of the issuer, ISSUER_CHARACTERS of base64url. It changes with the
            primary encryption key.
        proved_at: time of the proof, in milliseconds since 1970.
        signed_out_at: the last sign-out of the email before the proof, likewise; 0 if there was none.
            Any later sign-out ends the session.
    """

    email: str
    issuer: str
    proved_at: int
    signed_out_at: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """The proved emails of a person.

    Attributes:
        proofs: one for each email, in the order of the proofs.
        expires_at: milliseconds since 1970.
        profile_key: the person's own key (KEY_BYTES), if the dialog has sent one.
    """

    proofs: tuple[EmailProof, ...]
    expires_at: int
    profile_key: bytes | None = field(default=None, repr=False)

    @property
    def emails(self) -> tuple[str, ...]:
        """The emails, in the order of their proofs."""
        return tuple(proof.email for proof in self.proofs)

    @property
    def proved_at(self) -> int:
        """The time of the oldest proof, in milliseconds since 1970."""
        return min(proof.proved_at for proof in self.proofs)

    def issuer_of(self, email: str) -> str:
        """Return the pseudonym of the issuer of an email.

        Raises:
            KeyError: the session does not have that email.
        """
        return {proof.email: proof.issuer for proof in self.proofs}[email]

    def is_ended_by(self, signed_out_at: Mapping[str, int]) -> bool:
        """Return whether the last sign-out of an email (in milliseconds; 0: none) ends it."""
        return any(signed_out_at[proof.email] > proof.signed_out_at for proof in self.proofs)


class SessionTokens:
    """Bearer tokens (RFC 6750) that hold a session; only this server can read or create them."""

    _PURPOSE = "session"

    def __init__(self, keys: KeyWrapper) -> None:
        self._keys = keys

    def seal(self, session: Session) -> str:
        """Return the token of a session."""
        key = session.profile_key and base64url_encode(session.profile_key)
        proofs = [
            [proof.email, proof.issuer, proof.proved_at, proof.signed_out_at]
            for proof in session.proofs
        ]
        return self._keys.seal_token(self._PURPOSE, json_encode([session.expires_at, key, *proofs]))

    def open(self, token: str) -> Session:
        """Return the session of a token, even an expired one.

        Raises:
            Unreadable: the token is invalid.
        """
        expires_at, key, *proofs = json_decode_own(_open(self._keys, self._PURPOSE, token))
        try:
            opened = tuple(EmailProof(*proof) for proof in proofs)
        except TypeError:  # an older release sealed emails alone
            raise Unreadable from None
        return Session(opened, expires_at, key and base64url_decode(key))


@dataclass(frozen=True, slots=True)
class Nonce:
    """A nonce, by which an identity provider binds its token to one sign-in. `digest` identifies it."""

    digest: bytes
    issued_at: int  # seconds since 1970
    expires_at: int  # likewise

    @property
    def revoked_from(self) -> int:
        """A sign-out from this instant on, in milliseconds since 1970, came after the issue."""
        return 1000 * (self.issued_at + 1 + CLOCK_DIFFERENCE_SECONDS)


class Nonces:
    """Nonces of `lifetime` seconds, made by this server alone. `UsedProofs` ensures single use."""

    _PURPOSE = "nonce"

    def __init__(self, keys: KeyWrapper, lifetime: int, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._lifetime = lifetime
        self._clock = clock

    def issue(self) -> tuple[str, int]:
        """Return the text of a new nonce, and its expiry in seconds since 1970."""
        now = int(self._clock())
        payload = _NONCE.pack(secrets.token_bytes(16), now, now + self._lifetime)
        return self._keys.seal_token(self._PURPOSE, payload), now + self._lifetime

    def open(self, text: str) -> Nonce:
        """Return the nonce of a text, even an expired one.

        Raises:
            Unreadable: the text is invalid.
        """
        payload = _open(self._keys, self._PURPOSE, text)
        _, issued_at, expires_at = _NONCE.unpack(payload)
        return Nonce(hashlib.sha256(b"nonce" + payload).digest(), issued_at, expires_at)


@dataclass(frozen=True, slots=True)
class Protection:
    """The key to a picture of a protected profile, and the end of its session.

    Attributes:
        picture_key: opens the renditions.
        sign_outs: each partition of the session's emails, with the last sign-out before the proof of
            the email, in milliseconds since 1970. A later one ends the session.
        expires_at: the expiry of the session, likewise.
    """

    picture_key: RecordKey
    sign_outs: tuple[tuple[bytes, int], ...]
    expires_at: int


@dataclass(frozen=True, slots=True)
class PictureCapability:
    """The permission to fetch a picture in one size (pixels), in its stored formats."""

    partition: bytes
    picture_id: bytes
    size: int
    formats: tuple[str, ...]
    protection: Protection | None = None


class PictureCapabilities:
    """Capabilities as the last part of a URL.

    During a `window` of seconds a permission has the same text, so that browsers cache the picture. The
    text works until the end of the next window. The windows of partitions begin at different instants,
    which spreads the requests for new URLs.
    """

    _PURPOSE = "picture"

    def __init__(self, keys: KeyWrapper, window: int, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._window = window
        self._clock = clock

    def seal(self, capability: PictureCapability) -> str:
        """Return the text of a capability; it expires with the next window, or with the session."""
        protection = capability.protection
        payload = _CAPABILITY.pack(
            capability.partition,
            capability.picture_id,
            capability.size,
            _mask(capability.formats),
            self.expiry(capability.partition, protection),
        )
        if protection is not None:
            payload += protection.picture_key.secret
            payload += b"".join(_SIGN_OUT.pack(*each) for each in protection.sign_outs)
        return self._keys.seal_token(self._PURPOSE, payload)

    def open(self, text: str) -> tuple[PictureCapability, int]:
        """Return the capability of a text, and the seconds until it expires.

        Raises:
            Unreadable: the text is invalid, or has expired.
        """
        payload = _open(self._keys, self._PURPOSE, text)
        partition, picture_id, size, mask, expires_at = _CAPABILITY.unpack_from(payload)
        remaining = expires_at - int(self._clock())
        if remaining <= 0:
            raise Unreadable
        protection = None
        if len(payload) > _CAPABILITY.size:
            protection = _protection(payload[_CAPABILITY.size :], 1000 * expires_at)
        names = tuple(name for bit, name in enumerate(FORMATS) if mask & 1 << bit)
        return PictureCapability(partition, picture_id, size, names, protection), remaining

    def expiry(self, partition: bytes, protection: Protection | None = None) -> int:
        """Return the expiry of capabilities that are sealed now, in seconds since 1970."""
        if protection is not None:
            return protection.expires_at // 1000
        offset = int.from_bytes(partition[-4:]) % self._window
        return ((int(self._clock()) + offset) // self._window + 2) * self._window - offset


@dataclass(frozen=True, slots=True)
class SuggestedPicture:
    """A picture that an issuer has named for a new profile.

    Attributes:
        email: the canonical address, whose profile may take the picture.
        member: the kind of the proof.
        issuer: the domain or URL that has named it.
        url: its address.
        expires_at: milliseconds since 1970.
    """

    email: str
    member: str
    issuer: str
    url: str
    expires_at: int


class SuggestedPictureTokens:
    """References to suggested pictures, by which a client takes one without its URL."""

    _PURPOSE = "suggestion"

    def __init__(self, keys: KeyWrapper, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock

    def seal(self, picture: SuggestedPicture) -> str:
        """Return the text of a reference."""
        members = [picture.expires_at, picture.email, picture.member, picture.issuer, picture.url]
        return self._keys.seal_token(self._PURPOSE, json_encode(members))

    def open(self, text: str) -> SuggestedPicture:
        """Return the picture of a reference.

        Raises:
            Unreadable: the text is invalid, or has expired.
        """
        members = json_decode_own(_open(self._keys, self._PURPOSE, text))
        expires_at, email, member, issuer, url = members
        if expires_at <= 1000 * self._clock():
            raise Unreadable
        return SuggestedPicture(email, member, issuer, url, expires_at)


def _protection(payload: bytes, expires_at: int) -> Protection:
    secret, sign_outs = payload[:KEY_BYTES], payload[KEY_BYTES:]
    try:
        followed = tuple(_SIGN_OUT.iter_unpack(sign_outs))
    except struct.error:  # an older release sealed one instant
        raise Unreadable from None
    return Protection(RecordKey(KeyRole.PICTURE, secret), followed, expires_at)


def _open(keys: KeyWrapper, purpose: str, text: str) -> bytes:
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise Unreadable
    return keys.open_token(purpose, text)


def _mask(names: Iterable[str]) -> int:
    return sum(1 << FORMATS.index(name) for name in names)
