import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from support.clients.commands import run_command as run
from support.servers.ports import free_port

from persona_profile.encoding import base64url_decode
from persona_profile.runtime.build import PACKAGE

BIN = Path(sys.executable).parent

NO_RSA_KEYS = [b"junk"] + [
    ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    for encryption in (NoEncryption(), BestAvailableEncryption(b"secret"))
]

INI = """
[app:main]
use = egg:persona-profile-server
development = {development}
development.folder = %(here)s/var
development.provider_listen = off
development.issuer_listen = off
public_origins = http://127.0.0.1:{port}
{more}

[server:main]
use = egg:persona-profile-server
listen = 127.0.0.1:{port}
"""


@pytest.fixture
def ini(tmp_path):
    """Writes settings files; returns path and port."""

    def write(development: str = "true", more: str = "") -> tuple[Path, int]:
        port = free_port()
        path = tmp_path / "test.ini"
        path.write_text(INI.format(development=development, port=port, more=more))
        return path, port

    return write


def post(url: str, body: object) -> dict[str, object]:
    """Post JSON; return the JSON of the answer."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def wait_until_up(port: int, process: subprocess.Popen[str]) -> None:
    """Return when the server answers; fail if it ends before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/__lbheartbeat__", timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server did not start")


@pytest.mark.parametrize("command", [["persona-profile", "-c", "{}", "serve"], ["pserve", "{}"]])
def test_serve(ini, command):
    """The server starts by both commands, says so in two lines, and takes the command's assertions."""
    path, port = ini()
    program, *arguments = (part.format(path) for part in command)
    with subprocess.Popen([BIN / program, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_up(port, process)
            bundle = run("-c", str(path), "assertion", "alice@example.com").stdout.strip()
            answer = post(f"http://127.0.0.1:{port}/v1/sessions", {"proofs": [{"assertion": bundle}]})
            assert answer["profiles"][0]["email"] == "alice@example.com"
        finally:
            process.terminate()
        said = process.stderr.read()
    assert f"for development (throw-away keys), listens on http://127.0.0.1:{port}/\n" in said
    assert "Try first:" in said
    assert "Traceback" not in said


def test_port_in_use(ini):
    """A port in use is reported in one line."""
    path, port = ini()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        result = run("-c", str(path), "serve")
    assert result.returncode == 1
    assert ": Address already in use" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("session.lifetime = 5", "session.lifetime: there is no such setting"),
        ("backend = nonsense", "backend: neither one of memory"),
        ("backend.url = mysql://u:SECRET@h/d", "backend.url: the memory backend takes no URL"),
        ("keyring.path = %(here)s/absent.json", "keyring.path:"),
        ("version.path = %(here)s/absent.json", "version.path:"),
        ("browserid.pinned_issuers = %(here)s/absent.json", "browserid.pinned_issuers:"),
    ],
)
def test_wrong_settings(ini, more, message):
    """Invalid settings are reported by name, without values and without a traceback."""
    path, _ = ini(more=more)
    result = run("-c", str(path), "serve")
    assert result.returncode == 2
    assert message in result.stderr
    assert "SECRET" not in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_from_the_environment(ini):
    """The environment overrides the file, for every command."""
    path, _ = ini()
    result = run("-c", str(path), "assertion", "a@example.com", PERSONA_DEVELOPMENT="maybe")
    assert result.returncode == 2
    assert "development: must be true or false" in result.stderr


def test_no_such_file(tmp_path):
    """A missing settings file is reported."""
    result = run("-c", str(tmp_path / "absent.ini"), "serve")
    assert result.returncode == 2
    assert "no such file" in result.stderr


class TestAssertion:
    def test_audience(self, ini):
        """The audience is the first public origin unless one is given."""
        path, port = ini()
        default = run("-c", str(path), "assertion", "a@example.com").stdout
        given = run(
            "-c", str(path), "assertion", "a@example.com", "--audience", "https://x.example"
        ).stdout
        assert default.count("~") == given.count("~") == 1
        audiences = [
            json.loads(base64url_decode(bundle.split("~")[1].split(".")[1]))["aud"]
            for bundle in (default, given)
        ]
        assert audiences == [f"http://127.0.0.1:{port}", "https://x.example"]

    @pytest.mark.parametrize("email", ["alice@mozilla.org", "alice", "alice@example.com.evil.org"])
    def test_of_real_domains(self, ini, email):
        """It vouches for the example domains alone."""
        path, _ = ini()
        result = run("-c", str(path), "assertion", email)
        assert result.returncode == 1
        assert not result.stdout
        assert "Traceback" not in result.stderr

    def test_outside_development(self, ini):
        """Outside development there is no such provider, and the server does not trust it."""
        path, _ = ini(development="false", more="keyring.path = x")
        result = run("-c", str(path), "assertion", "alice@example.com")
        assert result.returncode == 2
        assert "development = true is needed" in result.stderr

    def test_key_is_private_and_kept(self, ini, tmp_path):
        """The provider's key is made once, and readable by its owner alone."""
        path, _ = ini()
        for _ in range(2):
            run("-c", str(path), "assertion", "alice@example.com")
        [key] = (tmp_path / "var").iterdir()
        assert key.stat().st_mode & 0o777 == 0o600
        before = key.read_bytes()
        run("-c", str(path), "assertion", "alice@example.com")
        assert key.read_bytes() == before

    @pytest.mark.parametrize("content", NO_RSA_KEYS, ids=["junk", "other", "encrypted"])
    def test_key_that_is_none(self, ini, tmp_path, content):
        """A file without an RSA key is reported in words."""
        path, _ = ini()
        run("-c", str(path), "assertion", "alice@example.com")
        [key] = (tmp_path / "var").iterdir()
        key.write_bytes(content)
        for command in (["assertion", "alice@example.com"], ["serve"]):
            result = run("-c", str(path), *command)
            assert result.returncode in (1, 2)
            assert "Traceback" not in result.stderr
            assert f"{key}: not an RSA key" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["dance"], ["assertion"], ["serve", "now"]])
def test_wrong_usage(arguments):
    """Wrong usage is status 2 with a hint."""
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage:" in result.stderr


@pytest.mark.parametrize("number", ["0", "-1", "many", "1000000"])
def test_wrong_number_of_processes(number):
    """A number of processes that can't be started is wrong usage."""
    result = run("serve", "--processes", number)
    assert result.returncode == 2
    assert "--processes: must be a whole number from 1 to " in result.stderr


@pytest.mark.parametrize("address", ["front", "front:0", "front:65536", "fro..nt:443", "[::1:443"])
def test_wrong_address_of_the_front(address):
    """Where nothing can listen is wrong usage."""
    result = run("doctor", "--front", address)
    assert result.returncode == 2
    assert "--front: must be HOST:PORT" in result.stderr


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("", "", "a store in memory can't be shared by processes"),
        ("use = egg:persona-profile-server\nlisten", "use = egg:waitress\nlisten", "--processes needs"),
        ("listen = 127.0.0.1:{port}", "unix_socket = %(here)s/socket", "not on a unix_socket"),
    ],
)
def test_settings_that_several_processes_can_not_have(ini, before, after, message):
    """What processes can't share is reported before any is started."""
    path, port = ini(more="backend = sqlite" if before else "backend = memory")
    path.write_text(path.read_text().replace(before.format(port=port), after))
    result = run("-c", str(path), "serve", "--processes", "2")
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_reader_that_closes_the_output():
    """An output that is closed, as by `head`, ends the command without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        command = [BIN / "persona-profile", "model", "--users", "5"]
        done = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("words", "closed", "status"),
    [
        ("-c {ini} storage backup {archive}", "<&- 2>&-", 0),
        ("-c {ini} storage backup -", "<&- >&- 2>&-", 1),
        ("-c {ini} erase alice@example.com", "<&-", 1),
        ("-c {ini} doctor", ">&-", 1),
    ],
)
def test_closed_streams(ini, tmp_path, words, closed, status):
    """A command whose standard streams are closed, as by cron, ends as with /dev/null."""
    path, _ = ini(more=f"backend = sqlite\nbackend.url = sqlite:///{tmp_path}/items.sqlite")
    assert run("-c", str(path), "storage", "init").returncode == 0
    archive = tmp_path / "archive"
    line = words.format(ini=path, archive=archive)
    done = subprocess.run(
        ["sh", "-c", f"exec {BIN}/persona-profile {line} {closed}"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    if str(archive) in line:
        assert run("-c", str(path), "storage", "restore", "--check", str(archive)).returncode == 0


def test_output_to_a_full_disk():
    """An output that can't be written ends the command with a line."""
    with Path("/dev/full").open("wb") as full:
        command = [BIN / "persona-profile", "model", "--users", "5"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_version():
    """The installed command reports its version."""
    command = [BIN / "persona-profile", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, f"persona-profile {version(PACKAGE)}\n")
