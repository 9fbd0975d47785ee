"""The service as a container: an image on a base of our own, and its containers, run by runc."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support import ROOT
from support.clients.identities import bundle, rsa_key, support_document
from support.clients.recording import recorder
from support.servers.ports import free_port
from support.servers.services import Client

SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
BASE, IMAGE = "localhost/base", "localhost/persona-profile"


class Engine:
    """Buildah and podman with a storage of their own in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run"]
        # Pods get podman's defaults, which may exceed the limits of this machine.
        self._limits = folder / "containers.conf"
        limits = ("nofile=8192:8192", "nproc=1024:1024")
        self._limits.write_text(f"[containers]\ndefault_ulimits = {json.dumps(limits)}\n")

    def podman(self, *arguments: str | Path) -> list[str | Path]:
        """Return a command of podman."""
        options = ["--runtime", "runc", "--cgroup-manager", "cgroupfs"]
        return ["env", f"CONTAINERS_CONF={self._limits}", "podman", *self._places, *options, *arguments]

    def output(self, *arguments: str | Path) -> str:
        """Run a command of podman; return its output."""
        return _run(self.podman(*arguments))

    def buildah(self, *arguments: str | Path) -> str:
        """Run a command of buildah; return its output."""
        return _run(["buildah", *self._places, *arguments])

    def make_base(self, packed: Path) -> None:
        """Import the base image from a file; the first of several processes makes the file."""
        with packed.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not packed.exists():
                _pack_base(packed)
        self.output("import", packed, BASE)

    def build(self, commit: str) -> None:
        """Build the image by the shipped Containerfile."""
        options = ["--isolation", "chroot", "--format", "docker", "--layers=false", "--tag", IMAGE]
        arguments = ["--build-arg", f"BASE={BASE}", "--build-arg", f"COMMIT={commit}"]
        self.buildah("bud", *options, *arguments, *self._packages(), ROOT)

    def debian(self, name: str) -> Debian:
        """Return a machine of the base."""
        container = self.buildah("from", "--pull-never", "--name", name, BASE).strip()
        return Debian(self, container, Path(self.buildah("mount", container).strip()))

    def run_with_network(self, container: str, script: str) -> None:
        """Run a script in a container of buildah, with this machine's network and packages of pip."""
        options = ["--isolation", "chroot", *self._packages()]
        self.buildah("run", *options, container, "--", "bash", "-euc", script)

    def close(self) -> None:
        """Remove all that is stored."""
        self.buildah("rmi", "--all", "--force")

    def _packages(self) -> list[str]:
        """Return the mounts by which pip finds in the build what it finds on this machine."""
        listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False)
        found = dict(line.split("=", 1) for line in listed.stdout.splitlines() if "=" in line)
        settings = {
            name: found[f"global.{name}"].strip("'")
            for name in ("index-url", "extra-index-url", "cert")
            if f"global.{name}" in found
        }
        mounts = [
            word.removeprefix("file://").removesuffix("/simple")
            for word in settings.get("extra-index-url", "").split()
            if word.startswith("file://")
        ]
        volumes = [f"{each}:{each}:ro" for each in mounts]
        if "cert" in settings:
            # Elsewhere, as the build installs a file of this name.
            volumes.append(f"{settings['cert']}:/host-certificates.pem:ro")
            settings["cert"] = "/host-certificates.pem"
        ini = self.folder / "pip.conf"
        ini.write_text("\n".join(["[global]", *(f"{k} = {v}" for k, v in settings.items()), ""]))
        return [
            each for volume in [*volumes, f"{ini}:/etc/pip.conf:ro"] for each in ("--volume", volume)
        ]


class Debian:
    """A machine of the base in a container, without systemd.

    Attributes:
        root: its file system.
    """

    def __init__(self, engine: Engine, name: str, root: Path) -> None:
        self._engine, self._name, self.root = engine, name, root
        self._running = f"{name}-running"

    def install(self, script: str) -> None:
        """Run a script with this machine's network; packages start no daemon meanwhile."""
        policy = self.root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        self._engine.run_with_network(self._name, script)
        policy.unlink()

    def start(self) -> None:
        """Start the machine, with a loopback of its own and no other network."""
        options = ["--detach", "--network", "none", "--name", self._running, "--rootfs"]
        self._engine.output("run", *options, self.root, "sleep", "infinity")

    def run(self, script: str) -> str:
        """Run a script as root; return its output."""
        shell = ["bash", "-euo", "pipefail", "-c", script]
        return self._engine.output("exec", self._running, *shell)

    def close(self) -> None:
        """Stop all processes, and remove the machine."""
        self._engine.output("rm", "--force", "--time", "0", "--ignore", self._running)
        self._engine.buildah("rm", self._name)


class Container:
    """A container of the service, which a random user runs with a read-only root.

    Args:
        engine: the engine.
        folder: the folder of its secrets and data.
        variables: settings beyond those of a store in SQLite.
    """

    def __init__(self, engine: Engine, folder: Path, variables: Mapping[str, str]) -> None:
        self._engine, self.folder = engine, folder
        self.user = random.randrange(10_000, 60_000)
        self.name = f"persona-profile-{self.user}"
        self.address, self.port = "127.0.0.1", free_port()
        self.public = f"http://{self.address}:{self.port}"
        self.clients: list[Client] = []
        self.secrets, self.data = folder / "secrets", folder / "data"
        for each in (self.secrets, self.data):
            each.mkdir(parents=True)
            os.chown(each, self.user, self.user)
        issuers = {"example.com": support_document(rsa_key("issuer"))}
        (self.secrets / "issuers.json").write_text(json.dumps(issuers))
        self.variables = {
            "PERSONA_LISTEN": f"{self.address}:{self.port}",
            "PERSONA_PUBLIC_ORIGINS": self.public,
            "PERSONA_BACKEND": "sqlite",
            "PERSONA_BACKEND_URL": "sqlite:////data/items.sqlite",
            "PERSONA_BROWSERID_PINNED_ISSUERS": "/run/secrets/issuers.json",
            "PERSONA_RATELIMIT_URL": "off",
            "PERSONA_PICTURES_FORMATS": "jpeg",
            **variables,
        }
        self._log = folder / "log"
        if kept := recorder():
            kept.log(self._log)
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of its own."""
        command = self._command(*options, IMAGE, *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> None:
        """Start the service; return once it accepts connections."""
        with self._log.open("ab") as log:
            command = self._command("--name", self.name, IMAGE)
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.status("/__lbheartbeat__") == http.client.OK:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the container did not start: {self._log.read_text()[-2000:]}")

    def status(self, path: str) -> int:
        """Return the status of a path; 0 without an answer."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def check_health(self) -> subprocess.CompletedProcess[str]:
        """Run the image's check of health, as the engine does."""
        command = self._engine.podman("healthcheck", "run", self.name)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def terminate(self) -> None:
        """Send the service SIGTERM, as an engine does that stops a container."""
        assert self._process is not None
        self._process.terminate()

    def wait(self) -> int:
        """Return the status of a container that ends."""
        assert self._process is not None
        return self._process.wait(60)

    def identity_provider(self) -> Container:
        """Return the issuer of proofs for a client."""
        return self

    def bundle(self, email: str, audience: str) -> str:
        """Return a proof of an email."""
        return bundle(email, audience)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log so far."""
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def close(self) -> None:
        """Remove a container, if it still runs."""
        for client in self.clients:
            client.close()
        if self._process is not None and self._process.poll() is None:
            self._engine.output("kill", self.name)
            self._process.wait(60)

    def _command(self, *arguments: str) -> list[str | Path]:
        options = [
            *("--rm", "--read-only", "--tmpfs", "/tmp", "--network", "host", "--cap-drop", "all"),
            *("--security-opt", "no-new-privileges", "--user", f"{self.user}:{self.user}"),
            *("--volume", f"{self.secrets}:/run/secrets", "--volume", f"{self.data}:/data"),
        ]
        given = [each for pair in self.variables.items() for each in ("--env", "=".join(pair))]
        return self._engine.podman("run", *options, *given, *arguments)


def _pack_base(packed: Path) -> None:
    """Make the base from Debian's packages, in memory, as `dpkg` syncs each file to disk."""
    base, fresh = Path("/dev/shm", f"persona-profile-base-{os.getpid()}"), packed.with_suffix(".new")
    try:
        _run(["debootstrap", "--variant=minbase", SUITE, base, MIRROR])
        # As in Debian's own images: no sync for each file, no translations.
        (base / "etc/dpkg/dpkg.cfg.d/unsafe").write_text("force-unsafe-io\n")
        (base / "etc/apt/apt.conf.d/languages").write_text('Acquire::Languages "none";\n')
        excluded = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./dev/*"]
        _run(["tar", "-C", base, "-cf", fresh, *excluded, "."])
    finally:
        _run(["rm", "-rf", base])
    fresh.rename(packed)


def _run(command: list[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr[-3000:]}")
    return done.stdout
