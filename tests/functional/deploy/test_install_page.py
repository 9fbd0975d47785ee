"""The guides docs/how-to/install.md and operate.md, executed literally."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.clients.identities import bundle, rsa_key, support_document
from support.servers.applications import wait_for
from support.servers.mariadb import MariaDB
from support.servers.nginx import Nginx
from support.servers.services import free_port

PAGE = "".join((ROOT / f"docs/how-to/{name}.md").read_text() for name in ("install", "operate"))
DOMAIN = "cards.example.net"
UNCLONED = shutil.ignore_patterns(
    ".*", "var", "build", "dist", "*.egg-info", "node_modules", "__pycache__"
)


def commands(kind: str) -> list[str]:
    """Return the code blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Machine:
    """A fresh folder in place of a machine."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "clone"
        shutil.copytree(ROOT, self.clone, ignore=UNCLONED)
        self.mariadb = MariaDB(folder / "database")
        (folder / "database").mkdir()
        self.port = free_port()
        self.nginx = Nginx(folder / "front", self.port, domain=DOMAIN)
        self.config, self.prefix = folder / "etc", folder / "opt"
        self.variables = {
            "DOMAIN": DOMAIN,
            "DIALOG": "https://dialog.example.net",
            "PREFIX": str(self.prefix),
            "CONFIG": str(self.config),
            "NGINX": str(folder / "nginx"),
            "STATE": str(folder / "state"),
            "TLS": str(folder / "tls"),
            "MARIADB": f"mariadb --no-defaults --user=root --socket={folder}/database/s",
            "DATABASE": f"127.0.0.1:{self.mariadb.port}",
            "PORT": str(self.nginx.port),
            # The tests' environment sets it; few of the installed modules are imported here.
            "PIP_NO_COMPILE": "0",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def paste(self, blocks: list[str], **more: str) -> str:
        """Paste blocks into a shell; return the output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail"],
            input="\n".join(blocks),
            cwd=self.clone,
            env=os.environ | self.variables | more,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def start(self) -> None:
        """Start what systemd would start: nginx, and the unit's command with its credential."""
        ports = {
            "127.0.0.1:6543": f"127.0.0.1:{self.port}",
            "127.0.0.1:9464": f"127.0.0.1:{free_port()}",
        }
        ini = self.config / "production.ini"
        for old, new in ports.items():
            assert old in ini.read_text()
            ini.write_text(ini.read_text().replace(old, new))
        unit = (self.clone / "deploy" / "persona-profile.service").read_text()
        command = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)[0]
        command = command.replace("/opt/persona-profile", str(self.prefix))
        command = command.replace("/etc/persona-profile", str(self.config))
        issuers = self.config / "issuers.json"
        issuers.write_text(json.dumps({"example.com": support_document(rsa_key("issuer"))}))
        environment = {
            "PERSONA_BACKEND_URL_FILE": str(self.config / "backend.url"),
            "PERSONA_BROWSERID_PINNED_ISSUERS": str(issuers),
        }
        with (self.config / "log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    shlex.split(command), env=os.environ | environment, stdout=log, stderr=log
                )
            )
        self.nginx.start()

    def close(self) -> None:
        """Stop all processes."""
        self.nginx.close()
        for each in self.processes:
            each.terminate()
            each.wait(60)
        self.mariadb.stop()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine with a database server."""
    made = Machine(tmp_path)
    try:
        made.mariadb.install()
        made.mariadb.start()
        yield made
    finally:
        made.close()


@pytest.mark.timeout(300)
def test_install_page(machine):
    """The pasted commands install a service with TLS and a database, and people sign in to it."""
    blocks = commands("sh")
    machine.paste(blocks)
    machine.nginx.use(Path(machine.variables["NGINX"]) / "nginx.conf", Path(machine.variables["TLS"]))
    machine.start()
    wait_for(lambda: machine.nginx.ask("GET", "/v1/")[0] == 200)
    output = machine.paste([blocks[0], *commands("sh check")])
    assert '"Persona Profile Server"' in output
    assert "No findings." in output
    assert re.search(r"^\d+ ok, 1 warnings, 0 failed\.$", output, re.MULTILINE), output
    proof = bundle("alice@example.com", f"https://{DOMAIN}")
    body = json.dumps({"proofs": [{"assertion": proof}]}).encode()
    status, answer = machine.nginx.ask("POST", "/v1/sessions", body)
    assert (status, [each["email"] for each in answer["profiles"]]) == (201, ["alice@example.com"])
    path, token = "/v1/profiles/alice@example.com", answer["token"]
    assert machine.nginx.ask("PATCH", path, b'{"name": "Alice"}', token)[0] == 200
    assert machine.paste([blocks[0], *commands("sh people")]).endswith("Erased.\n")
    with zipfile.ZipFile(machine.clone / "alice.zip") as files:
        assert json.loads(files.read("profile.json"))["name"] == "Alice"
    assert machine.nginx.ask("GET", path, token=token)[1]["name"] is None


def test_commands_for_root():
    """The commands for root are valid shell and name existing files."""
    blocks = commands("sh system")
    assert len(blocks) == 2
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
        for name in re.findall(r"(?<![/\w])deploy/\S+", block):
            assert (ROOT / name).is_file()
