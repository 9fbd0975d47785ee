"""A real Chromium, and the front page in it as a person sees it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_SECONDS = 20

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class FrontPage:
    """The front page in a browser: what is on it, and what the browser complains of."""

    def __init__(self, browser: webdriver.Chrome, downloads: Path) -> None:
        self.browser = browser
        self.downloads = downloads
        self._complaints: list[str] = []

    def open(self, origin: str) -> None:
        """Load the page of a server."""
        self.browser.get(origin)

    def reload(self) -> list[WebElement]:
        """Load the page again; return the cards of the session, which must be there still."""
        self.browser.refresh()
        return self.wait_for(self.cards)

    def resize(self, width: int) -> None:
        """Show the page as on a screen of that width; windows can't be as narrow as phones."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def find(self, selector: str) -> WebElement:
        """Return the first element that a CSS selector names."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def cards(self) -> list[WebElement]:
        """Return the cards from left to right."""
        return self.browser.find_elements(By.CSS_SELECTOR, ".card")

    def sign_in(self, emails: str) -> list[WebElement]:
        """Choose the button of these emails; return the cards when the session is there."""
        self.find(f".choice[data-emails='{emails}']").click()
        self.wait_for_notice("Signed in as")
        return self.cards()

    def edit(self, card: WebElement, **claims: str) -> None:
        """Put claims into the form of a card, and save."""
        if not card.find_element(By.TAG_NAME, "details").get_property("open"):
            card.find_element(By.TAG_NAME, "summary").click()
        for name, value in claims.items():
            # Chromedriver types no characters beyond U+FFFF.
            field = card.find_element(By.NAME, name)
            self.browser.execute_script("arguments[0].value = arguments[1]", field, value)
        card.find_element(By.CSS_SELECTOR, "[type=submit]").click()

    def press(self, card: WebElement, action: str) -> None:
        """Press the button of an action of a card."""
        card.find_element(By.CSS_SELECTOR, f"[data-action={action}]").click()

    def shown(self, card: WebElement, part: str) -> str:
        """Return the text that a part of a card shows."""
        return card.find_element(By.CSS_SELECTOR, f"[data-show={part}]").text

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Return what a condition gives as soon as it is true."""
        return WebDriverWait(self.browser, PATIENCE_SECONDS).until(lambda _browser: condition())

    def wait_for_notice(self, words: str) -> None:
        """Wait until the notice says something, which must have these words in it."""
        assert words in self.wait_for(lambda: self.find("#notice").text)

    def shown_picture(self, card: WebElement) -> str:
        """Return the address of the picture of a card as soon as it is decoded."""
        image = card.find_element(By.CSS_SELECTOR, ".portrait img")
        self.wait_for(lambda: image.get_property("complete") and image.get_property("naturalWidth"))
        assert image.is_displayed()
        return str(image.get_property("currentSrc"))

    def expect_complaint(self, words: str) -> None:
        """Wait for a complaint of the browser that is a test's intention."""
        expected = self.wait_for(lambda: [each for each in self.complaints() if words in each])
        self._complaints.remove(expected[0])

    def complaints(self) -> list[str]:
        """Return what the console holds of errors: policies violated, exceptions, requests failed."""
        for entry in self.browser.get_log("browser"):
            if entry["level"] == "SEVERE":
                self._complaints.append(entry["message"])
        return self._complaints


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser puts what it downloads."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[webdriver.Chrome]:
    """A Chromium with a profile of its own, for all tests: it takes a second to start."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.fail(
            "The browser tests need the Debian packages chromium and chromium-driver. "
            "Install them: sudo apt-get install --no-install-recommends chromium chromium-driver",
            pytrace=False,
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in _SWITCHES:
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With the driver named, Selenium looks for none and downloads none.
    started = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield started
    started.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, server: str, downloads: Path) -> Iterator[FrontPage]:
    """The front page of a server with an empty store; the console must stay free of errors."""
    browser.get_log("browser")
    opened = FrontPage(browser, downloads)
    opened.open(server)
    yield opened
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not opened.complaints()
