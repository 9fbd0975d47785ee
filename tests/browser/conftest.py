"""Real browsers, and the front page in them: Chromium, or that of the parameter `engine`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from support.browsers.abilities import REPORT_STATUS
from support.browsers.engines import Engine
from support.browsers.network import set_network
from support.browsers.screenshots import save
from support.browsers.starting import START, chromium

PATIENCE_SECONDS = 20
POLL_SECONDS = 0.05

_PAINTED = """
const [done] = arguments;
Promise.all(document.getAnimations().map((each) => each.finished)).then(() => {
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)));
});
"""


class FrontPage:
    """The front page in a browser, with the browser's complaints."""

    def __init__(self, engine: Engine, downloads: Path) -> None:
        self.engine = engine
        self.browser: Any = engine.driver
        self.downloads = downloads
        self._complaints: list[str] = []

    def open(self, origin: str) -> None:
        """Load the page of a server."""
        self.browser.get(origin)
        self.engine.opened()

    def reload(self) -> WebElement:
        """Reload the page; return the shown profile once the server has answered."""
        self.browser.refresh()
        self.engine.opened()
        profile: WebElement = self.wait_for(self.profile)
        # The template's text, empty or of the cache, is replaced.
        answered = r"return /^(?!Waiting)./.test(arguments[0].textContent.trim())"
        updated = profile.find_element(By.CSS_SELECTOR, "[data-show=updated]")
        self.wait_for(lambda: self.browser.execute_script(answered, updated))
        return profile

    def resize(self, width: int, height: int = 800) -> None:
        """Show the page on a screen of a width."""
        self.engine.resize(width, height)

    def prefer(self, **features: str) -> None:
        """Emulate preferences such as `color_scheme="dark"`."""
        self.engine.prefer({f"prefers-{k.replace('_', '-')}": value for k, value in features.items()})

    def photograph(self, name: str) -> None:
        """Save a screenshot of the whole page, or of the open dialog, for people to look at."""
        self.browser.execute_async_script(_PAINTED)
        save(self.engine, name)

    def find(self, selector: str) -> WebElement:
        """Return the first element of a CSS selector."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def focused(self) -> WebElement:
        """Return the focused element."""
        return self.browser.switch_to.active_element

    def cards(self) -> list[WebElement]:
        """Return the selectable cards, from top to bottom."""
        return self.browser.find_elements(By.CSS_SELECTOR, "#cards persona-card")

    def emails(self) -> list[str]:
        """Return the emails of the cards."""
        return [str(card.get_property("email")) for card in self.cards()]

    def card(self, email: str) -> WebElement:
        """Return the card of an email."""
        return self.find(f"#chooser persona-card[email='{email}']")

    def on_card(self, email: str, part: str) -> str:
        """Return the text of a card's part."""
        root = self.card(email).shadow_root
        return root.find_element(By.CSS_SELECTOR, f"[part~={part}]").text

    def profile(self) -> WebElement:
        """Return the shown profile."""
        return self.find(".profile:not([hidden])")

    def sign_in(self, *emails: str) -> WebElement:
        """Choose the cards of emails; return the profile shown afterwards."""
        if len(emails) > 1:
            self.find("#several").click()
        for email in emails:
            self.wait_for(lambda email=email: self.card(email)).click()
        if len(emails) > 1:
            self.find("#continue").click()
        self.wait_for_notice("Signed in as")
        return self.profile()

    def edit(self, profile: WebElement, **claims: str) -> None:
        """Fill claims into a profile's form, and submit it."""
        if not profile.find_element(By.CSS_SELECTOR, ".editor").get_property("open"):
            profile.find_element(By.CSS_SELECTOR, ".editor summary").click()
        for name, value in claims.items():
            # Chromedriver types no characters beyond U+FFFF.
            field = profile.find_element(By.NAME, name)
            self.browser.execute_script("arguments[0].value = arguments[1]", field, value)
        profile.find_element(By.CSS_SELECTOR, ".claims [type=submit]").click()

    def save(self, profile: WebElement, **claims: str) -> None:
        """Fill claims into a profile's form, and save them successfully."""
        self.edit(profile, **claims)
        self.wait_for_notice("Saved.")

    def choose_file(self, profile: WebElement, path: Path) -> None:
        """Choose a file as a profile's picture."""
        profile.find_element(By.NAME, "picture").send_keys(str(path))

    def cropper(self) -> WebElement:
        """Return the cropping dialog once it is open."""
        dialog = self.find("#crop")
        self.wait_for(dialog.is_displayed)
        return dialog

    def upload(self, profile: WebElement, path: Path) -> None:
        """Choose a file and its largest square as a profile's picture; wait until it is saved."""
        self.choose_file(profile, path)
        self.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        self.wait_for_notice("The picture is saved.")

    def press(self, profile: WebElement, action: str) -> None:
        """Press the button of a profile's action."""
        button = profile.find_element(By.CSS_SELECTOR, f"[data-action={action}]")
        # Drivers scroll to what is out of sight, but not to what the page's head covers.
        self.browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", button)
        button.click()

    def shown(self, profile: WebElement, part: str) -> str:
        """Return the text of a profile's part."""
        return profile.find_element(By.CSS_SELECTOR, f"[data-show={part}]").text

    def wait_for_problem(self, scope: WebElement, words: str) -> None:
        """Wait for a problem with some words in a part of the page."""

        def problem() -> str:
            places = scope.find_elements(By.CSS_SELECTOR, ".problem")
            return "".join(place.text for place in places)

        self._wait_for_words(words, problem)

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Poll a condition until it is true; return its value."""
        # A condition may find an element of the page that is being left.
        away = (NoSuchElementException, StaleElementReferenceException)
        wait = WebDriverWait(self.browser, PATIENCE_SECONDS, POLL_SECONDS, away)
        return wait.until(lambda _browser: condition())

    def wait_for_notice(self, words: str) -> None:
        """Wait for a notice with some words."""
        self._wait_for_words(words, lambda: self.find("#notice").text)

    def _wait_for_words(self, words: str, text: Callable[[], str]) -> None:
        """Wait for words in a text, which may show others before."""
        with contextlib.suppress(TimeoutException):
            self.wait_for(lambda: words in text())
        assert words in text()

    def shown_picture(self, profile: WebElement) -> str:
        """Return the address of a profile's picture once it is decoded."""
        image = profile.find_element(By.CSS_SELECTOR, ".portrait img")
        self.wait_for(lambda: image.get_property("complete") and image.get_property("naturalWidth"))
        assert image.is_displayed()
        return str(image.get_property("currentSrc"))

    def expect_complaint(self, words: str) -> None:
        """Wait for an intended complaint of the browser: a status, if it reports those."""
        if not self.engine.can(REPORT_STATUS):
            return
        expected = self.wait_for(lambda: [each for each in self.complaints() if words in each])
        self._complaints.remove(expected[0])

    def complaints(self) -> list[str]:
        """Return the console's errors: violated policies, exceptions, failed requests."""
        self._complaints += self.engine.complaints()
        return self._complaints


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The browsers' folder of downloads."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def engines(
    tmp_path_factory: pytest.TempPathFactory, downloads: Path
) -> Iterator[Callable[[str], Engine]]:
    """Returns the browser of an engine, which starts once for all tests: that takes seconds."""
    started: dict[str, Engine] = {}
    with contextlib.ExitStack() as stack:

        def engine_of(name: str) -> Engine:
            if name not in started:
                folder = tmp_path_factory.mktemp(name)
                started[name] = stack.enter_context(START[name](folder, downloads))
            return started[name]

        yield engine_of


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> Engine:
    """The browser of a test: Chromium, unless a test names other engines."""
    return engines(getattr(request, "param", "chromium"))


@pytest.fixture(scope="module")
def browser(engine: Engine) -> WebDriver:
    """The driver of a test's browser."""
    return engine.driver


@pytest.fixture
def new_page(
    tmp_path_factory: pytest.TempPathFactory, downloads: Path
) -> Callable[..., contextlib.AbstractContextManager[FrontPage]]:
    """Start a Chromium of its own for a front page; further switches are arguments."""

    @contextlib.contextmanager
    def start(*switches: str) -> Iterator[FrontPage]:
        with chromium(tmp_path_factory.mktemp("chromium"), downloads, *switches) as started:
            yield FrontPage(started, downloads)

    return start


@pytest.fixture
def unopened(engine: Engine, downloads: Path) -> Iterator[FrontPage]:
    """A front page, not opened yet, with the usual size and preferences."""
    engine.leave()
    yield FrontPage(engine, downloads)
    engine.reset()


@pytest.fixture
def page(unopened: FrontPage, server: str) -> Iterator[FrontPage]:
    """The front page of a server with an empty store; errors in the console fail the test."""
    unopened.open(server)
    unopened.wait_for(unopened.cards)
    yield unopened
    assert not unopened.complaints()


@pytest.fixture
def network(browser: WebDriver) -> Iterator[Callable[..., None]]:
    """Sets the conditions of Chromium's network, and resets them afterwards."""
    set_network(browser)
    yield partial(set_network, browser)
    set_network(browser)
    browser.execute_cdp_cmd("Network.disable", {})
