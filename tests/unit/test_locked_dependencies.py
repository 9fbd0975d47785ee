"""The locked dependencies of production."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "requirements"
LOCKS = {name: (FOLDER / f"{name}.txt").read_text() for name in ("production", "redis", "traces")}
ENTRY = re.compile(r"^([a-z0-9-]+)==([^ ;]+)(?: ; [^\\]+)? \\\n((?:    --hash=.*\n)+)", re.MULTILINE)


def wanted(extra: str | None) -> list[Requirement]:
    """Return the requirements of pyproject.toml, or of an extra."""
    ending = f'extra == "{extra}"' if extra else ""
    lines = [each for each in requires("persona-profile-server") or [] if each.endswith(ending)]
    return [Requirement(each) for each in lines if extra or "extra ==" not in each]


@pytest.mark.parametrize(
    ("lock", "extra", "least"),
    [("production", None, 16), ("redis", "redis", 1), ("traces", "traces", 2)],
)
def test_lock_satisfies_setup(lock, extra, least):
    """Each requirement of the package is locked in a compatible version; `make lock` renews it."""
    versions = {name: version for name, version, _ in ENTRY.findall(LOCKS[lock])}
    needed = wanted(extra)
    assert len(needed) >= least
    for each in needed:
        assert versions[canonicalize_name(each.name)] in each.specifier, each


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_has_hashes(lock):
    """Every locked dependency has SHA-256 hashes; the locks name no index."""
    text = LOCKS[lock]
    entries = ENTRY.findall(text)
    assert len(entries) == len(re.findall("^[a-z]", text, re.MULTILINE)) > 0
    for name, _, hashes in entries:
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", hashes), name
    assert "http:" not in text
    assert "https:" not in text


def test_locks_agree():
    """The locks agree on the versions of shared dependencies."""
    versions = {
        lock: {(name, version) for name, version, _ in ENTRY.findall(text)}
        for lock, text in LOCKS.items()
    }
    names = {name for name, _ in versions["production"]}
    for extra in versions.keys() - {"production"}:
        assert {each for each in versions[extra] if each[0] in names} <= versions["production"], extra


def test_no_page_installs_without_hashes():
    """Documented commands install only with hashes from an index."""
    root = FOLDER.parent
    pages = [root / "production.ini", root / "README.md", *(root / "docs").rglob("*.md")]
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    commands = re.findall(r"^.*bin/pip\"? install.*$", text, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert "--require-hashes" in command or "--no-deps" in command, command
