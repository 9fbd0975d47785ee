"""The package of the browser modules: installed, bundled and used as docs/how-to/package.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time

import pytest
from selenium.webdriver.common.by import By
from support import ROOT
from support.browsers.abilities import in_three_engines
from support.servers.dialogs import dialog_of
from support.servers.services import Service

GUIDE = (ROOT / "docs/how-to/package.md").read_text(encoding="utf-8")
CONSUMER = ROOT / "tests/consumer"
CHECKOUT = "path/to/persona-profile-server"
BUNDLERS = ("vite", "webpack", "esbuild")
NPM = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_ignore_scripts": "true",
    "npm_config_loglevel": "error",
    "npm_config_prefer_offline": "true",
}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Bundled</title>
<div id="cards"></div><script type="module" src="SCRIPT"></script></html>
"""
MODULES = ("", "/card", "/openid", "/email-verification", "/messages", "/worker")
PATIENCE_SECONDS = 60


def blocks(language):
    """Return the guide's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def run(folder, command):
    """Run a command of the shell; return its output."""
    done = subprocess.run(
        ["sh", "-euc", command],
        cwd=folder,
        env=os.environ | NPM,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with the package and the bundlers, and with the guide's files."""
    folder = tmp_path_factory.mktemp("consumer")
    for path in CONSUMER.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    [cards], [style], [imports, german] = blocks("tsx"), blocks("css"), blocks("js")
    (folder / "cards.tsx").write_text(cards)
    (folder / "style.css").write_text(style)
    (folder / "german.js").write_text(german)
    assert imports in (folder / "dialog.js").read_text()
    install = blocks("sh")[0]
    assert install.count(CHECKOUT) == 1
    run(folder, install.replace(CHECKOUT, str(ROOT)))
    return folder


@pytest.fixture(scope="module")
def bundles(project):
    """The files that each bundler makes of the project, by path."""
    files = {}
    for name, command in zip(BUNDLERS, blocks("sh")[1:], strict=True):
        assert command.startswith(f"npx {name} ")
        run(project, command)
        dist = project / "dist"
        made = {f"/{name}/{path.relative_to(dist)}": path for path in dist.rglob("*.*")}
        files |= {path: file.read_text() for path, file in made.items()}
        shutil.rmtree(dist)
    pages = {"webpack": "/webpack/main.js", "esbuild": "/esbuild/dialog.js"}
    return files | {f"/{each}/index.html": PAGE.replace("SCRIPT", pages[each]) for each in pages}


@pytest.fixture(scope="module")
def dialog(bundles, tmp_path_factory):
    """The origins of a server of all bundles, and of a development server, which allows it."""
    folder = tmp_path_factory.mktemp("service")
    service = Service(folder)
    with dialog_of(service, bundles) as origin:
        service.start()
        yield origin, service.origin


def value_of(opened, expression):
    """Return the value of an expression once it is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := opened.execute_script(f"return {expression}")):
        if time.monotonic() > end:
            pytest.fail(f"{expression}: {opened.page_source}")
        time.sleep(0.05)
    return value


def unexpected(errors):
    """Return the errors but that of the name which the server rejects, and of the missing icon."""
    return [each for each in errors if "favicon" not in each and "400 (Bad Request)" not in each]


def test_versions(project):
    """The project has the versions of the committed lock, and the package needs no other."""
    locked, installed = (
        json.loads((folder / "package-lock.json").read_text())["packages"]
        for folder in (CONSUMER, project)
    )
    new = installed.keys() - locked.keys()
    assert new == {"node_modules/persona-profile-client"}
    for name, package in locked.items():
        assert installed[name].get("version") == package.get("version"), name


def test_types(project, tmp_path):
    """`tsc --strict` knows elements, events and JSX, rejects mistakes, and needs no types of React."""
    run(project, "node_modules/.bin/tsc")
    package = "node_modules/persona-profile-client"
    shutil.copytree(project / package, tmp_path / package)
    shutil.copy(project / "elements.ts", tmp_path)
    config = json.loads((project / "tsconfig.json").read_text())
    (tmp_path / "tsconfig.json").write_text(json.dumps(config | {"include": ["elements.ts"]}))
    run(project, f"node_modules/.bin/tsc --project {tmp_path}")


def test_import_without_dom(project):
    """Node imports each module of the package by its name."""
    names = [f"persona-profile-client{each}" for each in MODULES]
    script = f"for (const name of {json.dumps(names)}) console.log(Object.keys(await import(name)));"
    (project / "import.mjs").write_text(script)
    printed = run(project, "node import.mjs")
    assert "PersonaCard" in printed
    assert "ProfileClient" in printed
    assert printed.count("]") == len(MODULES)


@in_three_engines
@pytest.mark.parametrize("bundler", BUNDLERS)
def test_bundle(engine, browser, dialog, bundler):
    """A bundle signs in, shows a card, reduces in a worker and without, and explains errors."""
    origin, server = dialog
    engine.leave()
    browser.get(f"{origin}/{bundler}/index.html#{server}")
    assert value_of(browser, "globalThis.outcome") == {
        "card": ["ready", "Alice Liddell", True],
        "inWorker": 1024,
        "onPage": 1024,
        "english": "Cancelled.",
        "german": "Webseite: must be an https URL.",
    }
    assert not unexpected(engine.complaints())


@in_three_engines
def test_react(engine, browser, dialog):
    """The guide's components show cards and the chosen card, in the guide's style."""
    origin, server = dialog
    engine.leave()
    browser.get(f"{origin}/vite/react.html#{server}")
    cards = "[...document.querySelectorAll('persona-card')]"
    value_of(browser, f"{cards}.filter(({{ state }}) => state === 'ready').length === 2")
    card = "document.querySelector('persona-card')"
    weight = f"getComputedStyle({card}.shadowRoot.querySelector('[part~=name]')).fontWeight"
    assert browser.execute_script(f"return {weight}") == "700"
    browser.find_element(By.CSS_SELECTOR, "persona-card[email='bob@example.org']").click()
    chosen = "document.querySelector('#chosen persona-card')"
    assert value_of(browser, f"{chosen}?.profile?.email") == "bob@example.org"
    browser.find_element(By.CSS_SELECTOR, "#chosen persona-card").click()
    value_of(browser, f"{cards}.length === 2")
    assert not unexpected(engine.complaints())
