from __future__ import annotations

import gzip

import pytest
from support.answering import HANG_UP, STATIC, Reply, answering
from support.scripts import ScriptError, Scripts

ALICE, BOB = "alice@example.com", "bob@example.org"
MODULES = ("persona-profile.js", "persona-profile-transport.js", "persona-profile-reduction.js")


@pytest.fixture
def scripts(browser, server):
    """A page of the server's origin with nothing on it."""
    made = Scripts(browser)
    made.open(f"{server}/v1/")
    browser.set_script_timeout(60)
    yield made
    made.set_network()


class TestSession:
    def test_signing_in(self, scripts):
        """A session of two emails opens with one call, brings both profiles, and outlives a reload."""
        script = """
            const client = new module.ProfileClient({ origin: location.origin, storage: sessionStorage });
            let events = 0;
            client.addEventListener("session", () => { events += 1; });
            const profiles = await client.signIn([await tools.mint(alice), await tools.mint(bob)]);
            return [profiles.map(({ email }) => email), client.session.emails, events];
        """
        emails, kept, events = scripts.run(script, alice=ALICE, bob=BOB)
        assert emails == kept == [ALICE, BOB]
        assert events == 1
        scripts.browser.refresh()
        again = """
            const client = new module.ProfileClient({ origin: location.origin, storage: sessionStorage });
            return [client.session.emails, (await client.profiles()).length];
        """
        assert scripts.run(again) == [[ALICE, BOB], 2]
