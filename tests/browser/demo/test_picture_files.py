"""Files that are given to the page by drop, paste and chooser, with whatever type a system has."""

from __future__ import annotations

import base64

import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.browsers.abilities import in_three_engines
from support.pictures.pictures import encode, heic, photo, quadrants
from support.pictures.shown import FOREIGN

ALICE = "alice@example.com"
ACCEPTED = "JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL or DNG"

PASTE = """
const transfer = new DataTransfer();
for (const [name, type, bytes] of arguments[0]) {
  transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, {type}));
}
const target = document.activeElement ?? document.body;
target.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, clipboardData: transfer}));
"""
# The first button that submits is pressed by Enter in a field (HTML, "implicit submission").
DEFAULT_BUTTONS = """
const page = [document, document.querySelector("#profile-template").content];
const forms = page.flatMap((root) => [...root.querySelectorAll("form")]);
return forms.map((form) => {
  const buttons = [...form.querySelectorAll("button, input")];
  const first = buttons.find(({type}) => ["submit", "image"].includes(type));
  return first?.value || first?.textContent.trim() || "";
});
"""


@pytest.fixture
def profile(page):
    """The panel of a signed-in person."""
    return page.sign_in(ALICE)


@pytest.fixture
def drop(page):
    """Drops files of this machine on the middle of an element."""
    return page.engine.drop


@pytest.fixture
def paste(page):
    """Pastes files of names, types and contents."""

    def send(*files):
        encoded = [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files]
        page.browser.execute_script(PASTE, encoded)

    return send


@pytest.fixture
def give(page, profile, drop, paste):
    """Gives a file to the page in one of the ways."""

    def send(way, path):
        if way == "drop":
            drop(profile, path)
        elif way == "paste":
            paste((path.name, "", path.read_bytes()))
        else:
            page.choose_file(profile, path)

    return send


def problem(page, profile):
    """Return the problem beside the picture once there is one, without marks of direction."""
    place = profile.find_element(By.CSS_SELECTOR, ".picture .problem")
    return page.wait_for(lambda: place.text).replace("\u2068", "").replace("\u2069", "")


REJECTED = {
    "me.bmp": (encode(quadrants(), "BMP"), "is a BMP picture"),
    "me.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "is an SVG drawing"),
    "me.pdf": (b"%PDF-1.7\n", "is a PDF document"),
    "me.txt": ("Zoë".encode(), "is a text"),
    "photo.jpg": (b"<!DOCTYPE html><title>Not found</title>", "is a web page"),
    "me.mp4": (b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + bytes(99), "is a video"),
    "me.heic": (b"", "is empty: it has 0 bytes"),
    "me.bin": (b"\1\2\3\4", "is no picture of a known format"),
}
WAYS = ["drop", "paste", "chooser"]


class TestRejected:
    @pytest.mark.parametrize("way", WAYS)
    def test_is_named_with_the_reason(self, page, profile, give, tmp_path, way):
        """A file that is no picture is named at once, with the reason and what is accepted."""
        for name, (content, reason) in REJECTED.items():
            path = tmp_path / name
            path.write_bytes(content)
            give(way, path)
            page.wait_for(lambda name=name: f"“{name}”" in problem(page, profile))
            words = problem(page, profile)
            assert reason in words
            assert ACCEPTED in words
            assert not page.find("#crop").is_displayed()
        give(way, FOREIGN / "x-darklogo.png")
        page.cropper()
        assert not profile.find_element(By.CSS_SELECTOR, ".picture .problem").text

    def test_is_named_after_the_server_has_read_it(self, page, profile, give, tmp_path):
        """The reason of the server begins with the name of the file too."""
        path = tmp_path / "cut.jpg"
        path.write_bytes(b"\xff\xd8\xff" + b"\xe0junk" * 100)
        give("drop", path)
        assert problem(page, profile).startswith("“cut.jpg”: This picture is damaged")
        page.expect_complaint("422")

    def test_folder(self, page, profile, drop, tmp_path):
        """A dropped folder is named as one."""
        folder = tmp_path / "Photos"
        folder.mkdir()
        drop(profile, folder)
        assert "“Photos” is a folder." in problem(page, profile)
        page.photograph("rejected-folder")

    def test_file_that_is_gone(self, page, profile, tmp_path):
        """A file that was deleted after it was chosen is named with that reason."""
        path = tmp_path / "me.jpg"
        path.write_bytes(encode(quadrants()))
        page.browser.execute_script(
            "const hold = (event) => window.isReleased || event.stopImmediatePropagation();"
            "arguments[0].addEventListener('change', hold, {capture: true});",
            profile,
        )
        page.choose_file(profile, path)
        path.unlink()
        page.browser.execute_script(
            "window.isReleased = true;arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
            profile.find_element(By.NAME, "picture"),
        )
        assert "“me.jpg” can’t be read" in problem(page, profile)


class TestAccepted:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("name", ["IMG_0001.HEIC", "IMG_0001"])
    def test_heic_without_a_type(self, page, profile, give, tmp_path, way, name):
        """HEIC is uploaded whatever its name, and with no type or that of unknown bytes."""
        path = tmp_path / name
        path.write_bytes(heic(quadrants()))
        give(way, path)
        finish(page, profile)
        page.shown_picture(profile)

    def test_type_of_something_else(self, page, profile, paste):
        """The bytes decide: HEIC with the type of unknown bytes, a JPEG with that of a text."""
        paste(("IMG_0001.HEIC", "application/octet-stream", heic(quadrants())))
        finish(page, profile)
        page.browser.refresh()
        page.wait_for(lambda: page.shown(page.profile(), "picture-action") == "Change picture")
        paste(("letter.txt", "text/plain", encode(quadrants())))
        page.cropper()

    def test_chooser_hides_none(self, page, profile):
        """The chooser lists formats by extension whose type a system may not know."""
        accept = profile.find_element(By.NAME, "picture").get_dom_attribute("accept").split(",")
        assert {"image/*", ".heic", ".heif", ".hif", ".avif", ".jxl", ".dng"} <= set(accept)

    @in_three_engines
    def test_several(self, page, profile, drop, tmp_path):
        """Of several files the first picture is used; the cropper and the page say so."""
        (tmp_path / "a.txt").write_bytes(b"A text.")
        (tmp_path / "b.jpg").write_bytes(encode(quadrants()))
        (tmp_path / "c.jpg").write_bytes(encode(Image.new("RGB", (300, 300), "black")))
        drop(profile, *(tmp_path / name for name in ("a.txt", "b.jpg", "c.jpg")))
        cropper = page.cropper()
        words = "“a.txt” is a text. “b.jpg” is used, the first picture of 3 files."
        note = cropper.find_element(By.ID, "crop-note").text
        assert note.replace("\u2068", "").replace("\u2069", "") == words
        page.photograph("several-files")
        cropper.find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_notice("The picture is saved.")
        page.choose_file(profile, tmp_path / "b.jpg")
        assert not page.cropper().find_element(By.ID, "crop-note").is_displayed()

    def test_another_in_the_cropper(self, page, profile, drop, paste, tmp_path):
        """A file pasted or dropped while the cropper is open replaces the picture in it."""
        (tmp_path / "tall.jpg").write_bytes(encode(quadrants(100, 300)))
        page.choose_file(profile, FOREIGN / "x-darklogo.png")
        image = page.cropper().find_element(By.CSS_SELECTOR, ".viewport img")
        drop(page.cropper(), tmp_path / "tall.jpg")
        page.wait_for(lambda: image.get_property("naturalHeight") == 300)
        paste(("letter.txt", "", b"A text."))
        page.wait_for(lambda: "is a text" in page.find("#crop-note").text)
        paste(("wide.png", "", encode(quadrants(350, 100), "PNG")))
        page.wait_for(lambda: image.get_property("naturalWidth") == 350)
        assert page.find("#crop-note").text == ""
        finish(page, profile)

    def test_text_beside_a_picture(self, page, profile):
        """A paste into a field inserts its text; the picture that comes with it is left."""
        profile.find_element(By.CSS_SELECTOR, ".editor summary").click()
        field = profile.find_element(By.NAME, "nickname")
        field.click()
        script = PASTE.replace("const target", "transfer.setData('text/plain', 'Al'); const target")
        picture = base64.b64encode(encode(quadrants())).decode()
        page.browser.execute_script(script, [["image.png", "image/png", picture]])
        page.browser.execute_async_script("setTimeout(arguments[0], 300)")
        assert not page.find("#crop").is_displayed()


def finish(page, profile):
    """Use the whole square if the page asks for one, and wait until the picture is saved."""
    notice = page.find("#notice")
    use = page.find("#crop [value=use]")
    page.wait_for(lambda: use.is_displayed() or "saved" in notice.text)
    if use.is_displayed():
        use.click()
    page.wait_for(lambda: "The picture is saved." in notice.text)


class TestSecondFile:
    @pytest.mark.parametrize("way", WAYS)
    def test_during_an_upload(self, page, profile, give, network, tmp_path, way):
        """A second file during an upload is named with the reason; the first upload goes on."""
        first, second = tmp_path / "first.jpg", tmp_path / "second.jpg"
        first.write_bytes(photo(800, 800))
        second.write_bytes(encode(quadrants()))
        network(upload=3000)
        page.choose_file(profile, first)
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for(lambda: "Uploading" in profile.find_element(By.CSS_SELECTOR, ".phase").text)
        give(way, second)
        notice = page.find("#notice")
        page.wait_for(lambda: "second.jpg" in notice.text)
        assert "another picture is being uploaded" in notice.text
        assert notice.get_dom_attribute("data-kind") == "error"
        assert not page.find("#crop").is_displayed()
        network()
        page.wait_for(lambda: "The picture is saved." in notice.text)
        give(way, second)
        finish(page, profile)


class TestEnter:
    def test_default_buttons(self, page):
        """No form of the page has a button that cancels as its default."""
        assert sorted(page.browser.execute_script(DEFAULT_BUTTONS)) == sorted(
            ["Continue", "Open the profile", "Save", "erase", "kept", "remove", "use"]
        )

    @in_three_engines
    @pytest.mark.parametrize("place", [".viewport", "#crop-zoom", "[value=use]"])
    def test_in_the_cropper(self, page, profile, place):
        """Enter anywhere in the cropper uses the square."""
        page.choose_file(profile, FOREIGN / "x-darklogo.png")
        page.cropper().find_element(By.CSS_SELECTOR, place).send_keys(Keys.ENTER)
        page.wait_for_notice("The picture is saved.")

    def test_on_the_cancel_button(self, page, profile):
        """Enter on the cropper's cancel button cancels, each time."""
        for _ in range(2):
            page.choose_file(profile, FOREIGN / "x-darklogo.png")
            cropper = page.cropper()
            cropper.find_element(By.CSS_SELECTOR, "[value=cancel]").send_keys(Keys.ENTER)
            page.wait_for(lambda cropper=cropper: not cropper.is_displayed())
            assert page.shown(profile, "picture-action") == "Add a picture"

    def test_that_is_still_held_down(self, page, profile):
        """Enter in the system's chooser, held a little long, does not use a square unseen."""
        page.choose_file(profile, FOREIGN / "x-darklogo.png")
        viewport = page.cropper().find_element(By.CSS_SELECTOR, ".viewport")
        page.browser.execute_script(
            "const held = {key: 'Enter', repeat: true, cancelable: true, bubbles: true};"
            "arguments[0].dispatchEvent(new KeyboardEvent('keydown', held))",
            viewport,
        )
        assert page.find("#crop").is_displayed()

    def test_in_fields(self, page, profile):
        """Enter in a field of the profile saves it."""
        profile.find_element(By.CSS_SELECTOR, ".editor summary").click()
        profile.find_element(By.NAME, "nickname").send_keys("Al", Keys.ENTER)
        page.wait_for_notice("Saved.")


class TestGround:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_transparent_picture(self, page, profile, scheme):
        """A dark and a light drawing are visible in the cropper and on the card, light and dark."""
        page.prefer(color_scheme=scheme)
        page.choose_file(profile, FOREIGN / "x-darklogo.png")
        cropper = page.cropper()
        assert_ground(page, cropper.find_element(By.CSS_SELECTOR, ".viewport"))
        page.photograph(f"ground-cropper-{scheme}")
        cropper.find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_notice("The picture is saved.")
        page.shown_picture(profile)
        assert_ground(page, profile.find_element(By.CSS_SELECTOR, ".portrait img"))
        card = page.card(ALICE).shadow_root
        page.wait_for(lambda: card.find_elements(By.CSS_SELECTOR, "img"))
        assert_ground(page, card.find_element(By.CSS_SELECTOR, "img"))
        page.photograph(f"ground-card-{scheme}")


def assert_ground(page, element):
    """Check that each colour of a chequered ground has a contrast of 3:1 with black and with white."""
    ground = element.value_of_css_property("background-image")
    assert ground.startswith("repeating-conic-gradient")
    colours = page.browser.execute_script(
        "return arguments[0].match(/rgb\\([^)]*\\)/g).map((text) => text.match(/\\d+/g).map(Number))",
        ground,
    )
    assert len({tuple(colour) for colour in colours}) == 2
    for colour in colours:
        parts = [value / 255 for value in colour]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        assert (luminance + 0.05) / 0.05 >= 3
        assert 1.05 / (luminance + 0.05) >= 3


class TestOnlineHint:
    @pytest.fixture
    def unsure(self, browser):
        """A browser that takes itself for offline, as behind some VPNs."""
        source = "Object.defineProperty(Navigator.prototype, 'onLine', {get: () => false})"
        added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
        yield
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    def test_server_answers(self, unsure, page):
        """Every request is tried and works, though the browser reports that it is offline."""
        assert page.browser.execute_script("return navigator.onLine") is False
        profile = page.sign_in(ALICE)
        page.save(profile, name="Alice Liddell")
        page.choose_file(profile, FOREIGN / "x-darklogo.png")
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_notice("The picture is saved.")
        assert page.shown(page.reload(), "title") == "Alice Liddell"
        page.find("#sign-out").click()
        page.wait_for_notice("You are signed out, everywhere.")
