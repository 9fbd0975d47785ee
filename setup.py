"""The one step of the build that pyproject.toml can't name: the commit goes into what is built."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

FOLDER = Path(__file__).resolve().parent
NOTE = Path("persona_profile", "version.json")


def commit() -> str:
    """Return the commit: `SOURCE_COMMIT`, the note of a source distribution, or git's; or nothing."""
    if "SOURCE_COMMIT" in os.environ:
        return os.environ["SOURCE_COMMIT"]
    if (FOLDER / NOTE).exists():
        return str(json.loads((FOLDER / NOTE).read_text(encoding="utf-8"))["commit"])
    # A hook's variables may name another repository; and a build often has another user than the files.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-c", f"safe.directory={FOLDER}", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(  # noqa: S603 - whichever git there is
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""  # no git, no repository, no commit
    root, head = found.stdout.splitlines()
    return head if Path(root) == FOLDER else ""  # that of a repository around this folder


def write_note(folder: str, version: str) -> None:
    """Write `version.json` into what is built."""
    note = Path(folder, NOTE)
    note.unlink(missing_ok=True)  # it may be a link to the source's
    note.write_text(json.dumps({"version": version, "commit": commit()}), encoding="utf-8")


class BuildWithCommit(build_py):
    """Copies the packages, without leftovers of an earlier build, and adds the note."""

    def run(self) -> None:
        """Build into an empty folder; an editable installation changes without being built."""
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        write_note(self.build_lib, self.distribution.get_version())


class SourceWithCommit(sdist):
    """Adds the note to a source distribution, which has no git."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Copy the source, and write the note beside it."""
        super().make_release_tree(base_dir, files)
        write_note(base_dir, self.distribution.get_version())


setup(cmdclass={"build_py": BuildWithCommit, "sdist": SourceWithCommit})
