from __future__ import annotations

import base64
import json
import logging
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from support.servers.applications import Clock
from support.servers.transit import (
    KEY,
    MISSING_CONTEXT,
    TOKEN,
    Behaviour,
    FakeTransit,
    answers,
    drips,
    fake_transit,
    rejects,
    resets,
    sends,
    sends_bytes,
    transit_service,
    write_token,
)

from persona_profile.encoding import json_encode
from persona_profile.keys import vault_client as vault
from persona_profile.keys.service import KeysUnavailable
from persona_profile.keys.transit import TransitService

PARTITION = b"p" * 32
DATA_KEY = b"a data key that is nowhere else!"
MARK = "text-of-the-server"
HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SHORT = 0.3
"""A deadline that the server misses in any case."""

Operation = Callable[[TransitService], object]
WRAPPED = b"PPK\x02" + bytes([0, 0, 0, 1, 0, 60]) + bytes(60)
OPERATIONS: dict[str, Operation] = {
    "wrap": lambda service: service.wrap(PARTITION, DATA_KEY),
    "unwrap": lambda service: service.unwrap(PARTITION, WRAPPED),
    "primary_version": lambda service: service.primary_version(),
    "check": lambda service: service.check(),
}


GOOD = json_encode(
    {"data": {"plaintext": "AAAA" * 10 + "AAA=", "ciphertext": "vault:v1:AAAA", "latest_version": 1}}
)
ANSWERS = {
    "sealed": (rejects(503, "Vault is sealed"), vault.SEALED),
    "sealed, of several": (rejects(503, "1 error occurred:\n\t* Vault is sealed\n\n"), vault.SEALED),
    "denied": (rejects(403, "permission denied"), vault.DENIED),
    "denied, of several": (rejects(403, "1 error occurred:\n\t* permission denied\n\n"), vault.DENIED),
    "no mount": (
        rejects(404, 'no handler for route "transit/x". route entry not found.'),
        vault.UNKNOWN,
    ),
    "not found": (rejects(404), vault.UNKNOWN),
    "no key": (rejects(400, "encryption key not found"), vault.UNKNOWN),
    "no operation": (rejects(405, "1 error occurred:\n\t* unsupported operation\n\n"), vault.UNKNOWN),
    "no context": (rejects(400, MISSING_CONTEXT), vault.REJECTED),
    "key type": (
        rejects(400, "'[0].associated_data' provided for non-AEAD cipher suite rsa-2048"),
        vault.REJECTED,
    ),
    "eventually": (rejects(412, "required index state not present"), vault.REJECTED),
    "rate limit": (
        rejects(429, 'request path "transit/decrypt/x": rate limit quota exceeded'),
        vault.LIMITED,
    ),
    "standby": (rejects(429), vault.STANDBY),
    "disaster recovery": (rejects(472), vault.STANDBY),
    "performance standby": (rejects(473), vault.STANDBY),
    "internal error": (rejects(500, "internal error"), vault.FAILING),
    "bad gateway": (sends(b"<html>" + MARK.encode(), 502), vault.FAILING),
    "unavailable": (sends(b"", 503), vault.FAILING),
    "redirect": (sends(b"", 307, Location="http://127.0.0.1:9/v1/elsewhere"), vault.REDIRECTED),
    "moved": (sends(b"", 301, Location="https://elsewhere.test/"), vault.REDIRECTED),
    "wrong port": (sends(b"Client sent an HTTP request to an HTTPS server.\n", 400), vault.REJECTED),
    "no JSON": (sends(b"<html>" + MARK.encode()), vault.MALFORMED),
    "broken JSON": (sends(b'{"data": {"plaintext": "'), vault.MALFORMED),
    "no text": (sends(b"\xff\xfe\x00"), vault.MALFORMED),
    "deep": (sends(b"[" * 30_000), vault.MALFORMED),
    "nothing": (sends(b"", 204), vault.MALFORMED),
    "too long": (sends(GOOD + b" " * vault.MAX_BODY_BYTES), vault.MALFORMED),
    "endless": (drips(HEADERS + b"\r\n", b" " * 100_000), vault.MALFORMED),
    "compressed": (sends(b"\x1f\x8b", **{"Content-Encoding": "gzip"}), vault.MALFORMED),
    "no HTTP": (sends_bytes(b"SSH-2.0-OpenSSH_9.2\r\n"), vault.MALFORMED),
    "bad length": (sends_bytes(HEADERS + b"Content-Length: -1\r\n\r\n{}"), vault.MALFORMED),
    "cut": (sends_bytes(HEADERS + b"Content-Length: 99\r\n\r\n{}"), vault.MALFORMED),
    "many headers": (sends_bytes(HEADERS + b"A: b\r\n" * 1000), vault.MALFORMED),
    "list": (answers([]), vault.MALFORMED),
    "no data": (answers({"data": None}), vault.MALFORMED),
    "empty data": (answers({"data": {}}), vault.MALFORMED),
    "no texts": (
        answers({"data": {"plaintext": 1, "ciphertext": ["vault:v1:AA=="], "latest_version": "1"}}),
        vault.MALFORMED,
    ),
    "bad base64": (
        answers({"data": {"plaintext": "A", "ciphertext": "vault:v1:A", "latest_version": True}}),
        vault.MALFORMED,
    ),
    "no version": (
        answers({"data": {"plaintext": "%", "ciphertext": "vault:v0:AAAA", "latest_version": 0}}),
        vault.MALFORMED,
    ),
    "huge version": (
        answers(
            {
                "data": {
                    "plaintext": "é",
                    "ciphertext": "vault:v4294967296:AAAA",
                    "latest_version": 2**32,
                }
            }
        ),
        vault.MALFORMED,
    ),
    "errors of no form": (answers({"errors": {"message": MARK}}, 400), vault.REJECTED),
    "reset": (resets, vault.UNREACHABLE),
    "closed": (sends_bytes(b""), vault.UNREACHABLE),
}


@pytest.mark.parametrize(("behaviour", "message"), ANSWERS.values(), ids=ANSWERS)
def test_answers(
    service: TransitService, fake: FakeTransit, behaviour: Behaviour, message: str
) -> None:
    """Each failure has a message of this service, and the next request succeeds."""
    for operation in OPERATIONS.values():
        fake.behaviour = behaviour
        with pytest.raises(KeysUnavailable) as caught:
            operation(service)
        assert str(caught.value) == message
        assert caught.value.retry_after > 0
        fake.behaviour = None
        service.check()


@pytest.mark.parametrize(
    "text", ["invalid ciphertext: no prefix", "cipher: message authentication failed"]
)
def test_wrap_is_never_unreadable(service: TransitService, fake: FakeTransit, text: str) -> None:
    """For `wrap`, errors about ciphertexts mean that the service is unavailable."""
    fake.behaviour = rejects(400, text)
    with pytest.raises(KeysUnavailable, match="rejects"):
        service.wrap(PARTITION, DATA_KEY)


def test_server_that_is_down(fake: FakeTransit, token_file: Path, clock: Clock) -> None:
    """A server with a closed port is unavailable at once, each time."""
    fake.close()
    service = transit_service(fake.url, token_file, timeout=30, clock=clock)
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match="can't be reached"):
            service.primary_version()
    service.close()


def test_name_that_is_unknown(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose name can't be resolved is unavailable."""

    def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    service = transit_service("http://vault.test:8200", token_file, timeout=30)
    with pytest.raises(KeysUnavailable, match="can't be reached"):
        service.primary_version()
    service.close()


def test_closed_service(service: TransitService) -> None:
    """A closed service is unavailable."""
    service.close()
    with pytest.raises(KeysUnavailable):
        service.primary_version()


def test_connection_lost_as_a_request_comes(service: TransitService, fake: FakeTransit) -> None:
    """A request on a connection that was kept is repeated once, on a new one."""
    service.check()
    fake.behaviours = [resets]
    service.check()
    fake.behaviours = [sends_bytes(b"")]
    service.check()
    asked = len(fake.requests)
    fake.behaviour = resets
    with pytest.raises(KeysUnavailable, match="can't be reached"):
        service.wrap(PARTITION, DATA_KEY)
    assert len(fake.requests) - asked == 2


def test_redirect_is_not_followed(service: TransitService, fake: FakeTransit) -> None:
    """A token is never sent to the target of a redirect."""
    with fake_transit() as elsewhere:
        fake.behaviour = sends(b"", 307, Location=elsewhere.url + "/v1/transit/keys/" + KEY)
        with pytest.raises(KeysUnavailable, match="redirects"):
            service.primary_version()
        assert not elsewhere.requests


def test_token_is_renewed(service: TransitService, fake: FakeTransit, token_file: Path) -> None:
    """A token that an agent has replaced is used at once."""
    service.check()
    fake.tokens = {"hvs.renewed"}
    write_token(token_file, "hvs.renewed")
    service.check()
    assert fake.requests[-1][2]["X-Vault-Token"] == "hvs.renewed"


def test_token_is_renewed_after_a_refusal(
    service: TransitService, fake: FakeTransit, token_file: Path
) -> None:
    """A token that is replaced during status 403 is tried at once."""
    service.check()
    asked = len(fake.requests)

    def renew(handler) -> None:
        fake.tokens = {"hvs.renewed"}
        write_token(token_file, "hvs.renewed")
        rejects(403, "permission denied")(handler)

    fake.behaviours = [renew]
    service.wrap(PARTITION, DATA_KEY)
    assert len(fake.requests) - asked == 2


def test_refused_token_is_not_tried_again(service: TransitService, fake: FakeTransit) -> None:
    """An unchanged token is sent once."""
    fake.tokens = set()
    with pytest.raises(KeysUnavailable, match="permission"):
        service.wrap(PARTITION, DATA_KEY)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("content", ["", "two words", "b\r\nX-Other: c", "é"])
def test_no_token(service: TransitService, fake: FakeTransit, token_file: Path, content: str) -> None:
    """Without a token nothing is sent; with the token the service works again."""
    write_token(token_file, content)
    with pytest.raises(KeysUnavailable, match="token file"):
        service.primary_version()
    token_file.unlink()
    with pytest.raises(KeysUnavailable, match="token file"):
        service.primary_version()
    assert not fake.requests
    write_token(token_file)
    service.check()


def test_each_kind_is_logged_once_a_minute(
    service: TransitService, fake: FakeTransit, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A lasting failure is logged once a minute, a failure of another kind at once."""

    def fail(behaviour: Behaviour) -> None:
        fake.behaviour = behaviour
        with pytest.raises(KeysUnavailable):
            service.wrap(PARTITION, DATA_KEY)

    for _ in range(3):
        fail(rejects(503, "Vault is sealed"))
    fail(rejects(500, "internal error"))
    assert caplog.messages == [vault.SEALED, vault.FAILING]
    clock.now += vault.LOG_SECONDS
    fail(rejects(503, "Vault is sealed"))
    assert caplog.messages == [vault.SEALED, vault.FAILING, vault.SEALED]


def test_nothing_secret_is_told(
    service: TransitService, fake: FakeTransit, caplog: pytest.LogCaptureFixture
) -> None:
    """No log, exception or repr holds the token, a key, or what the server said."""
    caplog.set_level(logging.DEBUG)
    wrapped = service.wrap(PARTITION, DATA_KEY)
    reported = [repr(service), repr(vars(service)), repr(vars(service._vault))]
    for behaviour, _ in (*ANSWERS.values(), (rejects(400, f"invalid ciphertext: {MARK}"), "")):
        fake.behaviour = behaviour
        for operation in (*OPERATIONS.values(), lambda each: each.unwrap(PARTITION, wrapped)):
            try:
                operation(service)
            except Exception as error:  # noqa: BLE001 - its message must reveal nothing
                reported += [repr(error), "".join(traceback.format_exception(error))]
    reported += [caplog.text, *(repr(vars(record)) for record in caplog.records)]
    body = json.loads(fake.requests[0][3])
    for secret in (TOKEN, MARK, DATA_KEY.decode(), base64.b64encode(DATA_KEY).decode(), *body.values()):
        assert not any(secret in each for each in reported)
