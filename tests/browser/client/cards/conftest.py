"""The page of cards, in a browser."""

from __future__ import annotations

import base64

import pytest
from support.browsers.network import set_network
from support.clients.cards import CardPage, running_cards
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application
from webob import Request


@pytest.fixture(scope="module")
def card_server(tmp_path_factory):
    """A card server under the policy of the demo dialog."""
    app = application(tmp_path_factory.mktemp("development"))
    answer = Request.blank("/").get_response(app)
    answer.app_iter.close()
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    with running_cards(policy, encode(quadrants(128, 128), "PNG")) as server:
        yield server


@pytest.fixture
def page(engine, browser, card_server):
    """The page of cards with an empty cache; exceptions and violated policies fail the test."""
    engine.leave()
    card_server.reset()
    opened = CardPage(browser, card_server)
    opened.open()
    opened.run("localStorage.clear()")
    yield opened
    card_server.release()
    set_network(opened.browser)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.emulate()
    assert opened.seen("violations") == []
    assert opened.complaints() == []


@pytest.fixture
def thumbnail(card_server):
    """A picture as a data URI."""
    return "data:image/png;base64," + base64.b64encode(card_server.picture).decode()
