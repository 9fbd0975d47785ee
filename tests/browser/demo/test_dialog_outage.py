"""The dialog while the profile server is down: before, during and after its opening."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from support.browsers.abilities import MEASURE_SHIFTS, in_three_engines
from support.clients.modules import DEMO
from support.servers.dialogs import dialog_of
from support.servers.services import Service

ALICE, BOB = "alice@example.com", "bob@example.org"

# Checks in every frame whether the first card is clickable; sums up layout shifts.
WATCH = """
window.watched = {usable: false, shift: 0};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    window.watched.shift += entry.hadRecentInput ? 0 : entry.value;
  }
}).observe({type: "layout-shift", buffered: true});
(function look() {
  const card = document.querySelector("persona-card");
  const box = card?.shadowRoot && card.getBoundingClientRect();
  const middle = box && [box.left + box.width / 2, box.top + box.height / 2];
  const hit = box?.height && document.elementFromPoint(...middle);
  if (hit === card && hit) {
    window.watched.usable = true;
  } else {
    requestAnimationFrame(look);
  }
})();
"""
MEASURED = """
const isPainted = performance.getEntriesByName("first-contentful-paint").length > 0;
return window.watched.usable && isPainted ? window.watched : null;
"""


@pytest.fixture
def dialog(tmp_path):
    """A profile server for killing, and the origin of its dialog."""
    service = Service(tmp_path)
    html = (DEMO / "index.html").read_text(encoding="utf-8")
    page = html.replace(
        ' name="profile-server" content=""', f' name="profile-server" content="{service.origin}"'
    )
    assert page != html
    with dialog_of(service, {"/": page}) as origin:
        yield service, origin


@pytest.fixture
def observer(engine):
    """Observes a page from its first moment, in an engine that measures shifts."""
    if not engine.can(MEASURE_SHIFTS):
        yield
        return
    source = {"source": WATCH}
    added = engine.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    yield
    engine.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@pytest.fixture
def page(observer, unopened):
    """An observed page; failed connections are no complaint."""
    yield unopened
    complaints = unopened.complaints()
    unopened.open("about:blank")
    lost = unopened.engine.lost_connection
    assert not [each for each in complaints if not any(words in each for words in lost)]


def assert_calm(page):
    """Check that cards are usable without a server, without layout shifts and messages."""
    if page.engine.can(MEASURE_SHIFTS):
        measured = page.wait_for(lambda: page.browser.execute_script(MEASURED))
        assert measured["shift"] < 0.1
    page.wait_for(page.cards)
    assert page.find("#notice").text == ""
    assert not [each for each in page.browser.find_elements(By.CSS_SELECTOR, ".problem") if each.text]


class TestServerThatIsDown:
    @in_three_engines
    def test_before_opening(self, page, dialog):
        """Cards are shown; a click reports the outage, and works once the server is up."""
        service, origin = dialog
        page.open(origin)
        assert_calm(page)
        assert page.emails() == [ALICE, BOB]
        page.photograph("6-no-server")
        page.card(ALICE).click()
        page.wait_for_problem(page.find("#chooser"), "The profile server does not answer.")
        service.start()
        page.wait_for(lambda: not page.browser.find_elements(By.CSS_SELECTOR, "#chooser[aria-busy]"))
        page.card(ALICE).click()
        page.wait_for_notice("Signed in as")
        page.save(page.profile(), name="Alice Liddell")
        assert page.on_card(ALICE, "name") == "Alice Liddell"

    def test_killed_between_two_openings(self, page, dialog):
        """Cached cards are painted during an outage; the rest appears once the server is back."""
        service, origin = dialog
        service.start()
        page.open(origin)
        page.save(page.sign_in(ALICE, BOB), name="Alice Liddell")
        service.kill()
        page.open(origin)
        assert_calm(page)
        assert page.on_card(ALICE, "name") == "Alice Liddell"
        profile = page.profile()
        assert page.shown(profile, "title") == "Alice Liddell"
        assert page.shown(profile, "updated").startswith("Waiting")
        page.wait_for(lambda: page.card(ALICE).get_property("state") == "fallback")
        assert_calm(page)
        service.start()
        page.wait_for(lambda: page.card(ALICE).get_property("state") == "ready")
        page.wait_for(lambda: page.shown(profile, "updated").startswith("Changed"))
        assert_calm(page)

    def test_killed_while_it_is_open(self, page, dialog):
        """A failed save keeps the typed text with the reason beside it; saving again works."""
        service, origin = dialog
        service.start()
        page.open(origin)
        profile = page.sign_in(ALICE)
        service.kill()
        page.edit(profile, name="Alice Liddell")
        page.wait_for_problem(profile, "The profile server does not answer.")
        assert profile.find_element(By.NAME, "name").get_property("value") == "Alice Liddell"
        assert page.shown(profile, "title") == "alice"
        service.start()
        page.save(profile)
        assert page.shown(profile, "title") == "Alice Liddell"

    def test_signing_out(self, page, dialog):
        """A sign-out during an outage works on this device, says so, and leaves no data."""
        service, origin = dialog
        service.start()
        page.open(origin)
        page.save(page.sign_in(ALICE), name="Alice Liddell")
        service.kill()
        page.find("#sign-out").click()
        page.wait_for_notice("You are signed out here.")
        assert page.browser.execute_script("return localStorage.length + sessionStorage.length") == 0
        assert page.on_card(ALICE, "name") == "alice"

    def test_signing_out_in_one_of_two_tabs(self, page, dialog):
        """A sign-out signs other tabs out too, and their cards do not return."""
        service, origin = dialog
        service.start()
        page.open(origin)
        here = page.browser.current_window_handle
        page.save(page.sign_in(ALICE), name="Alice Liddell")
        page.browser.switch_to.new_window("tab")
        page.open(origin)
        page.sign_in(ALICE)
        service.kill()
        page.find("#sign-out").click()
        page.wait_for_notice("You are signed out here.")
        page.browser.close()
        page.browser.switch_to.window(here)
        page.wait_for_notice("You are signed out.")
        assert page.emails() == [ALICE, BOB]
        assert page.on_card(ALICE, "name") == "alice"
        kept = "return [localStorage.length, sessionStorage.length]"
        assert page.browser.execute_script(kept) == [0, 0]
