"""Abilities that an engine or its driver lacks; `tests/browser/test_engines.py` checks the table."""

from __future__ import annotations

import pytest

ENGINES = ("chromium", "firefox", "webkit")
# A test with this mark runs in all engines.
in_three_engines = pytest.mark.parametrize("engine", ENGINES, indirect=True)
in_other_engines = pytest.mark.parametrize("engine", ENGINES[1:], indirect=True)

ACCOUNT_CHOOSER = "show its own account chooser"
DARK_SCHEME = "change its colour scheme"
DROP_BY_INPUT = "get a file by a real drop"
EMAIL_VERIFICATION = "prove an address by the Email Verification Protocol"
ENCODE_WEBP = "encode WebP"
MEASURE_SHIFTS = "measure shifts of the layout"
NARROW_WINDOW = "show a page 320 pixels wide"
PASTE_PICTURE = "paste a picture"
PINCH = "pinch"
REPORT_LOADING = "report errors of a page that loads"
REPORT_STATUS = "report requests that failed"
SLOW_NETWORK = "slow the network down"
WHEEL_BY_INPUT = "turn a real wheel"

CANT = {
    ("firefox", ACCOUNT_CHOOSER): "Firefox has no FedCM",
    ("firefox", DROP_BY_INPUT): "Firefox's driver drops no files; the event is dispatched by a script",
    ("firefox", EMAIL_VERIFICATION): "Firefox lacks the protocol; the next way proves the address",
    ("firefox", MEASURE_SHIFTS): "Firefox has no entries of that kind",
    ("firefox", REPORT_STATUS): "Firefox shows statuses in its network monitor, not in its console",
    ("firefox", SLOW_NETWORK): "Firefox's driver has no such command",
    ("webkit", ACCOUNT_CHOOSER): "WebKit has no FedCM",
    ("webkit", DARK_SCHEME): "the scheme of GTK is fixed when MiniBrowser starts",
    ("webkit", DROP_BY_INPUT): "WebKit's driver drops no files; the event is dispatched by a script",
    ("webkit", EMAIL_VERIFICATION): "WebKit lacks the protocol; the next way proves the address",
    ("webkit", ENCODE_WEBP): "WebKit's canvas encodes PNG and JPEG",
    ("webkit", MEASURE_SHIFTS): "WebKit has no entries of that kind",
    ("webkit", NARROW_WINDOW): "the toolbar of MiniBrowser is wider",
    ("webkit", PASTE_PICTURE): "WebKitGTK gives a page no files from its clipboard",
    ("webkit", PINCH): "WebKit's driver has no touch screen: it never answers",
    ("webkit", REPORT_LOADING): "WebKit's driver has no console; a page that has loaded is listened to",
    ("webkit", REPORT_STATUS): "WebKit's driver has no console",
    ("webkit", SLOW_NETWORK): "WebKit's driver has no such command",
    ("webkit", WHEEL_BY_INPUT): "WebKit's driver turns it without an event; a script dispatches one",
}
