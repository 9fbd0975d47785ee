"""The Containerfile: the image that it builds, and the service in a container of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support import ROOT
from support.clients.identities import bundle
from support.pictures.pictures import photo
from support.servers.applications import wait_for
from support.servers.containers import BASE, IMAGE, Container, Engine
from support.servers.mariadb import MariaDB
from support.servers.nginx import Nginx
from support.servers.ports import free_port
from support.servers.services import Client, SlowUpload

from persona_profile.images.workers.confinement import Confinement
from persona_profile.runtime.supervisor import SPARE_SECONDS
from persona_profile.settings import parse_settings

pytestmark = pytest.mark.timeout(400)

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MAX_MB = 220
"""The size of the image beyond its base: Python, its packages, and Debian's certificates."""


@pytest.fixture(scope="module")
def engine(base_engine: Engine) -> Engine:
    """An engine with the image."""
    base_engine.build(COMMIT)
    return base_engine


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
        "for each in cc gcc g++ make pip pip3 git; do command -v $each; done; "
        "python3 -m pip --version; "
        "find / -xdev -user $(id -u) -not -path '/proc/*' -not -path '/dev/*' -not -path /data; "
        "touch /usr/x /etc/x"
    )
    done = container.run("-c", script, options=["--entrypoint", "/bin/sh"])
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
    assert client.upload(photo(800, 600, seed=1)).status == 200
    # The engine's own filter permits what picture workers confine themselves by.
    inside = client.call("GET", "/__heartbeat__").json["details"]["pictures"]
    assert inside == Confinement()._states
    assert client.call("GET", "/__version__").json["commit"] == COMMIT
    before = client.call("GET", client.profile).json["picture"]
    upload = SlowUpload(container, client, photo(1600, 1200, seed=2))
    container.terminate()
    wait_for(lambda: container.status("/__lbheartbeat__") != http.client.OK)
    assert container.check_health().returncode != 0
    assert upload.finish().status == http.client.OK
    assert container.wait() == 0
    client.close()
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
    done = container.run("serve")
    assert done.returncode == 2
    assert "others can read it" in done.stderr
    container.variables["PERSONA_KEYRING_GROUP_READABLE"] = "true"
    done = container.run("keys", "status")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def composed(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Compose files, checked and resolved by Compose itself."""

    def resolve(*names: str) -> dict[str, Any]:
        folder = tmp_path / "deploy"
        shutil.copytree(ROOT / "deploy", folder, dirs_exist_ok=True)
        shipped = folder / "compose.yaml"
        # Debian 12 has a Compose that knows no names of projects.
        shipped.write_text(re.sub("^name: .*$", "", shipped.read_text(), flags=re.MULTILINE))
        files = [part for name in names for part in ("-f", str(folder / name))]
        done = subprocess.run(
            ["docker-compose", *files, "config"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = yaml.safe_load(done.stdout)
        return document

    return resolve


@pytest.fixture
def database(tmp_path: Path) -> Iterator[MariaDB]:
    """A database server of its own, as the users of compose.yaml are made in it."""
    (tmp_path / "database").mkdir()
    with MariaDB(tmp_path / "database").running() as server:
        yield server


def set_up(container: Container, folder: Path, setup: dict[str, Any]) -> None:
    """Run the container `setup`, with folders in place of volumes."""
    volumes = [
        f"{ROOT}/deploy/compose/setup.py:/setup/setup.py",
        f"{ROOT}/deploy/nginx.conf:/setup/nginx.conf",
    ]
    for name in ("database", "admin", "secrets", "front"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        volumes.append(f"{folder / name}:/volumes/{name}")
    environment = setup["environment"] | {"OWNER": f"{container.user}:{container.user}"}
    options = [
        *("--user", setup["user"], "--entrypoint", json.dumps(setup["entrypoint"])),
        *(part for each in setup["cap_add"] for part in ("--cap-add", each)),
        *(part for each in volumes for part in ("--volume", each)),
        *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")),
    ]
    done = container.run(options=options)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def create_users(database: MariaDB, secrets: Path) -> None:
    """Run the script that MariaDB's image runs, with a client of this machine."""
    client = f"mariadb --no-defaults --user=root --socket={database.folder}/s"
    script = (
        (ROOT / "deploy" / "compose" / "users.sh").read_text().replace("/run/secrets", str(secrets))
    )
    subprocess.run(["bash", "-euc", f"docker_process_sql() {{ {client}; }}\n{script}"], check=True)


def test_compose(container, composed, database, redis_server, tmp_path):
    """The parts of compose.yaml lead from nothing to a card behind nginx."""
    services = composed("compose.yaml")["services"]
    volumes = tmp_path / "volumes"
    set_up(container, volumes, services["setup"])
    kept = {path: path.read_bytes() for path in volumes.glob("*/*")}
    set_up(container, volumes, services["setup"])
    assert {path: path.read_bytes() for path in volumes.glob("*/*")} == kept
    assert len(kept) == 11
    create_users(database, volumes / "database")
    for url in [*(volumes / "admin").glob("*.url"), *(volumes / "secrets").glob("*.url")]:
        assert url.stat().st_mode & 0o777 == 0o400
        url.write_text(url.read_text().replace("mariadb:3306", f"127.0.0.1:{database.port}"))
    issuers = (container.secrets / "issuers.json").read_text()
    container.secrets = volumes / "admin"
    container.variables = services["schema"]["environment"]
    done = container.run(*services["schema"]["command"])
    assert done.returncode == 0, done.stderr
    container.secrets = volumes / "secrets"
    (container.secrets / "issuers.json").write_text(issuers)
    container.variables = services["persona-profile"]["environment"] | {
        "PERSONA_LISTEN": f"127.0.0.1:{container.port}",
        "PERSONA_RATELIMIT_URL": redis_server.url,
        "PERSONA_BROWSERID_PINNED_ISSUERS": "/run/secrets/issuers.json",
    }
    container.start()
    front = Nginx(tmp_path / "front", container.port, domain="localhost")
    text = (volumes / "front" / "nginx.conf").read_text()
    assert "server persona-profile:6543;" in text
    configuration = tmp_path / "nginx.conf"
    for old, new in (
        ("persona-profile:6543", "127.0.0.1:6543"),
        ("/run/front", str(volumes / "front")),
        ("/dev/stdout", "/var/log/nginx/access.log"),
        ("/dev/stderr", "/var/log/nginx/error.log"),
    ):
        text = text.replace(old, new)
    configuration.write_text(text)
    front.use(configuration, volumes / "front")
    front.start()
    try:
        body = {"proofs": [{"assertion": bundle("alice@example.com", "https://localhost")}]}
        status, answer = front.ask("POST", "/v1/sessions", json.dumps(body).encode())
        assert (status, answer["profiles"][0]["email"]) == (201, "alice@example.com")
        path = "/v1/profiles/alice@example.com"
        assert front.ask("PATCH", path, b'{"name": "Alice"}', answer["token"])[0] == 200
        assert front.ask("GET", path, token=answer["token"])[1]["name"] == "Alice"
    finally:
        front.close()


def test_demo_of_compose(container, composed):
    """With demo.yaml the container serves the demo page, without a keyring of its own."""
    both = composed("compose.yaml", "compose/demo.yaml")["services"]["persona-profile"]
    assert both["ports"] == ["127.0.0.1:6543:6543/tcp"]
    container.variables |= {
        name: value for name, value in both["environment"].items() if name.startswith("PERSONA_DEV")
    }
    container.start()
    assert container.status("/") == 200


def test_manifests():
    """The manifests follow the schemas of the API, select the same pods, and share names and ports."""
    documents = {path.stem: path for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml")}
    found = {name: yaml.safe_load(path.read_text()) for name, path in documents.items()}
    for each in found.values():
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
    labels = {"app.kubernetes.io/name": "persona-profile"}
    pods = found["deployment"]["spec"]["template"]
    assert pods["metadata"]["labels"] == labels
    assert found["deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["service"]["spec"]["selector"] == labels
    assert found["networkpolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert found["poddisruptionbudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["schema"]["spec"]["template"]["metadata"]["labels"] != labels
    settings = found["settings"]["data"]
    seconds = parse_settings({}, settings)
    needed = seconds.shutdown_drain_seconds + seconds.shutdown_grace_seconds + SPARE_SECONDS
    assert pods["spec"]["terminationGracePeriodSeconds"] >= needed


def test_deployment(container, engine, tmp_path):
    """Podman runs the Deployment's pod with its ConfigMap and Secret, as far as it knows Kubernetes."""
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(yaml.safe_dump_all(playable(container)))
    engine.output("play", "kube", "--start=false", "--network", "host", manifest)
    try:
        # As kubelet does: podman 4.3 leaves Base64 in secrets, and ignores their mode and group.
        [secrets] = json.loads(engine.output("volume", "inspect", "persona-profile"))
        for path in Path(secrets["Mountpoint"]).iterdir():
            path.write_bytes(secret_files(container)[path.name])
            os.chown(path, 0, container.user)
            path.chmod(0o440)
        engine.output("pod", "start", "persona-profile-pod-0")
        wait_for(lambda: container.status("/__heartbeat__") == http.client.OK)
        [inspected] = json.loads(engine.output("inspect", "persona-profile-pod-0-persona-profile"))
        assert inspected["HostConfig"]["ReadonlyRootfs"]
        assert inspected["EffectiveCaps"] in (None, [])
    finally:
        engine.output("play", "kube", "--down", manifest)


def secret_files(container: Container) -> dict[str, bytes]:
    """Return the content of the Secret of the Deployment."""
    return {
        "keyring.json": (container.secrets / "keyring.json").read_bytes(),
        "backend.url": b"sqlite:////data/items.sqlite",
        "ledger.url": b"sqlite:////data/ledger.sqlite",
    }


def playable(container: Container) -> list[dict[str, Any]]:
    """Return the manifests without parts that podman 4.3 lacks, for this container's data and user."""
    folder = ROOT / "deploy" / "kubernetes"
    deployment, settings = (
        yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("deployment", "settings")
    )
    settings["data"] |= {
        "PERSONA_LISTEN": f"{container.address}:{container.port}",
        "PERSONA_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "PERSONA_BACKEND": "sqlite",
        "PERSONA_LEDGER_BACKEND": "sqlite",
    }
    deployment["spec"]["replicas"] = 1
    pod = deployment["spec"]["template"]["spec"]
    pod["securityContext"] |= dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), container.user)
    [played] = pod["containers"]
    for name in ("ports", "startupProbe", "readinessProbe", "livenessProbe"):
        del played[name]
    played["image"] = IMAGE
    pod["volumes"].append({"name": "data", "hostPath": {"path": str(container.data)}})
    played["volumeMounts"].append({"name": "data", "mountPath": "/data"})
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "persona-profile"},
        "data": {name: b64encode(each).decode() for name, each in secret_files(container).items()},
    }
    return [secret, settings, deployment]
