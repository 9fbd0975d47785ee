"""A machine to attack: the service, nginx and MariaDB in a network of their own, with public addresses.

The network is a Linux namespace of this process and its children. Every address of the Internet that
the benchmark needs is an address of its loopback interface, names stand in a hosts file of its own, and
the service trusts a certificate authority by `SSL_CERT_FILE`. So the service runs as shipped, with
`production.ini` and `nginx.conf`, and looks identity providers up by its own rules.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import trustme
from support.servers.mariadb import MariaDB

from loadtest.generator.watcher import ProcessFamily

ROOT = Path(__file__).parent.parent
DOMAIN = "profiles.example.com"
ORIGIN = f"https://{DOMAIN}"
DIALOG = "https://login.example.com"

SERVER, SERVER_V6 = "91.198.174.192", "2a01:4f8:1::1"
PROVIDER, ATTACKER_PROVIDER = "91.198.174.1", "185.199.108.1"
SILENT, CONTINUING = "185.199.108.2", "185.199.108.3"
NETWORKS = (
    "91.198.174.0/24",  # this server, and the identity providers of good people
    "82.64.0.0/16",  # good people
    "185.199.108.0/24",  # servers of attackers
    "185.12.0.0/16",  # attackers
)
NETWORKS_V6 = ("2a01:4f8:1::/64", "2a01:4f8:c0c::/64")

PINNED, CACHED, ATTACKER = "pinned.org", "cached.org", "attacker.com"
FRESH = tuple(f"fresh{number}.org" for number in range(4000))
WILD = tuple(f"w{number}.{ATTACKER}" for number in range(8000))
SLOW = tuple(f"slow{number}.{ATTACKER}" for number in range(200))
SLOW_DOMAINS = tuple(f"slow{number}.net" for number in range(8))
CONTINUE = tuple(f"continue{number}.{ATTACKER}" for number in range(200))
HOSTS = {
    PROVIDER: (CACHED, *FRESH),
    ATTACKER_PROVIDER: (ATTACKER, *WILD),
    SILENT: (*SLOW, *SLOW_DOMAINS),
    CONTINUING: CONTINUE,
}

METRICS_PORT = 9464
_INSIDE = "ATTACKED_NETWORK"
_COMMAND = Path(sys.executable).with_name("persona-profile")
_START_SECONDS = 90


def be_apart(nice: int = 0) -> None:
    """Have the scheduler treat this process as one of another machine, as far as that goes.

    Linux shares processors between sessions, and between the processes of one by priority: within one
    session, what an attacker uses for itself would be missing to the service.
    """
    os.setsid()
    os.nice(nice)
    group = Path("/proc/self/autogroup")
    if nice and group.exists():
        group.write_text(str(nice))


def enter_network() -> None:
    """Run this program again in a network of its own; return if it is there already."""
    if os.environ.get(_INSIDE):
        return
    os.environ[_INSIDE] = "1"
    own = ["--user", "--map-root-user"] if os.getuid() else []
    # With process ids of its own as well: whatever ends this program, nothing that it started stays.
    namespaces = ["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command = ["unshare", *own, *namespaces, sys.executable, *sys.argv]
    os.execvp(command[0], command)


def prepare_network(folder: Path) -> None:
    """Give the network its addresses and names."""
    lines = ["127.0.0.1 localhost", f"{SERVER} {DOMAIN}"]
    lines += [f"{address} {name}" for address, names in HOSTS.items() for name in names]
    hosts = folder / "hosts"
    hosts.write_text("\n".join(lines) + "\n")
    resolvers = folder / "resolv.conf"
    resolvers.write_text("nameserver 127.0.0.1\n")
    commands = [["ip", "link", "set", "lo", "up"], ["mount", "--bind", hosts, "/etc/hosts"]]
    commands.append(["mount", "--bind", resolvers, "/etc/resolv.conf"])
    commands += [["ip", "address", "add", network, "dev", "lo"] for network in NETWORKS]
    commands += [["ip", "-6", "route", "add", "local", each, "dev", "lo"] for each in NETWORKS_V6]
    for command in commands:
        subprocess.run(command, check=True)
    # The addresses of a route may be used as one's own.
    Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")


@dataclass(frozen=True)
class Target:
    """Where requests go: nginx with TLS, or the service itself.

    Attributes:
        name: `nginx` or `alone`.
        port: of every address of the server.
        tls: settings of TLS, if it is spoken.
    """

    name: str
    port: int
    tls: ssl.SSLContext | None


class Stage:
    """The service, and nginx before it.

    Args:
        folder: of settings, keys, logs and data.
        name: `nginx`, or `alone` for the service without it.
        processes: of the service.
    """

    def __init__(self, folder: Path, name: str, processes: int) -> None:
        self.folder, self._processes = folder, processes
        self._ini = folder / f"{name}.ini"
        text = (ROOT / "production.ini").read_text()
        tls = None
        if name == "nginx":
            self._render_nginx()
            tls = ssl.create_default_context(cafile=folder / "ca.pem")
        else:
            listening = "\nlisten = 127.0.0.1:6543\n"
            assert listening in text
            text = text.replace(listening, "\nlisten = 0.0.0.0:6543 [::]:6543\n")
        self._ini.write_text(text)
        self.target = Target(name, 443 if tls else 6543, tls)
        self._service: subprocess.Popen[bytes] | None = None
        self._nginx: subprocess.Popen[bytes] | None = None

    def _render_nginx(self) -> None:
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        spools = "".join(f"    {kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        for old, new in {
            "user www-data;": "user root;",
            "/run/nginx.pid": f"{self.folder}/nginx.pid",
            "/var/log/nginx/": f"{self.folder}/",
            "/etc/ssl/persona-profile/": f"{self.folder}/",
            "http {\n": f"http {{\n{spools}",
            # Identity providers have port 443 of other addresses.
            "listen 443 ": f"listen {SERVER}:443 ",
            "listen [::]:443 ": f"listen [{SERVER_V6}]:443 ",
        }.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.folder / "nginx.conf").write_text(text)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run both; return when the service is healthy."""
        environment = os.environ | service_environment(self.folder)
        with (self.folder / "service.log").open("ab") as log:
            command = [_COMMAND, "-c", self._ini, "serve", "--processes", str(self._processes)]
            self._service = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            if self.target.tls:
                configuration = self.folder / "nginx.conf"
                arguments = ["-p", self.folder, "-c", configuration, "-g", "daemon off;"]
                self._nginx = subprocess.Popen(
                    ["nginx", *arguments], stdout=log, stderr=log, start_new_session=True
                )
        try:
            self._wait()
            yield
        finally:
            self._stop()
            if self._nginx:
                self._nginx.terminate()
                self._nginx.wait(30)

    def _stop(self) -> None:
        """End the service at once: a second SIGTERM waits for nothing."""
        assert self._service is not None
        for seconds in (0.5, 10):
            if self._service.poll() is None:
                self._service.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._service.wait(seconds)
        if self._service.poll() is None:
            self._service.kill()
            self._service.wait(10)

    def service(self) -> ProcessFamily:
        """Return processor time and memory of the service's processes."""
        assert self._service is not None
        found = ProcessFamily.of(self._service.pid)
        assert found is not None, "the service has ended"
        return found

    def nginx(self) -> ProcessFamily | None:
        """Return processor time and memory of nginx, if it runs."""
        return ProcessFamily.of(self._nginx.pid) if self._nginx else None

    def spooled_bytes(self) -> int:
        """Return the bytes of bodies that nginx holds on disk; their files have no names any more."""
        if self._nginx is None:
            return 0
        children = Path(f"/proc/{self._nginx.pid}/task/{self._nginx.pid}/children").read_text()
        total = 0
        for pid in children.split():
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(file.readlink()).startswith(f"{self.folder}/client_body/"):
                        total += file.stat().st_size
        return total

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", 6543, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/__heartbeat__")
                if connection.getresponse().status == 200 and self._has_all_processes():
                    return
            connection.close()
            time.sleep(0.1)
        raise RuntimeError(f"the service did not start: {self.folder}/service.log")

    def _has_all_processes(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", METRICS_PORT, timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return f"persona_processes {self._processes}\n" in text


def service_environment(folder: Path) -> dict[str, str]:
    """Return what the service's settings and certificate authorities are beyond `production.ini`."""
    return {
        "PERSONA_BROWSERID_PINNED_ISSUERS": f"{folder}/issuers.json",
        "PERSONA_EVP_DOMAINS": "*",
        "SSL_CERT_FILE": f"{folder}/ca.pem",
    }


@contextlib.contextmanager
def database(folder: Path) -> Iterator[None]:
    """Run MariaDB, and make the keyring and the schema."""
    mariadb = MariaDB(folder / "mariadb")
    mariadb.folder.mkdir()
    with mariadb.running():
        mariadb.create_database()
        (folder / "backend.url").write_text(mariadb.url + "\n")
        text = (ROOT / "production.ini").read_text()
        (folder / "production.ini").write_text(text.replace("/var/lib/persona-profile", str(folder)))
        for arguments in (["keys", "init"], ["storage", "init"]):
            _run(folder, arguments)
        yield


def _run(folder: Path, arguments: Sequence[str]) -> None:
    command = [_COMMAND, "-c", folder / "production.ini", *arguments]
    environment = os.environ | service_environment(folder)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def make_certificates(folder: Path) -> trustme.CA:
    """Make an authority, and the certificate of nginx; return the authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert(DOMAIN)
    certificate.private_key_pem.write_to_path(folder / "privkey.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "fullchain.pem", append=True)
    return authority
