"""The UserInfo of an OpenID provider (OpenID Connect Core 1.0, 5.3), asked with a proof's access token.

Only the owner of a valid ID token can cause the request: its signature is verified before.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Callable, Mapping
from typing import Final

from cachetools import TTLCache

from persona_profile.auth.access import Access
from persona_profile.auth.documents import Fetch
from persona_profile.auth.fetch import FetchError
from persona_profile.auth.jws import Jws
from persona_profile.auth.lookups import LookupFailed
from persona_profile.encoding import Json, MalformedText, base64url_encode, json_decode
from persona_profile.errors import InvalidProof

MAX_ACCESS_TOKEN_CHARACTERS: Final = 8192
MAX_REQUESTS: Final = 4
"""The requests that one ID token may cause in a process; a proof may come again after a failure."""

_MAX_TOKENS: Final = 4096
_LIMIT_SECONDS: Final = 3600

_ACCESS_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_REJECTED: Final = (400, 401, 403)
_HASHES: Final = {"ES384": hashlib.sha384, "EdDSA": hashlib.sha512, "Ed25519": hashlib.sha512}


class RequestLimit:
    """Limits the requests for UserInfo that one ID token may cause, by its nonce; thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._lock = threading.Lock()
        self._counts: TTLCache[bytes, int] = TTLCache(_MAX_TOKENS, _LIMIT_SECONDS, clock)

    def count(self, digest: bytes) -> None:
        """Count a request for the token with this digest of a nonce.

        Raises:
            InvalidProof: `access_token_invalid`: the token has caused MAX_REQUESTS.
        """
        with self._lock:
            made = self._counts.get(digest, 0)
            if made >= MAX_REQUESTS:
                raise InvalidProof("access_token_invalid")
            self._counts[digest] = made + 1


def check_access_token(access_token: str, token: Jws) -> None:
    """Check the form of an access token, and that it was issued with an ID token, if that says so.

    Raises:
        InvalidProof: `access_token_invalid`.
    """
    if len(access_token) > MAX_ACCESS_TOKEN_CHARACTERS or not _ACCESS_TOKEN.fullmatch(access_token):
        raise InvalidProof("access_token_invalid")
    if "at_hash" in token.payload:
        digest = _HASHES.get(token.algorithm, hashlib.sha256)(access_token.encode("ascii")).digest()
        expected, found = base64url_encode(digest[: len(digest) // 2]), token.payload["at_hash"]
        if not isinstance(found, str) or not hmac.compare_digest(expected.encode(), found.encode()):
            raise InvalidProof("access_token_invalid")


def read_userinfo(fetch: Fetch, url: str | None, access: Access, subject: Json) -> Mapping[str, Json]:
    """Return the claims of UserInfo about a subject; responses that are signed are rejected.

    Raises:
        InvalidProof: `access_token_invalid`: the provider rejects it.
        LookupFailed: there is no response, or it is unusable or about another subject.
        Overloaded: too many lookups are under way.
    """
    if url is None:
        reason = "discovery document: no valid `userinfo_endpoint`"
        raise LookupFailed("discovery_document_invalid", reason)
    try:
        fetched = fetch(url, access)
        if fetched.status in _REJECTED:
            raise InvalidProof("access_token_invalid")
        if fetched.status != 200:
            raise LookupFailed("issuer_unreachable", f"UserInfo: status {fetched.status}")
        claims = json_decode(fetched.body)
    except MalformedText:
        raise LookupFailed("userinfo_invalid", "UserInfo: not JSON") from None
    except FetchError as error:
        code = "userinfo_invalid" if error.code == "support_document_too_large" else error.code
        raise LookupFailed(code, f"UserInfo: {error.reason}") from None
    if not isinstance(claims, dict) or claims.get("sub") != subject:
        raise LookupFailed("userinfo_invalid", "UserInfo: no object about the same `sub`")
    return claims
