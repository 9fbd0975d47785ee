"""A browser with a page: its driver, and the part of it that differs between engines."""

from __future__ import annotations

import base64
import json
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from support.browsers.abilities import (
    CANT,
    DARK_SCHEME,
    NARROW_WINDOW,
    PASTE_PICTURE,
    PINCH,
    WHEEL_BY_INPUT,
)
from support.browsers.marionette import FirefoxDriver

_MIDDLE = """
const [element] = arguments;
element.scrollIntoView({ block: "center" });
const { x, y, width, height } = element.getBoundingClientRect();
return [Math.round(x + width / 2), Math.round(y + height / 2)];
"""
# The page copies a picture while it handles a key: browsers require a gesture.
_COPY = """
const [bytes, done] = arguments;
window.copied = null;
addEventListener("keydown", (event) => {
  event.preventDefault();
  const data = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
  const blob = new Blob([data], { type: "image/png" });
  navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]).then(
    () => { window.copied = "copied"; },
    (error) => { window.copied = String(error); },
  );
}, { once: true, capture: true });
done();
"""
_DROP = """
const [target, files] = arguments;
const dataTransfer = new DataTransfer();
for (const [name, bytes] of files) {
  const data = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
  dataTransfer.items.add(new File([data], name));
}
for (const type of ["dragenter", "dragover", "drop"]) {
  target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
}
"""
_WHEEL = """
const [target, clientX, clientY, deltaY] = arguments;
target.dispatchEvent(new WheelEvent("wheel", { clientX, clientY, deltaY, cancelable: true }));
"""
_LISTEN = """
const found = window.complaintsOfTheTests ?? [];
if (!window.complaintsOfTheTests) {
  const note = (text) => window.complaintsOfTheTests.push(String(text));
  addEventListener("error", (event) => note(event.message));
  addEventListener("unhandledrejection", (event) => note(event.reason));
  addEventListener("securitypolicyviolation", (event) => note(`${event.violatedDirective} violated`));
}
window.complaintsOfTheTests = [];
return found;
"""


class Engine(ABC):
    """A browser of an engine; the rest of the interface is Selenium's: `driver`."""

    name: ClassVar[str]
    # Words of complaints about servers that do not answer.
    lost_connection: ClassVar[tuple[str, ...]]

    def __init__(self, driver: WebDriver) -> None:
        self.driver = driver

    def can(self, ability: str) -> bool:
        """Return whether the engine and its driver have an ability."""
        return (self.name, ability) not in CANT

    def require(self, ability: str) -> None:
        """Skip the test, with the table's reason, if the engine lacks an ability."""
        if not self.can(ability):
            pytest.skip(f"{self.name} can't {ability}: {CANT[self.name, ability]}")

    @abstractmethod
    def opened(self) -> None:
        """Prepare a page that has just been loaded."""

    @abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Show pages with a width and height."""

    @abstractmethod
    def prefer(self, features: dict[str, str]) -> None:
        """Emulate preferences such as `prefers-color-scheme`."""

    def leave(self) -> None:
        """Leave the page, whose modules could ask a server that has ended; forget its complaints."""
        self.driver.get("about:blank")
        self.complaints()

    @abstractmethod
    def reset(self) -> None:
        """Return to the usual size and preferences."""

    @abstractmethod
    def complaints(self) -> list[str]:
        """Return the errors that the browser has reported since the last call."""

    def screenshot(self) -> bytes:
        """Return a picture of the page as PNG."""
        return base64.b64decode(self.driver.get_screenshot_as_base64())

    def drop(self, element: WebElement, *paths: Path) -> None:
        """Drop files on the middle of an element; by a script where no real drop is possible."""
        files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
        self.driver.execute_script(_DROP, element, files)

    def paste_picture(self, png: bytes) -> None:
        """Copy a picture, and paste it by Ctrl+V at the focus."""
        self.require(PASTE_PICTURE)
        self.driver.execute_async_script(_COPY, base64.b64encode(png).decode())
        ActionChains(self.driver).send_keys(Keys.F9).perform()
        copied = _polled(self.driver, "return window.copied")
        assert copied == "copied", copied
        self.press_paste()

    def press_paste(self) -> None:
        """Press Ctrl+V."""
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()

    def turn_wheel(self, element: WebElement, pixels: int) -> None:
        """Turn the wheel over an element's middle; by a script where that is not possible."""
        if self.can(WHEEL_BY_INPUT):
            origin = ScrollOrigin.from_element(element)
            ActionChains(self.driver).scroll_from_origin(origin, 0, pixels).perform()
        else:
            place = self.driver.execute_script(_MIDDLE, element)
            self.driver.execute_script(_WHEEL, element, *place, pixels)

    def pinch(self, element: WebElement, start: int, end: int) -> None:
        """Move two fingers from a distance between them to another, around an element's middle."""
        self.require(PINCH)
        x, y = self.driver.execute_script(_MIDDLE, element)
        actions = ActionBuilder(self.driver, mouse=PointerInput(interaction.POINTER_TOUCH, "left"))
        other = actions.add_pointer_input(interaction.POINTER_TOUCH, "right")
        for pointer, side in ((actions.pointer_action.source, -1), (other, 1)):
            pointer.create_pointer_move(duration=0, x=x + side * start // 2, y=y)
            pointer.create_pointer_down(button=0)
            pointer.create_pointer_move(duration=100, x=x + side * end // 2, y=y)
            pointer.create_pointer_up(button=0)
        actions.perform()


def _polled(driver: WebDriver, script: str) -> Any:
    end = time.monotonic() + 20
    while (found := driver.execute_script(script)) is None:
        assert time.monotonic() < end, script
        time.sleep(0.05)
    return found


class Chromium(Engine):
    """A Chromium."""

    name = "chromium"
    lost_connection = ("ERR_CONNECTION",)
    driver: webdriver.Chrome

    def opened(self) -> None:
        """Prepare nothing: the console has all errors."""

    def resize(self, width: int, height: int) -> None:
        """Emulate a screen; windows can't be as narrow as phones."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        # Phones' scrollbars take no room; screenshots would leave that room out.
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": width < 400})

    def prefer(self, features: dict[str, str]) -> None:
        """Emulate media features."""
        media = [{"name": name, "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})

    def reset(self) -> None:
        """End all emulation."""
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def complaints(self) -> list[str]:
        """Return the console's errors: violated policies, exceptions, failed requests."""
        found = self.driver.get_log("browser")
        return [entry["message"] for entry in found if entry["level"] == "SEVERE"]

    def screenshot(self) -> bytes:
        """Return a picture of the whole page, or of the open dialog."""
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        return base64.b64decode(taken["data"])

    def drop(self, element: WebElement, *paths: Path) -> None:
        """Drop files as a file manager does."""
        x, y = self.driver.execute_script(_MIDDLE, element)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": x, "y": y, "data": data}
            self.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)

    def press_paste(self) -> None:
        """Press Ctrl+V; keys from a driver need the name of the command that they stand for."""
        key = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
        down = {"type": "keyDown", "commands": ["paste"], **key}
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", down)
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", **key})


class Firefox(Engine):
    """A Firefox."""

    name = "firefox"
    lost_connection = ("CORS request did not succeed", "NetworkError", "NS_ERROR_CONNECTION")
    driver: FirefoxDriver

    _SCHEMES: ClassVar[dict[str, int]] = {"dark": 0, "light": 1}

    def opened(self) -> None:
        """Prepare nothing: the console has all errors."""

    def resize(self, width: int, height: int) -> None:
        """Give pages a part of the window; windows can't be as narrow as phones."""
        self.driver.execute_in_browser(
            "const { style } = gBrowser.selectedBrowser;"
            "for (const each of ['min', 'max']) {"
            "  style.setProperty(`${each}-width`, `${arguments[0]}px`);"
            "  style.setProperty(`${each}-height`, `${arguments[1]}px`);"
            "}",
            width,
            height,
        )
        for side, wanted in (("Width", width), ("Height", height)):
            _polled(self.driver, f"return inner{side} === {wanted} || null")

    def prefer(self, features: dict[str, str]) -> None:
        """Set the preferences of the browser; motion is always reduced."""
        assert set(features) <= {"prefers-color-scheme", "prefers-reduced-motion"}
        scheme = features.get("prefers-color-scheme", "light")
        self.driver.execute_in_browser(
            "const name = 'layout.css.prefers-color-scheme.content-override';"
            "Services.prefs.setIntPref(name, arguments[0]);",
            self._SCHEMES[scheme],
        )
        _polled(self.driver, f"return matchMedia('(prefers-color-scheme: {scheme})').matches || null")

    def reset(self) -> None:
        """Give pages the whole window."""
        self.driver.execute_in_browser(
            "for (const each of ['min-width', 'max-width', 'min-height', 'max-height']) {"
            "  gBrowser.selectedBrowser.style.removeProperty(each);"
            "}"
        )
        self.prefer({})

    def complaints(self) -> list[str]:
        """Return the errors of pages in the browser's console: exceptions, violated policies."""
        found: list[str] = self.driver.execute_in_browser(
            "const messages = Services.console.getMessageArray();"
            "Services.console.reset();"
            "return messages.filter((each) => each instanceof Ci.nsIScriptError"
            "  && !(each.flags & Ci.nsIScriptError.warningFlag)"
            "  && (/^(https?|data):/.test(each.sourceName) || each.innerWindowID))"
            ".map((each) => `${each.errorMessage} (${each.sourceName}:${each.lineNumber})`);"
        )
        return found


# The driver itself returns no text of an element that hides its overflow, or is in a shadow tree.
_VISIBLE_TEXT = """
const [element] = arguments;
return element.checkVisibility({ visibilityProperty: true }) ? element.innerText.trim() : "";
"""


class WebKitElement(WebElement):
    """An element of WebKit, with what its driver lacks: clicks out of view, and some texts."""

    @property
    def text(self) -> str:
        """Return the visible text."""
        return str(self.parent.execute_script(_VISIBLE_TEXT, self))

    def click(self) -> None:
        """Scroll the element into view if it is not, and click it."""
        self.parent.execute_script("arguments[0].scrollIntoView({ block: 'nearest' })", self)
        super().click()


class WebKit(Engine):
    """A WebKitGTK in its MiniBrowser."""

    name = "webkit"
    lost_connection = ("Load failed", "Could not connect")

    def opened(self) -> None:
        """Wait until the page's modules have run, which the driver does not, and listen for errors."""
        _polled(self.driver, "return document.readyState === 'complete' || null")
        self.driver.execute_script(_LISTEN)

    def resize(self, width: int, height: int) -> None:
        """Resize the window."""
        if width < _MINIMUM_WIDTH:
            self.require(NARROW_WINDOW)
        rect = self.driver.get_window_rect()
        inner = self.driver.execute_script("return [innerWidth, innerHeight]")
        self.driver.set_window_rect(
            0, 0, width + rect["width"] - inner[0], height + rect["height"] - inner[1]
        )
        _polled(self.driver, f"return innerWidth === {json.dumps(width)} || null")

    def prefer(self, features: dict[str, str]) -> None:
        """Accept the scheme and motion that it has."""
        if features.get("prefers-color-scheme", "light") != "light":
            self.require(DARK_SCHEME)

    def reset(self) -> None:
        """Resize the window."""
        self.driver.set_window_rect(0, 0, *_WINDOW)

    def complaints(self) -> list[str]:
        """Return the errors that the page has noted."""
        found: list[str] = self.driver.execute_script(_LISTEN)
        return found


_MINIMUM_WIDTH, _WINDOW = 450, (1280, 900)
