from __future__ import annotations

import io
import json
import urllib.request
import zipfile

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.browsers.abilities import in_three_engines
from support.pictures.pictures import encode, quadrants

ALICE, BOB = "alice@example.com", "bob@example.org"
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"

OUTSIDE_THE_CARD = """
const card = arguments[0].getBoundingClientRect();
return [...arguments[0].querySelectorAll("*")].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width && (box.left < card.left - 1 || box.right > card.right + 1);
}).map((each) => each.outerHTML.slice(0, 200));
"""


class Elsewhere:
    """Another client with a session of Alice's."""

    def __init__(self, origin):
        self._origin = origin
        self._headers = {"Content-Type": "application/json"}
        minted = self.call("POST", "/development/assertions", {"email": ALICE})
        token = self.call("POST", "/v1/sessions", {"proofs": [minted]})["token"]
        self._headers["Authorization"] = f"Bearer {token}"

    def call(self, method, path, document=None):
        """Return the JSON of an answer, if any."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            self._origin + path, method=method, data=body, headers=self._headers
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")


@pytest.fixture
def picture_file(tmp_path):
    """The path of a picture in four colours."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(quadrants()))
    return path


class TestSigningIn:
    def test_as_alice(self, page):
        """A chosen card opens its profile, with a monogram in place of a picture."""
        assert page.emails() == [ALICE, BOB]
        profile = page.sign_in(ALICE)
        assert page.emails() == [ALICE]
        assert page.shown(profile, "email") == ALICE
        assert page.shown(profile, "title") == "alice"
        assert page.shown(profile, "updated") == "Nothing stored yet"
        assert profile.find_element(By.CSS_SELECTOR, ".portrait .monogram").text == "A"
        assert not profile.find_element(By.CSS_SELECTOR, ".portrait img").is_displayed()

    @in_three_engines
    def test_adding_bob(self, page):
        """A second address joins the session, is no longer offered, and survives a reload."""
        page.sign_in(ALICE)
        page.find("#another summary").click()
        profile = page.sign_in(BOB)
        assert page.emails() == [ALICE, BOB]
        assert page.shown(profile, "email") == BOB
        page.find("#another summary").click()
        assert not page.find("#choices").is_displayed()
        page.reload()
        assert page.emails() == [ALICE, BOB]

    def test_as_both_at_once(self, page):
        """A single request opens a session of two addresses; each card shows its profile."""
        profile = page.sign_in(ALICE, BOB)
        assert page.emails() == [ALICE, BOB]
        assert page.shown(profile, "email") == ALICE
        page.card(BOB).click()
        assert page.shown(page.profile(), "email") == BOB

    def test_counting_cards_again(self, page):
        """Selected cards can be deselected, and the selection can be cancelled."""
        page.find("#several").click()
        assert not page.find("#continue").is_enabled()
        for email in (ALICE, BOB):
            page.card(email).click()
        assert page.find("#continue").text == "Continue with 2 cards"
        page.card(ALICE).click()
        assert page.find("#continue").text == "Continue"
        page.find("#several").click()
        assert not page.find("#continue").is_displayed()
        page.card(ALICE).click()
        page.wait_for_notice("Signed in as")
        assert page.emails() == [ALICE]

    def test_with_another_address(self, page):
        """Any address of an example domain is accepted."""
        page.find("#another summary").click()
        page.find("[name=email]").send_keys("carol@team.example", Keys.ENTER)
        page.wait_for_notice("Signed in as carol@team.example.")
        assert page.shown(page.profile(), "email") == "carol@team.example"

    def test_by_keyboard(self, page):
        """The keyboard alone leads to a profile; the focus moves to its heading."""
        page.find("body").send_keys(Keys.TAB)
        assert page.focused() == page.card(ALICE)
        page.focused().send_keys(Keys.ENTER)
        page.wait_for_notice("Signed in as")
        assert page.focused().get_dom_attribute("id") == "heading"

    @in_three_engines
    def test_with_an_address_that_nobody_vouches_for(self, page):
        """The reason of a rejected address is at the field, which is marked and focused."""
        page.find("#another summary").click()
        field = page.find("[name=email]")
        field.send_keys("eve@evil.test", Keys.ENTER)
        page.wait_for_problem(page.find("#chooser"), "see the marked field")
        assert "vouches for" in page.find(".field-error").text
        assert field.get_dom_attribute("aria-describedby") == page.find(".field-error").get_property(
            "id"
        )
        assert page.focused() == field
        page.expect_complaint("400")

    @in_three_engines
    def test_signing_out(self, page):
        """A sign-out removes the cards from page and device, also after a reload."""
        page.save(page.sign_in(ALICE), name="Alice Liddell")
        page.find("#sign-out").click()
        page.wait_for_notice("signed out, everywhere")
        assert page.browser.execute_script("return localStorage.length + sessionStorage.length") == 0
        page.browser.refresh()
        page.wait_for(lambda: page.find("#heading").text == "Choose a card")
        page.wait_for(lambda: page.on_card(ALICE, "name") == "alice")

    def test_session_that_was_ended_elsewhere(self, page, server):
        """A session ended elsewhere leads to sign-in with the reason, and leaves no data behind."""
        profile = page.sign_in(ALICE)
        Elsewhere(server).call("DELETE", "/v1/sessions")
        page.edit(profile, name="Alice")
        page.wait_for_notice("You were signed out. Please sign in again.")
        assert page.find("#heading").text == "Choose a card"
        assert page.browser.execute_script("return localStorage.length + sessionStorage.length") == 0
        page.expect_complaint("401")
        page.sign_in(ALICE)

    def test_tab_that_was_closed(self, page, server):
        """A closed tab ends the session, and the next opening shows the cached cards."""
        page.save(page.sign_in(ALICE), name="Alice Liddell")
        page.browser.execute_script("sessionStorage.clear()")
        page.open(server)
        assert page.find("#heading").text == "Choose a card"
        assert page.on_card(ALICE, "name") == "Alice Liddell"
        page.sign_in(ALICE)


class TestEditing:
    def test_name(self, page):
        """A saved profile is shown at once and after a reload, and the form closes."""
        profile = page.sign_in(ALICE)
        page.save(profile, name="Alice Liddell", label="Work", website="https://alice.example/")
        assert not profile.find_element(By.CSS_SELECTOR, ".claims").is_displayed()
        assert page.on_card(ALICE, "name") == "Alice Liddell"

        def shown(profile):
            return [page.shown(profile, part) for part in ("title", "label", "website")]

        assert shown(profile) == ["Alice Liddell", "Work", "alice.example"]
        assert shown(page.reload()) == ["Alice Liddell", "Work", "alice.example"]

    def test_cancelling(self, page):
        """Cancelled edits are discarded."""
        profile = page.sign_in(ALICE)
        profile.find_element(By.CSS_SELECTOR, ".editor summary").click()
        profile.find_element(By.NAME, "name").send_keys("Mallory")
        profile.find_element(By.CSS_SELECTOR, "[type=reset]").click()
        assert page.shown(profile, "title") == "alice"
        assert profile.find_element(By.NAME, "name").get_property("value") == ""

    def test_name_of_markup(self, page):
        """A name with HTML is shown as text."""
        profile = page.sign_in(ALICE)
        page.save(profile, name=MARKUP)
        assert page.shown(profile, "title") == MARKUP
        assert page.shown(page.reload(), "title") == MARKUP

    @pytest.mark.parametrize("width", [320, 1280])
    @pytest.mark.parametrize(
        "text",
        ["W" * 100, "اسم طويل جدا " * 7, "👩‍👩‍👧‍👦" * 14, "Z" + "\u0301\u0330" * 49],
        ids=["unbroken", "right to left", "emoji", "stacked marks"],
    )
    def test_text_that_could_break_the_card(self, page, text, width):
        """Other people's text stays inside the card, on a phone and on a desktop."""
        page.resize(width)
        profile = page.sign_in(ALICE)
        website = f"https://alice.example/{'x' * 170}"
        claims = dict.fromkeys(("name", "label", "nickname", "pronouns"), text)
        page.save(profile, **claims, website=website)
        assert page.browser.execute_script(OUTSIDE_THE_CARD, profile) == []
        root = page.find("html")
        assert root.get_property("scrollWidth") <= width
        assert profile.size["height"] < 700

    @in_three_engines
    def test_claims_that_are_refused(self, page):
        """Each rejected claim has its reason at the field, until it is valid."""
        profile = page.sign_in(ALICE)
        page.edit(profile, name="x" * 101, website="ftp://alice.example", label="Work")
        page.wait_for_problem(profile, "see the marked field")
        marked = profile.find_elements(By.CSS_SELECTOR, "[aria-invalid=true]")
        assert [field.get_dom_attribute("name") for field in marked] == ["name", "website"]
        errors = profile.find_elements(By.CSS_SELECTOR, ".field-error")
        assert errors[0].text == "Name: must have at most 100 characters."
        assert errors[1].text.startswith("Website: must be an https URL")
        assert page.focused() == marked[0]
        page.expect_complaint("400")
        page.save(profile, name="Alice", website="https://alice.example")
        assert not profile.find_elements(By.CSS_SELECTOR, ".field-error, [aria-invalid]")

    def test_profile_that_was_changed_elsewhere(self, page, server):
        """A conflict updates the shown profile and keeps the typed text for another save."""
        profile = page.sign_in(ALICE)
        changes = {"name": "Elsewhere", "label": "Home"}
        Elsewhere(server).call("PATCH", f"/v1/profiles/{ALICE}", changes)
        page.edit(profile, name="Here")
        page.wait_for_problem(profile, "changed elsewhere")
        assert page.shown(profile, "title") == "Elsewhere"
        page.expect_complaint("412")
        page.save(profile)
        assert page.shown(profile, "title") == "Here"
        assert page.shown(profile, "label") == "Home"

    def test_other_claim_that_was_changed_elsewhere(self, page, server):
        """Changes of different claims merge without a message."""
        profile = page.sign_in(ALICE)
        Elsewhere(server).call("PATCH", f"/v1/profiles/{ALICE}", {"label": "Home"})
        page.save(profile, name="Here")
        assert page.shown(profile, "title") == "Here"
        assert page.shown(profile, "label") == "Home"
        page.expect_complaint("412")


class TestPictures:
    @in_three_engines
    def test_upload(self, page, server, picture_file):
        """A picture is shown from its URL; after a reload its thumbnail needs no request."""
        profile = page.sign_in(ALICE)
        page.upload(profile, picture_file)
        assert page.shown_picture(profile).startswith(f"{server}/v1/pictures/")
        assert page.shown(profile, "picture-action") == "Change picture"
        assert not profile.find_element(By.CSS_SELECTOR, ".progress").is_displayed()
        profile = page.reload()
        assert page.shown_picture(profile).startswith("data:image/")

    def test_replacing(self, page, picture_file, tmp_path):
        """A second picture replaces the first."""
        profile = page.sign_in(ALICE)
        page.upload(profile, picture_file)
        before = page.shown_picture(profile)
        other = tmp_path / "other.png"
        other.write_bytes(encode(quadrants().rotate(90), "PNG"))
        page.upload(profile, other)
        assert page.wait_for(lambda: page.shown_picture(profile) != before)

    def test_removal(self, page, picture_file):
        """A removed picture gives the monogram again."""
        profile = page.sign_in(ALICE)
        page.upload(profile, picture_file)
        page.press(profile, "remove-picture")
        page.wait_for_notice("The picture is removed.")
        assert not profile.find_element(By.CSS_SELECTOR, ".portrait img").is_displayed()
        assert page.shown(profile, "picture-action") == "Add a picture"

    def test_text_alternative(self, page, picture_file):
        """The alternative text is the image's `alt`."""
        profile = page.sign_in(ALICE)
        page.save(profile, picture_alt="Four colours")
        page.upload(profile, picture_file)
        image = profile.find_element(By.CSS_SELECTOR, ".portrait img")
        assert image.get_dom_attribute("alt") == "Four colours"

    def test_file_that_is_no_picture(self, page, tmp_path):
        """A file that only the server knows to be no picture is rejected in plain words."""
        profile = page.sign_in(ALICE)
        path = tmp_path / "letter.png"
        path.write_bytes(b"\1\2\3\4")
        page.choose_file(profile, path)
        page.wait_for_problem(profile, "This is not a picture that can be used.")
        page.expect_complaint("415")

    def test_picture_that_is_damaged(self, page, tmp_path):
        """A damaged picture is rejected in plain words."""
        profile = page.sign_in(ALICE)
        path = tmp_path / "half.jpg"
        path.write_bytes(encode(quadrants())[:1000])
        page.choose_file(profile, path)
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_problem(profile, "This picture is damaged or not complete.")
        page.expect_complaint("422")

    def test_file_that_is_too_large(self, page, tmp_path):
        """A file that is too large is rejected before the upload, with the limit."""
        profile = page.sign_in(ALICE)
        path = tmp_path / "large.jpg"
        with path.open("wb") as file:
            file.truncate(20 * 2**20 + 1)
        page.choose_file(profile, path)
        page.wait_for_problem(profile, "This picture is larger than 20 MB. Choose a smaller one.")


class TestOwnData:
    @in_three_engines
    def test_taking_it_away(self, page, picture_file):
        """The export is downloaded as a zip with claims and picture."""
        profile = page.sign_in(ALICE)
        page.save(profile, name="Alice Liddell")
        page.upload(profile, picture_file)
        page.press(profile, "export")
        page.wait_for_notice("Your data is in your downloads.")
        [path] = page.wait_for(lambda: list(page.downloads.glob("*.zip")))
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            assert json.loads(archive.read("profile.json"))["name"] == "Alice Liddell"
            assert "picture/64.jpeg" in archive.namelist()

    @in_three_engines
    def test_erasing_asks_first(self, page):
        """Escape, and the focused button, cancel the erasure."""
        profile = page.sign_in(ALICE)
        page.save(profile, name="Alice Liddell")
        for key in (Keys.ESCAPE, Keys.ENTER):
            page.press(profile, "erase")
            assert ALICE in page.find("#confirm").text
            page.focused().send_keys(key)
            page.wait_for(lambda: not page.find("#confirm").is_displayed())
            page.wait_for(lambda: not profile.find_elements(By.CSS_SELECTOR, "[aria-busy]"))
        assert page.shown(page.reload(), "title") == "Alice Liddell"

    def test_erasing(self, page, picture_file):
        """An erasure removes claims and picture, from the form too."""
        profile = page.sign_in(ALICE)
        page.save(profile, name="Alice Liddell")
        page.upload(profile, picture_file)
        page.press(profile, "erase")
        page.find("#confirm [value=erase]").click()
        page.wait_for_notice(f"Everything about {ALICE} is erased.")
        assert page.shown(profile, "title") == "alice"
        assert page.shown(profile, "updated") == "Nothing stored yet"
        assert profile.find_element(By.NAME, "name").get_property("value") == ""
        assert ALICE not in page.browser.execute_script("return JSON.stringify({...localStorage})")
        assert page.shown(page.reload(), "updated") == "Nothing stored yet"
