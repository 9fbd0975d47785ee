"""The service with its data keys at a Transit engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.clients.commands import WRITE_SECONDS
from support.servers.services import Client, Service
from support.servers.transit import KEY, TOKEN, FakeTransit, fake_transit, freezes, rejects, write_token

EMAIL = "alice@example.com"


@pytest.fixture
def fake() -> Iterator[FakeTransit]:
    """A Transit engine."""
    with fake_transit() as running:
        yield running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is not yet started, on SQLite, with its keys in the keyring."""
    with closing(Service(tmp_path / "service")) as service:
        yield service


@pytest.fixture
def use_transit(service: Service, fake: FakeTransit, monkeypatch):
    """Configures the Transit engine."""
    token = service.folder / "token"
    write_token(token, TOKEN)

    def use(key_service: str = "transit", **settings: str) -> None:
        monkeypatch.setenv("PERSONA_KEY_SERVICE", key_service)
        monkeypatch.setenv("PERSONA_TRANSIT_URL", fake.url)
        monkeypatch.setenv("PERSONA_TRANSIT_KEY", KEY)
        monkeypatch.setenv("PERSONA_TRANSIT_TOKEN_FILE", str(token))
        for name, value in settings.items():
            monkeypatch.setenv(f"PERSONA_{name.upper()}", value)

    return use


@pytest.fixture
def client(service: Service, use_transit) -> Client:
    """A person with a profile whose data key the Transit engine has wrapped; it is cached briefly."""
    use_transit(key_service_cache_seconds="1")
    service.start()
    client = Client(service, EMAIL)
    client.sign_in()
    assert client.set_name("Alice").status == 200
    return client


def status(service: Service) -> dict[str, object]:
    """Return the output of `keys status`."""
    return json.loads(service.run("keys", "status", "--json").stdout)


def rewrap(service: Service) -> None:
    """Bring all data keys to where they belong."""
    result = service.run("keys", "rewrap")
    assert result.returncode == 0, result


def restart(service: Service, client: Client) -> None:
    """Restart the service, and connect again."""
    service.close()
    service.start()
    client.sign_in()


def test_wraps_there(service, client, fake):
    """Data keys are wrapped by the engine, and the keyring's keys by none of them."""
    assert status(service)["wraps"] == {"service:1": 1}
    assert {path.rsplit("/", 2)[1] for _, path, _, _ in fake.requests} >= {"encrypt"}
    assert service.run("storage", "verify").returncode == 0


def test_is_asked_again_after_a_while(service, client, fake):
    """A data key that was opened is kept for as long as the setting says."""
    restart(service, client)

    def asked() -> int:
        return sum("/decrypt/" in path for _, path, _, _ in fake.requests)

    before = asked()
    for _ in range(20):
        assert client.call("GET", client.profile).json["name"] == "Alice"
    assert before <= asked() < before + 20


@pytest.mark.parametrize(
    "behaviour",
    [
        rejects(503, "Vault is sealed"),
        rejects(403, "permission denied"),
        rejects(500, "internal error"),
        freezes,
    ],
    ids=["sealed", "denied", "failing", "frozen"],
)
def test_down(service, client, fake, behaviour):
    """For each failure, calls that need the key service return 503 with Retry-After; others go on."""
    restart(service, client)
    new = Client(service, "new@example.com")
    fake.behaviour = behaviour
    try:
        answer = client.call("GET", client.profile)
        while answer.status == 200:  # what sign-in has opened may be kept for a second more
            answer = client.call("GET", client.profile)
        assert answer.says_when_to_retry
        assert answer.json["code"] == "keys_unavailable"
        new.sign_in()  # who has no profile needs no key
        rejected = new.set_name("New")
        assert (rejected.says_when_to_retry, rejected.json["code"]) == (True, "keys_unavailable")
        assert client.call("GET", "/__heartbeat__").status == 200
        reported = service.run("keys", "status")
        assert reported.returncode == 1
        assert reported.stderr.count("the key service") == 1  # not logged and printed
        assert "persona-profile: the key service" in reported.stderr
        assert TOKEN not in service.log + reported.stderr
    finally:
        fake.behaviour = None
    answer = client.call("GET", client.profile)
    while answer.status != 200:
        assert answer.says_when_to_retry
        answer = client.call("GET", client.profile)
    assert answer.json["name"] == "Alice"
    assert new.set_name("New").status == 200


def test_there_and_back(service, use_transit, fake):
    """Data keys go from the keyring to the engine, follow its rotation, and come back."""
    service.start()
    client = Client(service, EMAIL)
    client.sign_in()
    client.set_name("Alice")
    assert status(service)["wraps"] == {"1": 1}
    use_transit()
    restart(service, client)
    assert client.call("GET", client.profile).json["name"] == "Alice"
    assert status(service)["stale"] == 1
    rewrap(service)
    assert status(service)["wraps"] == {"service:1": 1}
    fake.key.rotate()
    rewrap(service)
    assert status(service)["wraps"] == {"service:2": 1}
    use_transit("keyring")
    restart(service, client)
    assert client.call("GET", client.profile).json["name"] == "Alice"
    rewrap(service)
    assert status(service)["wraps"] == {"1": 1}
    fake.close()
    restart(service, client)
    assert client.call("GET", client.profile).json["name"] == "Alice"


def test_moves_to_another_index_key(service, client, monkeypatch):
    """With another index key the engine wraps for the new partition."""
    monkeypatch.setenv(WRITE_SECONDS, "0")
    for step in (["rotate"], ["rotate", "--promote"], ["rewrap"], ["destroy", "1", "--yes"]):
        result = service.run("keys", step[0], "--index", *step[1:])
        assert result.returncode == 0, result
    restart(service, client)
    assert client.call("GET", client.profile).json["name"] == "Alice"
    assert status(service)["wraps"] == {"service:1": 1}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"TRANSIT_URL": ""}, "transit.url: needed"),
        ({"TRANSIT_TOKEN_FILE": ""}, "transit.token_file: needed"),
        ({"TRANSIT_URL": "http://vault.example.com:8200"}, "transit.url: must begin with https://"),
        ({"TRANSIT_URL": "http://127.0.0.1.example.com"}, "transit.url: must begin with https://"),
        ({"TRANSIT_URL": "https://user:secret@vault.example.com"}, "transit: the url"),
        ({"TRANSIT_MOUNT": "../sys"}, "transit: the name or mount"),
        ({"TRANSIT_CA_FILE": "/absent.pem"}, "transit: the ca_file"),
        ({"KEY_SERVICE": "kms"}, "key_service: must be of keyring, transit"),
    ],
)
def test_wrong_settings(service, use_transit, monkeypatch, settings, problem):
    """Invalid settings are reported at the start, without their values."""
    use_transit()
    for name, value in settings.items():
        monkeypatch.setenv(f"PERSONA_{name}", value)
    result = service.run("serve")
    assert result.returncode == 2
    assert problem in result.stderr
    assert "secret" not in result.stderr
