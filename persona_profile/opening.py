"""From what stands in a partition to a profile."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from persona_profile.homes import Home
from persona_profile.key_items import KeyItem
from persona_profile.keys.records import RecordKey, is_record
from persona_profile.keys.service import Unreadable
from persona_profile.keys.tokens import Session
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.model import (
    PROFILE_ITEM,
    PROFILE_KEY_REQUIRED,
    PROFILE_KEY_WRONG,
    UNREADABLE,
    Profile,
    state_of,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A profile with where it is kept, and what opens its data key; no key item while it is blank."""

    profile: Profile
    home: Home
    key_item: KeyItem | None = None


class _Locked(Exception):
    """A profile opens only with another profile key than the session's; the message is the problem."""


def open_profile(home: Home, email: str, session: Session, keys: KeyWrapper) -> Stored:
    """Return the profile of an email, with a problem if something is there that does not open.

    Raises:
        KeysUnavailable: the key service can't be asked now.
    """
    profile = Profile(email, partition=home.partition, session=session)
    if home.key is None and home.profile is None:
        return Stored(profile, home)
    if home.profile is not None:
        version, state = home.profile.version, state_of(home.profile.value)
        profile = replace(profile, stored_version=version, state=state)
    try:
        if home.key is None or home.profile is None:
            raise Unreadable  # noqa: TRY301 - half a profile is as good as a damaged one
        key_item = KeyItem.parse(home.key.value, keys)
        data_key = key_item.data_key(keys, home.partition)
        content_key, plaintext = data_key, _open(data_key, home.profile.value)
        if plaintext is None:
            # Only then the owner record is needed, and opening it is a third of the work.
            wrapped = key_item.open_owner(data_key).content_key
            profile = replace(profile, is_protected=wrapped is not None)
            content_key = _content_key(data_key, wrapped, session)
            plaintext = content_key.open(PROFILE_ITEM, home.profile.value)
    except _Locked as locked:
        return Stored(replace(profile, problem=str(locked)), home)
    except Unreadable:
        logger.error("unreadable profile in partition %s", home.partition.hex())  # noqa: TRY400
        return Stored(replace(profile, problem=UNREADABLE), home)
    return Stored(replace(profile, content_key=content_key).filled(plaintext), home, key_item)


def _open(data_key: RecordKey, record: bytes) -> bytes | None:
    """Return what a profile's record holds; none if it may be under a content key.

    Raises:
        Unreadable: it is no record.
    """
    if not is_record(record):
        raise Unreadable
    try:
        return data_key.open(PROFILE_ITEM, record)
    except Unreadable:
        return None


def _content_key(data_key: RecordKey, wrapped: bytes | None, session: Session) -> RecordKey:
    """Return what the session's profile key unwraps."""
    if wrapped is None:
        raise Unreadable
    if session.profile_key is None:
        raise _Locked(PROFILE_KEY_REQUIRED)
    try:
        return data_key.unwrap_content_key(session.profile_key, wrapped)
    except Unreadable:
        raise _Locked(PROFILE_KEY_WRONG) from None
