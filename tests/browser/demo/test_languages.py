"""The demo in each language, with screenshots in var/screenshots/: texts, directions, long words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from support.clients.accessibility import violations
from support.pictures.pictures import encode, quadrants

ALICE = "alice@example.com"
MESSAGES = Path(__file__).parents[3] / "persona_profile/static/demo/messages"
LANGUAGES = sorted(path.stem for path in MESSAGES.glob("*.json"))
LIGATURES = "label-content-name-mismatch"
ISOLATES = dict.fromkeys(map(ord, "\u2066\u2067\u2068\u2069"))

SHOWN = """
const shown = [document.title];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
  const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
  const isOther = element.closest("option, noscript, [data-value], [data-show=title]");
  if (isOther || !element.checkVisibility()) {
    continue;
  }
  if (node === element) {
    const names = ["label", "roledescription", "valuetext"].map((name) => `aria-${name}`);
    const all = ["alt", "placeholder", "title", ...names];
    shown.push(...all.map((name) => element.getAttribute(name) ?? ""));
  } else {
    shown.push(node.data);
  }
}
return shown;
"""

OVERFLOWING = """
const width = document.documentElement.clientWidth;
const selector = "button, .button, summary, label, h1, h2, p, select, .panel, dialog, persona-card";
return [...document.querySelectorAll(selector)].filter((each) => {
  const box = each.getBoundingClientRect();
  const isShown = each.checkVisibility() && !each.matches(".visually-hidden, :empty");
  return isShown && (each.scrollWidth > each.clientWidth + 1 || box.left < -1 || box.right > width + 1);
}).map((each) => each.outerHTML.slice(0, 200));
"""

# Names and formats that are the same in each language, addresses, domains and codes.
UNTRANSLATED = re.compile(
    r"[\w.+-]+@[\w.-]+|example\.(?:com|net|org)|\.example\b|https(?:://)?|\ben-GB\b|U\+[0-9A-F]{4,}"
    r"|Persona Profiles|OpenID(?: Connect)?|\b(?:JPEG XL|JPEG|PNG|WebP|GIF|AVIF|HEIC|DNG|PDF|URL|ID)\b"
    r"|[\w-]+\.(?:pdf|jpg)|Europe/Paris"
)


@pytest.fixture
def speak(page):
    """Chooses a language on the page, as a person does."""

    def choose(language):
        Select(page.find("#language")).select_by_value(language)
        lead = texts_of(language)["language.choose"]
        page.wait_for(lambda: page.find(".bottom label").text.startswith(lead))

    yield choose
    page.browser.execute_script("localStorage.clear(); sessionStorage.clear()")


@pytest.fixture
def wanting(page):
    """Sets the languages of the browser."""
    agent = page.browser.execute_script("return navigator.userAgent")

    def prefer(languages):
        override = {"userAgent": agent, "acceptLanguage": languages}
        page.browser.execute_cdp_cmd("Emulation.setUserAgentOverride", override)
        page.browser.refresh()
        page.wait_for(lambda: page.find("#heading").text)

    yield prefer
    page.browser.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": agent})


@pytest.fixture
def picture_file(tmp_path):
    """The path of a picture in four colours, wider than high."""
    path = tmp_path / "me.jpg"
    path.write_bytes(encode(quadrants().resize((900, 600))))
    return path


def texts_of(language):
    """Return the texts of the demo in a language."""
    return json.loads((MESSAGES / f"{language}.json").read_text(encoding="utf-8"))


def english_left(page):
    """Return the visible texts with words in Latin letters, on a page in another script."""
    shown = [text.translate(ISOLATES) for text in page.browser.execute_script(SHOWN)]
    return [text for text in shown if re.search(r"[A-Za-z]{2,}", UNTRANSLATED.sub("", text))]


def notice(page):
    """Wait for a notice; return it."""
    return page.wait_for(lambda: page.find("#notice").text)


def sign_in(page):
    """Sign in as Alice in any language; return the profile."""
    page.card(ALICE).click()
    page.wait_for(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".profile:not([hidden])"))
    page.wait_for(lambda: ALICE in page.find("#notice").text)
    return page.profile()


class TestChoice:
    def test_of_the_browser(self, page, wanting):
        """The first of the browser's languages that there is; only its files are loaded."""
        wanting("sv,ar-EG,de")
        html = page.find("html")
        assert [html.get_dom_attribute(name) for name in ("lang", "dir")] == ["ar-EG", "rtl"]
        assert page.find("#heading").text == texts_of("ar")["cards.choose"]
        assert Select(page.find("#language")).first_selected_option.get_dom_attribute("value") == "ar"
        names = "return performance.getEntriesByType('resource').map(({ name }) => name)"
        loaded = [name for name in page.browser.execute_script(names) if "-messages-" in name]
        assert {name.rpartition("-")[2] for name in loaded} == {"en.js", "ar.js"}

    def test_none_of_the_browser(self, page, wanting):
        """A page in English for languages that nobody has translated."""
        wanting("sv,tlh")
        assert page.find("#heading").text == "Choose a card"
        assert page.find("html").get_dom_attribute("lang") == "en"

    def test_without_its_file(self, page, wanting):
        """A page in English if the file of the language can't be loaded."""
        page.browser.execute_cdp_cmd("Network.enable", {})
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/demo-messages-de.js"]})
        try:
            wanting("de")
            assert page.find("#heading").text == "Choose a card"
            html = page.find("html")
            assert [html.get_dom_attribute(name) for name in ("lang", "dir")] == ["en", "ltr"]
        finally:
            page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
            page.browser.execute_cdp_cmd("Network.disable", {})

    def test_of_the_person(self, page, server, speak):
        """A chosen language is used at once, and remembered; each is offered by its own name."""
        options = [each.text for each in Select(page.find("#language")).options]
        assert options == ["العربية", "Deutsch", "English", "Español", "Français", "日本語"]
        speak("de")
        assert page.find("#heading").text == "Wählen Sie eine Karte"
        page.open(server)
        page.wait_for(lambda: page.find("#heading").text == "Wählen Sie eine Karte")
        speak("en")
        assert page.find("#heading").text == "Choose a card"


@pytest.mark.parametrize("language", LANGUAGES)
def test_looks(page, speak, picture_file, language):
    """Each stage fits on a phone and on a desktop, light and dark: nothing is cut or overhangs."""

    def look(stage, *schemes):
        for width in (320, 1280):
            page.resize(width, 900 if width > 400 else 640)
            assert page.find("html").get_property("scrollWidth") <= width
            assert page.browser.execute_script(OVERFLOWING) == [], f"{stage} {width}"
            for scheme in schemes:
                page.prefer(color_scheme=scheme, reduced_motion="reduce")
                page.photograph(f"language-{language}-{stage}-{width}-{scheme}")

    speak(language)
    page.find("#another summary").click()
    look("1-choose", "dark", "light")
    profile = sign_in(page)
    claims = {"name": "Alice Liddell", "label": texts_of(language)["claim.label_example"]}
    page.edit(profile, **claims, nickname="Al", website="https://alice.example/")
    assert notice(page)
    page.choose_file(profile, picture_file)
    page.cropper()
    look("2-crop", "light")
    page.find("#crop [value=use]").click()
    page.shown_picture(profile)
    page.edit(profile, name="x" * 101, website="ftp://alice.example", locale="?")
    page.wait_for(lambda: profile.find_elements(By.CSS_SELECTOR, ".field-error"))
    look("3-profile", "dark", "light")
    found = [each["id"] for each in violations(page.browser)]
    # axe takes Arabic ligatures for icons, and leaves them out of the visible text.
    assert [each for each in found if (language, each) != ("ar", LIGATURES)] == []
    page.expect_complaint("400")
    page.press(profile, "erase")
    look("4-erase", "light")


@pytest.mark.parametrize("language", ["ja", "ar"])
def test_every_text_is_translated(page, speak, picture_file, tmp_path, language):
    """No word is in Latin letters where a language has none; so each text comes from its file."""
    speak(language)
    assert english_left(page) == []
    page.find("#several").click()
    page.find("#another summary").click()
    page.find("[name=email]").send_keys("eve@evil.test", Keys.ENTER)
    page.wait_for(lambda: page.find("#chooser .field-error").text)
    assert english_left(page) == []
    page.expect_complaint("400")
    page.browser.execute_script("scrollTo(0, 0)")  # the error's field has been scrolled into view
    page.find("#several").click()
    profile = sign_in(page)
    assert english_left(page) == []
    wrong = {"name": "x" * 101, "website": "ftp://a", "locale": "?", "label": "a\u202eb"}
    page.edit(profile, **wrong)
    page.wait_for(lambda: len(profile.find_elements(By.CSS_SELECTOR, ".field-error")) == len(wrong))
    assert english_left(page) == []
    page.expect_complaint("400")
    letter = tmp_path / "letter.pdf"
    letter.write_bytes(b"%PDF-1.7\n")
    page.choose_file(profile, letter)
    page.wait_for(lambda: profile.find_element(By.CSS_SELECTOR, ".picture .problem").text)
    assert english_left(page) == []
    page.choose_file(profile, picture_file)
    dialog = page.cropper()
    dialog.find_element(By.CSS_SELECTOR, ".viewport").send_keys("+", Keys.ARROW_RIGHT)
    assert english_left(page) == []
    dialog.find_element(By.CSS_SELECTOR, "[value=use]").click()
    page.shown_picture(profile)
    assert english_left(page) == []
    page.press(profile, "remove-picture")
    page.wait_for(lambda: page.find("#notice").text == texts_of(language)["picture.removed"])
    page.press(profile, "erase")
    assert english_left(page) == []
    page.find("#confirm [value=erase]").click()
    page.wait_for(lambda: ALICE in page.find("#notice").text)
    assert english_left(page) == []
    page.find("#sign-out").click()
    page.wait_for(lambda: page.find("#notice").text == texts_of(language)["session.signed_out"])
    assert english_left(page) == []


class TestRightToLeft:
    def test_cropper(self, page, speak, picture_file):
        """A drag and the arrow keys move what is seen, as in a language from left to right."""
        places = []
        for language in ("en", "ar"):
            speak(language)
            profile = page.profile() if places else sign_in(page)
            page.choose_file(profile, picture_file)
            viewport = page.cropper().find_element(By.CSS_SELECTOR, ".viewport")
            image = viewport.find_element(By.TAG_NAME, "img")
            seen = []
            ActionChains(page.browser).drag_and_drop_by_offset(viewport, 40, 0).perform()
            seen.append(image.value_of_css_property("transform"))
            viewport.send_keys("+", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
            seen.append(image.value_of_css_property("transform"))
            places.append(seen)
            page.find("#crop [value=cancel]").click()
        assert places[0] == places[1]
        assert places[0][0] != places[0][1]

    def test_card(self, page, speak):
        """The portrait is at the right; an address is read from left to right all the same."""
        speak("ar")
        places = """
            const parts = arguments[0].shadowRoot;
            const [portrait, email, local, domain] = [".portrait", ".email", ".local", ".domain"]
              .map((part) => parts.querySelector(part).getBoundingClientRect());
            const isInOrder = local.right <= domain.left + 1;
            return [portrait.left > email.right, isInOrder, email.right - domain.right];
        """
        at_right, is_in_order, gap = page.browser.execute_script(places, page.card(ALICE))
        assert at_right
        assert is_in_order
        assert 0 <= gap < 2  # aligned with the name, whose line begins at the right
