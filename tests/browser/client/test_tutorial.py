"""The tutorial and the curl commands of the README, executed literally."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from support import ROOT
from support.pictures.pictures import encode, quadrants
from support.servers.ports import free_port
from support.servers.services import Service

TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALICE, BOB = "alice@example.com", "bob@example.org"


def blocks(text, language):
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def service(tmp_path):
    """A development server, not started yet."""
    with closing(Service(tmp_path / "server")) as made:
        yield made


@pytest.fixture
def tutorial(service, tmp_path):
    """The origin of the tutorial's page, served by the tutorial's own commands."""
    port = free_port()
    run, copy, serve = (
        block.replace("var/my-dialog", f"{tmp_path}/my-dialog").replace("8000", str(port))
        for block in blocks(TUTORIAL, "sh")
    )
    [origin] = re.findall(r"PERSONA_DIALOG_ORIGINS=(\S+) make run", run)
    settings = service.folder / "test.ini"
    allowed = f"dialog_origins = {origin}\n\n[server:main]"
    settings.write_text(settings.read_text().replace("[server:main]", allowed))
    subprocess.run(["sh", "-euc", copy], cwd=ROOT, check=True)
    [page] = blocks(TUTORIAL, "html")
    assert page.count("http://127.0.0.1:6543") == 1
    (tmp_path / "my-dialog" / "index.html").write_text(
        page.replace("http://127.0.0.1:6543", service.origin)
    )
    command = [sys.executable, *serve.split()[1:]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as pages:
        for _ in range(100):
            try:
                urlopen(origin).close()
                break
            except URLError:
                time.sleep(0.1)
        yield origin
        pages.terminate()


def save_name(page, card, name):
    """Press a card, and save a name in its form; wait until the card shows it."""
    card.click()
    page.wait_for(page.find("#edit").is_displayed)
    assert page.find("h2").text == f"Card of {card.get_property('email')}"
    page.find("[name=name]").clear()
    page.find("[name=name]").send_keys(name)
    page.find("#edit button").click()
    page.wait_for(lambda: (card.get_property("profile") or {}).get("name") == name)


def test_tutorial(service, tutorial, unopened, tmp_path):
    """The page shows a card, signs in another, reloads both, and paints them without the server."""
    service.start()
    unopened.open(service.origin)
    profile = unopened.sign_in(ALICE)
    unopened.save(profile, name="Alice Liddell")
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(quadrants()))
    unopened.upload(profile, path)
    unopened.open(tutorial)
    unopened.wait_for(lambda: unopened.find("persona-card").get_property("state") == "ready")
    alice, bob = unopened.cards()
    assert [alice.get_property("email"), bob.get_property("email")] == [ALICE, BOB]
    assert alice.get_property("profile")["name"] == "Alice Liddell"
    assert alice.get_property("profile")["picture"]
    assert bob.get_property("state") != "ready"
    save_name(unopened, bob, "Bob")
    # Chromium logs the call without a proof.
    unopened.expect_complaint("403 (Forbidden)")
    unopened.browser.refresh()
    states = "return [...document.querySelectorAll('persona-card')].map(({ state }) => state)"
    unopened.wait_for(lambda: unopened.browser.execute_script(states) == ["ready", "ready"])
    service.close()
    unopened.open(tutorial)
    names = [card.get_property("profile")["name"] for card in unopened.cards()]
    assert names == ["Alice Liddell", "Bob"]
    unopened.expect_complaint("ERR_CONNECTION_REFUSED")
    unopened.open("about:blank")


def test_readme_commands(service):
    """The README's ten lines of curl write, upload, fetch and erase, and leave no files."""
    service.start()
    [commands] = [block for block in blocks(README, "sh") if "curl" in block]
    assert len(commands.splitlines()) <= 10
    assert " -o /dev/null" in commands
    assert not re.search(r">(?!&)|-[oO] (?!/dev/null)", commands)
    commands = commands.replace("http://127.0.0.1:6543", service.origin)
    command = f"{Path(sys.executable).with_name('persona-profile')} -c {service.folder}/test.ini"
    commands = commands.replace(".venv/bin/persona-profile", command)
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=commands,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    edited, fetched, erased = done.stdout.splitlines()
    assert '"name":"Alice"' in edited
    assert re.fullmatch(r"image/(avif|webp|jpeg), \d+ bytes", fetched)
    assert erased == "204"
