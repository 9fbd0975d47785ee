"""A person protects a profile on the demo page, by passkeys and a recovery code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from support.clients.authenticators import Authenticators

ALICE = "alice@example.com"


@pytest.fixture
def named(unopened: Any, server: str) -> Any:
    """The front page of a server by its name, which passkeys need."""
    unopened.open(server.replace("127.0.0.1", "localhost"))
    unopened.browser.execute_script("localStorage.clear(); sessionStorage.clear()")
    unopened.browser.refresh()
    return unopened


@pytest.fixture
def authenticators(named: Any) -> Iterator[Authenticators]:
    """The authenticators of the page; none at first."""
    plugged = Authenticators(named.browser)
    yield plugged
    plugged.close()


def press(page: Any, profile: WebElement, action: str) -> None:
    """Press a button of the profile once it is there."""
    button = profile.find_element(By.CSS_SELECTOR, f"[data-action={action}]")
    page.wait_for(button.is_displayed)
    button.click()


def kept_code(page: Any) -> str:
    """Return the recovery code that is shown, and keep it."""
    dialog = page.find("#recovery")
    page.wait_for(dialog.is_displayed)
    code = dialog.find_element(By.CSS_SELECTOR, "#recovery-code").text
    dialog.find_element(By.CSS_SELECTOR, "[value=kept]").click()
    return code


def protect(page: Any, profile: WebElement) -> str:
    """Protect a profile with a passkey; return the recovery code."""
    profile.find_element(By.CSS_SELECTOR, ".protection summary").click()
    press(page, profile, "protect-passkey")
    code = kept_code(page)
    page.wait_for_notice("Only your keys open this profile now.")
    return code


def sign_in_again(page: Any) -> WebElement:
    """Sign out, and in again without a key; return the profile."""
    page.find("#sign-out").click()
    page.wait_for_notice("You are signed out, everywhere.")
    return page.sign_in(ALICE)


def is_locked(profile: WebElement) -> bool:
    """Return whether the profile asks for a key."""
    return profile.find_element(By.CSS_SELECTOR, ".unlock").is_displayed()


def unlock_by_code(page: Any, profile: WebElement, code: str) -> None:
    """Open the profile with a typed code."""
    field = profile.find_element(By.NAME, "profile_key")
    field.clear()
    field.send_keys(code, Keys.ENTER)


def keys(page: Any, profile: WebElement, count: int) -> list[WebElement]:
    """Return the listed keys once there are that many."""
    section = profile.find_element(By.CSS_SELECTOR, ".protection")
    if not section.get_property("open"):
        section.find_element(By.CSS_SELECTOR, "summary").click()
    found = section.find_elements
    page.wait_for(lambda: len(found(By.CSS_SELECTOR, ".keys li")) == count)
    return found(By.CSS_SELECTOR, ".keys li")


def test_two_clicks(named, authenticators):
    """A profile is protected in two clicks, and opened with one at the next visit."""
    authenticators.add()
    profile = named.sign_in(ALICE)
    named.save(profile, name="Alice Liddell")
    named.photograph("protection-before")
    profile.find_element(By.CSS_SELECTOR, ".protection summary").click()
    assert "If you lose all your keys, the profile is lost" in profile.text
    named.photograph("protection-offered")
    press(named, profile, "protect-passkey")
    named.wait_for(named.find("#recovery").is_displayed)
    named.photograph("protection-code")
    kept_code(named)
    named.wait_for_notice("Only your keys open this profile now.")
    first, second = keys(named, profile, 2)
    named.photograph("protection-keys")
    assert "in use now" in first.text
    assert "in use now" not in second.text
    profile = sign_in_again(named)
    assert is_locked(profile)
    assert "Alice Liddell" not in profile.text
    named.photograph("protection-locked")
    press(named, profile, "use-passkey")
    named.wait_for(lambda: named.shown(named.profile(), "title") == "Alice Liddell")
    assert not is_locked(named.profile())


def test_recovery_by_code(named, authenticators):
    """Without the passkey the recovery code opens the profile, and a new passkey can be added."""
    lost = authenticators.add()
    profile = named.sign_in(ALICE)
    named.save(profile, name="Alice Liddell")
    code = protect(named, profile)
    authenticators.remove(lost)
    authenticators.add("usb")
    profile = sign_in_again(named)
    unlock_by_code(named, profile, code[:-1])
    named.wait_for_problem(profile, "This is not a recovery code.")
    unlock_by_code(named, profile, code.lower().replace("-", " "))
    named.wait_for(lambda: named.shown(named.profile(), "title") == "Alice Liddell")
    profile = named.profile()
    keys(named, profile, 2)
    press(named, profile, "add-passkey")
    named.wait_for_notice("Another key opens this profile now.")
    oldest, *_ = keys(named, profile, 3)
    oldest.find_element(By.CSS_SELECTOR, "button").click()
    named.find("#confirm-key [value=remove]").click()
    named.wait_for_notice("The key is removed.")
    keys(named, profile, 2)
    profile = sign_in_again(named)
    press(named, profile, "use-passkey")
    named.wait_for(lambda: named.shown(named.profile(), "title") == "Alice Liddell")


def test_removal_of_the_key_in_use(named, authenticators):
    """After the removal of its own key the session shows nothing of the profile."""
    authenticators.add()
    profile = named.sign_in(ALICE)
    named.save(profile, name="Alice Liddell")
    code = protect(named, profile)
    own, _ = keys(named, profile, 2)
    own.find_element(By.CSS_SELECTOR, "button").click()
    named.find("#confirm-key [value=remove]").click()
    named.wait_for(lambda: is_locked(profile))
    assert "Alice Liddell" not in profile.text
    press(named, profile, "use-passkey")
    named.wait_for_problem(profile, "This profile opens with another key of yours.")
    unlock_by_code(named, named.profile(), code)
    named.wait_for(lambda: named.shown(named.profile(), "title") == "Alice Liddell")
    [last] = keys(named, named.profile(), 1)
    last.find_element(By.CSS_SELECTOR, "button").click()
    named.find("#confirm-key [value=remove]").click()
    named.wait_for_problem(named.profile(), "This is the last key of this profile, and stays.")
    press(named, named.profile(), "unprotect")
    named.wait_for_notice("The protection is removed")
    assert not is_locked(sign_in_again(named))


def test_everything_lost(named, authenticators):
    """Without any key the profile is lost, as the page said: it can be erased, and begun again."""
    lost = authenticators.add()
    profile = named.sign_in(ALICE)
    named.save(profile, name="Alice Liddell")
    protect(named, profile)
    authenticators.remove(lost)
    authenticators.add()
    profile = sign_in_again(named)
    press(named, profile, "use-passkey")
    named.wait_for_problem(profile, "No passkey was used. Nothing has changed.")
    named.press(profile, "erase")
    named.find("#confirm [value=erase]").click()
    named.wait_for_notice("is erased")
    named.wait_for(lambda: not is_locked(profile))
    named.save(profile, name="Alice Again")


def test_without_passkeys(named):
    """In a browser whose passkeys give no key the recovery code alone protects."""
    named.browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.PublicKeyCredential"}
    )
    named.browser.refresh()
    profile = named.sign_in(ALICE)
    named.save(profile, name="Alice Liddell")
    profile.find_element(By.CSS_SELECTOR, ".protection summary").click()
    assert "This browser has no passkeys" in profile.text
    assert not profile.find_element(By.CSS_SELECTOR, "[data-action=protect-passkey]").is_displayed()
    press(named, profile, "protect-code")
    code = kept_code(named)
    named.wait_for_notice("Only your keys open this profile now.")
    profile = sign_in_again(named)
    unlock_by_code(named, profile, code)
    named.wait_for(lambda: named.shown(named.profile(), "title") == "Alice Liddell")


def test_an_unkept_code(named, authenticators):
    """Nothing is protected by a recovery code that the person has not kept."""
    authenticators.add()
    profile = named.sign_in(ALICE)
    profile.find_element(By.CSS_SELECTOR, ".protection summary").click()
    press(named, profile, "protect-code")
    named.wait_for(named.find("#recovery").is_displayed)
    named.find("#recovery [value=cancel]").click()
    assert not is_locked(sign_in_again(named))


def test_address(unopened, server):
    """At an IP address the page leads to its name."""
    unopened.open(server)
    profile = unopened.sign_in(ALICE)
    profile.find_element(By.CSS_SELECTOR, ".protection summary").click()
    link = profile.find_element(By.CSS_SELECTOR, ".address a")
    assert link.get_property("href") == f"{server.replace('127.0.0.1', 'localhost')}/"
    link.click()
    unopened.wait_for(lambda: unopened.find("h1").text)
    assert unopened.browser.current_url.startswith("http://localhost:")
