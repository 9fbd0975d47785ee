"""Chromium, Firefox and WebKitGTK for tests, driven by the one interface of Selenium."""
