"""The browser proves a typed address by itself: the Email Verification Protocol on the front page."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from pyevp import EVPError, Verifier
from pyevp.profile import PROFILES
from selenium.webdriver.common.keys import Keys
from support.browsers.abilities import EMAIL_VERIFICATION, in_other_engines
from support.servers.dialogs import dialog_of
from support.servers.ports import free_port
from support.servers.services import Service, development_server

from persona_profile.development.chromium import switches
from persona_profile.development.email_verification_issuer import HOST

ALICE = "alice@example.com"
STRANGER = "carol@team.example"
# Chromium notes a field that is pressed and typed into key by key; then it works in the background.
KEY_SECONDS, WORK_SECONDS = 0.05, 0.5
GRANTED = "--auto-grant-email-verification-permission-for-testing"
GUIDE = Path(__file__).parents[3] / "docs/how-to/dialog.md"


class Issuer:
    """The issuer and its DNS records over the network, as ports of the oracle."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def resolve_txt(self, name: str) -> list[str]:
        """Return the TXT records of a name."""
        query = urllib.parse.urlencode({"name": name})
        url = f"{self._service.origin}/development/dns?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return [each["data"] for each in json.load(answer)["Answer"]]

    def fetch_json(self, url: str) -> object:
        """Return a document."""
        parts = urllib.parse.urlsplit(url)
        assert parts.netloc == HOST
        context = ssl._create_unverified_context()  # as the browser: the certificate is its own
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._service.issuer_port, timeout=10, context=context
        )
        try:
            connection.request("GET", parts.path, headers={"Host": HOST})
            return json.load(connection.getresponse())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A development server with its issuer, as `make run` starts it."""
    folder = tmp_path_factory.mktemp("evp")
    with development_server(folder, issuer_port=free_port()) as started:
        yield started


@pytest.fixture
def page(new_page, service):
    """The front page in a new Chromium of `make run-evp`, which does not ask before it verifies."""
    issuer = ("127.0.0.1", service.issuer_port)
    with new_page(GRANTED, *switches(service.origin, issuer)) as found:
        found.open(service.origin)
        # The values that the browser puts into the form, before the page reads them.
        found.browser.execute_script(
            """addEventListener("submit", ({ target }) => {
              const field = target.querySelector("[autocomplete=email-verification-token]");
              window.sent = { token: field.value, nonce: field.getAttribute("nonce") };
            }, true);"""
        )
        found.find("#another summary").click()
        yield found


def use_address(page, email, *, wait=lambda: None):
    """Type an address as a person does, leave its field, continue; return token and nonce."""
    type_address(page, "#other-email", email)
    wait()
    page.find("#other-email [type=submit]").click()
    page.wait_for_notice(f"Signed in as {email}.")
    return page.browser.execute_script("return window.sent")


def type_address(page, form, email):
    """Type an address into a form as a person does, and leave its field."""
    field = page.find(f"{form} [name=email]")
    field.click()
    page.wait_for(lambda: nonce_of(page))
    for character in email:
        field.send_keys(character)
        time.sleep(KEY_SECONDS)
    time.sleep(WORK_SECONDS)
    field.send_keys(Keys.TAB)


def nonce_of(page):
    """Return the nonce of the hidden field."""
    field = page.find("[autocomplete=email-verification-token]")
    return field.get_dom_attribute("nonce")


def has_verified(page):
    """Return whether the browser has got a token from the issuer."""
    found = page.browser.execute_cdp_cmd("Browser.getHistograms", {"query": "Blink.Evp.Status.Verify"})
    return sum(each["count"] for each in found["histograms"])


class TestProvedByTheBrowser:
    def test_token(self, page, service):
        """The page gets a token of the development issuer that an independent verifier accepts."""
        sent = use_address(page, ALICE, wait=lambda: page.wait_for(lambda: has_verified(page)))
        issuer = Issuer(service)
        verifier = Verifier(
            audience=service.origin,
            resolver=issuer,
            fetcher=issuer,
            profile=PROFILES["draft-hardt-02"],
        )
        verified = verifier.verify(sent["token"], nonce=sent["nonce"], email=ALICE)
        assert (verified.email, verified.issuer) == (ALICE, f"https://{HOST}")
        with pytest.raises(EVPError, match="nonce"):
            verifier.verify(sent["token"], nonce="another", email=ALICE)
        assert page.emails() == [ALICE]
        assert nonce_of(page) is None
        assert not page.complaints()

    def test_session(self, page):
        """The token alone opens the session: no other proof is sent."""
        page.browser.execute_script(
            """const original = window.fetch;
            window.bodies = [];
            window.fetch = (url, options) => {
              window.bodies.push([String(url), options?.method, options?.body]);
              return original(url, options);
            };"""
        )
        sent = use_address(page, ALICE, wait=lambda: page.wait_for(lambda: has_verified(page)))
        bodies = page.browser.execute_script("return window.bodies")
        paths = [urllib.parse.urlsplit(url).path for url, method, _ in bodies if method == "POST"]
        assert "/development/assertions" not in paths
        [session] = [json.loads(body) for url, _, body in bodies if url.endswith("/v1/sessions")]
        assert session["proofs"] == [{"evt": sent["token"]}]
        page.save(page.profile(), label="By the browser")
        page.reload()
        assert page.emails() == [ALICE]

    def test_signed_out_at_the_issuer(self, page):
        """An address that is not signed in at its provider gets no token, and the next way is used."""
        sent = use_address(page, STRANGER)
        assert sent["token"] == ""
        assert page.emails() == [STRANGER]
        assert not page.complaints()


DIALOG = """<!doctype html><html lang="en"><title>A dialog</title><link rel="icon" href="/favicon.css">
<script type="module" src="/dialog.js"></script>
FORM<div id="cards"></div><p id="problem" role="alert"></p></html>"""

BEFORE = """import { CardDeck } from "/static/persona-card.js";
import { ProfileClient } from "/static/persona-profile.js";
const client = new ProfileClient({ origin: "SERVER" });
const deck = new CardDeck({ client, container: document.getElementById("cards") });
const say = (error) => { document.getElementById("problem").textContent = error.code; };
const proveInAnotherWay = async (email) => say({ code: `another way for ${email}` });
"""


def guide(language, word):
    """Return the guide's block of a language that has a word."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    [block] = [each for each in fence.findall(GUIDE.read_text("utf-8")) if word in each]
    return block


def test_rejected_token(new_page, tmp_path):
    """If the server rejects the token, the next way proves the address without an error on the page."""
    port = free_port()
    denied = "evp.domains = *\nevp.denied_domains = example.com\nevp.dns = 127.0.0.1"
    service = Service(tmp_path, issuer_port=port, more=denied)
    service.start()
    with (
        contextlib.closing(service),
        new_page(GRANTED, *switches(service.origin, ("127.0.0.1", port))) as page,
    ):
        page.open(service.origin)
        page.find("#another summary").click()
        type_address(page, "#other-email", ALICE)
        page.wait_for(lambda: has_verified(page))
        page.find("#other-email [type=submit]").click()
        page.wait_for_notice(f"Signed in as {ALICE}.")
        assert page.find("#chooser .problem").text == ""
        page.expect_complaint("401")
        assert not page.complaints()


@pytest.mark.parametrize("email", [ALICE, STRANGER])
def test_guide(new_page, tmp_path, email):
    """The guide's example signs in from a dialog of another origin, or goes on to its other way."""
    port = free_port()
    service = Service(tmp_path / "service", issuer_port=port)
    before = BEFORE.replace("SERVER", service.origin)
    pages = {
        "/": DIALOG.replace("FORM", guide("xml", 'id="address"')),
        "/dialog.js": before + guide("javascript", "EmailVerification"),
        "/favicon.css": "",
    }
    with dialog_of(service, pages) as origin:
        service.start()
        with new_page(GRANTED, *switches(service.origin, ("127.0.0.1", port))) as page:
            page.open(origin)
            type_address(page, "#address", email)
            if email == ALICE:
                page.wait_for(lambda: has_verified(page))
            page.find("#address button").click()
            if email == ALICE:
                page.wait_for(lambda: page.emails() == [ALICE])
            else:
                problem = page.find("#problem")
                assert page.wait_for(lambda: problem.text) == f"another way for {STRANGER}"
            assert not page.complaints()


@in_other_engines
def test_other_browsers(unopened, service):
    """In a browser without the protocol the next way proves the address, without an error."""
    assert not unopened.engine.can(EMAIL_VERIFICATION)
    unopened.open(service.origin)
    unopened.wait_for(unopened.cards)
    unopened.find("#another summary").click()
    unopened.find("#other-email [name=email]").send_keys(STRANGER, Keys.ENTER)
    unopened.wait_for_notice(f"Signed in as {STRANGER}.")
    assert unopened.find("#chooser .problem").text == ""
    unopened.find("#sign-out").click()
    unopened.wait_for_notice("signed out, everywhere")
    assert not unopened.complaints()
