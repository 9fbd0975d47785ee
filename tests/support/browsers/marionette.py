"""Selenium for Firefox without geckodriver, by the protocol that geckodriver translates to."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import time
from typing import Any

from selenium.webdriver.common.options import ArgOptions
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webdriver import WebDriver

_PATIENCE_SECONDS = 60
_CONNECTS_SECONDS = 30

_NAMES = {
    Command.NEW_SESSION: "NewSession",
    Command.QUIT: "DeleteSession",
    Command.W3C_GET_CURRENT_WINDOW_HANDLE: "GetWindowHandle",
    Command.W3C_GET_WINDOW_HANDLES: "GetWindowHandles",
    Command.SWITCH_TO_WINDOW: "SwitchToWindow",
    Command.NEW_WINDOW: "NewWindow",
    Command.CLOSE: "CloseWindow",
    Command.GET: "Navigate",
    Command.GO_BACK: "Back",
    Command.GO_FORWARD: "Forward",
    Command.REFRESH: "Refresh",
    Command.GET_CURRENT_URL: "GetCurrentURL",
    Command.GET_TITLE: "GetTitle",
    Command.GET_PAGE_SOURCE: "GetPageSource",
    Command.W3C_EXECUTE_SCRIPT: "ExecuteScript",
    Command.W3C_EXECUTE_SCRIPT_ASYNC: "ExecuteAsyncScript",
    Command.SCREENSHOT: "TakeScreenshot",
    Command.FIND_ELEMENT: "FindElement",
    Command.FIND_ELEMENTS: "FindElements",
    Command.FIND_CHILD_ELEMENT: "FindElement",
    Command.FIND_CHILD_ELEMENTS: "FindElements",
    Command.FIND_ELEMENT_FROM_SHADOW_ROOT: "FindElementFromShadowRoot",
    Command.FIND_ELEMENTS_FROM_SHADOW_ROOT: "FindElementsFromShadowRoot",
    Command.W3C_GET_ACTIVE_ELEMENT: "GetActiveElement",
    Command.GET_SHADOW_ROOT: "GetShadowRoot",
    Command.CLICK_ELEMENT: "ElementClick",
    Command.CLEAR_ELEMENT: "ElementClear",
    Command.SEND_KEYS_TO_ELEMENT: "ElementSendKeys",
    Command.GET_ELEMENT_TEXT: "GetElementText",
    Command.GET_ELEMENT_TAG_NAME: "GetElementTagName",
    Command.GET_ELEMENT_RECT: "GetElementRect",
    Command.GET_ELEMENT_ATTRIBUTE: "GetElementAttribute",
    Command.GET_ELEMENT_PROPERTY: "GetElementProperty",
    Command.GET_ELEMENT_VALUE_OF_CSS_PROPERTY: "GetElementCSSValue",
    Command.GET_ELEMENT_ARIA_ROLE: "GetComputedRole",
    Command.GET_ELEMENT_ARIA_LABEL: "GetComputedLabel",
    Command.IS_ELEMENT_ENABLED: "IsElementEnabled",
    Command.IS_ELEMENT_SELECTED: "IsElementSelected",
    Command.SET_TIMEOUTS: "SetTimeouts",
    Command.GET_WINDOW_RECT: "GetWindowRect",
    Command.SET_WINDOW_RECT: "SetWindowRect",
    Command.W3C_ACTIONS: "PerformActions",
    Command.W3C_CLEAR_ACTIONS: "ReleaseActions",
}

# Selenium's names of parameters, where Firefox's differ.
_PARAMETERS = {
    Command.FIND_CHILD_ELEMENT: {"id": "element"},
    Command.FIND_CHILD_ELEMENTS: {"id": "element"},
    Command.FIND_ELEMENT_FROM_SHADOW_ROOT: {"shadowId": "shadowRoot"},
    Command.FIND_ELEMENTS_FROM_SHADOW_ROOT: {"shadowId": "shadowRoot"},
}


class Marionette:
    """Executes Selenium's commands over a connection to a Firefox."""

    client_config = None

    def __init__(self, port: int) -> None:
        self._socket = _connected(port)
        self._stream = self._socket.makefile("rb")
        self._numbers = itertools.count(1)
        self._receive()  # a greeting

    def execute(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return an answer as Selenium's connections do: a value, or an error with its status."""
        names = _PARAMETERS.get(command, {})
        renamed = {
            names.get(name, name): value for name, value in params.items() if name != "sessionId"
        }
        if command == Command.NEW_SESSION:
            renamed = renamed["capabilities"]["alwaysMatch"]
        return self.call(f"WebDriver:{_NAMES[command]}", renamed)

    def call(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send a command by its own name."""
        number = next(self._numbers)
        message = json.dumps([0, number, name, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, answered, error, result = self._receive()
        assert answered == number
        if error:
            return {"status": error["error"], "value": error}
        bare = set(result) != {"value"} if isinstance(result, dict) else True
        return {"value": result if bare else result["value"]}

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._socket.close()

    def _receive(self) -> Any:
        digits = b""
        while (byte := self._stream.read(1)) != b":":
            assert byte, "Firefox closed the connection"
            digits += byte
        return json.loads(self._stream.read(int(digits)))


def _connected(port: int) -> socket.socket:
    end = time.monotonic() + _CONNECTS_SECONDS
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        assert time.monotonic() < end, "Firefox does not listen"
        time.sleep(0.05)


class FirefoxDriver(WebDriver):
    """Selenium's driver, with access to Firefox itself."""

    def __init__(self, port: int) -> None:
        self._marionette = Marionette(port)
        super().__init__(command_executor=self._marionette, options=_Options())
        # Files are chosen by their paths; no server needs them.
        self._is_remote = False

    def execute_in_browser(self, script: str, *arguments: Any) -> Any:
        """Run a script with the rights of the browser's own windows; return its result."""
        self._marionette.call("Marionette:SetContext", {"value": "chrome"})
        try:
            return self.execute_script(script, *arguments)
        finally:
            self._marionette.call("Marionette:SetContext", {"value": "content"})


class _Options(ArgOptions):
    @property
    def default_capabilities(self) -> dict[str, Any]:
        """The session's capabilities."""
        return {"pageLoadStrategy": "normal"}
