"""The access of one fetch: the token that it sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Access:
    """The access token that a fetch sends (RFC 6750); empty for none."""

    bearer: str = ""


ANONYMOUS: Final = Access()
