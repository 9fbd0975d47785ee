"""Failed lookups of providers: a line of the log, and a metric."""

from __future__ import annotations

import logging
import ssl

import pytest
from support.servers.openid import ACCOUNTS, Provider
from support.servers.tls import answer, answering, error_of, silent

from persona_profile.auth.fetch import FetchError
from persona_profile.auth.jws import Jws
from persona_profile.auth.lookups import Lookups
from persona_profile.auth.openid_discovery import ProviderKeys
from persona_profile.errors import InvalidProof

DISCOVERY = f"{ACCOUNTS}/.well-known/openid-configuration"
JWKS = f"{ACCOUNTS}/jwks"


class World:
    """A provider, and lookups of its keys."""

    def __init__(self) -> None:
        self.provider = Provider()
        self.lookups = Lookups()
        self.failure: FetchError | None = None
        self.keys = ProviderKeys(self.fetch, lookups=self.lookups)

    def fetch(self, url, _access=None):
        """Answer, or fail."""
        if self.failure is not None:
            raise self.failure
        return self.provider.fetch(url)

    def look_up(self):
        """Cause a lookup."""
        with pytest.raises(InvalidProof):
            self.keys.check(ACCOUNTS, Jws("RS256", {}, {}, b"alice@mail.test", b""), "rsa")


@pytest.fixture
def world():
    """A good provider."""
    return World()


def test_found(world, caplog):
    """A lookup that does not fail is counted, and not logged."""
    world.keys.prepare([ACCOUNTS])
    world.look_up()
    assert world.lookups.outcomes.counts()["id_token", "found"] >= 1
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("url", "document", "status", "code", "reason"),
    [
        (DISCOVERY, b"", 404, "issuer_unreachable", "discovery document: status 404"),
        (DISCOVERY, b"<html>", 200, "discovery_document_invalid", "discovery document: not JSON"),
        (DISCOVERY, {"issuer": "https://x.test"}, 200, "discovery_document_invalid", "is another"),
        (DISCOVERY, {"issuer": ACCOUNTS}, 200, "discovery_document_invalid", "no valid `jwks_uri`"),
        (JWKS, b"", 500, "issuer_unreachable", "key set: status 500"),
        (JWKS, b"[", 200, "key_set_invalid", "key set: not JSON"),
        (JWKS, {"keys": []}, 200, "key_set_invalid", "key set: no usable key"),
    ],
)
def test_failed(world, caplog, url, document, status, code, reason):
    """A failed lookup is one line with the issuer's host and what failed, and one of the metric."""
    world.provider.put(url, document, status)
    world.look_up()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"id_token: lookup at accounts.test failed: {code} (")
    assert reason in record.getMessage()
    assert world.lookups.outcomes.counts() == {("id_token", code): 1}
    assert "alice" not in caplog.text


def test_reason_of_the_network(world, caplog):
    """The reason of a failed fetch is in the line."""
    world.failure = FetchError("issuer_unreachable", "Connection refused")
    world.look_up()
    assert "failed: issuer_unreachable (discovery document: Connection refused)" in caplog.text


def test_each_lookup_once(world, caplog):
    """Many tokens during the pause after a failure cause no more lines."""
    world.failure = FetchError("issuer_unreachable", "Connection refused")
    for _ in range(3):
        world.look_up()
    counted = sum(world.lookups.outcomes.counts().values())
    assert len(caplog.records) == counted < 6


def test_host_of_strangers(caplog):
    """A host that strangers chose is counted, and not logged."""
    lookups = Lookups()
    lookups.report("evt", None, "issuer_unreachable", "Connection refused")
    assert lookups.outcomes.counts() == {("evt", "issuer_unreachable"): 1}
    assert caplog.text == ""


def test_host_without_a_name(caplog):
    """No log has addresses."""
    Lookups().report("id_token", "127.0.0.1", "issuer_unreachable", "Connection refused")
    assert "lookup at an address failed" in caplog.text


@pytest.mark.parametrize(
    ("handler", "options", "reason"),
    [
        (answering(answer()), {"context": ssl.create_default_context()}, "certificate: "),
        (answering(answer()), {"resolve": lambda _name: []}, "no address, or one"),
        (silent, {"deadline": 0.2}, "no answer in time"),
        (answering(b"SECRET\r\n\r\n"), {}, "BadStatusLine"),
        (answering(b""), {}, "RemoteDisconnected"),
        (answering(answer(b"x" * 70_000)), {}, "over 65536 bytes"),
    ],
)
def test_reasons(handler, options, reason):
    """The reason names the failure and has no bytes of the server."""
    found = error_of(handler, **options).reason
    assert reason in found
    assert "SECRET" not in found
