"""Source distribution and wheel: their commit, and the commands of an empty environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from support import ROOT

UNCLONED = shutil.ignore_patterns(
    ".*", "var", "build", "dist", "*.egg-info", "node_modules", "__pycache__", "tests", "docs"
)
NOTE = "persona_profile/version.json"
# Each command's help in one process, as each process imports for a second.
HELP = """
import contextlib, sys
import persona_profile
from persona_profile.cli import main
assert sys.prefix in persona_profile.__file__
for command in sys.argv[1:]:
    sys.argv = ["persona-profile", *command.split(), "--help"]
    with contextlib.suppress(SystemExit):
        main()
"""
OTHER_COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command; return its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit_all(folder: Path) -> str:
    """Make a repository of a folder; return its commit."""
    author = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", ".", cwd=folder)
    run("git", *author, "commit", "--quiet", "--no-verify", "--message", "All", cwd=folder)
    return run("git", "rev-parse", "HEAD", cwd=folder).strip()


def built_commit(source: Path, folder: Path, **environment: str) -> str:
    """Build the package of a source; return the commit that it names."""
    command = (sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", folder)
    run(*command, cwd=source, **environment)
    commit: str = json.loads((folder / NOTE).read_text())["commit"]
    return commit


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The source without a repository."""
    folder = tmp_path / "outer" / "source"
    shutil.copytree(ROOT, folder, ignore=UNCLONED)
    return folder


def test_without_a_repository_of_its_own(source, tmp_path):
    """Without git, and within another repository, a build names no commit but the builder's."""
    assert built_commit(source, tmp_path / "no-git", PATH="/nowhere") == ""
    commit_all(source.parent)
    assert built_commit(source, tmp_path / "other") == ""
    assert built_commit(source, tmp_path / "given", SOURCE_COMMIT=OTHER_COMMIT) == OTHER_COMMIT


def test_commands_of_distributions(source, tmp_path):
    """A wheel by way of a source distribution keeps the commit, and runs every command elsewhere."""
    commit = commit_all(source)
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path, cwd=source)
    assert not (source / NOTE).exists()
    [packed] = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as files:
        files.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", tmp_path, unpacked, cwd=tmp_path, PATH="/nowhere")
    [built] = tmp_path.glob("*.whl")
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python, command = environment / "bin" / "python", environment / "bin" / "persona-profile"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-index", "--no-deps", "--no-compile", built, cwd=tmp_path)
    # The dependencies of this environment, behind the wheel; its own package is in no folder there.
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert json.loads((packages / NOTE).read_text())["commit"] == commit
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    listed = commands()
    assert len(listed) > 15
    helped = run(python, "-P", "-c", HELP, *listed, cwd=elsewhere)
    assert helped.count("usage: ") == len(listed)
    ini = elsewhere / "s.ini"
    text = (ROOT / "deploy" / "container.ini").read_text()
    text = text.replace("/run/secrets", str(elsewhere)).replace("mysql", "sqlite")
    more = f"backend.url = sqlite:///{elsewhere}/s\npublic_origins = https://p.example.com\n"
    ini.write_text(text.replace("[server:main]", f"{more}\n[server:main]"))
    (elsewhere / "a.png").write_bytes((ROOT / "docs" / "images" / "demo.png").read_bytes())
    for line in ("keys init", "storage init", "keys status", "pictures process --out out a.png"):
        run(command, "-c", ini, *line.split(), cwd=elsewhere)


def commands() -> list[str]:
    """Return the commands of the reference."""
    page = (ROOT / "docs" / "reference" / "command.md").read_text()
    return re.findall(r"^\| `([a-z]+(?: [a-z]+)?)[ `]", page, re.MULTILINE)
