"""A person's whole path by mouse and by keyboard, with screenshots in var/screenshots/."""

from __future__ import annotations

import io
import itertools
import urllib.request

import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.browsers.abilities import PINCH, in_three_engines
from support.clients.accessibility import violations
from support.pictures.pictures import BLUE, RED, WHITE, encode, exif_orientation, photo, quadrants

ALICE, BOB = "alice@example.com", "bob@example.org"

WIDTHS = (320, 1280)
SCHEMES = ("light", "dark")

NOTE_PROGRESS = """
window.seen = [];
const progress = document.querySelector(".profile:not([hidden]) .progress");
const [phase, percent] = progress.querySelectorAll(".phase, .percent");
new MutationObserver(() => window.seen.push(`${phase.textContent} ${percent.textContent}`.trim()))
  .observe(progress, {childList: true, subtree: true, characterData: true});
"""


@pytest.fixture
def look(page):
    """Takes screenshots of a stage for phone and desktop, light and dark, and checks accessibility."""

    def photograph(stage):
        for width in WIDTHS:
            page.resize(width, 900 if width > 400 else 640)
            assert page.find("html").get_property("scrollWidth") <= width
            for scheme in SCHEMES:
                page.prefer(color_scheme=scheme, reduced_motion="reduce")
                page.photograph(f"{stage}-{width}-{scheme}")
                assert violations(page.browser) == [], f"{stage} {width} {scheme}"

    return photograph


@pytest.fixture
def colour(page):
    """Returns the colours of a profile's picture at nine points."""

    def fetch(profile):
        source = page.shown_picture(profile)
        with urllib.request.urlopen(source, timeout=10) as answer:
            picture = Image.open(io.BytesIO(answer.read())).convert("RGB")
        side = picture.width
        points = [(x * side // 8, y * side // 8) for x in (1, 4, 7) for y in (1, 4, 7)]
        return [picture.getpixel(point) for point in points]

    return fetch


def is_like(pixel, wanted):
    """Return whether a colour survived the encoders."""
    return all(abs(a - b) < 30 for a, b in zip(pixel, wanted, strict=True))


class TestWholePath:
    def test_by_clicks(self, page, network, look, tmp_path):
        """Two cards, an edit, a crop, and a photo's upload with progress survive a reload."""
        path = tmp_path / "photo.jpg"
        path.write_bytes(photo())
        look("1-choose-a-card")
        profile = page.sign_in(ALICE, BOB)
        page.save(profile, name="Alice Liddell", label="Work", pronouns="she/her", nickname="Al")
        page.choose_file(profile, path)
        cropper = page.cropper()
        viewport = cropper.find_element(By.CSS_SELECTOR, ".viewport")
        ActionChains(page.browser).drag_and_drop_by_offset(viewport, 40, 0).perform()
        look("2-crop")
        page.browser.execute_script(NOTE_PROGRESS)
        network(upload=150_000)
        cropper.find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for(lambda: "Uploading" in profile.find_element(By.CSS_SELECTOR, ".phase").text)
        page.photograph("3-uploading")
        page.wait_for_notice("The picture is saved.")
        seen = page.browser.execute_script("return window.seen")
        assert any(each.startswith("Making the picture smaller") for each in seen)
        percents = [
            int(each.split()[1].rstrip("%"))
            for each in seen
            if each.startswith("Uploading") and "%" in each
        ]
        assert percents == sorted(percents)
        assert any(0 < each < 100 for each in percents)
        assert any(each.startswith("Preparing the picture") for each in seen)
        page.shown_picture(profile)
        look("4-profile")
        profile.find_element(By.CSS_SELECTOR, ".editor summary").click()
        page.edit(profile, name="x" * 101)
        page.wait_for_problem(profile, "see the marked field")
        look("5-edit")
        page.expect_complaint("400")
        profile = page.reload()
        assert page.emails() == [ALICE, BOB]
        assert page.on_card(ALICE, "name") == page.shown(profile, "title") == "Alice Liddell"
        assert page.shown_picture(profile).startswith("data:image/")

    @in_three_engines
    def test_by_keyboard(self, page, tmp_path):
        """The whole dialog works by keyboard, from sign-in to sign-out; the focus is never lost."""
        path = tmp_path / "picture.jpg"
        path.write_bytes(encode(quadrants()))
        page.resize(1280, 800)
        page.photograph("engines-1-cards")

        def press(*keys):
            ActionChains(page.browser).send_keys(*keys).perform()

        def tab_to(selector, *keys, back=False):
            # Never around through the browser's own buttons: drivers send further keys to the page.
            wanted = page.find(selector)
            for _ in range(20):
                if back:
                    ActionChains(page.browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(
                        Keys.SHIFT
                    ).perform()
                else:
                    press(Keys.TAB)
                if page.focused() == wanted:
                    press(*keys)
                    return
            raise AssertionError(selector)

        press(Keys.TAB, Keys.ENTER)
        page.wait_for_notice("Signed in as")

        tab_to(".profile:not([hidden]) .editor summary", Keys.ENTER)
        page.photograph("engines-2-editor")
        tab_to(".profile:not([hidden]) [name=name]", "Alice Liddell", Keys.ENTER)
        page.wait_for_notice("Saved.")
        assert page.focused().tag_name == "summary"
        page.choose_file(page.profile(), path)
        page.cropper()
        assert page.focused().get_dom_attribute("class") == "viewport"
        press("++", Keys.ARROW_LEFT)
        page.photograph("engines-3-crop")
        press(Keys.ENTER)
        page.wait_for_notice("The picture is saved.")
        page.shown_picture(page.profile())
        page.photograph("engines-4-profile")
        tab_to("#another summary", Keys.ENTER, back=True)
        tab_to("#other-email [name=email]", "carol@team.example", Keys.ENTER)
        page.wait_for_notice("Signed in as carol@team.example.")
        tab_to(".profile:not([hidden]) [data-action=erase]", Keys.ENTER)
        press(Keys.TAB, Keys.ENTER)
        page.wait_for_notice("is erased")
        assert page.focused().tag_name == "h2"
        tab_to("#sign-out", Keys.ENTER, back=True)
        page.wait_for_notice("signed out, everywhere")
        assert page.focused().get_dom_attribute("id") == "heading"


class TestCropping:
    @in_three_engines
    def test_by_keys(self, page, colour, tmp_path):
        """A crop by keyboard is kept; it honours the orientation, and its position is announced."""
        # The orientation turns it right by a quarter: the lower left quarter goes to the upper left.
        path = tmp_path / "turned.jpg"
        path.write_bytes(encode(quadrants(1200, 900), exif=exif_orientation(6)))
        profile = page.sign_in(ALICE)
        page.choose_file(profile, path)
        cropper = page.cropper()
        page.focused().send_keys(
            "+" * 10, Keys.SHIFT, Keys.ARROW_LEFT * 20, Keys.ARROW_UP * 30, Keys.NULL
        )
        status = cropper.find_element(By.CSS_SELECTOR, "[role=status]")
        assert "Zoom 259%" in status.get_property("textContent")
        page.focused().send_keys(Keys.ENTER)
        page.wait_for_notice("The picture is saved.")
        assert all(is_like(pixel, BLUE) for pixel in colour(profile))

    @in_three_engines
    @pytest.mark.parametrize(("across", "down", "wanted"), [(1, 1, RED), (-1, -1, WHITE)])
    def test_by_pointer(self, page, colour, tmp_path, across, down, wanted):
        """The wheel zooms at the pointer; dragging moves the picture up to its edge."""
        path = tmp_path / "wide.jpg"
        path.write_bytes(encode(quadrants(1600, 1200)))
        profile = page.sign_in(ALICE)
        page.choose_file(profile, path)
        viewport = page.cropper().find_element(By.CSS_SELECTOR, ".viewport")
        page.engine.turn_wheel(viewport, -500)
        for _ in range(5):
            drag = ActionChains(page.browser, duration=0).move_to_element(viewport).click_and_hold()
            drag.move_by_offset(120 * across, 120 * down).release().perform()
        page.find("#crop [value=use]").click()
        page.wait_for_notice("The picture is saved.")
        assert all(is_like(pixel, wanted) for pixel in colour(profile))

    @in_three_engines
    def test_by_two_fingers(self, page, colour, tmp_path):
        """Two fingers zoom by their distance, around the point between them."""
        page.engine.require(PINCH)
        path = tmp_path / "wide.jpg"
        path.write_bytes(encode(quadrants(1600, 1200)))
        profile = page.sign_in(ALICE)
        page.choose_file(profile, path)
        cropper = page.cropper()
        page.engine.pinch(cropper.find_element(By.CSS_SELECTOR, ".viewport"), 60, 150)
        status = cropper.find_element(By.CSS_SELECTOR, "[role=status]")
        page.wait_for(lambda: "Zoom 250%" in status.get_property("textContent"))
        cropper.find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_notice("The picture is saved.")
        corners = [colour(profile)[index] for index in (0, 2, 6, 8)]
        assert not any(is_like(one, other) for one, other in itertools.combinations(corners, 2))

    def test_calling_it_off(self, page, tmp_path):
        """Escape and Cancel upload nothing, and the same file can be chosen again."""
        path = tmp_path / "picture.jpg"
        path.write_bytes(encode(quadrants()))
        profile = page.sign_in(ALICE)
        page.choose_file(profile, path)
        page.cropper()
        page.focused().send_keys(Keys.ESCAPE)
        page.wait_for(lambda: not page.find("#crop").is_displayed())
        page.choose_file(profile, path)
        page.cropper().find_element(By.CSS_SELECTOR, "[value=cancel]").click()
        assert page.shown(profile, "picture-action") == "Add a picture"
        assert page.shown(page.reload(), "picture-action") == "Add a picture"
