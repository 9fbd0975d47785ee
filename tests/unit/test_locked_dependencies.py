"""The dependencies that production installs."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = (Path(__file__).parents[2] / "requirements" / "production.txt").read_text()
ENTRIES = re.findall(
    r"^([a-z0-9-]+)==([^ ;]+)(?: ; [^\\]+)? \\\n((?:    --hash=.*\n)+)", LOCK, re.MULTILINE
)


def test_lock_satisfies_setup():
    """What setup.py asks for is locked, in a version that it takes; `make lock` renews it."""
    versions = {name: version for name, version, _ in ENTRIES}
    wanted = [
        Requirement(each) for each in requires("persona-profile-server") if "extra ==" not in each
    ]
    assert len(wanted) > 15
    for each in wanted:
        assert versions[canonicalize_name(each.name)] in each.specifier, each


def test_everything_has_hashes():
    """Every locked dependency has hashes of SHA-256, and no index is named."""
    assert len(ENTRIES) == len(re.findall("^[a-z]", LOCK, re.MULTILINE))
    for name, _, hashes in ENTRIES:
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", hashes), name
    assert "http" not in LOCK
