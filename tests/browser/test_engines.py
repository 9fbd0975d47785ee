"""The table of abilities that engines lack is true; an engine that learns one fails here."""

from __future__ import annotations

import pytest
from support.browsers.abilities import (
    ACCOUNT_CHOOSER,
    CANT,
    DARK_SCHEME,
    DROP_BY_INPUT,
    EMAIL_VERIFICATION,
    ENCODE_WEBP,
    ENGINES,
    MEASURE_SHIFTS,
    NARROW_WINDOW,
    PASTE_PICTURE,
    PINCH,
    REPORT_LOADING,
    REPORT_STATUS,
    SLOW_NETWORK,
    WHEEL_BY_INPUT,
    in_three_engines,
)

# Members of the engines; the others have none that a page can see, or are those of their drivers.
PROBES = {
    ACCOUNT_CHOOSER: "return 'IdentityCredential' in window",
    ENCODE_WEBP: "return document.createElement('canvas').toDataURL('image/webp')"
    ".startsWith('data:image/webp')",
    MEASURE_SHIFTS: "return PerformanceObserver.supportedEntryTypes.includes('layout-shift')",
}
OTHERS = {
    EMAIL_VERIFICATION,
    DARK_SCHEME,
    DROP_BY_INPUT,
    NARROW_WINDOW,
    PASTE_PICTURE,
    PINCH,
    REPORT_LOADING,
    REPORT_STATUS,
    SLOW_NETWORK,
    WHEEL_BY_INPUT,
}


@in_three_engines
def test_abilities(page):
    """Each engine has the members that the table gives it, and lacks those that it denies."""
    found = {ability: page.browser.execute_script(probe) for ability, probe in PROBES.items()}
    assert found == {ability: page.engine.can(ability) for ability in PROBES}


def test_table():
    """The table names known engines and abilities, each with its reason; Chromium lacks none."""
    assert {name for name, _ in CANT} == set(ENGINES[1:])
    assert {ability for _, ability in CANT} == OTHERS | set(PROBES)
    assert all(CANT.values())


@in_three_engines
def test_dark_and_narrow(page):
    """Pages are dark, and as narrow as a phone, wherever the table does not deny it."""
    for width, scheme, needed in ((1280, "light", ()), (320, "dark", (NARROW_WINDOW, DARK_SCHEME))):
        for ability in needed:
            page.engine.require(ability)
        page.resize(width)
        page.prefer(color_scheme=scheme)
        assert page.browser.execute_script("return innerWidth") == width
        query = f"return matchMedia('(prefers-color-scheme: {scheme})').matches"
        assert page.browser.execute_script(query)
        assert page.find("html").get_property("scrollWidth") <= width
        page.photograph(f"engines-{width}-{scheme}")


@in_three_engines
@pytest.mark.parametrize("where", ["loading", "loaded"])
def test_errors(page, where):
    """An error of a page is a complaint, wherever the engine reports those of its time."""
    if where == "loading":
        page.engine.require(REPORT_LOADING)
        page.browser.get("data:text/html,<script>errorOfATest()</script>")
    else:
        page.browser.execute_script("setTimeout(() => errorOfATest())")
    found = page.wait_for(lambda: [each for each in page.complaints() if "errorOfATest" in each])
    page.complaints().remove(found[0])


def test_left_page(page):
    """A page that was left does not complain in the time of the next page."""
    page.browser.execute_script("setInterval(() => fetch('/nothing-is-here'), 1)")
    page.wait_for(page.complaints)
    page.complaints().clear()
    page.engine.leave()
    for _ in range(20):
        assert page.complaints() == []
