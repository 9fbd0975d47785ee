"""The Containerfile: the image that it builds, and the service in a container of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pictures.pictures import photo
from support.servers.applications import wait_for
from support.servers.containers import BASE, IMAGE, Container, Engine
from support.servers.services import Client, SlowUpload

from persona_profile.images.workers.confinement import Confinement

pytestmark = [pytest.mark.alone, pytest.mark.timeout(400)]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MAX_MB = 220
"""The size of the image beyond its base: Python, its packages, and Debian's certificates."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with the image; a short path, as runc's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="c-", ignore_cleanup_errors=True) as folder:
        made = Engine(Path(folder))
        try:
            made.make_base()
            made.build(COMMIT)
            yield made
        finally:
            made.close()


@pytest.fixture
def container(engine: Engine, tmp_path: Path) -> Iterator[Container]:
    """A container with a keyring that it made, and a store in SQLite."""
    made = Container(engine, tmp_path / "container", {"PERSONA_SHUTDOWN_DRAIN_SECONDS": "2"})
    try:
        for command in (("keys", "init"), ("storage", "init")):
            done = made.run(*command)
            assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.close()


def test_image(engine):
    """The image is small, runs without rights, stops by SIGTERM and checks its health."""
    [image] = json.loads(engine.output("image", "inspect", IMAGE))
    [base] = json.loads(engine.output("image", "inspect", BASE))
    assert image["Size"] - base["Size"] < MAX_MB * 1_000_000
    config = image["Config"]
    assert (config["User"], config["StopSignal"]) == ("65532:65532", "SIGTERM")
    assert config["Entrypoint"][0] == "persona-profile"
    assert image["Healthcheck"]["Test"] == ["CMD", "container-health"]
    assert not re.search("password|secret", json.dumps(config["Env"]), re.IGNORECASE)


def test_nothing_to_build_with(container):
    """There is no compiler, no pip and no git in the image, and nothing of it belongs to its user."""
    script = (
        "for each in cc gcc g++ make pip pip3 git; do command -v $each; done; python3 -m pip --version; "
        "find / -xdev -user $(id -u) -not -path '/proc/*' -not -path '/dev/*'; touch /usr/x /etc/x"
    )
    done = container.run("-c", script, entrypoint="/bin/sh")
    assert done.stdout.split() == []
    assert "No module named pip" in done.stderr
    assert done.stderr.count("Read-only file system") == 2


def test_wrong_settings(container):
    """Wrong settings end a container with status 2, with a line for each and without a value."""
    container.variables |= {"PERSONA_PUBLIC_ORIGINS": "hunter2", "PERSONA_THREADS": "hunter2"}
    done = container.run("serve")
    assert done.returncode == 2
    assert re.search("^ *public_origins: must be origins", done.stderr, re.MULTILINE)
    assert re.search("^ *threads: must be a whole number", done.stderr, re.MULTILINE)
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_life_of_a_container(container):
    """A random user uploads photos, SIGTERM waits for the upload under way, a restart has the data."""
    container.start()
    assert container.check_health().returncode == 0
    client = Client(container, "alice@example.com")
    client.sign_in()
    assert client.set_name("Alice").status == 200
    assert client.upload(photo(seed=1)).status == 200
    # The engine's own filter permits what picture workers confine themselves by.
    inside = client.call("GET", "/__heartbeat__").json["details"]["pictures"]
    assert inside == Confinement()._states
    assert client.call("GET", "/__version__").json["commit"] == COMMIT
    before = client.call("GET", client.profile).json["picture"]
    upload = SlowUpload(container, client, photo(seed=2))
    container.terminate()
    wait_for(lambda: container.status("/__lbheartbeat__") != http.client.OK)
    assert container.check_health().returncode != 0
    assert upload.finish().status == http.client.OK
    assert container.wait() == 0
    container.start()
    client.sign_in()
    after = client.call("GET", client.profile).json
    assert after["name"] == "Alice"
    assert after["picture"] != before
    for url in after["picture"]["urls"].values():
        assert client.call("GET", url.removeprefix(container.public)).status == http.client.OK


def test_secret_of_a_group(container):
    """A keyring of mode 0440 is accepted where that is configured, as engines mount secrets."""
    keyring = container.secrets / "keyring.json"
    os.chown(keyring, 0, container.user)
    keyring.chmod(0o440)
    done = container.run("keys", "status")
    assert done.returncode == 2
    assert "others can read it" in done.stderr
    container.variables["PERSONA_KEYRING_GROUP_READABLE"] = "true"
    done = container.run("keys", "status")
    assert done.returncode == 0, done.stderr
