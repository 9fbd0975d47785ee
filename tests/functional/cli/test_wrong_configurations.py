"""What an operator reads who has made a mistake: the file, each mistake in one line, and no value."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.servers.ports import free_port

from persona_profile import cli
from persona_profile.settings import Settings, parse_settings, service_variables

SECRET = "hunter2"
INI = """\
[app:main]
use = egg:persona-profile-server
development = true
development.folder = %(here)s/var
development.provider_listen = off
development.issuer_listen = off
public_origins = http://127.0.0.1:6543
backend = memory
# the end of the application's settings

[server:main]
use = egg:persona-profile-server
listen = LISTEN
"""
END = "# the end of the application's settings"
SHARED = (
    "backend = sqlite\nbackend.url = sqlite:///%(here)s/x.sqlite\nkeyring.path = %(here)s/keyring.json"
)


@dataclass(frozen=True)
class Mistake:
    """A wrong configuration.

    Attributes:
        name: the mistake in words.
        says: what the command prints after the name of the file, line by line.
        change: changes the text of the settings file.
        files: the content of further files, by name.
        environ: variables of the environment.
    """

    name: str
    says: tuple[str, ...]
    change: Callable[[str], str | bytes] = str
    files: Mapping[str, bytes] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


def more(*lines: str) -> Callable[[str], str]:
    """Return a change that adds settings of the application."""
    return lambda text: text.replace(END, "\n".join(lines))


def instead(old: str, new: str) -> Callable[[str], str]:
    """Return a change that replaces a part of the file."""
    return lambda text: text.replace(old, new)


def at_end(line: str) -> Callable[[str], str]:
    """Return a change that adds a setting of the server."""
    return lambda text: text + line + "\n"


def setting(line: str, *says: str, **rest: object) -> Mistake:
    """Return the mistake of one setting's line."""
    return Mistake(line, ("these settings can't be used:", *says), more(line), **rest)  # type: ignore[arg-type]


def setting_later(lines: str, says: str) -> Mistake:
    """Return the mistake of settings that are read when the service is made."""
    return Mistake(
        lines,
        (says,),
        lambda text: more(*lines.split("\n"))(
            text.replace("backend = memory\n", "") if lines.startswith("backend") else text
        ),
    )


def of_file(name: str, mistake: str, says: str, content: bytes) -> Mistake:
    """Return the mistake of a file that a setting names."""
    said = f"{name}: {{folder}}/file: {says}"
    return Mistake(mistake, (said,), more(f"{name} = %(here)s/file"), files={"file": content})


UNREADABLE = "this file can't be read:"
UNUSABLE = "this file can't be used:"
SERVER = "[server:main] can't be used:"
FILES = "these files and URLs can't be used:"
ORIGINS = "public_origins: must be origins such as https://profiles.example.com, without a path"
PORTS = "listen: must be addresses such as 127.0.0.1:6543 or [::1]:6543, with ports up to 65535"
PROXIES = (
    "trusted_proxy: must be IP addresses or networks such as 10.0.0.0/24, localhost for a Unix socket, "
    "or *"
)

OF_THE_FILE = [
    Mistake("no file", ("there is no such file; name one with -c",), lambda _text: b"\0absent"),
    Mistake("empty", (UNUSABLE, "[app:main]: missing", "[server:main]: missing"), lambda _text: ""),
    Mistake(
        "a byte order mark",
        (UNREADABLE, "line 1: begins with a byte order mark: save the file as UTF-8 without one"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
    ),
    Mistake(
        "Latin-1",
        (UNREADABLE, "line 9: not UTF-8"),
        lambda text: text.replace(END, f"# caf\xe9 {SECRET}").encode("latin-1"),
    ),
    Mistake(
        "UTF-16",
        (UNREADABLE, "line 1: UTF-16: save the file as UTF-8"),
        lambda text: text.encode("utf-16"),
    ),
    Mistake("NUL", (UNREADABLE, "line 9: has a NUL character"), more(f"transit.key = {SECRET}\0")),
    Mistake(
        "a percent sign",
        (UNREADABLE, "line 9: backend.url: write each % as %%"),
        more(f"backend.url = mysql://persona:{SECRET}%40@db/persona"),
    ),
    Mistake(
        "a misspelt reference",
        (UNREADABLE, "line 9: keyring.path: refers to a name that is not set here: see %(...)s"),
        more(f"keyring.path = %(her)s/{SECRET}"),
    ),
    Mistake(
        "an endless reference",
        (UNUSABLE, "[app:main]: a reference such as %(here)s can't be resolved"),
        more(f"transit.key = {SECRET}%(transit.key)s"),
    ),
    Mistake(
        "a doubled setting",
        (UNREADABLE, "line 10: transit.key is set again; the first is in line 9"),
        more("transit.key = x", f"transit.key = {SECRET}"),
    ),
    Mistake(
        "a doubled section",
        (UNREADABLE, "line 9: begins a section again that began in line 1"),
        more("[app:main]"),
    ),
    Mistake(
        "no section",
        (UNREADABLE, "line 1: stands before the first section, such as [app:main]"),
        instead("[app:main]\n", ""),
    ),
    Mistake("another section", (UNUSABLE, "[app:main]: missing"), instead("[app:main]", "[app:mian]")),
    Mistake(
        "a line alone",
        (
            UNREADABLE,
            "line 9: neither a section nor `name = value`; further lines of a value are indented",
        ),
        more(SECRET),
    ),
    Mistake(
        "a value that lost its indentation",
        (
            *("these settings can't be used:", "a name: there is no such setting"),
            *(FILES, "backend.url: the memory backend takes no URL"),
        ),
        more("backend.url = mysql://persona:", f"{SECRET}!%:x@db/persona"),
    ),
    Mistake(
        "several at once",
        (
            UNREADABLE,
            "line 1: begins with a byte order mark: save the file as UTF-8 without one",
            "line 9: transit.key: write each % as %%",
            "line 10: transit.key is set again; the first is in line 9",
        ),
        lambda text: b"\xef\xbb\xbf" + more("transit.key = 5%", "transit.key = 6")(text).encode(),
    ),
    Mistake(
        "a misspelt package",
        (
            UNUSABLE,
            "[app:main]: use: there is no such package",
            "[server:main]: use: there is no such package",
        ),
        instead("egg:persona-profile-server", f"egg:{SECRET}"),
    ),
    Mistake(
        "a misspelt entry point",
        (UNUSABLE, "[app:main]: use: there is no such entry point"),
        lambda text: text.replace("profile-server", "profile-server#aap", 1),
    ),
    Mistake(
        "no use",
        (UNUSABLE, "[app:main]: use: there is no such entry point"),
        lambda text: text.replace("use = egg:persona-profile-server\n", "", 1),
    ),
]
OF_SETTINGS = [
    setting("backend.uri = x", "backend.uri: there is no such setting"),
    setting(f"pictures.workers = {SECRET}", "pictures.workers: must be a whole number from 1 to 256"),
    setting("pictures.workers = -1", "pictures.workers: must be a whole number from 1 to 256"),
    setting("evp.dnssec = yes", "evp.dnssec: must be true or false"),
    setting("logging.format = xml", "logging.format: must be of mozlog, text"),
    *(
        setting(
            f"metrics.listen = {address}",
            "metrics.listen: must be the IP address and port of one interface, such as 127.0.0.1:9464",
        )
        for address in ("127.0.0.1:65536", "127.0.0.256:9464", "[::1::]:9464")
    ),
    *(
        setting(
            f"traces.endpoint = http://{address}",
            "traces.endpoint: must be a URL with a path, such as http://127.0.0.1:4318/v1/traces",
        )
        for address in ("127.0.0.1:4318", "127.0.0.1:99999/v1/traces", "exa..mple/v1/traces")
    ),
    setting(
        "evp.dns = 127.0.0.1:99999",
        "evp.dns: must be IP addresses such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353",
    ),
    setting(
        "ratelimit.writes_per_email = 5/fortnight",
        "ratelimit.writes_per_email: must be off, or such as 300/minute or 2000/6hour",
    ),
    setting("key_service = transit", "transit.url: needed for key_service = transit"),
    setting("backend.url = x\nbackend.url_file = y", "backend.url_file: not together with backend.url"),
    setting(
        f"ratelimit.url = amqp://{SECRET}@host",
        "ratelimit.url: must be off, memory://, or begin with redis://, rediss:// or redis+unix://",
    ),
    *(
        Mistake(
            f"the origin {origin}",
            ("these settings can't be used:", ORIGINS),
            instead("public_origins = http://127.0.0.1:6543", f"public_origins = {origin}"),
        )
        for origin in (
            *("https://-", "https://a..b", "https://-a.example", "https://a-.example", "https://."),
            *("https://a.example:65536", "https://1.2.3", "https://999.1.1.1", "https://[::g]"),
            *("a.example", "https://a.example/", "ftp://a.example", f"https://u:{SECRET}@a.example"),
        )
    ),
    Mistake(
        "a misspelt variable",
        ("these settings can't be used:", "PERSONA_BACKEND_ULR: there is no such setting"),
        environ={"PERSONA_BACKEND_ULR": SECRET},
    ),
    Mistake(
        "a variable like one of a service",
        ("these settings can't be used:", "PERSONA_METRICS_PORT: there is no such setting"),
        environ={"PERSONA_METRICS_PORT": "tcp://1.2.3.4:5", "PERSONA_SERVICE_HOST": "1.2.3.4"},
    ),
]
OF_THE_SERVER = [
    Mistake(
        "threads of 0", (SERVER, "threads: must be a whole number of at least 5"), at_end("threads = 0")
    ),
    Mistake(
        "threads in words",
        (SERVER, "threads: must be a whole number of at least 5"),
        at_end(f"threads = {SECRET}"),
    ),
    Mistake(
        "no bytes",
        (SERVER, "recv_bytes: must be a whole number of at least 1"),
        at_end("recv_bytes = 0"),
    ),
    Mistake(
        "no connections",
        (SERVER, "connection_limit: must be a whole number of at least 1"),
        at_end("connection_limit = 0"),
    ),
    Mistake(
        "an unknown one", (SERVER, "treads: there is no such setting"), at_end(f"treads = {SECRET}")
    ),
    Mistake(
        "two wrong ones",
        (
            SERVER,
            "backlog: must be a whole number of at least 1",
            "recv_bytes: must be a whole number of at least 1",
        ),
        at_end("recv_bytes = -5\nbacklog = x"),
    ),
    *(
        Mistake(f"listen = {place}", (SERVER, PORTS), instead("LISTEN", place))
        for place in ("127.0.0.1:99999", "127.0.0.1:http", "127.0.0.1:-1", "127.0.0.1:", "127.0.0.1")
    ),
    Mistake("listen by a variable", (SERVER, PORTS), environ={"PERSONA_LISTEN": "127.0.0.1:99999"}),
    Mistake(
        "threads by a variable",
        (SERVER, "threads: must be a whole number of at least 5"),
        environ={"PERSONA_THREADS": "0"},
    ),
    Mistake(
        "a port",
        (SERVER, "port: must be a port from 0 to 65535"),
        instead("listen = LISTEN", "port = 65536"),
    ),
    Mistake(
        "a proxy's name",
        (
            SERVER,
            PROXIES,
        ),
        at_end(f"trusted_proxy = 127.0.0.1 {SECRET}"),
    ),
    Mistake("two ways", (SERVER, "host or port may not be set if listen is set."), at_end("port = 5")),
]
OF_OTHER_FILES = [
    Mistake(
        "no keyring",
        ("keyring.path: {folder}/keyring.json: No such file or directory",),
        more("keyring.path = %(here)s/keyring.json"),
    ),
    of_file(
        "keyring.path",
        "a keyring of other JSON",
        'this is no keyring of "format": 1',
        b'{"x": "hunter2"}',
    ),
    of_file("keyring.path", "an empty keyring", "not JSON, as of line 1", b""),
    of_file(
        "openid.issuers", "issuers that are no JSON", "not JSON, as of line 2", b'{\n"hunter2": oh no}'
    ),
    of_file("openid.issuers", "a member twice", "repeated member name", b'{"a": 1, "a": "hunter2"}'),
    of_file(
        "openid.issuers",
        "issuers with a byte order mark",
        "begins with a byte order mark: save the file as UTF-8 without one",
        b"\xef\xbb\xbf{}",
    ),
    of_file("browserid.pinned_issuers", "issuers in Latin-1", "not UTF-8", b'{"caf\xe9": 1}'),
    setting_later(
        "ratelimit.url = redis://h/0?sokcet_timeout=hunter2",
        "ratelimit.url: has an option that the client of Redis does not know",
    ),
    setting_later(
        "ratelimit.url = redis://h:hunter2/0",
        "ratelimit.url: can't be read as the URL of a Redis server",
    ),
    setting("ledger.url = sqlite:///hunter2", "ledger.backend: needed for ledger.url"),
    setting_later(
        "ledger.backend = hunter2",
        "ledger.backend: neither one of memory, mysql, spider, sqlite "
        "nor a dotted name that can be imported",
    ),
    setting_later(
        "ledger.backend = sqlite\nledger.url = sqlite:///%(here)s/hunter2/x",
        "ledger.url: names a file in a folder that is not there",
    ),
    setting_later(
        "backend = sqlite\nbackend.url = sqlite:///%(here)s/hunter2/x",
        "backend.url: names a file in a folder that is not there",
    ),
    setting_later(
        "backend = sqlite\nbackend.url = sqlite:///%(here)s/x?timeout=hunter2",
        "backend.url: must have no options after a question mark",
    ),
    setting_later(
        "backend = mysql\nbackend.url = mysql://u:hunter2@h:99999/d",
        "backend.url: a port must be a number from 1 to 65535",
    ),
    setting_later(
        "backend = mysql\nbackend.url = mysql://u:hunter2/d",
        "backend.url: must be mysql://user:password@host/database, "
        "or have ?host=name:port once for each host",
    ),
    setting_later(
        "backend = sqlite\nbackend.url = sqlite://u:hunter2/d",
        "backend.url: must be sqlite:///path",
    ),
    setting_later(
        "backend = mysql\nbackend.url = mysql://u:hunter2@h/d?ssl_ac=x",
        "backend.url: has an unknown option after the question mark",
    ),
    setting_later(
        "backend = mysql\nbackend.url = mysql://u:hunter2@h/d?ssl_ca=/absent",
        "backend.url: its TLS options can't be used: No such file or directory",
    ),
]
ISSUERS = "openid.issuers = %(here)s/issuers\nbrowserid.pinned_issuers = %(here)s/pinned"
BROKEN = {"issuers": b"{", "pinned": b'{"caf\xe9": 1}', "keyring": b"", "key.pem": b"hunter2"}
"""The content of files that can't be used."""
FAULTS_OF_ISSUERS = (
    "browserid.pinned_issuers: {folder}/pinned: not UTF-8",
    "openid.issuers: {folder}/issuers: not JSON, as of line 1",
)
OF_SEVERAL = [
    Mistake(
        "files of all kinds",
        (
            FILES,
            "version.path: {folder}/keyring: not JSON",
            "keyring.path: {folder}/keyring: not JSON, as of line 1",
            "transit: the ca_file of the key service can't be read, or holds no certificate",
            "backend.url_file: No such file or directory",
            "backend.read_url: its TLS options can't be used: a file lacks a certificate or its key",
            *FAULTS_OF_ISSUERS,
            "ratelimit.url: can't be read as the URL of a Redis server",
        ),
        lambda text: more(
            "backend = mysql\nbackend.url_file = %(here)s/absent",
            "backend.read_url = mysql://u:hunter2@h/d?ssl_ca=%(here)s/key.pem",
            "transit.url = https://h\ntransit.token_file = %(here)s/absent",
            "transit.ca_file = %(here)s/key.pem\nratelimit.url = redis://h:hunter2/0",
            "keyring.path = %(here)s/keyring\nversion.path = %(here)s/keyring",
            ISSUERS,
        )(text.replace("backend = memory\n", "")),
        BROKEN,
    ),
    Mistake(
        "settings of both sections, and files",
        (
            *(
                "these settings can't be used:",
                "pictures.workers: must be a whole number from 1 to 256",
            ),
            *(SERVER, "threads: must be a whole number of at least 5"),
            *(FILES, *FAULTS_OF_ISSUERS),
        ),
        lambda text: at_end("threads = 0")(more(ISSUERS, "pictures.workers = 0")(text)),
        BROKEN,
    ),
    Mistake(
        "a setting on which a file depends",
        (
            "these settings can't be used:",
            "keyring.group_readable: must be true or false",
            *(FILES, *FAULTS_OF_ISSUERS),
        ),
        more(ISSUERS, "keyring.group_readable = yes\nkeyring.path = %(here)s/keyring"),
        BROKEN,
    ),
    Mistake(
        "an unreachable database, and files",
        (FILES, *FAULTS_OF_ISSUERS),
        lambda text: more(
            "backend = mysql\nbackend.url = mysql://u:hunter2@LISTEN/d?connect_timeout=1", ISSUERS
        )(text.replace("backend = memory\n", "")),
        BROKEN,
    ),
]
MISTAKES = [*OF_THE_FILE, *OF_SETTINGS, *OF_THE_SERVER, *OF_OTHER_FILES, *OF_SEVERAL]


@pytest.fixture(scope="module")
def taken() -> Iterator[str]:
    """An address on which somebody listens: without an error at all, starting would fail there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def own_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the logs of the run, which the command configures for a process of its own."""
    root = logging.getLogger()
    for module in (sys, threading):
        monkeypatch.setattr(module, "excepthook", module.excepthook)
    for name in ("logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[each.name for each in MISTAKES])
def test_mistakes(mistake, taken, tmp_path, monkeypatch, capsys):
    """Each mistake is reported in a line, without a value, with the status that stops repetitions."""
    path = tmp_path / "service.ini"
    changed = mistake.change(INI)
    data = changed if isinstance(changed, bytes) else changed.encode()
    if data != b"\0absent":
        path.write_bytes(data.replace(b"LISTEN", taken.encode()))
    for name, content in mistake.files.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    for name in [each for each in os.environ if each.startswith("PERSONA_")]:
        monkeypatch.delenv(name)
    for name, value in mistake.environ.items():
        monkeypatch.setenv(name, value)
    status = cli.main(["-c", str(path), "serve"])
    lines = capsys.readouterr().err.splitlines(keepends=True)
    printed = "".join(line for line in lines if not line.startswith("WARNING keys.configured: "))
    first, *rest = [each.format(folder=tmp_path) for each in mistake.says]
    assert printed == "".join(
        [
            f"persona-profile: {path}: {first}\n",
            *(f"{each}\n" if each in (SERVER, FILES) else f"  {each}\n" for each in rest),
        ]
    )
    assert status == 2
    assert SECRET not in printed


KEYRING, STORE, LEDGER = (
    "keyring.path: {folder}/keyring: No such file or directory",
    "backend.url: names a file in a folder that is not there",
    "ledger.url: names a file in a folder that is not there",
)
PATHS = """backend = sqlite
backend.url = sqlite:///%(here)s/none/x.sqlite
ledger.backend = sqlite
ledger.url = sqlite:///%(here)s/none/ledger.sqlite
keyring.path = %(here)s/keyring"""
JOBS = {
    ("storage", "init"): (STORE, LEDGER),
    ("storage", "verify"): (KEYRING, STORE),
    ("storage", "stats"): (STORE,),
    ("storage", "backup", "archive"): (STORE,),
    ("storage", "backup", "--ledger", "archive"): (LEDGER,),
    ("storage", "restore", "service.ini"): (KEYRING, STORE, LEDGER),
    ("storage", "restore", "--without-ledger", "service.ini"): (STORE,),
    ("storage", "erase-again", "--since", "2026-11-29T02:00:00Z"): (KEYRING, STORE, LEDGER),
    ("keys", "status"): (KEYRING, STORE),
    ("keys", "rewrap"): (KEYRING, STORE, LEDGER),
    ("keys", "destroy", "1"): (KEYRING, STORE, LEDGER),
    ("export", "a@b.example", "--out", "out"): (KEYRING, STORE, LEDGER),
    ("pictures", "unlock", "a@b.example"): (KEYRING, STORE, LEDGER),
}
"""The parts of `PATHS` that each job needs."""


@pytest.mark.parametrize("job", JOBS, ids=" ".join)
def test_jobs(job, tmp_path, monkeypatch, capsys):
    """A job reports the faults of all files that it needs, and of no others."""
    ini = tmp_path / "service.ini"
    ini.write_text(more(*PATHS.split("\n"))(INI.replace("backend = memory\n", "")))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["-c", str(ini), *job]) == 2
    faults = [each.format(folder=tmp_path) for each in JOBS[job]]
    lines = capsys.readouterr().err.splitlines()
    printed = [each for each in lines if not each.startswith("WARNING keys.configured: ")]
    if len(faults) == 1:
        assert printed == [f"persona-profile: {ini}: {faults[0]}"]
    else:
        assert printed == [f"persona-profile: {ini}: {FILES}", *(f"  {fault}" for fault in faults)]


@pytest.mark.parametrize("name", ["service", "service.conf"])
def test_another_name(name, tmp_path, capsys):
    """A settings file of another name is rejected in a line."""
    path = tmp_path / name
    path.write_text(INI)
    assert cli.main(["-c", str(path), "keys", "status"]) == 2
    said = f"persona-profile: {path}: the name of a settings file ends in .ini\n"
    assert capsys.readouterr().err == said


def test_a_taken_port(taken, tmp_path):
    """A port that is taken is named; it may become free, so the status is 1."""
    path = tmp_path / "service.ini"
    path.write_text(INI.replace("LISTEN", taken))
    command = [sys.executable, "-m", "persona_profile.cli", "-c", str(path), "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"persona-profile: {taken}: Address already in use"


def settings_of(environ: dict[str, str], **more: str) -> Settings:
    """Return the settings of production.ini's names."""
    given = {"public_origins": "https://a.example", "keyring.path": "x", **more}
    return parse_settings(given, environ)


class TestVariables:
    """Variables of the environment, set by operators or by their platforms."""

    def test_services_of_kubernetes(self):
        """Variables that Kubernetes sets for services are no settings."""
        environ = {
            "PERSONA_SERVICE_HOST": "10.0.0.1",
            "PERSONA_SERVICE_PORT": "80",
            "PERSONA_SERVICE_PORT_HTTP": "80",
            "PERSONA_PORT": "tcp://10.0.0.1:80",
            "PERSONA_PORT_80_TCP": "tcp://10.0.0.1:80",
            "PERSONA_PORT_80_TCP_PROTO": "tcp",
            "PERSONA_REDIS_SERVICE_HOST": "10.0.0.2",
            "PERSONA_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
        }
        assert settings_of(environ) == settings_of({})
        assert service_variables(environ) == set(environ)

    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("backend.url", "backend.url_file"),
            ("backend.url_file", "backend.url"),
            ("backend.read_url", "backend.read_url_file"),
            ("backend.read_url_file", "backend.read_url"),
        ],
    )
    def test_one_form_replaces_the_other(self, name, other):
        """The URL of a variable replaces the file's file of the URL, and the other way round."""
        variable = f"PERSONA_{name.upper().replace('.', '_')}"
        settings = settings_of({variable: "x"}, **{other: "y", "backend": "sqlite"})
        assert str(getattr(settings, name.replace(".", "_"))) == "x"
        assert getattr(settings, other.replace(".", "_")) is None


class TestWhatMayPass:
    """Failures that may pass by themselves have status 1, so that the service is started again."""

    @pytest.mark.parametrize("count", [[], ["--processes", "2"]])
    def test_an_unreachable_database(self, count, tmp_path):
        """A database that does not answer ends the start with status 1."""
        url = f"mysql://u:{SECRET}@127.0.0.1:{free_port()}/d?connect_timeout=1"
        done = start(tmp_path, f"backend = mysql\nbackend.url = {url}", count)
        assert done.returncode == 1
        assert SECRET not in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_locked_file(self, tmp_path):
        """A SQLite file that another program has locked ends the start with status 1."""
        with sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            done = start(tmp_path, "backend = sqlite\nbackend.url = sqlite:///%(here)s/x.sqlite", [])
        other.close()
        assert done.returncode == 1, done.stderr

    def test_a_wrong_file_in_several_processes(self, tmp_path):
        """Wrong files that only the processes read end their supervisor; they are listed once."""
        (tmp_path / "issuers").write_text("{")
        lines = (
            "backend = sqlite\nbackend.url = sqlite:///%(here)s/x.sqlite"
            "\nopenid.issuers = %(here)s/issuers\npinned_issuers = %(here)s/none"
        )
        done = start(tmp_path, lines, ["--processes", "4"])
        assert done.returncode == 2
        for said in (FILES, "  openid.issuers: ", "  pinned_issuers: "):
            assert done.stderr.count(said) == 1, done.stderr


def start(folder: Path, lines: str, count: list[str]) -> subprocess.CompletedProcess[str]:
    """Start a service that can't serve; return the ended command."""
    path = folder / "service.ini"
    text = more(*lines.split("\n"))(INI.replace("backend = memory\n", ""))
    path.write_text(text.replace("LISTEN", f"127.0.0.1:{free_port()}"))
    command = [sys.executable, "-m", "persona_profile.cli", "-c", str(path), "serve", *count]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
