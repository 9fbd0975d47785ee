"""The example of docs/how-to/dialog.md, executed literally against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from support.pictures.pictures import encode, quadrants
from support.servers.dialogs import dialog_of
from support.servers.services import Service

ALICE, BOB = "alice@example.com", "bob@example.org"
GUIDE = Path(__file__).parents[3] / "docs/how-to/dialog.md"

SERVER = "https://profiles.example"

# The guide's function, for a person whose provider does not know them yet.
PROVE = "export async function prove(email) {"
UNPROVED = f"""{PROVE}
  if (email === "{BOB}" && !sessionStorage.getItem("bob")) {{
    throw new ProfileError("sign_in_denied", "Bob has no certificate.");
  }}
"""


def examples(language):
    """Return the guide's blocks of a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return fence.findall(GUIDE.read_text(encoding="utf-8"))


@pytest.fixture
def page(unopened, tmp_path):
    """The guide's dialog with a running server."""
    service = Service(tmp_path)
    [html], scripts = examples("html"), examples("js")
    assert [each.count(SERVER) for each in scripts] == [1, 1]
    dialog, assertions = (each.replace(SERVER, service.origin) for each in scripts)
    assert assertions.count(PROVE) == 1
    assertions = assertions.replace(PROVE, UNPROVED)
    pages = {"/": html, "/dialog.js": dialog, "/assertions.js": assertions}
    with dialog_of(service, pages) as origin:
        service.start()
        unopened.open(origin)
        yield unopened
        unopened.open("about:blank")
        # Browsers request an icon, which the guide's page lacks; they log a call without its proof.
        known = ("favicon", "403 (Forbidden)")
        assert not [each for each in unopened.complaints() if not any(map(each.__contains__, known))]


def choose(page, card):
    """Press a card; wait for its form, and return whose it is."""
    card.click()
    page.wait_for(page.find("#edit").is_displayed)
    return page.find("h2").text


def save_name(page, card, name):
    """Enter a name into the open form, and save it; wait until the card shows it."""
    page.find("[name=name]").clear()
    page.find("[name=name]").send_keys(name)
    page.find("#edit button").click()
    page.wait_for(lambda: (card.get_property("profile") or {}).get("name") == name)


def wait_until_ready(page, email):
    """Wait for the server's profile on a card; return the card."""
    card = page.find(f"persona-card[email='{email}']")
    page.wait_for(lambda: card.get_property("state") == "ready")
    return card


def test_example_works(page, tmp_path):
    """Cards are updated, a name and a picture are saved, and a sign-out leaves no data."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(quadrants()))
    wait_until_ready(page, ALICE)
    card, other = page.cards()
    assert [card.get_property("email"), other.get_property("email")] == [ALICE, BOB]
    assert choose(page, card) == f"Card of {ALICE}"
    page.find("[name=picture]").send_keys(str(path))
    save_name(page, card, "Alice Liddell")
    page.wait_for(lambda: (card.get_property("profile") or {}).get("picture"))
    root = card.shadow_root
    assert root.find_element(By.CSS_SELECTOR, "[part~=name]").text == "Alice Liddell"
    assert page.find("#problem").text == ""
    page.find("#sign-out").click()
    page.wait_for(lambda: not page.cards())
    page.wait_for(lambda: page.browser.execute_script("return localStorage.length") == 0)
    page.wait_for(lambda: page.browser.execute_script("return sessionStorage.length") == 0)


def test_reload_and_missing_proof(page):
    """A reload shows the cards again; a press signs in the address whose proof is missing."""
    alice = wait_until_ready(page, ALICE)
    choose(page, alice)
    save_name(page, alice, "Alice Liddell")
    page.browser.refresh()
    alice = wait_until_ready(page, ALICE)
    assert alice.get_property("profile")["name"] == "Alice Liddell"
    bob = page.find(f"persona-card[email='{BOB}']")
    assert bob.get_property("state") != "ready"
    bob.click()
    page.wait_for(lambda: "did not sign in" in page.find("#problem").text)
    assert not page.find("#edit").is_displayed()
    page.browser.execute_script("sessionStorage.setItem('bob', 'has a certificate')")
    assert choose(page, bob) == f"Card of {BOB}"
    assert page.find("#problem").text == ""
    save_name(page, bob, "Bob")
    page.browser.refresh()
    names = [wait_until_ready(page, each).get_property("profile")["name"] for each in (ALICE, BOB)]
    assert names == ["Alice Liddell", "Bob"]
