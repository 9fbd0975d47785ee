"""Firefox and WebKit, for pages that must work in browsers other than Chromium."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import websocket
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.webkitgtk.service import Service as WebKitDriver

from support.servers.services import free_port

START_SECONDS = 30


class Browser(Protocol):
    """A browser with one page."""

    errors: list[str]

    def open(self, url: str) -> None:
        """Load a page."""

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""

    def click(self, selector: str) -> None:
        """Click an element."""

    def type(self, selector: str, text: str) -> None:
        """Click a field and type into it."""


class Firefox:
    """A Firefox by WebDriver BiDi, which needs no driver."""

    def __init__(self, connection: websocket.WebSocket) -> None:
        self.errors: list[str] = []
        self._connection = connection
        self._ids = itertools.count()
        self._call("session.new", capabilities={})
        self._call("session.subscribe", events=["log.entryAdded"])
        [context] = self._call("browsingContext.getTree")["contexts"]
        self._context = context["context"]

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        target = {"context": self._context}
        text = f"JSON.stringify({expression} ?? null)"
        done = self._call("script.evaluate", expression=text, target=target, awaitPromise=True)
        return json.loads(done["result"]["value"])

    def click(self, selector: str) -> None:
        """Click an element."""
        x, y = self.evaluate(
            f"""((element) => {{
              element.scrollIntoView({{ block: "center" }});
              const {{ x, y, width, height }} = element.getBoundingClientRect();
              return [Math.round(x + width / 2), Math.round(y + height / 2)];
            }})(document.querySelector({json.dumps(selector)}))"""
        )
        move = {"type": "pointerMove", "x": x, "y": y}
        press = [{"type": f"pointer{each}", "button": 0} for each in ("Down", "Up")]
        self._perform({"type": "pointer", "id": "pointer", "actions": [move, *press]})

    def type(self, selector: str, text: str) -> None:
        """Click a field and type into it."""
        self.click(selector)
        keys = [{"type": f"key{each}", "value": key} for key in text for each in ("Down", "Up")]
        self._perform({"type": "key", "id": "keys", "actions": keys})

    def _perform(self, actions: dict[str, Any]) -> None:
        self._call("input.performActions", context=self._context, actions=[actions])

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") == number:
                assert message["type"] == "success", message
                return message["result"]
            entry = message.get("params", {})
            if entry.get("level") == "error":
                self.errors.append(str(entry["text"]))


class WebKit:
    """A WebKit of GTK, which reports no errors."""

    def __init__(self, browser: webdriver.WebKitGTK) -> None:
        self.errors: list[str] = []
        self._browser = browser

    def open(self, url: str) -> None:
        """Load a page."""
        self._browser.get(url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self._browser.execute_script(f"return {expression}")

    def click(self, selector: str) -> None:
        """Click an element."""
        self._browser.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, text: str) -> None:
        """Click a field and type into it."""
        self.click(selector)
        self._browser.find_element(By.CSS_SELECTOR, selector).send_keys(text)


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Firefox]:
    """Start a Firefox with a profile in a folder."""
    port = free_port()
    command = ["firefox", "--headless", "--profile", str(folder), f"--remote-debugging-port={port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connection = _connect(f"ws://127.0.0.1:{port}/session")
        with contextlib.closing(connection):
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(20)


def _connect(url: str) -> websocket.WebSocket:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return websocket.create_connection(url, timeout=START_SECONDS, suppress_origin=True)
        except (OSError, websocket.WebSocketException):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def webkit(_folder: Path) -> Iterator[WebKit]:
    """Start a WebKit on a screen of its own."""
    [program] = Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser")
    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(program)
    options.add_argument("--automation")
    with _screen() as display:
        driver = WebKitDriver(
            executable_path="/usr/bin/WebKitWebDriver", env={**os.environ, "DISPLAY": display}
        )
        with warnings.catch_warnings():
            # Selenium's class for WebKit calls its own deprecated constructor.
            warnings.filterwarnings("ignore", "setting remote_server_addr", DeprecationWarning)
            browser = webdriver.WebKitGTK(options=options, service=driver)
        try:
            yield WebKit(browser)
        finally:
            browser.quit()


@contextlib.contextmanager
def _screen() -> Iterator[str]:
    """Start an X server; yield its display."""
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f":{process.stdout.readline().strip()}"
        finally:
            process.terminate()
