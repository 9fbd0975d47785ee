"""The shipped systemd unit, and the service's notifications to systemd."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import ROOT
from support.servers.services import Service

from backends.copying.archive import check
from persona_profile.runtime.supervisor import SPARE_SECONDS
from persona_profile.serving.waitress_settings import CONNECTIONS, SPARE_FILES

UNIT = ROOT / "deploy" / "persona-profile.service"
BACKUP = UNIT.with_name("persona-profile-backup.service")
LEDGER = UNIT.with_name("persona-profile-ledger.service")
INSTALLED = "/opt/persona-profile/venv/bin/persona-profile"
EXPOSURE_LIMIT = 20
"""Tenths of the exposure by `systemd-analyze security`: 0 is confined, 100 is open."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        raise RuntimeError("these tests need systemd: apt-get install --no-install-recommends systemd")
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_unit(tmp_path):
    """The shipped unit and the cluster's drop-in are valid and confined by systemd's own checks."""
    program = Path(sys.executable).with_name("persona-profile")
    text = UNIT.read_text().replace(INSTALLED, str(program))
    text = re.sub("^Documentation=.*\n", "", text, flags=re.MULTILINE)
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    addition = tmp_path / f"{UNIT.name}.d" / "cluster.conf"
    addition.parent.mkdir()
    shutil.copy(ROOT / "deploy" / "cluster" / "systemd.conf", addition)
    verified = analyze("verify", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", str(unit))
    assert rated.returncode == 0, rated.stdout[-500:]


@pytest.mark.parametrize("unit", [BACKUP, LEDGER], ids=["backup", "ledger"])
def test_units_of_timers(tmp_path, unit):
    """The units of backups and of the ledger's copies are valid and confined by systemd."""
    program = Path(sys.executable).with_name("persona-profile")
    for name in ("service", "timer"):
        text = unit.with_suffix(f".{name}").read_text()
        text = re.sub("^Documentation=.*\n", "", text, flags=re.MULTILINE)
        (tmp_path / f"{unit.stem}.{name}").write_text(text.replace(INSTALLED, str(program)))
    units = [tmp_path / f"{unit.stem}.{name}" for name in ("service", "timer")]
    verified = analyze("verify", *map(str, units))
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT}", str(units[0]))
    assert rated.returncode == 0, rated.stdout[-500:]


def run_unit(
    unit: Path, service: Service, folder: Path, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a unit's command for a service, with a folder for its files; kill it after some seconds."""
    [command] = re.findall(
        r"^ExecStart=/bin/sh -ec '(.*?)'$", unit.read_text(), re.MULTILINE | re.DOTALL
    )
    command = command.replace(INSTALLED, str(Path(sys.executable).with_name("persona-profile")))
    command = command.replace("/etc/persona-profile/production.ini", str(service.folder / "test.ini"))
    command = command.replace("\\\n", "").replace("%%", "%").replace("$$", "$")
    with subprocess.Popen(
        ["/bin/sh", "-ec", command],
        env=os.environ | {"STATE_DIRECTORY": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_copies_of_the_ledger(tmp_path):
    """The unit replaces a whole copy by a whole copy, killed at any instant, of a ledger in use."""
    service = Service(tmp_path / "service", "sqlite", f"sqlite:///{tmp_path}/items.sqlite")
    folder = tmp_path / "archives"
    folder.mkdir()
    copy = folder / "ledger-copy"
    service.start()
    try:
        done = run_unit(LEDGER, service, folder)
        assert (done.returncode, done.stderr) == (0, "")
        assert "The archive is whole" in done.stdout
        assert [path.name for path in folder.iterdir()] == ["ledger-copy"]
        began = time.monotonic()
        run_unit(LEDGER, service, folder)
        whole = time.monotonic() - began
        for _ in range(3):
            run_unit(LEDGER, service, folder, random.uniform(0.5, 1) * whole)
            with copy.open("rb") as file:
                assert check(file).partitions == 1
        assert run_unit(LEDGER, service, folder).returncode == 0
        assert not (folder / ".ledger.partial").exists()
    finally:
        service.close()


def test_backup_of_the_unit(tmp_path):
    """The unit's command writes an archive of today, checks it, and deletes archives of last month."""
    service = Service(tmp_path / "service")
    assert service.run("storage", "init").returncode == 0
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, days in (("young.archive", 29), ("old.archive", 31), (".a.partial", 2), ("notes", 99)):
        (folder / name).write_bytes(b"")
        changed = time.time() - days * 86_400
        os.utime(folder / name, (changed, changed))
    done = run_unit(BACKUP, service, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The archive is whole" in done.stdout
    names = sorted(path.name for path in folder.iterdir())
    assert re.fullmatch(r"20\d\d-\d\d-\d\d\.archive", names[0])
    assert names[1:] == ["notes", "young.archive"]


def test_unit_permits_the_confinement_of_workers():
    """The unit's filter permits the system calls for forking, confining and watching workers."""
    allowed: set[str] = set()
    for line in re.findall("^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        names = calls_of(line.removeprefix("~").split())
        allowed = allowed - names if line.startswith("~") else allowed | names
    assert allowed >= {
        *("landlock_create_ruleset", "landlock_restrict_self", "seccomp", "prctl", "prlimit64"),
        *("clone", "setsid", "pidfd_open", "wait4", "kill", "socketpair", "sendmsg", "recvmsg"),
    }


def calls_of(names: list[str]) -> set[str]:
    """Return the system calls of names; systemd's groups are expanded."""
    found = {name for name in names if not name.startswith("@")}
    for group in (name for name in names if name.startswith("@")):
        listed = re.sub("^ +#.*$", "", analyze("syscall-filter", group).stdout, flags=re.MULTILINE)
        found |= calls_of(listed.split()[1:])
    return found


def test_unit_waits_for_what_is_in_flight():
    """Systemd waits longer than a graceful stop takes, and signals only the supervisor."""
    unit = UNIT.read_text()
    settings = (ROOT / "production.ini").read_text()
    limits = [
        re.search(rf"^shutdown.{name}_seconds = (\d+)$", settings, re.MULTILINE)
        for name in ("drain", "grace")
    ]
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert int(seconds) > sum(int(found[1]) for found in limits) + SPARE_SECONDS
    assert "KillMode=mixed\n" in unit


def test_unit_has_room():
    """The unit's limits of memory and files exceed the needs of its processes as shipped."""
    unit, settings = UNIT.read_text(), (ROOT / "production.ini").read_text()

    def number(pattern: str, text: str) -> int:
        [found] = re.findall(pattern, text, re.MULTILINE)
        return int(found)

    processes = number(r"^ExecStart=.* --processes (\d+)$", unit)
    workers, memory = (
        number(rf"^pictures.{name} = (\d+)$", settings) for name in ("workers", "worker_memory_mib")
    )
    needed = 30 + processes * (120 + 80 * workers + memory)
    assert needed < number(r"^MemoryHigh=(\d+)M$", unit) < number(r"^MemoryMax=(\d+)M$", unit)
    assert f"| {needed:,} |" in (ROOT / "docs/how-to/operate.md").read_text()
    assert number(r"^#connection_limit = (\d+)$", settings) == CONNECTIONS
    assert number(r"^LimitNOFILE=(\d+)$", unit) >= CONNECTIONS + SPARE_FILES


def test_few_files(tmp_path):
    """With too few files for the configured connections, the server reduces them and logs it."""
    code = (
        "import logging, resource, sys; logging.basicConfig(format='%(message)s')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 600))\n"
        "from pathlib import Path\n"
        "from support.servers.applications import application\n"
        "from persona_profile.serving.server import make_server\n"
        "app = application(Path(sys.argv[1]))\n"
        "for limit in (300, 1000):\n"
        "    print(make_server(app, listen='127.0.0.1:0', connection_limit=limit).adj.connection_limit)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["300", str(600 - SPARE_FILES)]
    warnings = [line for line in done.stderr.splitlines() if "connection_limit" in line]
    assert warnings == ["connection_limit: 344 instead of 1000, as the process may open 600 files"]


@pytest.mark.parametrize("arguments", [(), ("--processes", "1")])
def test_notifications(tmp_path, monkeypatch, arguments):
    """The service notifies systemd once when it is ready, and once when it stops."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        folder = tmp_path / "service"
        with closing(Service(folder)) as service:
            service.start(*arguments)
            assert systemd.recv(100) == b"READY=1"
            service.signal(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            assert service.wait() == 0
            systemd.settimeout(0.1)
            with pytest.raises(TimeoutError):  # no repeated notifications
                systemd.recv(100)
