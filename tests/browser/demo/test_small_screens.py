"""The demo on small and zoomed screens and in forced colours: nothing is covered, cut or misplaced."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.pictures.pictures import encode, quadrants

ALICE = "alice@example.com"

# Of a phone, of a laptop with a zoom of 200 %, of a small one with a zoom of 400 %, and of a laptop.
SCREENS = [(320, 640), (640, 360), (320, 256), (1280, 720)]
SMALL_SCREENS = SCREENS[:3]
ELSEWHERE = [("firefox", 640, 360), ("webkit", 640, 360)]

# Parts of elements that are outside the screen, or covered there.
OUT_OF_SIGHT = """
return [...arguments].filter((each) => {
  const { left, top, right, bottom } = each.getBoundingClientRect();
  if (left < -1 || top < -1 || right > innerWidth + 1 || bottom > innerHeight + 1) {
    return true;
  }
  const corners = [left + 8, right - 8].flatMap((x) => [top + 8, bottom - 8].map((y) => [x, y]));
  return !corners.every(([x, y]) => each.contains(document.elementFromPoint(x, y)));
}).map((each) => each.name || each.value || each.outerHTML.slice(0, 100));
"""

# Quiet buttons whose box exceeds the content of their panel.
OVERHANGING = """
return [...document.querySelectorAll(".panel button.quiet")].filter((each) => {
  const panel = each.closest(".panel");
  const { paddingLeft, paddingRight, borderLeftWidth } = getComputedStyle(panel);
  const [box, place] = [each, panel].map((one) => one.getBoundingClientRect());
  const border = parseFloat(borderLeftWidth);
  return box.width && (box.left < place.left + border + parseFloat(paddingLeft) - 1
    || box.right > place.right - border - parseFloat(paddingRight) + 1);
}).map((each) => each.textContent);
"""

# The boxes of the notice and of an element have a common part.
COVERED = """
const [notice, other] = [document.querySelector("#notice"), arguments[0]].map((each) =>
  each.getBoundingClientRect(),
);
return notice.left < other.right && other.left < notice.right
  && notice.top < other.bottom && other.top < notice.bottom;
"""


NOTICE = "document.querySelector('#notice').textContent"


@pytest.fixture
def picture_file(tmp_path):
    """The path of a picture in four colours, wider than high."""
    path = tmp_path / "me.jpg"
    path.write_bytes(encode(quadrants().resize((900, 600))))
    return path


@pytest.mark.parametrize(
    ("engine", "width", "height"),
    [*(("chromium", *screen) for screen in SCREENS), *ELSEWHERE],
    indirect=["engine"],
)
def test_notice_covers_no_field(page, width, height):
    """Whichever field has the focus, the notice and the page's head leave it in sight."""
    page.resize(width, height)
    profile = page.sign_in(ALICE)
    profile.find_element(By.CSS_SELECTOR, ".editor summary").click()
    names = []
    for field in profile.find_elements(By.CSS_SELECTOR, ".claims input, .claims button, footer button"):
        # Notices disappear after a while; on a busy machine a test takes longer.
        page.browser.execute_script(f"arguments[0].focus(); {NOTICE} ||= 'Saved.'", field)
        page.wait_for(lambda field=field: page.browser.execute_script(OUT_OF_SIGHT, field) == [])
        assert not page.browser.execute_script(COVERED, field)
        names.append(field.get_property("name"))
    assert "picture_alt" in names
    page.browser.execute_script(f"{NOTICE} ||= 'Saved.'")
    assert page.browser.execute_script(OUT_OF_SIGHT, page.find("#notice")) == []
    page.photograph(f"notice-{page.engine.name}-{width}x{height}")


@pytest.mark.parametrize(
    ("engine", "width", "height"),
    [*(("chromium", *screen) for screen in SMALL_SCREENS), *ELSEWHERE],
    indirect=["engine"],
)
def test_crop_dialog_shows_its_buttons(page, picture_file, width, height):
    """Both buttons are in sight at once, also below a note; on a zoomed laptop all controls are."""
    page.resize(width, height)
    profile = page.sign_in(ALICE)
    page.choose_file(profile, picture_file)
    dialog = page.cropper()
    buttons = dialog.find_elements(By.CSS_SELECTOR, ".actions button")
    assert len(buttons) == 2
    assert page.browser.execute_script(OUT_OF_SIGHT, *buttons) == []
    if width == 640:
        controls = dialog.find_elements(
            By.CSS_SELECTOR, "h2, .viewport, [type=range], .hint:not([hidden])"
        )
        assert page.browser.execute_script(OUT_OF_SIGHT, *controls) == []
    page.photograph(f"crop-{page.engine.name}-{width}x{height}")
    page.browser.execute_script(
        "const note = arguments[0].querySelector('#crop-note'); note.hidden = false;"
        "note.textContent = 'A note about the file. '.repeat(9);",
        dialog,
    )
    assert page.browser.execute_script(OUT_OF_SIGHT, *buttons) == []
    dialog.find_element(By.CSS_SELECTOR, "[value=cancel]").click()


@pytest.mark.parametrize("address", ["eve@evil.test", "no address"])
def test_wrong_address_has_its_error_beside_it(page, address):
    """On a zoomed screen the field and each sentence about it are in sight, and none is elsewhere."""
    page.resize(640, 360)
    page.find("#another summary").click()
    form = page.find("#other-email")
    field = form.find_element(By.NAME, "email")
    field.send_keys(address, Keys.ENTER)
    page.wait_for_problem(form, "see the marked field")
    assert page.focused() == field
    sentences = [
        each
        for each in page.browser.find_elements(By.CSS_SELECTOR, ".problem, .field-error")
        if each.is_displayed() and each.text
    ]
    assert len(sentences) == 2
    assert page.browser.execute_script(OUT_OF_SIGHT, field, *sentences) == []
    page.expect_complaint("400")
    field.clear()
    field.send_keys("eve@team.example", Keys.ENTER)
    page.wait_for_notice("Signed in as eve@team.example.")
    assert not form.find_elements(By.CSS_SELECTOR, ".field-error")
    assert form.find_element(By.CSS_SELECTOR, ".problem").get_property("textContent") == ""


class TestErrorsOfEarlierActions:
    def test_of_a_picture(self, page, tmp_path):
        """The error of a file is over once a claim is saved."""
        profile = page.sign_in(ALICE)
        letter = tmp_path / "letter.pdf"
        letter.write_bytes(b"%PDF-1.7\n")
        page.choose_file(profile, letter)
        page.wait_for_problem(profile.find_element(By.CSS_SELECTOR, ".picture"), "PDF")
        page.save(profile, name="Alice")
        problems = profile.find_elements(By.CSS_SELECTOR, ".problem")
        assert [each.get_property("textContent") for each in problems] == [""] * len(problems)

    def test_of_a_form(self, page, picture_file):
        """A picture that is saved leaves the marked field of the form as it is."""
        profile = page.sign_in(ALICE)
        page.edit(profile, website="ftp://alice.example")
        page.wait_for_problem(profile, "see the marked field")
        page.expect_complaint("400")
        page.upload(profile, picture_file)
        claims = profile.find_element(By.CSS_SELECTOR, ".claims")
        assert claims.find_element(By.CSS_SELECTOR, ".field-error").text.startswith("Website")
        page.wait_for_problem(claims, "see the marked field")


def test_quiet_buttons_in_forced_colours(page):
    """Their borders, which forced colours make visible, are within the content of their panels."""
    page.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "forced-colors", "value": "active"}]}
    )
    page.resize(320)
    page.find("#several").click()
    assert page.browser.execute_script(OVERHANGING) == []
    page.find("#several").click()
    page.sign_in(ALICE)
    assert page.browser.execute_script(OVERHANGING) == []
    page.photograph("forced-colours-profile")
