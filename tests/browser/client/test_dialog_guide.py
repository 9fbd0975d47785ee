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

ASSERTIONS = """
export const knownEmails = ["alice@example.com", "bob@example.org"];
export const assertionsOf = (emails) => Promise.all(emails.map(async (email) => {
  const answer = await fetch("SERVER/development/assertions", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({email}),
  });
  return (await answer.json()).assertion;
}));
"""


def example(language):
    """Return the guide's only block of a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    [block] = fence.findall(GUIDE.read_text(encoding="utf-8"))
    return block


@pytest.fixture
def page(unopened, tmp_path):
    """The guide's dialog with a running server."""
    service = Service(tmp_path, "sqlite", f"sqlite:///{tmp_path}/store.sqlite")
    script = example("js")
    assert script.count("https://profiles.example") == 1
    pages = {
        "/": example("html"),
        "/dialog.js": script.replace("https://profiles.example", service.origin),
        "/assertions.js": ASSERTIONS.replace("SERVER", service.origin),
    }
    with dialog_of(service, pages) as origin:
        service.start()
        unopened.open(origin)
        yield unopened
        unopened.open("about:blank")
        # Browsers request an icon, which the guide's page lacks.
        assert not [each for each in unopened.complaints() if "favicon" not in each]


def test_example_works(page, tmp_path):
    """Cards are updated, a name and a picture are saved, and a sign-out leaves no data."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(quadrants()))
    page.wait_for(lambda: page.find("persona-card").get_property("state") == "ready")
    card, other = page.cards()
    assert [card.get_property("email"), other.get_property("email")] == [ALICE, BOB]
    card.click()
    page.find("[name=name]").send_keys("Alice Liddell")
    page.find("[name=picture]").send_keys(str(path))
    page.find("#edit button").click()
    page.wait_for(lambda: (card.get_property("profile") or {}).get("picture"))
    root = card.shadow_root
    assert root.find_element(By.CSS_SELECTOR, "[part~=name]").text == "Alice Liddell"
    assert page.find("#problem").text == ""
    page.find("#sign-out").click()
    page.wait_for(lambda: not page.cards())
    page.wait_for(lambda: page.browser.execute_script("return localStorage.length") == 0)
    page.wait_for(lambda: page.browser.execute_script("return sessionStorage.length") == 0)
