"""Pictures that the browser can't decode: the server shows them, and the person chooses a square."""

from __future__ import annotations

import io
import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from support.pictures.pictures import BLUE, GREEN, RED, WHITE, heic, quadrants

ALICE = "alice@example.com"
CELL = 2
"""Pixels of a cell of the pattern: too small to be seen in a preview of a third of the size."""


def patterned() -> Image.Image:
    """Return four colours of 3000 x 2000 pixels; the green part has a fine pattern of black cells."""
    picture = quadrants(3000, 2000)
    pixels = np.array(picture)
    rows, columns = np.indices((1000, 1500)) // CELL
    pixels[:1000, 1500:][(rows + columns) % 2 == 0] = 0
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def phone_file(tmp_path_factory) -> Path:
    """The path of a phone's picture, which Chromium can't decode."""
    path = tmp_path_factory.mktemp("phone") / "phone.heic"
    path.write_bytes(heic(patterned(), quality=90))
    return path


def phase(profile) -> str:
    """Return the words of the shown progress."""
    return profile.find_element(By.CSS_SELECTOR, ".phase").text


@pytest.fixture
def kept(server):
    """Returns the pixels of the largest size that the server keeps."""

    def call(path, document):
        body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(server + path, body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def pixels() -> np.ndarray:
        proof = call("/development/assertions", {"email": ALICE})
        [profile] = call("/v1/sessions", {"proofs": [proof]})["profiles"]
        with urllib.request.urlopen(profile["picture"]["urls"]["512"], timeout=10) as answer:
            return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"), float)

    return pixels


def test_chosen_square(page, phone_file, kept):
    """The person sees the whole picture and chooses a square, which is taken from the original."""
    profile = page.sign_in(ALICE)
    page.choose_file(profile, phone_file)
    cropper = page.cropper()
    image = cropper.find_element(By.CSS_SELECTOR, ".viewport img")
    assert (image.get_property("naturalWidth"), image.get_property("naturalHeight")) == (1024, 683)
    assert not profile.find_element(By.CSS_SELECTOR, ".progress").is_displayed()
    page.photograph("10-preview")
    viewport = cropper.find_element(By.CSS_SELECTOR, ".viewport")
    viewport.send_keys("+" * 30)
    viewport.send_keys(Keys.SHIFT, Keys.ARROW_UP * 60, Keys.ARROW_RIGHT * 60)
    cropper.find_element(By.CSS_SELECTOR, "[value=use]").click()
    page.wait_for_notice("The picture is saved.")
    pixels = kept()
    # Of the green part: half of its brightness, by a pattern that only the original has.
    assert pixels.mean((0, 1)) == pytest.approx([value / 2 for value in GREEN], abs=16)
    assert pixels.shape == (375, 375, 3)
    assert pixels[..., 1].std() > 45
    small = np.asarray(patterned().resize((1024, 683), Image.Resampling.BICUBIC), float)
    assert small[:128, -128:, 1].std() < 15


def test_largest_square(page, phone_file, kept):
    """The square that the dialog suggests is the centre: all four colours are there."""
    profile = page.sign_in(ALICE)
    page.upload(profile, phone_file)
    pixels = kept()
    side = len(pixels)
    corners = pixels[side // 8 :: side * 3 // 4, side // 8 :: side * 3 // 4][:2, :2]
    expected = [RED, [value / 2 for value in GREEN], BLUE, WHITE]
    for found, wanted in zip(corners.reshape(4, 3), expected, strict=True):
        assert found == pytest.approx(wanted, abs=60)


def test_nothing_is_uploaded_without_a_choice(page, phone_file):
    """A person who closes the dialog has changed nothing."""
    profile = page.sign_in(ALICE)
    page.choose_file(profile, phone_file)
    page.cropper().find_element(By.CSS_SELECTOR, "[value=cancel]").click()
    assert page.shown(page.reload(), "picture-action") == "Add a picture"


def test_progress_and_cancelling(page, network, phone_file):
    """The way to the preview has progress, and a button that ends it."""
    profile = page.sign_in(ALICE)
    network(upload=20_000)
    page.choose_file(profile, phone_file)
    page.wait_for(lambda: "Uploading, to show you the picture" in phase(profile))
    page.wait_for(lambda: profile.find_element(By.CSS_SELECTOR, ".percent").text not in ("", "0%"))
    page.photograph("11-preview-upload")
    page.press(profile, "cancel-picture")
    page.wait_for_problem(profile, "Cancelled.")
    assert not profile.find_element(By.CSS_SELECTOR, ".progress").is_displayed()
    assert not page.find("#crop").is_displayed()
    assert page.focused() == profile.find_element(By.NAME, "picture")


def test_trying_again(page, network, phone_file):
    """Without an answer the page shows why; one button asks for the same preview again."""
    profile = page.sign_in(ALICE)
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/picture/preview"]})
    page.choose_file(profile, phone_file)
    page.wait_for_problem(profile, "The profile server does not answer.")
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    page.press(profile, "retry-picture")
    page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
    page.wait_for_notice("The picture is saved.")
    page.complaints().clear()  # the client retried while the address was blocked


def test_file_that_is_damaged(page, phone_file, tmp_path):
    """A file that the server can't decode either is rejected in plain words, before any choice."""
    profile = page.sign_in(ALICE)
    path = tmp_path / "half.heic"
    path.write_bytes(phone_file.read_bytes()[:20_000])
    page.choose_file(profile, path)
    page.wait_for_problem(profile, "This picture is damaged or not complete.")
    page.expect_complaint("422")
    assert not page.find("#crop").is_displayed()


def test_line_that_stalls(page, network, phone_file):
    """While no byte moves the page says so, and goes on when the line does."""
    profile = page.sign_in(ALICE)
    network(upload=1)
    page.choose_file(profile, phone_file)
    page.wait_for(lambda: phase(profile) == "The connection is slow or interrupted. Still trying…")
    page.photograph("12-stalled")
    network()
    page.cropper().find_element(By.CSS_SELECTOR, "[value=use]").click()
    page.wait_for_notice("The picture is saved.")
