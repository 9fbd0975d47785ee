"""Sign-in by redirect at the development server's OpenID provider."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.browsers.abilities import in_three_engines
from support.clients.accessibility import violations
from support.servers.applications import Clock, application, running
from support.servers.dialogs import dialog_of
from support.servers.ports import free_port
from support.servers.services import Service, development_server

from persona_profile.serving.development_provider import start_providers

ALICE, BOB = "alice@example.com", "bob@example.org"
REQUEST = "persona-openid-request"
GUIDE = Path(__file__).parents[3] / "docs/how-to/dialog.md"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A development server with its provider, as `make run` starts it."""
    folder = tmp_path_factory.mktemp("openid")
    with development_server(folder, provider_port=free_port()) as started:
        yield started


@pytest.fixture
def page(unopened, service):
    """The front page of that server in a tab without a session."""
    unopened.open(service.origin)
    unopened.browser.execute_script("sessionStorage.clear(); localStorage.clear()")
    unopened.open(service.origin)
    yield unopened
    assert not unopened.complaints()


def go(page, service):
    """Navigate to the provider."""
    page.find("#openid").click()
    page.wait_for(lambda: page.browser.current_url.startswith(service.provider))


def choose(page, email):
    """Choose an address on the provider's page."""
    page.find(f"button[value='{email}']").click()


def wait_for_problem(page, words):
    """Wait until the front page, possibly after a redirect, shows a problem."""
    page.wait_for_problem(page.wait_for(lambda: page.find("#chooser")), words)


def is_clean(page, service):
    """Return whether address and storage are free of the provider's answer."""
    stored = page.browser.execute_script("return JSON.stringify({...sessionStorage})")
    return page.browser.current_url == f"{service.origin}/" and REQUEST not in stored


class TestSigningIn:
    @in_three_engines
    def test_there_and_back(self, page, service):
        """The redirect gives a session and its card, and leaves no trace of the token."""
        go(page, service)
        choose(page, ALICE)
        page.wait_for_notice(f"Signed in as {ALICE}.")
        assert page.emails() == [ALICE]
        assert page.shown(page.profile(), "email") == ALICE
        assert is_clean(page, service)
        assert page.focused().get_dom_attribute("id") == "heading"
        page.save(page.profile(), label="By OpenID Connect")
        page.reload()
        assert page.emails() == [ALICE]

    def test_going_back(self, page, service):
        """No entry of the history has the token; going back leads to the provider."""
        go(page, service)
        choose(page, ALICE)
        page.wait_for_notice("Signed in as")
        history = page.browser.execute_cdp_cmd("Page.getNavigationHistory", {})["entries"]
        assert len(history) > 2
        assert not [entry["url"] for entry in history if "#" in entry["url"]]

    def test_second_address(self, page, service):
        """A proved address joins the session of a card."""
        page.sign_in(BOB)
        go(page, service)
        page.find("[type=email]").send_keys("carol@team.example", Keys.ENTER)
        page.wait_for_notice("Signed in as carol@team.example.")
        assert page.emails() == [BOB, "carol@team.example"]

    def test_keys_that_are_rotated(self, page, service):
        """Rotated keys of the provider fail no sign-in."""
        rotation = urllib.request.Request(f"{service.provider}/development/rotate", method="POST")
        for _ in range(2):
            go(page, service)
            choose(page, ALICE)
            page.wait_for_notice("Signed in as")
            page.find("#sign-out").click()
            page.wait_for_notice("signed out, everywhere")
            if rotation is not None:
                urllib.request.urlopen(rotation, timeout=10).close()
                rotation = None


class TestSuggestions:
    """A blank profile after the first sign-in."""

    def offered(self, page, service, email):
        """Sign in; return the visible suggestion."""
        go(page, service)
        page.find("[type=email]").send_keys(email, Keys.ENTER)
        page.wait_for_notice(f"Signed in as {email}.")
        return page.wait_for(lambda: page.profile().find_element(By.CSS_SELECTOR, ".suggestion"))

    def press(self, suggestion, action):
        """Press a button of a suggestion."""
        suggestion.find_element(By.CSS_SELECTOR, f"[data-action={action}]").click()

    def test_taken(self, page, service):
        """One click takes name and picture; the browser itself never calls the picture's host."""
        suggestion = self.offered(page, service, "dora.day@team.example")
        assert "Dora Day Example" in suggestion.text
        assert "Take this name and picture" in suggestion.text
        assert not violations(page.browser)
        page.photograph("suggestion")
        assert page.shown(page.profile(), "title") == "dora.day"
        self.press(suggestion, "take")
        page.wait_for_notice("Saved.")
        assert page.shown(page.profile(), "title") == "Dora Day Example"
        image = page.profile().find_element(By.CSS_SELECTOR, ".portrait img")
        page.wait_for(lambda: image.get_property("naturalWidth"))
        assert not suggestion.is_displayed()
        assert page.focused().tag_name == "h2"
        fetched = page.browser.execute_script(
            "return performance.getEntriesByType('resource').map(({ name }) => name)"
        )
        assert not [url for url in fetched if url.startswith(service.provider)]
        stored = page.browser.execute_script(
            "return JSON.stringify([{...sessionStorage}, {...localStorage}])"
        )
        assert service.provider not in stored

    def test_dismissed(self, page, service):
        """A dismissed suggestion leaves nothing, and comes again with the next sign-in."""
        for _ in range(2):
            suggestion = self.offered(page, service, "emil@team.example")
            self.press(suggestion, "dismiss")
            assert not suggestion.is_displayed()
            assert page.shown(page.profile(), "updated") == "Nothing stored yet"
            page.find("#sign-out").click()
            page.wait_for_notice("signed out, everywhere")

    def test_picture_that_cannot_be_fetched(self, page, service):
        """The name stays when the picture can't be fetched, and the page asks for a file."""
        suggestion = self.offered(page, service, "flora@team.example")
        page.browser.execute_script("""
            const send = window.fetch;
            window.fetch = (url, options) => send(url, String(url).endsWith("/picture")
              ? { ...options, body: JSON.stringify({ suggestion: "gone" }) } : options);
        """)
        self.press(suggestion, "take")
        page.wait_for_notice("The picture of your provider")
        assert page.shown(page.profile(), "title") == "Flora Example"
        assert not suggestion.is_displayed()
        page.expect_complaint("422")


class TestUnhappyPaths:
    def test_refused(self, page, service):
        """A denied sign-in changes nothing, says so, and offers the cards."""
        go(page, service)
        page.find("button[value=deny]").click()
        wait_for_problem(page, "Nothing has changed here")
        assert is_clean(page, service)
        page.sign_in(ALICE)

    def test_address_that_nobody_vouches_for(self, page, service):
        """The provider reports an unknown domain at the field, keeps the text, and accepts another."""
        go(page, service)
        page.find("[type=email]").send_keys('eve"<b>@evil.test', Keys.ENTER)
        page.wait_for(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#problem"))
        field = page.find("[type=email]")
        assert field.get_property("value") == 'eve"<b>@evil.test'
        assert field.get_dom_attribute("aria-describedby") == "problem"
        assert page.focused() == field
        assert not page.browser.find_elements(By.CSS_SELECTOR, "main b")
        field.clear()
        field.send_keys(ALICE, Keys.ENTER)
        page.wait_for_notice("Signed in as")

    @pytest.mark.parametrize("answer", ["id_token=a.b.c", "error=server_error"])
    def test_answer_that_nobody_asked_for(self, page, service, answer):
        """An unsolicited answer is rejected; a pending sign-in and the session are unaffected."""
        page.sign_in(BOB)
        go(page, service)
        where = page.browser.current_url
        page.open(f"{service.origin}/#{answer}&state=of-somebody-else")
        wait_for_problem(page, "belongs to no sign-in of this window")
        assert page.browser.current_url == f"{service.origin}/"
        assert page.emails() == [BOB]
        page.open(where)
        choose(page, ALICE)
        page.wait_for_notice("Signed in as")
        assert page.emails() == [BOB, ALICE]

    def test_token_for_another_nonce(self, page, service):
        """A token for another request is rejected before it is sent."""
        go(page, service)
        url = page.browser.current_url
        [nonce] = [part for part in url.split("&") if part.startswith("nonce=")]
        page.open(url.replace(nonce, "nonce=another"))
        choose(page, ALICE)
        wait_for_problem(page, "belongs to no sign-in of this window")
        assert is_clean(page, service)

    def test_server_that_went_down(self, page, service):
        """The provider's answer survives an outage of the server; a button finishes the sign-in."""
        go(page, service)
        # Blocks the API only; the page itself must load.
        page.browser.execute_cdp_cmd("Network.enable", {})
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/v1/*"]})
        choose(page, ALICE)
        wait_for_problem(page, "does not answer. Nothing is lost")
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        assert is_clean(page, service)
        button = page.find("#openid")
        assert button.text == "Finish signing in"
        button.click()
        page.wait_for_notice(f"Signed in as {ALICE}.")
        assert button.text.startswith("Sign in with OpenID Connect")
        page.complaints().clear()

    def test_provider_that_failed(self, page, service):
        """A provider's error is reported, and nothing is lost."""
        go(page, service)
        page.open(f"{page.browser.current_url}&prompt=none")
        wait_for_problem(page, "could not sign you in. Nothing is lost")
        assert is_clean(page, service)


class TestThatNeedTheirOwnServer:
    @pytest.fixture
    def clock(self):
        """The server's clock."""
        return Clock(time.time())

    @pytest.fixture
    def own(self, unopened, development_folder, clock):
        """The front page of a server in this process, whose provider may find its port in use."""
        with contextlib.ExitStack() as stack:

            def start(provider_port):
                port = free_port()
                app = application(
                    development_folder,
                    clock,
                    public_origins=f"http://127.0.0.1:{port}",
                    development__provider_listen=f"127.0.0.1:{provider_port}",
                )
                provider = app.development.openid_provider
                stack.callback(start_providers(app.development, is_one_of_several=False))
                stack.enter_context(running(app, port))
                unopened.open(f"http://127.0.0.1:{port}")
                return unopened, provider

            yield start
            unopened.open("about:blank")

    def test_nonce_that_expired(self, own, clock):
        """An expired nonce is reported, and a new sign-in works."""
        page, provider = own(free_port())
        for seconds, words in ((601, "took too long. Sign in again"), (599, f"Signed in as {ALICE}")):
            page.find("#openid").click()
            page.wait_for(lambda: page.browser.current_url.startswith(provider.issuer))
            clock.now += seconds
            choose(page, ALICE)
            page.wait_for_notice(words)
        page.expect_complaint("401")

    def test_port_that_is_taken(self, own, service, caplog):
        """A provider's port in use is logged and reported; cards still work."""
        page, _ = own(service.provider_port)
        assert f"{service.provider}: Address already in use" in caplog.text
        page.find("#openid").click()
        wait_for_problem(page, "The local OpenID provider is not running")
        page.sign_in(ALICE)


DIALOG = """<!doctype html><html lang="en"><title>A dialog</title><link rel="icon" href="/favicon.css">
<script type="module" src="/dialog.js"></script>
<div id="cards"></div><p id="problem" role="alert"></p><button id="sign-in">Sign in</button></html>"""


def test_guide(unopened, tmp_path):
    """The guide's example signs in literally from a dialog of another origin."""
    scripts = re.findall(
        r"^```javascript\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    [script] = [each for each in scripts if "takeAnswer" in each]
    service = Service(tmp_path, provider_port=free_port())
    for documented, actual in (
        ("https://profiles.example", service.origin),
        ("https://accounts.example.com/authorize", f"{service.provider}/authorize"),
        ("https://accounts.example.com", service.provider),
        ("persona-dialog", "development-dialog"),
    ):
        assert script.count(documented) == 1
        script = script.replace(documented, actual)
    pages = {"/": DIALOG, "/dialog.js": script, "/favicon.css": ""}
    with dialog_of(service, pages) as origin:
        service.start()
        unopened.open(origin)
        unopened.find("#sign-in").click()
        unopened.wait_for(lambda: unopened.browser.current_url.startswith(service.provider))
        choose(unopened, ALICE)
        assert unopened.wait_for(unopened.emails) == [ALICE]
        assert unopened.browser.current_url == f"{origin}/"
        unopened.find("#sign-in").click()
        unopened.wait_for(lambda: unopened.browser.current_url.startswith(service.provider))
        unopened.find("button[value=deny]").click()
        unopened.wait_for(lambda: unopened.browser.find_elements(By.ID, "problem"))
        assert "Nothing has changed" in unopened.wait_for(lambda: unopened.find("#problem").text)
        unopened.open("about:blank")


@pytest.mark.parametrize("width", [320, 1280])
def test_for_everybody(page, service, width):
    """Both pages are accessible in light and dark, and nothing overflows."""
    page.resize(width)

    def look_at(name):
        for scheme in ("light", "dark"):
            page.prefer(color_scheme=scheme)
            assert not violations(page.browser)
            page.photograph(f"openid-{name}-{width}-{scheme}")

    look_at("front")
    go(page, service)
    page.find("[type=email]").send_keys("x@evil.test", Keys.ENTER)
    page.wait_for(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#problem"))
    look_at("provider")
    overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.browser.execute_script(overflow) <= 0
