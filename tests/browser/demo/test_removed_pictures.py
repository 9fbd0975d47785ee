"""A person whose picture an operator has removed, on the demo page."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from support.clients.accessibility import violations
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application, running
from support.servers.ports import free_port

from persona_profile.profiles.removals import PictureRemovals

ALICE = "alice@example.com"
REASON = "This picture shows someone else."
DAY = 24 * 3600


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A development application that knows its own origin."""
    port = free_port()
    origins = f"http://127.0.0.1:6543 http://127.0.0.1:{port}"
    app = application(tmp_path_factory.mktemp("development"), public_origins=origins)
    with running(app, port) as origin:
        yield app, origin
    app.close()


@pytest.fixture
def server(app):
    """The origin of the application."""
    return app[1]


@pytest.fixture
def operator(app):
    """The operator's commands on the store of the application."""
    profiles = app[0].services.profiles
    return PictureRemovals(app[0].backend, profiles._homes, profiles._keys, ledger=app[0].ledger)


def test_locked(page, operator, tmp_path):
    """The page and the card have the reason and the end instead of an upload, until the lock ends."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(quadrants(600, 600)))
    profile = page.sign_in(ALICE)
    page.upload(profile, path)
    operator.remove(ALICE, 30 * DAY, REASON)
    profile = page.reload()
    text = page.wait_for(lambda: page.shown(profile, "removal"))
    assert text.startswith(
        "The operators have removed the picture of this address, and accept no other"
    )
    assert text.endswith(f"Their reason: {REASON}")
    assert not profile.find_element(By.CSS_SELECTOR, ".picture").is_displayed()
    assert not profile.find_element(By.CSS_SELECTOR, ".portrait img").is_displayed()
    page.wait_for(lambda: page.find(".profile .editor").is_displayed())
    page.photograph("removed-picture")
    assert violations(page.browser) == []
    page.save(profile, name="Alice")
    operator.unlock(ALICE)
    profile = page.reload()
    assert page.shown(profile, "removal") == ""
    page.upload(profile, path)
    page.find("#sign-out").click()
    page.wait_for_notice("You are signed out, everywhere.")


def test_removed(page, operator):
    """Without a lock the page has the reason and an upload; a card has it in place of other texts."""
    profile = page.sign_in(ALICE)
    page.save(profile, pronouns="she/her")
    operator.remove(ALICE, None, REASON)
    profile = page.reload()
    page.wait_for(lambda: REASON in page.shown(profile, "removal"))
    assert profile.find_element(By.CSS_SELECTOR, ".picture").is_displayed()
    card = page.find("persona-card")
    about = page.wait_for(lambda: card.shadow_root.find_element(By.CSS_SELECTOR, "[part~=about]"))
    notice = page.browser.execute_script("return arguments[0].textContent", about)
    assert notice.startswith("The operators have removed the picture")
    assert about.get_property("title") == notice
    button = card.shadow_root.find_element(By.CSS_SELECTOR, "button")
    assert REASON in button.get_attribute("aria-label")
    page.find("#sign-out").click()
    page.wait_for_notice("You are signed out, everywhere.")
    assert "removed" not in page.find("persona-card").shadow_root.find_element(
        By.CSS_SELECTOR, "[part~=about]"
    ).get_property("textContent")
