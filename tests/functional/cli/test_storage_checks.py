"""`persona-profile storage verify` and `storage stats`, as operators run them."""

import io
import json
import re
import shutil
import subprocess
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import webtest
from PIL import Image
from support.clients.commands import run_command
from support.clients.identities import AUDIENCE
from support.pictures.pictures import encode, photo, quadrants
from support.servers.applications import application

from backends import Delete, Put, Unavailable
from backends.engines.sqlite import SqliteBackend
from persona_profile import cli

ALICE, BOB, CAROL = "alice@example.com", "bob@example.org", "carol@example.net"
SECRETS = ("alice", "bob@", "carol", "example.", "Wonderland", "Builder")

INI = """
[app:main]
use = egg:persona-profile-server
development = true
development.folder = %(here)s
public_origins = http://127.0.0.1:6543
backend = sqlite
backend.url = sqlite:///%(here)s/items.sqlite
"""


def start(folder: Path) -> tuple[webtest.TestApp, dict[str, str]]:
    """Start an application on the folder's store; return it with a session's headers."""
    url = f"sqlite:///{folder}/items.sqlite"
    app = webtest.TestApp(
        application(folder, backend="sqlite", backend__url=url),
        extra_environ={"HTTP_HOST": "127.0.0.1:6543"},
    )
    provider = app.app.development.identity_provider
    proofs = [{"assertion": provider.bundle(email, AUDIENCE)} for email in (ALICE, BOB, CAROL)]
    token = app.post_json("/v1/sessions", {"proofs": proofs}, status=201).json["token"]
    return app, {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a store: Alice and Bob with pictures, Carol without."""
    folder = tmp_path_factory.mktemp("store")
    app, headers = start(folder)
    pictures = {ALICE: photo(1200, 900), BOB: encode(quadrants())}
    for email, name in ((ALICE, "Wonderland"), (BOB, "Builder"), (CAROL, "C")):
        app.patch_json(f"/v1/profiles/{email}", {"name": name}, headers=headers)
    for email, picture in pictures.items():
        typed = headers | {"Content-Type": "image/jpeg"}
        app.put(f"/v1/profiles/{email}/picture", picture, headers=typed)
    app.app.close()
    (folder / "test.ini").write_text(INI)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """A copy of the store that a test may damage."""
    return shutil.copytree(written, tmp_path / "store")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a job to its end; fail if its output has personal data or keys."""
    result = run_command("-c", folder / "test.ini", "storage", *arguments, **environment)
    said = result.stdout + result.stderr
    assert not [secret for secret in SECRETS if secret in said]
    keyring = json.loads((folder / "keyring.json").read_text())
    for each in keyring["encryption_keys"] + keyring["index_keys"]:
        assert each["secret"] not in said
    assert "Traceback" not in said
    return result


def emails(backend: SqliteBackend) -> list[bytes]:
    """Return the partitions of emails."""
    return [each for each in backend.scan(None, 100) if each[0] != 0]


def renditions(backend: SqliteBackend) -> list[tuple[int, str, int]]:
    """Return size, format and bytes of all renditions; the formats depend on the picture."""
    infos = (info for partition in emails(backend) for info in backend.list(partition))
    named = ((info.name.rpartition("/")[2].split("."), info.size) for info in infos if "/" in info.name)
    return [(int(size), form, count) for (size, form), count in named]


@pytest.fixture
def backend(folder):
    """The store, without the service."""
    backend = SqliteBackend.from_url(f"sqlite:///{folder}/items.sqlite")
    yield backend
    backend.close()


class TestVerify:
    def test_clean(self, folder, backend):
        """A store that the service wrote is clean: exit status 0, a summary, nothing on stderr."""
        result = run(folder, "verify")
        assert (result.returncode, result.stderr) == (0, "")
        assert re.search(r"^profiles +3$", result.stdout, re.MULTILINE)
        assert re.search(rf"^renditions +{len(renditions(backend))}$", result.stdout, re.MULTILINE)
        assert re.search(r"^data keys under key version 1 +3$", result.stdout, re.MULTILINE)
        assert result.stdout.endswith("\nNo findings.\n")

    def test_clean_for_programs(self, folder, backend):
        """Programs get one JSON object."""
        result = run(folder, "verify", "--json")
        assert (result.returncode, result.stderr) == (0, "")
        document = json.loads(result.stdout)
        assert document.pop("bytes_read") > 10_000
        assert document.pop("used_proofs") in (0, 3)
        assert document.pop("partitions") in (3, 6)
        assert document == {
            "clean": True,
            "findings": [],
            "findings_by_kind": {},
            "profiles": 3,
            "renditions": len(renditions(backend)),
            "key_versions": {"1": 3},
            "stale_keys": 0,
            "protected": 0,
            "moving": 0,
        }

    def test_damage(self, folder, backend):
        """Each finding names kind, partition and item; the exit status is 1."""
        first, second, third = emails(backend)
        flipped = bytearray(backend.get_many([(first, "profile")])[first, "profile"].value)
        flipped[-1] ^= 1
        backend.apply(first, [Put("profile", bytes(flipped))])
        backend.apply(second, [Delete("key")])
        backend.apply(third, [Put("mystery", b"x")])
        backend.apply(b"\x63" + bytes(32), [Put("key", b"x")])
        expected = [
            {"kind": "unreadable_profile", "partition": first.hex(), "item": "profile"},
            {"kind": "half_profile", "partition": second.hex(), "item": "key"},
            {"kind": "unknown_item", "partition": third.hex(), "item": "mystery"},
            {"kind": "unknown_partition", "partition": "63" + "00" * 32, "item": None},
        ]
        result = run(folder, "verify", "--json")
        document = json.loads(result.stdout)
        assert (result.returncode, document["clean"]) == (1, False)
        assert document["findings"] == expected
        assert document["findings_by_kind"] == {each["kind"]: 1 for each in expected}
        result = run(folder, "verify")
        assert result.returncode == 1
        lines = [line.split() for line in result.stdout.splitlines()[:5]]
        assert lines[0] == ["FINDING", "PARTITION", "ITEM"]
        assert lines[1:] == [
            [each["kind"], each["partition"], each["item"] or "-"] for each in expected
        ]
        assert "4 findings:" in result.stdout

    def test_goes_on(self, folder, backend):
        """A run goes on after the partition where another was stopped."""
        first, *_ = emails(backend)
        document = json.loads(run(folder, "verify", "--json", "--after", first.hex()).stdout)
        assert document["partitions"] == 2

    @pytest.mark.parametrize(("stopped_by", "status"), [(Unavailable, 1), (KeyboardInterrupt, 130)])
    def test_stopped(self, folder, backend, monkeypatch, capsys, stopped_by, status):
        """A run that is stopped, by a person or by the storage, prints how to go on."""
        first, second, _ = emails(backend)
        read = SqliteBackend.read_many

        def stopping(self, partitions, max_bytes):
            if partitions[0] == second:
                raise stopped_by
            return read(self, partitions[:1], max_bytes)

        monkeypatch.setattr(SqliteBackend, "read_many", stopping)
        assert cli.main(["-c", str(folder / "test.ini"), "storage", "verify"]) == status
        said = capsys.readouterr()
        assert f"stopped; go on with --after {first.hex()}\n" in said.err
        assert "No findings" not in said.out

    @pytest.mark.parametrize("after", ["xyz", "", "00" * 34, "1"])
    def test_wrong_partition(self, folder, after):
        """A value that is no partition is rejected: exit status 2."""
        result = run(folder, "verify", "--after", after)
        assert result.returncode == 2
        assert "--after" in result.stderr

    def test_no_store(self, folder):
        """A missing store is no clean store: exit status 1."""
        (folder / "items.sqlite").unlink()
        for job in ("verify", "stats"):
            result = run(folder, job)
            assert (result.returncode, result.stdout) == (1, "")
            assert "storage init" in result.stderr

    def test_other_keyring(self, folder, tmp_path):
        """With a keyring of another store nothing opens: exit status 1."""
        (tmp_path / "other").mkdir()
        app, _ = start(tmp_path / "other")
        app.app.close()
        other = tmp_path / "other" / "keyring.json"
        result = run(folder, "verify", "--json", PERSONA_KEYRING_PATH=str(other))
        assert result.returncode == 1
        assert json.loads(result.stdout)["findings_by_kind"] == {"unreadable_key": 3}

    def test_in_use(self, folder):
        """While the service replaces pictures and erases, another process finds nothing wrong."""
        app, headers = start(folder)
        stop = threading.Event()

        def write() -> None:
            client = webtest.TestApp(app.app, extra_environ={"HTTP_HOST": "127.0.0.1:6543"})
            typed = headers | {"Content-Type": "image/jpeg"}
            while not stop.is_set():
                client.put(f"/v1/profiles/{ALICE}/picture", encode(quadrants()), headers=typed)
                client.patch_json(f"/v1/profiles/{BOB}", {"name": "Builder"}, headers=headers)
                client.delete(f"/v1/profiles/{CAROL}", headers=headers)
                client.patch_json(f"/v1/profiles/{CAROL}", {"name": "C"}, headers=headers)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(3):
                result = run(folder, "verify", "--json")
                assert result.returncode == 0, result.stdout
        finally:
            stop.set()
            writer.join(30)
            app.app.close()


class TestStats:
    def test_numbers(self, folder, backend):
        """The numbers are those of the items, and need no keyring."""
        result = run(folder, "stats", "--json", PERSONA_KEYRING_PATH="/nonexistent")
        assert (result.returncode, result.stderr) == (0, "")
        document = json.loads(result.stdout)
        stored = [backend.list(partition) for partition in emails(backend)]
        totals = sorted(sum(info.size for info in infos) for infos in stored)
        assert document["profiles"] == 3
        assert document["with_picture"] == 2
        assert document["blank"] == 0
        assert document["total_bytes"] == sum(totals)
        sizes = document["profile_bytes"]
        assert (sizes["count"], sizes["maximum"]) == (3, totals[-1])
        assert sizes["average"] == pytest.approx(sum(totals) / 3, abs=0.1)
        assert totals[1] <= sizes["p50"] < totals[1] + 64
        kinds = {(each["size"], each["format"]): each for each in document["renditions"]}
        assert set(kinds) == {(size, form) for size, form, _ in renditions(backend)}
        jpegs = [count for size, form, count in renditions(backend) if (size, form) == (64, "jpeg")]
        assert kinds[64, "jpeg"]["count"] == len(jpegs) == 2
        assert kinds[64, "jpeg"]["average"] == pytest.approx(sum(jpegs) / 2, abs=0.1)

    def test_table(self, folder, backend):
        """A person reads a table."""
        result = run(folder, "stats")
        assert (result.returncode, result.stderr) == (0, "")
        assert re.search(r"^profiles +3$", result.stdout, re.MULTILINE)
        assert re.search(r"^  with a picture +2$", result.stdout, re.MULTILINE)
        header, profile, *rest = result.stdout.partition("\n\n")[2].splitlines()
        assert header.split()[2:] == ["count", "average", "p50", "p95", "p99", "maximum"]
        assert profile.startswith("a profile")
        assert len(rest) == len({(size, form) for size, form, _ in renditions(backend)})
        assert len({len(line) for line in (header, profile, *rest)}) == 1

    def test_plot(self, folder, tmp_path):
        """The chart is a whole PNG or SVG, by the ending of its name."""
        png, svg = tmp_path / "sizes.png", tmp_path / "sizes.svg"
        for path in (png, svg):
            result = run(folder, "stats", "--plot", str(path))
            assert (result.returncode, result.stderr) == (0, "")
        with Image.open(io.BytesIO(png.read_bytes())) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert picture.width >= 1000
        root = ET.fromstring(svg.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [secret for secret in SECRETS if secret in svg.read_text()]

    def test_plot_of_nothing(self, folder, backend, tmp_path):
        """An empty store has a chart and a table as well."""
        for partition in backend.scan(None, 100):
            backend.apply(partition, [Delete(info.name) for info in backend.list(partition)])
        result = run(folder, "stats", "--plot", str(tmp_path / "none.svg"))
        assert (result.returncode, result.stderr) == (0, "")
        ET.parse(tmp_path / "none.svg")

    @pytest.mark.parametrize("name", ["sizes.pdf", "sizes", "nowhere/sizes.png"])
    def test_wrong_plot(self, folder, tmp_path, name):
        """A name with another ending, or in a missing folder, is rejected before the store is read."""
        result = run(folder, "stats", "--plot", str(tmp_path / name))
        assert (result.returncode, result.stdout) == (2, "")
        assert "--plot" in result.stderr

    def test_without_matplotlib(self, folder, tmp_path):
        """Without the extra, only `--plot` fails, with the command to install it."""
        (tmp_path / "matplotlib.py").write_text("raise ImportError")
        result = run(folder, "stats", "--plot", str(tmp_path / "x.svg"), PYTHONPATH=str(tmp_path))
        assert (result.returncode, result.stdout) == (2, "")
        assert "pip install '.[plot]'" in result.stderr
        assert run(folder, "stats", PYTHONPATH=str(tmp_path)).returncode == 0

    def test_not_writable(self, folder, tmp_path):
        """A chart that can't be written is reported in one line: exit status 1."""
        (tmp_path / "x.svg").mkdir()
        result = run(folder, "stats", "--plot", str(tmp_path / "x.svg"))
        assert result.returncode == 1
        assert "Is a directory" in result.stderr
