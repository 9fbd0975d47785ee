"""The command that starts a Chromium for email verification beside the development server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from persona_profile.development import chromium

ROOT = Path(__file__).parents[3]


def start(folder, *arguments):
    """Run the command with a folder of programs as its PATH."""
    return subprocess.run(
        [sys.executable, "-m", "persona_profile.development.chromium", *arguments],
        env={"PATH": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def browser(tmp_path):
    """A program in the place of Chromium, which prints its arguments."""
    path = tmp_path / "chromium"
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("origin", ["http://localhost:6543", "http://127.0.0.1:7000"])
def test_switches(browser, origin):
    """It opens the demo page with a profile of its own, which is removed at its end."""
    done = start(browser, origin)
    assert done.returncode == 7
    *switches, page = done.stdout.splitlines()
    assert page == f"{origin}/"
    assert set(chromium.switches(origin, ("127.0.0.1", 6545))) <= set(switches)
    [profile] = [each for each in switches if each.startswith("--user-data-dir=")]
    assert not Path(profile.partition("=")[2]).exists()
    assert ("--no-sandbox" in switches) == (os.geteuid() == 0)


def test_default_page(browser):
    """Without an argument it opens the page of `make run`."""
    assert start(browser).stdout.splitlines()[-1] == f"{chromium.DEFAULT_ORIGIN}/"


def test_without_a_browser(tmp_path):
    """Without a Chromium it says which programs it looks for."""
    done = start(tmp_path)
    assert done.returncode == 1
    assert "chromium" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_other_host():
    """The browser of this command finds the issuer and loopback, and no other host."""
    [rules] = [
        each
        for each in chromium.switches("http://localhost:6543", ("127.0.0.1", 6545))
        if each.startswith("--host-resolver-rules=")
    ]
    assert "MAP accounts.example 127.0.0.1:6545,MAP * ~NOTFOUND" in rules
