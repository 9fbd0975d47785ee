"""The network as Chromium emulates it."""

from __future__ import annotations

from selenium.webdriver.remote.webdriver import WebDriver


def set_network(browser: WebDriver, *, offline: bool = False, upload: int = -1) -> None:
    """Disconnect the browser, or limit its uploads to some bytes per second; by default, neither."""
    limits = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", limits)
