"""The cache of OpenID providers' keys: lookups, refreshes and expiry."""

from __future__ import annotations

import threading

import pytest
from support.servers.applications import Clock, wait_for
from support.servers.openid import ACCOUNTS, Provider, edwards, elliptic, public, rsa, signer

from persona_profile.auth import jose_keys, openid_discovery
from persona_profile.auth.access import PUBLIC, Route
from persona_profile.auth.fetch import FetchError
from persona_profile.auth.jose_keys import parse_key_set
from persona_profile.auth.jws import Jws
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.errors import InvalidProof, Overloaded

JWKS = f"{ACCOUNTS}/jwks"
DISCOVERY = f"{ACCOUNTS}/.well-known/openid-configuration"


def signed(key, algorithm="RS256"):
    """Return a token that a key has signed."""
    return Jws(algorithm, {}, {}, b"said", signer(key, algorithm)(b"said"))


class World:
    """A provider, what knows its keys, and a clock."""

    def __init__(self) -> None:
        self.provider = Provider()
        self.clock = Clock(0.0)
        self.failure: Exception | None = None
        self.keys = ProviderKeys(self.fetch, self.clock)

    def fetch(self, url, _access=None):
        """Answer, or fail."""
        if self.failure is not None:
            self.provider.requests.append(url)
            raise self.failure
        return self.provider.fetch(url)

    def find(self, kid="rsa", key=None, algorithm="RS256"):
        """Return the code of the rejection of a key's signature, or nothing."""
        try:
            self.keys.check(ACCOUNTS, signed(key or rsa("rsa"), algorithm), kid)
        except InvalidProof as error:
            return error.code
        return None

    @property
    def lookups(self):
        """How often the provider was asked for anything."""
        return len(self.provider.requests)


@pytest.fixture
def world():
    """A provider with one key, before any lookup."""
    return World()


def test_kept_while_fresh(world):
    """Keys are asked for once an hour."""
    for _ in range(3):
        assert world.find() is None
    world.clock.now += openid_discovery.AHEAD_SECONDS - 1
    assert world.find() is None
    assert world.provider.requests == [DISCOVERY, JWKS]
    world.clock.now = openid_discovery.FRESH_SECONDS
    assert world.find() is None
    assert world.provider.requests == [DISCOVERY, JWKS] * 2


def test_refreshed_ahead(world):
    """Keys of a provider in use are asked for ahead of time; the sign-in beside it does not wait."""
    assert world.find() is None
    world.clock.now = openid_discovery.AHEAD_SECONDS
    world.provider.answering.clear()
    assert world.find() is None
    wait_for(lambda: world.lookups == 3)
    assert world.find() is None
    world.provider.answering.set()
    wait_for(lambda: world.keys._provider(ACCOUNTS).state.fetched_at == world.clock.now)
    world.clock.now = openid_discovery.FRESH_SECONDS + 1
    assert world.find() is None
    assert world.provider.requests == [DISCOVERY, JWKS] * 2


def test_prepared(world):
    """A starting server looks up the keys of all providers, so the first tokens need not wait."""
    world.keys.prepare([ACCOUNTS])
    wait_for(lambda: world.keys._provider(ACCOUNTS).state.keys)
    world.keys.prepare([ACCOUNTS])
    assert world.find() is None
    assert world.provider.requests == [DISCOVERY, JWKS]


def test_preparation_that_fails(world):
    """That a provider can't be reached while the server starts is not held against the first token."""
    world.failure = FetchError("issuer_unreachable")
    world.keys.prepare([ACCOUNTS])
    wait_for(lambda: world.lookups == 1)
    world.failure = None
    assert world.find() is None


def test_refresh_ahead_that_fails(world):
    """After a failed refresh ahead of time another follows, and no sign-in fails."""
    assert world.find() is None
    world.clock.now = openid_discovery.AHEAD_SECONDS
    world.failure = FetchError("issuer_unreachable")
    assert world.find() is None
    wait_for(lambda: world.keys._provider(ACCOUNTS).state.failure)
    for _ in range(3):
        assert world.find() is None
    assert world.lookups == 3
    world.failure = None
    world.clock.now += openid_discovery.RETRY_SECONDS

    def is_refreshed():
        assert world.find() is None
        return world.keys._provider(ACCOUNTS).state.fetched_at == world.clock.now

    wait_for(is_refreshed)


def test_withdrawn_key(world):
    """A withdrawn key is rejected an hour later at the latest."""
    world.find()
    world.provider.publish(ACCOUNTS, [public(rsa("next"), "next")])
    world.clock.now += openid_discovery.FRESH_SECONDS
    assert world.find() == "key_unknown"


def test_provider_down(world):
    """Keys go on for a day while their provider can't be reached, with a lookup now and then."""
    assert world.find() is None
    world.failure = FetchError("issuer_unreachable")
    world.clock.now = openid_discovery.FRESH_SECONDS
    for _ in range(5):
        assert world.find() is None
    assert world.lookups == 3
    world.clock.now += openid_discovery.RETRY_SECONDS
    assert world.find() is None
    assert world.lookups == 4
    world.clock.now = openid_discovery.LASTING_SECONDS - 1
    assert world.find() is None
    world.clock.now += openid_discovery.RETRY_SECONDS
    assert world.find() == "issuer_unreachable"
    world.failure = None
    world.clock.now += openid_discovery.RETRY_SECONDS
    assert world.find() is None


def test_never_reached(world):
    """A provider that was never reached is asked again after a while, not for each token."""
    world.failure = FetchError("issuer_address_forbidden")
    for _ in range(5):
        assert world.find() == "issuer_address_forbidden"
    assert world.lookups == 1
    world.failure = None
    assert world.find() == "issuer_address_forbidden"
    world.clock.now += openid_discovery.RETRY_SECONDS
    assert world.find() is None


def test_misfits_are_asked_for_seldom(world):
    """Misfits cause a few lookups, then one in ten seconds; good tokens go on."""
    world.find()
    for number in range(10):
        assert world.find(f"k{number}") == "key_unknown"
        assert world.find(key=rsa("next")) == "token_signature_invalid"
        assert world.find() is None
    assert world.provider.asked_for(JWKS) == 1 + openid_discovery.MISFIT_LOOKUPS
    for seconds, lookups in (
        (openid_discovery.MISFIT_SECONDS - 1, 0),
        (1, 1),
        (openid_discovery.MISFIT_SECONDS, 1),
        (600, openid_discovery.MISFIT_LOOKUPS),
    ):
        world.clock.now += seconds
        world.provider.requests.clear()
        for number in range(10):
            assert world.find(f"k{number}") == "key_unknown"
        assert world.provider.requests == [DISCOVERY, JWKS] * lookups


def test_keys_that_change_often(world):
    """Several changes without any warning, one soon after the other, are found by the first token."""
    for name in ("rsa", "next", "rsa"):
        world.provider.publish(ACCOUNTS, [public(rsa(name), name)])
        assert world.find(name, rsa(name)) is None


@pytest.mark.parametrize("kid", ["rsa", None])
def test_key_that_is_replaced_under_its_name(world, kid):
    """A signature that does not hold may be of a new key under the name, or lack of one, of the old."""
    world.provider.publish(ACCOUNTS, [public(rsa("rsa"), kid)])
    assert world.find(kid) is None
    world.provider.publish(ACCOUNTS, [public(rsa("next"), kid)])
    assert world.find(kid, rsa("next")) is None
    assert world.find(kid) == "token_signature_invalid"


def test_key_of_another_kind_under_the_same_name(world):
    """A provider that goes over to another algorithm may keep the name of its key."""
    assert world.find() is None
    world.provider.publish(ACCOUNTS, [public(elliptic("ec"), "rsa")])
    assert world.find("rsa", elliptic("ec"), "ES256") is None
    assert world.find() == "algorithm_mismatch"


def test_key_set_that_moves(world):
    """New keys are looked for where the discovery document says now."""
    world.find()
    elsewhere = "https://elsewhere.test/keys"
    world.provider.publish(ACCOUNTS, [], jwks_uri=elsewhere)
    world.provider.put(elsewhere, {"keys": [public(rsa("next"), "next")]})
    assert world.find("next", rsa("next")) is None


def test_unknown_key_of_a_fresh_set(world):
    """Keys that came for the very same token are not asked for again."""
    assert world.find("k") == "key_unknown"
    assert world.provider.requests == [DISCOVERY, JWKS]


def test_unknown_key_while_the_provider_is_down(world):
    """If the lookup for a misfit fails, the rejection has its reason; known keys go on."""
    world.find()
    world.failure = FetchError("issuer_unreachable")
    assert world.find("next") == "issuer_unreachable"
    assert world.find(key=rsa("next")) == "issuer_unreachable"
    assert world.find() is None


def test_old_keys_after_a_bad_set(world):
    """A set that can't be used replaces nothing."""
    world.find()
    world.provider.put(JWKS, {"keys": []})
    assert world.find("next") == "key_set_invalid"
    assert world.find() is None


def test_forgotten_providers(world):
    """The keys of a provider that is no longer trusted are let go."""
    world.find()
    world.keys.keep({ACCOUNTS: PUBLIC})
    world.find()
    assert world.lookups == 2
    world.keys.keep({})
    world.find()
    assert world.lookups == 4


def test_two_slow_documents(world):
    """A slow discovery document leaves no time for the keys: two deadlines don't add up."""

    def fetch(url, _access=None):
        world.clock.now += openid_discovery.PATIENCE_SECONDS + 1
        return world.provider.fetch(url)

    world.keys = ProviderKeys(fetch, world.clock)
    assert world.find() == "issuer_unreachable"
    assert world.provider.requests == [DISCOVERY]


def test_old_keys_serve_while_new_ones_come(world):
    """Who needs a key that is known does not wait for the hourly lookup of another."""
    world.find()
    world.clock.now += openid_discovery.FRESH_SECONDS
    under_way, go_on = threading.Event(), threading.Event()

    def fetch(url, _access=None):
        under_way.set()
        assert go_on.wait(30)
        return world.provider.fetch(url)

    world.keys._provider(ACCOUNTS)._fetch = fetch
    thread = threading.Thread(target=world.find)
    thread.start()
    try:
        assert under_way.wait(30)
        assert world.find() is None
    finally:
        go_on.set()
        thread.join()


def test_busy_fetcher(world):
    """That too many lookups are under way is no failure of the provider, and not remembered."""
    world.failure = Overloaded("too many", retry_after=1)
    with pytest.raises(Overloaded):
        world.find()
    world.failure = None
    assert world.find() is None


def test_busy_fetcher_and_old_keys(world):
    """Keys of an optional lookup go on if too many other lookups are under way."""
    world.find()
    world.clock.now += openid_discovery.FRESH_SECONDS
    world.failure = Overloaded("too many", retry_after=1)
    assert world.find() is None
    world.failure = None
    assert world.find() is None
    assert world.provider.asked_for(JWKS) == 2


def test_trailing_slash():
    """The slash at the end of an identifier is left away before the well-known path."""
    provider = Provider()
    url = "https://slash.test/"
    document = {"issuer": url, "jwks_uri": JWKS}
    provider.put("https://slash.test/.well-known/openid-configuration", document)
    ProviderKeys(provider.fetch).check(url, signed(rsa("rsa")), "rsa")
    assert provider.asked_for(JWKS) == 1


def test_key_sets_as_others_publish_them():
    """Foreign members, certificates, leading zeros and the names of RFC 9864 do no harm."""
    zeros = public(rsa("rsa"), "zeros", x5c=["MIIB"], x5t="AA", issuer="https://x.test", use="sig")
    named = public(edwards("ed"), "ed", alg="Ed25519")
    ps256, p384 = public(rsa("rsa"), "ps", alg="PS256"), public(elliptic("p384", "P-384"), "p384")
    keys = parse_key_set({"keys": [zeros, named, public(elliptic("ec"), None), ps256, p384], "more": 1})
    assert [(key.key_id, key.algorithms) for key in keys] == [
        ("zeros", ("RS256", "PS256")),
        ("ed", ("EdDSA", "Ed25519")),
        (None, ("ES256",)),
        ("ps", ("PS256",)),
        ("p384", ("ES384",)),
    ]


def test_same_key_twice():
    """One key that a set has twice under one name is one key."""
    assert (
        len(parse_key_set({"keys": [public(rsa("rsa"), "a"), public(rsa("rsa"), "a", use="sig")]})) == 1
    )


@pytest.mark.parametrize("bits", [2048, 8192])
def test_sizes_of_rsa(bits):
    """Moduli of 2048 to 8192 bits are accepted."""
    n = (1 << bits - 1) + 1
    key = public(rsa("rsa"), "a", n=jose_keys.base64url_encode(n.to_bytes(bits // 8)))
    assert parse_key_set({"keys": [key]})
    too_long = jose_keys.base64url_encode((n << 1 | 1).to_bytes(bits // 8 + 1))
    found = {"keys": [key | {"n": too_long}]}
    if bits == jose_keys.MAX_RSA_BITS:
        with pytest.raises(InvalidProof) as rejection:
            parse_key_set(found)
        assert rejection.value.code == "key_set_invalid"
    else:
        assert parse_key_set(found)


def test_changed_route(world):
    """A provider with another route than before is looked up again at once; others are not."""
    assert world.find() is None
    world.keys.keep({ACCOUNTS: Route()})
    assert world.find() is None
    assert world.lookups == 2
    world.failure = FetchError("issuer_unreachable")
    world.keys.keep({ACCOUNTS: Route(frozenset({"accounts.test"}), allows_private_addresses=True)})
    assert world.find() == "issuer_unreachable"
    world.failure = None
    world.keys.keep({ACCOUNTS: PUBLIC})
    assert world.find() is None
