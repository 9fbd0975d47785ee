"""Pictures by paste, drop and camera; cancelled and retried uploads; other people's text."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.request

import pytest
from selenium.webdriver.common.by import By
from support.browsers.abilities import PASTE_PICTURE, in_three_engines
from support.pictures.pictures import encode, quadrants

ALICE = "alice@example.com"

# Drivers can't paste or drag files; these are the events of a browser.
GIVE = """
const [type, target, bytes, kind] = arguments;
const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "picture", {type: kind});
const transfer = new DataTransfer();
transfer.items.add(file);
const init = {bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer};
const event = type === "paste" ? new ClipboardEvent(type, init) : new DragEvent(type, init);
target.dispatchEvent(event);
return event.defaultPrevented;
"""

SPOOFS = [
    "<img src=x onerror=alert(1)>",
    "security@bank.example",
    "اسم " * 12,
    "👩‍👩‍👧‍👦" * 12,
    "W" * 100,
]


@pytest.fixture
def give(page):
    """Dispatches the events of a pasted or dragged file; returns whether the page handled it."""
    picture = base64.b64encode(encode(quadrants())).decode()

    def send(kind, target, media_type="image/jpeg"):
        return page.browser.execute_script(GIVE, kind, target, picture, media_type)

    return send


@pytest.fixture
def picture_file(tmp_path):
    """The path of a picture in four colours."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(quadrants(2000, 2000), quality=95))
    return path


class TestWaysIn:
    @in_three_engines
    def test_paste(self, page):
        """A picture pasted anywhere goes to the shown profile."""
        page.engine.require(PASTE_PICTURE)
        page.sign_in(ALICE)
        page.engine.paste_picture(encode(quadrants(), "PNG"))
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_notice("The picture is saved.")
        page.shown_picture(page.profile())

    def test_paste_of_nobody(self, page, give):
        """Before sign-in a pasted picture is ignored."""
        give("paste", page.find("body"))
        assert not page.find("#crop").is_displayed()

    @in_three_engines
    def test_drop(self, page, give):
        """The profile shows that it accepts a dragged file; a drop elsewhere has no effect."""
        profile = page.sign_in(ALICE)
        target = profile.find_element(By.CSS_SELECTOR, ".drop-here")
        assert give("drop", page.find("header"))
        assert not page.find("#crop").is_displayed()
        give("dragenter", profile)
        assert give("dragover", profile)
        assert target.is_displayed()
        page.photograph("7-drop")
        give("dragleave", profile)
        assert not target.is_displayed()
        give("dragenter", profile)
        give("drop", profile)
        assert not target.is_displayed()
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_notice("The picture is saved.")

    def test_camera(self, page, picture_file):
        """Touch devices have a camera button, with the same path as files."""
        profile = page.sign_in(ALICE)
        camera = profile.find_element(By.NAME, "camera")
        label = profile.find_element(By.CSS_SELECTOR, ".camera")
        assert camera.get_dom_attribute("capture") == "user"
        assert not label.is_displayed()
        touch = {"enabled": True, "maxTouchPoints": 1}
        page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", touch)
        try:
            page.browser.execute_cdp_cmd("Emulation.setEmitTouchEventsForMouse", {"enabled": False})
            page.wait_for(label.is_displayed)
            camera.send_keys(str(picture_file))
            page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
            page.wait_for_notice("The picture is saved.")
        finally:
            page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


class TestUploading:
    def test_calling_it_off(self, page, network, picture_file):
        """A cancelled upload ends at once without a change."""
        profile = page.sign_in(ALICE)
        network(upload=3000)
        page.choose_file(profile, picture_file)
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for(lambda: "Uploading" in profile.find_element(By.CSS_SELECTOR, ".phase").text)
        page.press(profile, "cancel-picture")
        page.wait_for_problem(profile, "Cancelled.")
        assert not profile.find_element(By.CSS_SELECTOR, ".progress").is_displayed()
        assert page.focused() == profile.find_element(By.NAME, "picture")
        network()
        assert page.shown(page.reload(), "picture-action") == "Add a picture"

    def test_trying_again(self, page, network, picture_file):
        """An offline upload shows the reason; one button uploads the same square again."""
        profile = page.sign_in(ALICE)
        network(offline=True)
        page.choose_file(profile, picture_file)
        page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
        page.wait_for_problem(profile, "You are offline.")
        page.expect_complaint("ERR_INTERNET_DISCONNECTED")
        page.photograph("8-offline")
        network()
        page.press(profile, "retry-picture")
        page.wait_for_notice("The picture is saved.")
        page.shown_picture(profile)
        page.complaints().clear()  # the client retried while it was offline


class TestStrangersText:
    @pytest.mark.parametrize(
        "name", SPOOFS, ids=["markup", "address", "right to left", "emoji", "long"]
    )
    def test_name(self, page, name):
        """A card shows its email whatever the name, and nothing overflows the page."""
        page.resize(320)
        profile = page.sign_in(ALICE)
        page.save(profile, name=name, label=name[:100], pronouns=name[:100])
        assert page.on_card(ALICE, "name").startswith(name.strip()[:4])
        assert page.on_card(ALICE, "email").replace("\n", "") == ALICE
        assert page.shown(profile, "email") == ALICE
        assert page.find("html").get_property("scrollWidth") <= 320


class TestProtectedProfile:
    def test_key(self, page, server):
        """Without its key a profile has a fallback card and the reason; with it, all claims."""
        key = secrets.token_urlsafe(32)
        self._protect(server, key)
        profile = page.sign_in(ALICE)
        assert page.shown(profile, "updated").startswith("This profile opens only with your own key.")
        assert not profile.find_element(By.CSS_SELECTOR, ".editor").is_displayed()
        assert page.on_card(ALICE, "name") == "alice"
        page.photograph("9-protected")
        field = profile.find_element(By.NAME, "profile_key")
        field.send_keys(key)
        profile.find_element(By.CSS_SELECTOR, ".unlock [type=submit]").click()
        page.wait_for(lambda: page.shown(page.profile(), "title") == "Alice Liddell")
        assert not field.is_displayed()
        assert "Liddell" not in page.browser.execute_script("return JSON.stringify({...localStorage})")

    @staticmethod
    def _protect(server, key):
        headers = {"Content-Type": "application/json"}

        def call(method, path, document):
            request = urllib.request.Request(
                server + path, method=method, data=json.dumps(document).encode(), headers=headers
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())

        proof = call("POST", "/development/assertions", {"email": ALICE})
        token = call("POST", "/v1/sessions", {"proofs": [proof], "profile_key": key})["token"]
        headers["Authorization"] = f"Bearer {token}"
        call("PUT", f"/v1/profiles/{ALICE}", {"name": "Alice Liddell"})
        call("PUT", f"/v1/profiles/{ALICE}/profile-key", {"profile_key": key})
