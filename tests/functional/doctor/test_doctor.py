"""`persona-profile doctor` on a whole installation, right and broken."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.clients.commands import run_command
from support.servers.dns import dns_server, silent
from support.servers.dns import txt as txt_record
from support.servers.mariadb import MariaDB
from support.servers.nginx import DIALOG, DOMAIN, Nginx
from support.servers.openid import providers, public, rsa
from support.servers.ports import free_port
from support.servers.redis import RedisServer
from support.servers.services import Service
from support.servers.tls import authority

from persona_profile.keys.keyring import Keyring
from persona_profile.keys.keyring_file import KeyringFile

SECRET = "hunter2"
ISSUER = "localhost"


class Installation:
    """An installation as docs/how-to/install.md makes it, with Redis and an OpenID provider."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "database").mkdir()
        (folder / "redis").mkdir()
        self.mariadb = MariaDB(folder / "database", log_bin="on", binlog_format="MIXED")
        self.redis = RedisServer(folder / "redis", loglevel="warning")  # others name addresses
        self.url = f"mysql://service:{SECRET}@127.0.0.1:{self.mariadb.port}/persona"
        more = "\n".join(
            [
                f"dialog_origins = {DIALOG}",
                f"ratelimit.url = {self.redis.url}",
                "ratelimit.timeout_ms = 2000",
                f"openid.issuers = {folder}/issuers.json",
            ]
        )
        public_origin = f"https://{DOMAIN}"
        self.service = Service(
            folder / "service", "mysql", self.url, development=False, more=more, public=public_origin
        )
        self.ini = folder / "service" / "test.ini"
        self.nginx = Nginx(folder / "nginx", self.service.port)

    def prepare(self, provider_port: int) -> None:
        """Start the servers, and create database, users and the file of issuers."""
        self.mariadb.start()
        self.mariadb.create_database()
        rights = {"service": "SELECT, INSERT, UPDATE, DELETE", "reader": "SELECT"}
        for user, granted in rights.items():
            self.mariadb.query(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{SECRET}'")
            self.mariadb.query(f"GRANT {granted} ON persona.* TO {user}@'127.0.0.1'")
        self.mariadb.query("CREATE DATABASE bare CHARACTER SET binary")
        self.mariadb.query("GRANT SELECT, INSERT, UPDATE, DELETE ON bare.* TO service@'127.0.0.1'")
        authority().cert_pem.write_to_path(self.folder / "authority.pem")
        self.write_issuers(provider_port)
        initialized = run_command(
            "-c", self.ini, "storage", "init", PERSONA_BACKEND_URL=self.mariadb.url
        )
        assert initialized.returncode == 0, initialized.stderr
        self.redis.start()
        self.service.start()
        self.nginx.start()

    def write_issuers(self, port: int, **changes: object) -> None:
        """Write the file of issuers with the provider at a port of loopback."""
        entry = {
            "issuer": f"https://{ISSUER}:{port}",
            "client_ids": ["dialog"],
            "domains": ["example.com"],
            "allow_private_addresses": True,
            "ca_file": str(self.folder / "authority.pem"),
        }
        (self.folder / "issuers.json").write_text(json.dumps([entry | changes]))

    def doctor(
        self, *arguments: str, front: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; it asks the front at a port of loopback, and trusts its authority."""
        trusted = {"SSL_CERT_FILE": str(self.folder / "nginx" / "ca.pem")}
        options = ["--front", f"127.0.0.1:{front or self.nginx.port}"]
        done = run_command("-c", self.ini, "doctor", *options, *arguments, **trusted | environment)
        assert SECRET not in done.stdout + done.stderr
        return done

    def close(self) -> None:
        """Stop all servers."""
        self.nginx.close()
        self.service.close()
        self.redis.stop()
        self.mariadb.stop()


@pytest.fixture(scope="module")
def provider_port() -> Iterator[int]:
    """An OpenID provider on loopback."""
    with providers(ISSUER) as provider:
        origin = f"https://{ISSUER}:{provider.port}"
        provider.publish(origin, [public(rsa("provider"), "1")])
        yield provider.port


@pytest.fixture(scope="module")
def installation(
    tmp_path_factory: pytest.TempPathFactory, provider_port: int
) -> Iterator[Installation]:
    """A right installation."""
    made = Installation(tmp_path_factory.mktemp("installation"))
    try:
        made.prepare(provider_port)
        yield made
    finally:
        made.close()


def test_right_installation(installation):
    """A right installation has no warning; each finding is one line."""
    done = installation.doctor()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    *lines, summary = done.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}, done.stdout
    assert summary == f"{len(lines)} ok, 0 warnings, 0 failed."
    parts = ("settings:", "keyring:", "storage:", "ledger:", "rate limits:", "issuer ", "service ")
    for part in (*parts, "front "):
        assert any(line[8:].startswith(part) for line in lines), part
    for word in ("clock", "rights", "isolation", "binary log", "packets", "TLS", "headers", "sizes"):
        assert f": {word}: " in done.stdout, word


def test_json(installation):
    """`--json` prints the findings as one document."""
    document = json.loads(installation.doctor("--json").stdout)
    assert document["status"] == "ok"
    parts = {each["part"] for each in document["findings"]}
    assert {"settings", "keyring", "storage", "rate limits", "BrowserID"} < parts
    members = {"part", "subject", "level", "message", "advice"}
    assert all(each.keys() == members for each in document["findings"])


def test_writes_nothing(installation):
    """An examination changes no row and no key of Redis."""

    def state() -> tuple[object, ...]:
        tables = ("items", "bulk_items")
        rows = [installation.mariadb.query(f"CHECKSUM TABLE {each}", "persona") for each in tables]
        return rows, installation.redis.client().dbsize()

    before = state()
    installation.doctor()
    assert state() == before


@dataclass(frozen=True)
class Broken:
    """A broken installation.

    Attributes:
        name: the fault in words.
        says: a part of the line that reports it.
        environ: variables that break it.
        breaking: a context in which it is broken.
    """

    name: str
    says: str
    environ: Callable[[Installation], Mapping[str, str]] = field(default=lambda _: {})
    breaking: Callable[[Installation], contextlib.AbstractContextManager[None]] | None = None


def variable(
    name: str, value: str
) -> Callable[[Installation], contextlib.AbstractContextManager[None]]:
    """Return a fault: a variable of the database server."""

    @contextlib.contextmanager
    def breaking(installation: Installation) -> Iterator[None]:
        [[before]] = installation.mariadb.query(f"SELECT @@GLOBAL.{name}")
        installation.mariadb.query(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            restored = before if isinstance(before, int) else f"'{before or ''}'"
            installation.mariadb.query(f"SET GLOBAL {name} = {restored}")

    return breaking


@contextlib.contextmanager
def without_nginx(installation: Installation) -> Iterator[None]:
    """Stop nginx for a while."""
    installation.nginx.close()
    try:
        yield
    finally:
        installation.nginx.start()


@contextlib.contextmanager
def without_service(installation: Installation) -> Iterator[None]:
    """Stop the service for a while."""
    installation.service.close()
    try:
        yield
    finally:
        installation.service.start()


@contextlib.contextmanager
def frozen_database(installation: Installation) -> Iterator[None]:
    """Freeze the database, which then accepts connections and says nothing."""
    installation.mariadb.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        installation.mariadb.signal(signal.SIGCONT)


@contextlib.contextmanager
def open_keyring(installation: Installation) -> Iterator[None]:
    """Let other users read the keyring."""
    installation.service.keyring.chmod(0o644)
    try:
        yield
    finally:
        installation.service.keyring.chmod(0o600)


def another_keyring(installation: Installation) -> Path:
    """Return a new keyring; the ledger stays the one of the installation."""
    folder = installation.folder / "another"
    folder.mkdir()
    KeyringFile(folder / "keyring.json").create(Keyring.generate())
    for each in installation.service.keyring.parent.glob("ledger.sqlite*"):
        shutil.copy(each, folder)
    return folder / "keyring.json"


def issuers(**changes: object) -> Callable[[Installation], contextlib.AbstractContextManager[None]]:
    """Return a fault: members of the provider's entry."""

    @contextlib.contextmanager
    def breaking(installation: Installation) -> Iterator[None]:
        path = installation.folder / "issuers.json"
        before = path.read_text()
        [entry] = json.loads(before)
        path.write_text(json.dumps([entry | changes]))
        try:
            yield
        finally:
            path.write_text(before)

    return breaking


@contextlib.contextmanager
def password_of_redis(installation: Installation) -> Iterator[None]:
    """Let Redis ask for a password."""
    with installation.redis.client() as client:
        client.config_set("requirepass", SECRET)
        try:
            yield
        finally:
            client.execute_command("AUTH", SECRET)
            client.config_set("requirepass", "")


@contextlib.contextmanager
def replica_of_redis(installation: Installation) -> Iterator[None]:
    """Make Redis a replica."""
    with installation.redis.client() as client:
        client.replicaof("127.0.0.1", str(free_port()))
        try:
            yield
        finally:
            client.replicaof("NO", "ONE")


BROKEN = (
    Broken("service-stopped", "it does not reach the service", breaking=without_service),
    Broken("nginx-stopped", "TLS: no answer: Connection refused", breaking=without_nginx),
    Broken("certificate", "TLS: certificate: ", lambda _: {"SSL_CERT_FILE": os.devnull}),
    Broken("database-frozen", "storage: ", breaking=frozen_database),
    Broken(
        "database-unreachable",
        "it can't be reached",
        lambda made: {"PERSONA_BACKEND_URL": f"mysql://a:{SECRET}@127.0.0.1:{free_port()}/persona"},
    ),
    Broken(
        "password",
        "it rejects the user or the password",
        lambda made: {"PERSONA_BACKEND_URL": made.url.replace(SECRET, f"{SECRET}x")},
    ),
    Broken(
        "no-schema",
        "the database has no tables yet",
        lambda made: {"PERSONA_BACKEND_URL": made.url.replace("/persona", "/bare")},
    ),
    Broken(
        "rights",
        "rights: the database can't be used: its user may not do this",
        lambda made: {"PERSONA_BACKEND_URL": made.url.replace("service:", "reader:")},
    ),
    Broken("read-only", "the database is read-only", breaking=variable("read_only", "1")),
    Broken("binlog", "binlog_format is STATEMENT", breaking=variable("binlog_format", "'STATEMENT'")),
    Broken("packets", "max_allowed_packet is 1,", breaking=variable("max_allowed_packet", "1048576")),
    Broken(
        "database-clock",
        "storage: clock: its clock is ",
        breaking=variable("init_connect", "'SET timestamp = 1700000000'"),
    ),
    Broken(
        "redis-stopped",
        "Redis: it can't be reached",
        lambda _: {"PERSONA_RATELIMIT_URL": f"redis://:{SECRET}@127.0.0.1:{free_port()}"},
    ),
    Broken("redis-password", "Redis: it rejects the user", breaking=password_of_redis),
    Broken("redis-replica", "Redis: it is a replica", breaking=replica_of_redis),
    Broken("keyring-mode", "others can read it", breaking=open_keyring),
    Broken("issuers-file", "issuers.json: ", breaking=issuers(domains=[])),
    Broken("issuer-keys", "it publishes none for Ed25519", breaking=issuers(algorithms=["EdDSA"])),
    Broken(
        "no-ledger",
        "ledger: schema: there is no database file",
        lambda installation: {
            "PERSONA_LEDGER_BACKEND": "sqlite",
            "PERSONA_LEDGER_URL": f"sqlite:///{installation.folder}/none.sqlite",
        },
    ),
    Broken(
        "ledger-of-another-keyring",
        "ledger: key: the ledger's key is under index keys that the keyring lacks",
        lambda installation: {"PERSONA_KEYRING_PATH": str(another_keyring(installation))},
    ),
    Broken(
        "issuer-down",
        "keys: discovery document: ",
        breaking=issuers(issuer=f"https://{ISSUER}:1"),
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=[each.name for each in BROKEN])
def test_broken_installation(installation, broken):
    """Each fault is a failed line with a remedy, and the exit status is 1."""
    with broken.breaking(installation) if broken.breaking else contextlib.nullcontext():
        done = installation.doctor(**broken.environ(installation))
    assert done.returncode == 1, done.stdout
    lines = [line for line in done.stdout.splitlines() if broken.says in line]
    assert lines, done.stdout + done.stderr
    assert lines[0].startswith("failed  "), lines
    assert all(len(line) < 300 for line in done.stdout.splitlines())


EXPOSED = "location = /__heartbeat__ { proxy_pass http://persona_profile; }"
FRONTS = {
    "small": (
        "failed",
        "it rejects pictures",
        {"client_max_body_size 20544k;": "client_max_body_size 1m;"},
    ),
    "large": (
        "warning",
        "it reads uploads above",
        {"client_max_body_size 20544k;": "client_max_body_size 1g;"},
    ),
    "origin": (
        "failed",
        "Access-Control-Allow-Origin is there 0 times",
        {"proxy_http_version 1.1;": 'proxy_http_version 1.1; proxy_set_header Origin "";'},
    ),
    "doubled": (
        "failed",
        "Access-Control-Allow-Origin is there 2 times",
        {
            "add_header Access-Control-Allow-Origin $own_allow_origin always;": (
                "add_header Access-Control-Allow-Origin $http_origin always;"
            )
        },
    ),
    "version": ("warning", "Server states a version", {"server_tokens off;": "server_tokens on;"}),
    "exposed": (
        "warning",
        "/__heartbeat__ can be read",
        {"location = /v1 {": f"{EXPOSED}\nlocation = /v1 {{"},
    ),
    "elsewhere": ("failed", "/v1/ does not lead to", {"location /v1/ {": "location /v2/ {"}),
}


@pytest.mark.parametrize("name", FRONTS)
def test_broken_front(installation, tmp_path, name):
    """Faults of nginx's configuration are found through nginx alone."""
    level, says, changed = FRONTS[name]
    nginx = Nginx(tmp_path / "nginx", installation.service.port, changed=changed)
    nginx.start()
    try:
        trusted = str(tmp_path / "nginx" / "ca.pem")
        done = installation.doctor(front=nginx.port, SSL_CERT_FILE=trusted)
    finally:
        nginx.close()
    [line] = [line for line in done.stdout.splitlines() if says in line]
    assert line.startswith(level)
    assert done.returncode == (1 if level == "failed" else 0)


def test_insecure(installation):
    """`--insecure` makes a warning of a certificate, and examines the front behind it."""
    done = installation.doctor("--insecure", SSL_CERT_FILE=os.devnull)
    assert done.returncode == 0, done.stdout
    assert "warning front https://profiles.example.com: TLS: certificate: " in done.stdout
    assert "sizes: it accepts the largest picture" in done.stdout


def test_rights_beyond_need(installation):
    """A user that may change the schema is a warning."""
    done = installation.doctor(PERSONA_BACKEND_URL=installation.mariadb.url)
    assert done.returncode == 0
    assert "warning storage: rights: the user can do more" in done.stdout


def test_replicas(installation):
    """A replica that does not answer is a warning, and a wrong URL of one a failure."""
    silent_one = f"mysql://a:{SECRET}@127.0.0.1:{free_port()}/persona"
    done = installation.doctor(PERSONA_BACKEND_READ_URL=f"{installation.url} {silent_one}")
    assert done.returncode == 0, done.stdout
    assert "ok      replica 1: use: it answers" in done.stdout
    assert "warning replica 2: use: the database can't be used: it can't be reached" in done.stdout
    done = installation.doctor(PERSONA_BACKEND_READ_URL=f"mysql://{SECRET}")
    assert "failed  replicas: use: backend.read_url: must be mysql://" in done.stdout


def test_another_release(installation):
    """Settings of another limit than the running service's are a warning."""
    done = installation.doctor(PERSONA_PICTURES_MAX_BYTES="1000000")
    assert "the running service has another pictures.max_bytes" in done.stdout


def test_dns(installation):
    """Resolvers and records of email verification are examined where domains are configured."""
    evp = {"PERSONA_AUTHENTICATORS": "browserid evp", "PERSONA_EVP_DOMAINS": "example.com example.net"}
    with dns_server() as server:
        evp["PERSONA_EVP_DNS"] = f"127.0.0.1:{server.port}"
        server.put("example.com", txt_record(b"iss=issuer.example.com"))
        done = installation.doctor(**evp)
        assert "ok      email verification: DNS: a resolver answers" in done.stdout
        assert "_email-verification.example.net names no issuer" in done.stdout
        assert "_email-verification.example.com" not in done.stdout
        done = installation.doctor(**evp, PERSONA_EVP_DNSSEC="true")
        assert "_email-verification.example.com is not validated by DNSSEC" in done.stdout
        for domain in ("example.com", "example.net"):
            server.put(domain, silent)
        done = installation.doctor(**evp)
        assert "failed  email verification: DNS: no resolver answers" in done.stdout


def test_wrong_settings(installation):
    """Wrong settings and the files that they name are reported as by `serve`, with status 2."""
    absent = str(installation.folder / "absent.json")
    done = installation.doctor(PERSONA_PICTURES_MAX_BYTES="many", PERSONA_OPENID_ISSUERS=absent)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pictures.max_bytes: must be a whole number" in done.stderr
    assert f"openid.issuers: {absent}: No such file" in done.stderr


def test_absent_sqlite_file(installation, tmp_path):
    """An absent SQLite file is reported, and not created."""
    path = tmp_path / "store.sqlite"
    sqlite = {"PERSONA_BACKEND": "sqlite", "PERSONA_BACKEND_URL": f"sqlite:///{path}"}
    done = installation.doctor(**sqlite)
    assert "failed  storage: schema: there is no database file -> run" in done.stdout
    assert not path.exists()
    assert run_command("-c", installation.ini, "storage", "init", **sqlite).returncode == 0
    done = installation.doctor(**sqlite)
    assert (done.returncode, "ok      storage: disk: " in done.stdout) == (0, True)
    path.chmod(0o644)
    assert "warning storage: rights: other users can read" in installation.doctor(**sqlite).stdout


def test_development_server(tmp_path):
    """A development server, without nginx, has warnings alone: it is no installation."""
    with contextlib.closing(Service(tmp_path / "service")) as service:
        service.start()
        done = service.run("doctor")
    assert "failed  " not in done.stdout, done.stdout
    assert "warning settings: use: development = true" in done.stdout
