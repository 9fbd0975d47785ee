"""Wheel and source distribution: their content, their commit, and the commands that they install."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import ROOT
from support.pictures.pictures import photo
from support.servers.applications import wait_for
from support.servers.ports import free_port

from persona_profile.cli import _parser

pytestmark = pytest.mark.timeout(300)

PACKAGES = ("backends", "loadtest", "persona_profile")
UNSHIPPED = {"persona_profile/static/make-messages.js", "persona_profile/static/tsconfig.json"}
"""Tools of a checkout."""

GUIDES = ("deploy", "docs", "requirements/*.txt", ":(glob)*.ini", ":(glob)*.md")
"""What the guide to install a source distribution needs, and its links."""

OWN_TOOLS = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}

INI = """
[app:main]
use = egg:persona-profile-server
development = true
development.folder = %(here)s/var
development.provider_listen = off
development.issuer_listen = off
keyring.path = %(here)s/keyring.json
backend = sqlite
backend.url = sqlite:///%(here)s/{store}.sqlite
public_origins = http://127.0.0.1:{port}

[server:main]
use = egg:persona-profile-server
listen = 127.0.0.1:{port}
"""

JOBS = """
keys init
storage init
-c other.ini storage init
keys rotate
keys rotate --promote
keys status
keys rewrap
storage upgrade
keys destroy --revoke 1 --yes
storage backup backup
-c other.ini storage restore --without-ledger backup
storage copy --overwrite test.ini other.ini
storage stats
storage verify
assertion alice@example.com
nothing export --out data.zip alice@example.com
erase --yes alice@example.com
pictures process --out pictures photo.jpg
model --users 1000
"""
"""Commands in the order of a store's life; `nothing`: status 1, as nothing is stored."""

RUNNER = """
import sys
from persona_profile.cli import main

for job in sys.stdin.read().splitlines():
    words = job.split()
    expected = 1 if words[0] == "nothing" and words.pop(0) else 0
    try:
        status = main(["-c", "test.ini", *words])
    except SystemExit as end:
        status = end.code
    if status != expected:
        sys.exit(f"{job}: {status}")
"""
"""Runs the commands of its input; in one process, as each start takes half a second."""


def files_of_git(*paths: str) -> set[str]:
    """Return the files of this checkout that git has."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(filter(None, listed.stdout.split("\0")))


def environment(**more: str) -> dict[str, str]:
    """Return the tests' environment without a word on commits."""
    kept = {name: each for name, each in os.environ.items() if not name.startswith("GIT_")}
    kept.pop("SOURCE_COMMIT", None)
    return kept | OWN_TOOLS | more


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return its output."""
    done = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    """Make a repository with one commit of a folder's `.gitignore`; return the commit."""
    folder.joinpath(".gitignore").write_text("*")
    git(folder, "init", "--quiet")
    git(folder, "add", "--force", ".gitignore")
    git(folder, "commit", "--quiet", "--message", folder.name)
    return git(folder, "rev-parse", "HEAD")


def copy_source(to: Path) -> Path:
    """Copy the files that git has, without its repository."""
    for name in files_of_git(
        *PACKAGES, *GUIDES, "LICENSE", "MANIFEST.in", "pyproject.toml", "setup.py"
    ):
        to.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to / name)
    return to


def run(*command: object, cwd: Path, given: str = "", **more: str) -> str:
    """Run a program; fail with its errors."""
    done = subprocess.run(
        list(map(str, command)),
        input=given,
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-3000:])
    return done.stdout


def noted(folder: Path) -> dict[str, str]:
    """Return the note of what was built into a folder."""
    return json.loads(folder.joinpath("persona_profile/version.json").read_text())


class Built(NamedTuple):
    """Both distributions, and the commit of their source."""

    wheel: Path
    sdist: Path
    commit: str


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The source in a folder without git."""
    return copy_source(tmp_path_factory.mktemp("without") / "source")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    """What `python -m build` makes of a repository: the wheel is built from the source distribution."""
    folder = copy_source(tmp_path_factory.mktemp("with") / "source")
    commit = commit_all(folder)
    out = folder.with_name("out")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=folder)
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sdist, commit)


@pytest.fixture(scope="module")
def without_git(source) -> Path:
    """A wheel that `pip wheel` makes where there is no git, and leftovers of an earlier build."""
    old = source / "build/lib/persona_profile/old.py"
    old.parent.mkdir(parents=True)
    old.touch()
    out = source.with_name("out")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out]
    run(sys.executable, "-m", "pip", "wheel", *options, source, cwd=source.parent, PATH="/nowhere")
    [wheel] = out.glob("*.whl")
    return wheel


def test_content_of_the_wheel(built, without_git):
    """A wheel has the packages' files of git, the note and metadata, whatever it is built from."""
    expected = files_of_git(*PACKAGES) - UNSHIPPED | {"persona_profile/version.json"}
    assert {"persona_profile/py.typed", "backends/engines/migrations/versions/0001_items.py"} < expected
    for wheel in (built.wheel, without_git):
        names = zipfile.ZipFile(wheel).namelist()
        assert {name for name in names if ".dist-info/" not in name} == expected
        assert len(names) == len(set(names))


def test_content_of_the_source_distribution(built):
    """A source distribution has the packages, the guides and what they need, and nothing else."""
    with tarfile.open(built.sdist) as archive:
        names = {each.name.partition("/")[2] for each in archive if each.isfile()}
    written = {"PKG-INFO", "setup.cfg", "persona_profile/version.json"}
    extra = {"LICENSE", "MANIFEST.in", "pyproject.toml", "setup.py"}
    expected = files_of_git(*PACKAGES, *GUIDES) - UNSHIPPED | extra | written
    names = {name for name in names if ".egg-info/" not in name}
    assert (names - expected, expected - names) == (set(), set())


def test_commit_of_the_wheel(built, without_git):
    """The commit is kept through the source distribution; without git there is none."""
    commits = []
    for wheel in (built.wheel, without_git):
        with zipfile.ZipFile(wheel) as archive:
            commits.append(json.loads(archive.read("persona_profile/version.json"))["commit"])
    assert commits == [built.commit, ""]


@pytest.mark.parametrize(
    ("around", "inside", "variables", "expected"),
    [
        (False, True, {}, "inside"),
        (True, True, {}, "inside"),
        (True, False, {}, ""),  # that repository is another one
        (False, True, {"GIT_DIR": "{around}/.git"}, "inside"),  # as within a hook
        (False, False, {"GIT_DIR": "{around}/.git"}, ""),
        (False, True, {"PATH": "/nowhere"}, ""),
        (False, True, {"SOURCE_COMMIT": "abc"}, "abc"),
        (False, False, {"SOURCE_COMMIT": "abc", "PATH": "/nowhere"}, "abc"),
    ],
)
def test_commit(tmp_path, around, inside, variables, expected):
    """The commit is `SOURCE_COMMIT` or of the source's own repository, not of any around it."""
    elsewhere = tmp_path / "around"
    folder = (elsewhere if around else tmp_path) / "source"
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "persona_profile/__init__.py"):
        folder.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    elsewhere.mkdir(exist_ok=True)
    commit_all(elsewhere)
    known = {"": "", "abc": "abc", "inside": commit_all(folder) if inside else ""}
    if inside and os.geteuid() == 0:
        os.chown(folder, 12345, 12345)  # as a container's builder sees a folder of its host
        os.chown(folder / ".git", 12345, 12345)
    variables = {name: each.format(around=elsewhere) for name, each in variables.items()}
    command = ("setup.py", "--quiet", "build_py", "--build-lib", tmp_path / "lib")
    run(sys.executable, *command, cwd=folder, **variables)
    assert noted(tmp_path / "lib")["commit"] == known[expected]


class Installed(NamedTuple):
    """Programs of an environment, and files of the package with their hashes, for each distribution."""

    programs: Path
    records: dict[str, set[str]]


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Installed:
    """An environment with the locked dependencies and the package alone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", folder]
    locked = ["--require-hashes", "--only-binary", ":all:", "-r", ROOT / "requirements/production.txt"]
    run(*install, *locked, cwd=folder)
    records = {}
    for archive in (built.wheel, built.sdist):
        own = [*install, "--no-deps", "--no-build-isolation", "--no-cache", "--reinstall"]
        run(*own, archive, cwd=folder)
        [record] = folder.glob("lib/*/site-packages/persona_profile_server-*.dist-info/RECORD")
        lines = record.read_text().splitlines()
        records[archive.name] = {each for each in lines if each.startswith(PACKAGES)}
    return Installed(folder / "bin", records)


def test_both_install_the_same(built, installed):
    """Wheel and source distribution install the same files."""
    of_wheel, of_source = installed.records.values()
    own = {each for each in of_wheel if ".dist-info/" not in each}
    assert own == {each for each in of_source if ".dist-info/" not in each}
    assert len(own) > 300


def paths(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Generate the commands of a parser."""
    below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for action in below:
        for name, child in action.choices.items():
            yield from (f"{name} {rest}".strip() for rest in paths(child))
    if not below:
        yield ""


def test_commands(installed, built, tmp_path):
    """Every command runs from another folder; the server has its demo, API document and commit."""
    port = free_port()
    for name in ("test", "other"):
        (tmp_path / f"{name}.ini").write_text(INI.format(store=name, port=port))
    (tmp_path / "photo.jpg").write_bytes(photo(640, 480))
    command = (installed.programs / "persona-profile", "-c", "test.ini")
    outside = {"PATH": "/usr/bin:/bin"}
    jobs = JOBS.strip().splitlines()
    others = {path for path in paths(_parser()) if not any(path in job for job in jobs)}
    jobs += [f"{path} --help" for path in sorted(others)]
    runner = (installed.programs / "python", "-I", "-c", RUNNER)
    run(*runner, cwd=tmp_path, given="\n".join(jobs), **outside)
    with subprocess.Popen([*command, "serve"], cwd=tmp_path, env=outside) as process:
        try:
            origin = f"http://127.0.0.1:{port}"
            wait_for(lambda: "commit" in fetched(f"{origin}/__version__"))
            assert json.loads(fetched(f"{origin}/__version__"))["commit"] == built.commit
            assert "<title>Persona Profiles" in fetched(f"{origin}/")
            assert "persona-card" in fetched(f"{origin}/static/persona-card.js")
            assert '"openapi"' in fetched(f"{origin}/v1/openapi.json")
        finally:
            process.terminate()
    assert process.returncode == 0


def fetched(url: str) -> str:
    """Return the body of an answer; nothing while no server listens."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read().decode()
    except OSError:
        return ""
