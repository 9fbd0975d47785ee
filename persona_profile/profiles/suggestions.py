"""The claims that an issuer suggests for a new profile, as the profile would store them."""

from __future__ import annotations

from collections.abc import Mapping

from persona_profile.profiles.claims import CLAIMS, InvalidClaim


def acceptable_claims(suggested: Mapping[str, str]) -> dict[str, str]:
    """Return the valid claims among unchecked texts; everything else is left out."""
    accepted = {}
    for name, accept in CLAIMS.items():
        value = suggested.get(name, "")
        # Some providers write en_US (OpenID Connect Core 1.0, 5.1).
        value = value.replace("_", "-") if name == "locale" else value
        try:
            accepted[name] = accept(value)
        except InvalidClaim:
            continue
    return {name: value for name, value in accepted.items() if value}
