from __future__ import annotations

import base64
import json
import ssl
import struct
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.servers.tls import authority, server_context
from support.servers.transit import (
    KEY,
    TOKEN,
    FakeKey,
    FakeTransit,
    answers,
    fake_transit,
    transit_service,
)

from persona_profile.keys.service import KeyService, KeysUnavailable, Unreadable
from persona_profile.keys.transit import TransitService

PARTITION = b"p" * 32
DATA_KEY = bytes(range(32))


def test_wrap_and_unwrap(service: KeyService) -> None:
    """A data key is unwrapped for its partition; its wrapped key has the version."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    assert service.unwrap(PARTITION, wrapped) == DATA_KEY
    assert service.version(wrapped) == service.primary_version() == 1


def test_layout(service: TransitService, fake: FakeTransit) -> None:
    """A wrap is a header and the server's ciphertext, bound by associated data to its partition."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    magic, version, size = struct.unpack(">4sIH", wrapped[:10])
    assert (magic, version, size) == (service.magic, 1, 12 + 32 + 16)
    assert wrapped.startswith(b"PPK\x02")
    document = {
        "ciphertext": "vault:v1:" + base64.b64encode(wrapped[10:]).decode(),
        "associated_data": base64.b64encode(b"persona-profile/wrap/v2" + PARTITION).decode(),
    }
    assert base64.b64decode(fake.key.decrypt(document)["plaintext"]) == DATA_KEY


def test_length_of_what_follows_does_not_matter(service: TransitService) -> None:
    """A wrapped key has its length in its header; any bytes may follow."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    assert service.length(wrapped) == service.length(wrapped + b"more") == len(wrapped)


def test_two_wraps_differ(service: TransitService) -> None:
    """Wrapping the same key twice does not show that it is the same."""
    assert service.wrap(PARTITION, DATA_KEY) != service.wrap(PARTITION, DATA_KEY)


def test_wrap_of_another_owner(service: TransitService) -> None:
    """A wrap that was moved to another partition does not open."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    for other in (b"q" * 32, PARTITION[:-1], PARTITION + b"p"):
        with pytest.raises(Unreadable):
            service.unwrap(other, wrapped)


def test_derived_key(service: TransitService, fake: FakeTransit) -> None:
    """A key with derivation gets the context it demands, and is bound to owners as well."""
    fake.keys[KEY] = FakeKey(derived=True)
    wrapped = service.wrap(PARTITION, DATA_KEY)
    assert service.unwrap(PARTITION, wrapped) == DATA_KEY
    with pytest.raises(Unreadable):
        service.unwrap(b"q" * 32, wrapped)
    service.check()


def test_every_altered_bit(service: TransitService) -> None:
    """No bit of a wrap can be changed."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    for bit in range(len(wrapped) * 8):
        altered = bytearray(wrapped)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unreadable):
            service.unwrap(PARTITION, bytes(altered))


def test_cut_and_extended(service: TransitService, fake: FakeTransit) -> None:
    """A wrapped key that is too short or too long is rejected without a request."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    asked = len(fake.requests)
    for wrong in (*(wrapped[:end] for end in range(len(wrapped))), wrapped + b"\0"):
        for operation in (service.version, lambda each: service.unwrap(PARTITION, each)):
            with pytest.raises(Unreadable):
                operation(wrong)
    for end in range(len(wrapped)):
        with pytest.raises(Unreadable):
            service.length(wrapped[:end])
    assert len(fake.requests) == asked


def test_ciphertext_cut_with_its_length(service: TransitService) -> None:
    """A ciphertext that is cut, and whose length was made to fit, does not open."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    for size in range(len(wrapped) - 10):
        cut = wrapped[:8] + struct.pack(">H", size) + wrapped[10 : 10 + size]
        with pytest.raises(Unreadable):
            service.unwrap(PARTITION, cut)


def test_other_services_wrap(service: TransitService, fake: FakeTransit) -> None:
    """A wrapped key of the keyring is rejected without a request."""
    with pytest.raises(Unreadable):
        service.unwrap(PARTITION, b"PPK\x01" + bytes(44))
    assert not fake.requests


def test_version_zero_is_no_second_spelling(service: TransitService, fake: FakeTransit) -> None:
    """Version 0, which the server reads as 1, is rejected."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    alias = {"ciphertext": "vault:v0:" + base64.b64encode(wrapped[10:]).decode()}
    bound = json.loads(fake.requests[-1][3])["associated_data"]
    assert fake.key.decrypt(alias | {"associated_data": bound})
    with pytest.raises(Unreadable):
        service.unwrap(PARTITION, wrapped[:4] + bytes(4) + wrapped[8:])


def test_rotation(service: TransitService, fake: FakeTransit, clock: Clock) -> None:
    """After a rotation old wraps open, new ones are of the new version, and so is the primary."""
    old = service.wrap(PARTITION, DATA_KEY)
    assert service.primary_version() == 1
    fake.key.rotate()
    new = service.wrap(PARTITION, DATA_KEY)
    assert (service.version(old), service.version(new)) == (1, 2)
    assert service.unwrap(PARTITION, old) == service.unwrap(PARTITION, new) == DATA_KEY
    assert service.primary_version() == 1  # it was asked a moment ago
    clock.now += 60
    assert service.primary_version() == 2


def test_primary_version_is_kept(service: TransitService, fake: FakeTransit, clock: Clock) -> None:
    """The server is asked for its latest version once a minute."""
    for _ in range(3):
        service.primary_version()
        clock.now += 19
    assert len(fake.requests) == 1


def test_version_too_old(service: TransitService, fake: FakeTransit) -> None:
    """A wrapped key under a disabled version is unreadable, and has its version."""
    old = service.wrap(PARTITION, DATA_KEY)
    fake.key.rotate()
    new = service.wrap(PARTITION, DATA_KEY)
    fake.key.min_decryption_version = 2
    with pytest.raises(Unreadable):
        service.unwrap(PARTITION, old)
    assert service.version(old) == 1
    assert service.unwrap(PARTITION, new) == DATA_KEY


def test_key_made_anew(service: TransitService, fake: FakeTransit) -> None:
    """A wrapped key is unreadable after a new key with the same name."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    fake.keys[KEY] = FakeKey()
    with pytest.raises(Unreadable):
        service.unwrap(PARTITION, wrapped)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_no_data_key_was_wrapped(service: TransitService, size: int) -> None:
    """Bytes that are no data key are unreadable, and are not wrapped."""
    service.wrap(PARTITION, DATA_KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        service.wrap(PARTITION, bytes(size))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_unwrapped_to_another_size(service: TransitService, fake: FakeTransit, size: int) -> None:
    """Only 32 bytes are a data key, with any response of the server."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    fake.behaviour = answers({"data": {"plaintext": base64.b64encode(bytes(size)).decode()}})
    with pytest.raises(Unreadable):
        service.unwrap(PARTITION, wrapped)


def test_headers(fake: FakeTransit, token_file: Path) -> None:
    """Every request has the token, the namespace and the header against forged requests."""
    fake.namespace = "teams/profiles"
    service = transit_service(fake.url + "/", token_file, namespace="teams/profiles", timeout=30)
    service.check()
    service.close()
    for _, path, headers, _ in fake.requests:
        assert path.startswith("/v1/transit/")
        assert headers["X-Vault-Token"] == TOKEN
        assert headers["X-Vault-Request"] == "true"
        assert headers["X-Vault-Namespace"] == "teams/profiles"


def test_no_namespace(service: TransitService, fake: FakeTransit) -> None:
    """Without a namespace no header names one."""
    service.check()
    assert not any("X-Vault-Namespace" in headers for _, _, headers, _ in fake.requests)


def test_connections_are_kept(service: TransitService, fake: FakeTransit) -> None:
    """One request after the other goes over the same connection."""
    for _ in range(5):
        service.wrap(PARTITION, DATA_KEY)
    assert len(fake.sockets) == 1


def test_connection_closed_while_idle(service: TransitService, fake: FakeTransit) -> None:
    """A connection that the server closed in the meantime is opened again."""
    wrapped = service.wrap(PARTITION, DATA_KEY)
    for _ in range(3):
        fake.drop_connections()
        assert service.unwrap(PARTITION, wrapped) == DATA_KEY


def test_proxies_of_the_environment_are_ignored(
    service: TransitService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys never go by a proxy that the environment names."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    service.check()


def test_check_of_a_key_that_is_fit(service: TransitService, fake: FakeTransit) -> None:
    """A check reads the key, wraps and unwraps, and tries another owner."""
    service.check()
    assert [path.split("/")[3] for _, path, _, _ in fake.requests] == [
        "keys",
        "encrypt",
        "decrypt",
        "decrypt",
    ]


def test_check_of_a_server_that_ignores_owners(service: TransitService, fake: FakeTransit) -> None:
    """A server without associated data is rejected."""
    fake.keys[KEY] = FakeKey(ignores_associated_data=True)
    with pytest.raises(KeysUnavailable, match="does not bind"):
        service.check()


def test_check_of_a_server_that_can_not_open(service: TransitService, fake: FakeTransit) -> None:
    """A server that does not return the wrapped data key is rejected."""
    fake.behaviours = [
        answers({"data": {"latest_version": 1}}),
        answers({"data": {"ciphertext": "vault:v1:AAAA", "key_version": 1}}),
    ]
    with pytest.raises(KeysUnavailable):
        service.check()


def test_tls(token_file: Path, tmp_path: Path) -> None:
    """The server's certificate may be of an authority of the operator's own."""
    ca_file = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(ca_file)
    with fake_transit(server_context("127.0.0.1")) as fake:
        service = transit_service(fake.url, token_file, ca_file=ca_file, timeout=30)
        service.check()
        assert len(fake.sockets) == 1
        fake.drop_connections()
        service.check()
        service.close()


@pytest.mark.parametrize(
    "ca", [None, "other", "name"], ids=["system's authorities", "another authority", "another name"]
)
def test_tls_that_is_not_trusted(token_file: Path, tmp_path: Path, ca: str | None) -> None:
    """No token is sent to a server whose certificate is not trusted, or names another."""
    ca_file = tmp_path / "ca.pem"
    other = type(authority())()
    (other if ca == "other" else authority()).cert_pem.write_to_path(ca_file)
    context: ssl.SSLContext = server_context("vault.test" if ca == "name" else "127.0.0.1")
    with fake_transit(context) as fake:
        service = transit_service(fake.url, token_file, ca_file=ca_file if ca else None, timeout=30)
        with pytest.raises(KeysUnavailable, match="certificate"):
            service.primary_version()
        service.close()
        assert not fake.requests


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vault.test:8200",
        "ftp://vault.test",
        "https://",
        "https://secret:word@vault.test",
        "https://vault.test?secret",
        "https://vault.test#secret",
        "https://vault.test:secret",
        "https://vault.test:0",
        "https://vault.test/a b",
        "https://[secret",
    ],
)
def test_malformed_url(token_file: Path, url: str) -> None:
    """A malformed URL is rejected at once; the message does not hold it."""
    with pytest.raises(ValueError, match="url of the key service") as caught:
        transit_service(url, token_file)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"key_name": "a/b"},
        {"key_name": ""},
        {"key_name": "../sys"},
        {"mount": "transit/"},
        {"mount": "a b"},
        {"namespace": "a\r\nX-Vault-Token: b"},
        {"max_connections": 0},
        {"timeout": 0.0},
        {"ca_file": Path("/nowhere/ca.pem")},
    ],
    ids=str,
)
def test_malformed_arguments(token_file: Path, arguments: dict[str, object]) -> None:
    """Malformed arguments are rejected at once."""
    with pytest.raises(ValueError, match=r"key|positive"):
        transit_service("http://127.0.0.1", token_file, **arguments)
