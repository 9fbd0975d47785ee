"""Starts browsers, each with a new profile, and ends them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as ChromeDriver
from selenium.webdriver.webkitgtk.service import Service as WebKitDriver

from support.browsers.engines import Chromium, Engine, Firefox, WebKit, WebKitElement
from support.browsers.marionette import FirefoxDriver
from support.servers.ports import free_port

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Fading elements count as invisible at first.
    "--force-prefers-reduced-motion",
)
# Firefox' own driver sets the others, so that nothing is fetched from elsewhere. The panel of a
# download would take the keys of the next test.
_PREFERENCES = """
user_pref("marionette.port", {port});
user_pref("ui.prefersReducedMotion", 1);
user_pref("app.normandy.enabled", false);
user_pref("browser.download.folderList", 2);
user_pref("browser.download.dir", "{downloads}");
user_pref("browser.download.alwaysOpenPanel", false);
user_pref("devtools.jsonview.enabled", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
"""


def program(name: str, package: str) -> str:
    """Return the path of a program of a Debian package; the test fails without it."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"The browser tests need the Debian package {package}. "
            f"Install it: sudo apt-get install --no-install-recommends {package}",
            pytrace=False,
        )
    return found


@contextlib.contextmanager
def chromium(folder: Path, downloads: Path, *switches: str) -> Iterator[Chromium]:
    """Start a Chromium with a profile in a folder, and further switches."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium", "chromium")
    for switch in (*SWITCHES, *switches):
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={folder}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Tests press the buttons of the browser's own account chooser (FedCM).
    options.set_capability("fedcm:accounts", True)
    # With a given driver Selenium searches and downloads none.
    driver = ChromeDriver(executable_path=program("chromedriver", "chromium-driver"))
    started = webdriver.Chrome(options=options, service=driver)
    try:
        yield Chromium(started)
    finally:
        started.quit()


@contextlib.contextmanager
def firefox(folder: Path, downloads: Path) -> Iterator[Firefox]:
    """Start a Firefox with a profile in a folder, on a screen: without one it copies only texts."""
    port = free_port()
    preferences = _PREFERENCES.format(port=port, downloads=downloads)
    (folder / "user.js").write_text(preferences, encoding="utf-8")
    command = [program("firefox", "firefox-esr"), "--profile", str(folder)]
    # Both switches of its driver: to be driven, and to be read and set beyond its pages.
    command += ["--marionette", "--remote-allow-system-access"]
    with _screen() as display:
        environment = {**os.environ, "DISPLAY": display}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            driver = FirefoxDriver(port)
            try:
                yield Firefox(driver)
            finally:
                driver.quit()
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def webkit(folder: Path, downloads: Path) -> Iterator[WebKit]:
    """Start a WebKit on a screen of its own, without animations."""
    driver_program = program("WebKitWebDriver", "webkit2gtk-driver")
    [browser_program] = Path("/usr/lib").glob("*/webkit2gtk-4.1/MiniBrowser")
    (folder / "gtk-3.0").mkdir()
    (folder / "gtk-3.0" / "settings.ini").write_text("[Settings]\ngtk-enable-animations=0\n")
    (folder / "user-dirs.dirs").write_text(f'XDG_DOWNLOAD_DIR="{downloads}"\n', encoding="utf-8")
    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(browser_program)
    options.add_argument("--automation")
    homes = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"), str(folder))
    with _screen() as display:
        environment = {**os.environ, **homes, "DISPLAY": display}
        service = WebKitDriver(executable_path=driver_program, env=environment)
        with warnings.catch_warnings():
            # Selenium's class for WebKit calls its own deprecated constructor.
            warnings.filterwarnings("ignore", "setting remote_server_addr", DeprecationWarning)
            started = webdriver.WebKitGTK(options=options, service=service)
        started._web_element_cls = WebKitElement
        try:
            engine = WebKit(started)
            engine.reset()
            yield engine
        finally:
            started.quit()


@contextlib.contextmanager
def _screen() -> Iterator[str]:
    """Start an X server; yield its display."""
    command = [program("Xvfb", "xvfb"), "-displayfd", "1", "-nolisten", "tcp"]
    command += ["-screen", "0", "1280x1024x24"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield f":{process.stdout.readline().strip()}"
        finally:
            process.terminate()


START: dict[str, Callable[[Path, Path], contextlib.AbstractContextManager[Engine]]] = {
    "chromium": chromium,
    "firefox": firefox,
    "webkit": webkit,
}
