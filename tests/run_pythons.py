"""Runs tests under every Python that pyproject.toml names and this machine has (`make test-pythons`).

Each Python has an environment of its own in var/pythons, with the newest dependencies that fit. By
default the unit tests run that need neither a browser nor a database.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "var/pythons"
UV = (sys.executable, "-m", "uv")
DEFAULT_TESTS = ("tests/unit", "--ignore=tests/unit/rate_limits")  # those need Redis
CLASSIFIER = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; return 1 if they failed somewhere, 2 if a Python that was asked for is missing."""
    parser = argparse.ArgumentParser(description="Tests under several Pythons.")
    parser.add_argument("--pythons", metavar="VERSIONS", default="", help="such as '3.12 3.14'")
    parser.add_argument("--list", action="store_true", help="report the Pythons, and run nothing")
    options, of_pytest = parser.parse_known_args(arguments)
    asked = options.pythons.replace(",", " ").split()
    found = {version: find(version) for version in asked or supported()}
    missing = [version for version, path in found.items() if path is None]
    results = {}
    for version, path in found.items():
        if path is None:
            results[version] = "missing"
        elif options.list or (asked and missing):
            results[version] = str(path)
        else:
            results[version] = (
                "passed" if passes(version, path, of_pytest or DEFAULT_TESTS) else "FAILED"
            )
    for version, result in results.items():
        print(f"Python {version}: {result}")
    if missing:
        print(how_to_get(missing))
    return 2 if asked and missing else int("FAILED" in results.values())


def supported() -> list[str]:
    """Return the versions that the package names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [found[1] for each in project["classifiers"] if (found := CLASSIFIER.fullmatch(each))]


def find(version: str) -> Path | None:
    """Return an interpreter of a version that runs, or None."""
    for path in candidates(version):
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:  # pyenv's shims may be programs that only complain
            return path
    return None


def candidates(version: str) -> Iterator[Path]:
    """Generate where an interpreter may be: on the path, then among those of pyenv and uv."""
    name = f"python{version}"
    folders = [Path(each) for each in os.get_exec_path()]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += sorted(pyenv.glob(f"versions/{version}.*/bin"), reverse=True)
    of_uv = subprocess.run([*UV, "python", "dir"], capture_output=True, text=True, check=True)
    folders += sorted(Path(of_uv.stdout.strip()).glob(f"cpython-{version}.*/bin"), reverse=True)
    for folder in folders:
        if os.access(folder / name, os.X_OK):
            yield folder / name


def how_to_get(missing: Sequence[str]) -> str:
    """Return the ways to missing Pythons."""
    versions = " ".join(missing)
    return (
        f"missing: {versions}; to get them: `.venv/bin/uv python install {versions}` (from GitHub), "
        f"`pyenv install {versions}` (from python.org, compiled), or a package of the system, "
        f"such as Debian's python{missing[0]}"
    )


def passes(version: str, python: Path, of_pytest: Sequence[str]) -> bool:
    """Install into an environment of a Python, and run the tests there; return whether they pass."""
    print(f"Python {version}: {python}", flush=True)
    folder = FOLDER / version
    inside = folder / "bin/python"
    steps: list[list[str | Path]] = [
        [*UV, "venv", "--quiet", "--allow-existing", "--python", python, folder],
        [*UV, "pip", "install", "--quiet", "--python", inside, "--editable", f"{ROOT}[test]"],
        [inside, "-m", "pytest", *of_pytest],
    ]
    # Neither one's environment is the other's; and uv must not look for a project's.
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return all(
        subprocess.run(each, cwd=ROOT, env=variables, check=False).returncode == 0 for each in steps
    )


if __name__ == "__main__":
    sys.exit(main())
