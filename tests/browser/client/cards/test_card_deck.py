from __future__ import annotations

import pytest
from support.browsers.network import set_network
from support.clients.cards import profile

ALICE, BOB = "alice@example.com", "bob@example.org"


def session(minutes=60):
    """Return JavaScript for a session that ends in `minutes`."""
    expires_at = f"new Date(Date.now() + {minutes} * 60000).toISOString()"
    return f"{{token: 't', emails: [], expires_at: {expires_at}}}"


class TestDeck:
    def deck(self, page, options=""):
        """Open a deck."""
        page.run(f"window.deck = new CardDeck({{ client, container, {options} }}); deck.open()")

    def test_cached_cards_before_the_answer(self, page, thumbnail):
        """A deck paints the cached cards, then the server's, without layout shifts."""
        picture = {"id": "1", "urls": {}, "thumbnail": thumbnail}
        page.server.answer({"profiles": [profile(ALICE, name="Alice", picture=picture), profile(BOB)]})
        self.deck(page)
        page.run("await deck.refresh()")
        assert page.names() == ["Alice", "bob"]
        page.open()
        page.server.hold()
        page.server.answer(
            {"profiles": [profile(ALICE, name="Alice II", picture=picture), profile(BOB)]}
        )
        self.deck(page)
        assert page.names() == ["Alice", "bob"]
        assert page.wait_for("return part(deck.cards[0], 'img')")
        page.run("await painted(); seen.shifts.length = 0; window.image = part(deck.cards[0], 'img')")
        page.run("deck.refresh()")
        assert page.run("return deck.cards[0].state") == "pending"
        page.server.release()
        page.wait_for("return deck.cards[0].state === 'ready'")
        assert page.names() == ["Alice II", "bob"]
        # The same picture is not decoded again.
        assert page.run("return part(deck.cards[0], 'img') === image")
        assert page.seen("shifts") == []

    @pytest.mark.parametrize("failure", ["no server", "503", "no JSON", "wrong shape"])
    def test_recovers_without_a_reload(self, page, failure):
        """A deck retries until it has an answer, whatever failed."""
        if failure == "no server":
            set_network(page.browser, offline=True)
        elif failure == "503":
            page.server.answer({}, 503)
        else:
            page.server.answer(b"<html>" if failure == "no JSON" else {"profiles": "none"})
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("deck.refresh()")
        page.wait_for("return deck.cards[0].state === 'fallback' && client.calls > 1")
        page.server.answer({"profiles": [profile(ALICE, name="Alice")]})
        set_network(page.browser)
        page.wait_for("return deck.cards[0].state === 'ready'")
        assert page.names() == ["Alice"]
        calls = page.run("return client.calls")
        page.run("dispatchEvent(new Event('online')); await painted()")
        assert page.run("return client.calls") == calls

    def test_online_again(self, page):
        """A deck retries at once when online, but never before Retry-After."""
        page.run("client.profiles = async () => { client.calls += 1; throw client.failure; }")
        page.run("client.failure = { isTemporary: true, retryAfter: 600 }")
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("deck.refresh(); await painted(); dispatchEvent(new Event('online')); await painted()")
        assert page.run("return client.calls") == 1
        page.run(
            """
            client.failure = { isTemporary: true };
            const { random } = Math;
            Math.random = () => 1e6;
            deck.refresh();
            await painted();
            dispatchEvent(new Event("online"));
            await painted();
            document.dispatchEvent(new Event("visibilitychange"));
            await painted();
            Math.random = random;
            """
        )
        # Two calls by the events, each during a pause of days.
        assert page.run("return client.calls") == 4
        page.run("deck.close(); dispatchEvent(new Event('online')); await painted()")
        assert page.run("return client.calls") == 4
        assert page.run("return container.childElementCount") == 0

    def test_failure_that_stays(self, page):
        """A permanent failure ends the refresh without a retry."""
        page.server.answer({}, 401)
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("await deck.refresh()")
        assert page.run("return [client.calls, deck.cards[0].state]") == [1, "fallback"]

    def test_answer_that_is_there_already(self, page):
        """Cards follow a given answer in its order; remaining cards keep their elements."""
        self.deck(page)
        page.run(
            "deck.refresh(arguments[0]); window.first = deck.cards[1]", [profile(ALICE), profile(BOB)]
        )
        page.run(
            "await deck.refresh(arguments[0])", [profile(BOB, name="Bob"), profile("c@example.com")]
        )
        assert page.run("return deck.cards.every(({ state }) => state === 'ready')")
        assert page.names() == ["Bob", "c"]
        assert page.run("return deck.cards[0] === first")
        assert page.run("return [...container.children].every((card, at) => card === deck.cards[at])")
        assert page.run("return new CardCache().emails") == [BOB, "c@example.com"]

    def test_emails_that_were_told(self, page):
        """Given emails keep their cards even if the answer lacks them; new ones follow."""
        self.deck(page, f"emails: ['{BOB}', '{ALICE.upper()}']")
        page.run(
            "await deck.refresh(arguments[0])", [profile(ALICE, name="Alice"), profile("c@example.com")]
        )
        page.wait_for("return deck.cards.map(({ state }) => state).join() === 'fallback,ready,ready'")
        assert page.names() == ["bob", "Alice", "c"]

    @pytest.mark.parametrize(("minutes", "kept"), [(60, []), (-1, [ALICE])])
    def test_session_that_ends(self, page, minutes, kept):
        """A sign-out empties cache and cards; an expired session leaves them for the next time."""
        self.deck(page)
        page.run(
            f"client.enter({session(minutes)}); deck.refresh(arguments[0])",
            [profile(ALICE, name="Alice")],
        )
        page.wait_for("return deck.cards[0].state === 'ready'")
        page.run("client.enter(null)")
        assert page.run("return new CardCache().emails") == kept
        assert page.names() == (["Alice"] if kept else ["alice"])

    def test_signing_out_in_another_tab(self, page):
        """A sign-out in another tab removes cached cards, but not the cards of this tab's session."""
        page.run(
            "new CardCache().put(arguments[0])",
            [profile(ALICE, name="Alice"), profile(BOB, name="Bob")],
        )
        self.deck(page)
        page.run("await deck.cards[1].await(Promise.resolve(arguments[0]))", profile(BOB, name="Bob"))
        here = page.browser.current_window_handle
        page.browser.switch_to.new_window("tab")
        page.browser.get(f"{page.server.origin}/cards.css")
        page.run("localStorage.removeItem('persona-cards')")
        page.browser.close()
        page.browser.switch_to.window(here)
        page.wait_for("return deck.cards[0].profile === null")
        assert page.names() == ["alice", "Bob"]

    def test_closing(self, page):
        """A closed deck has no cards; `forget` empties the cache."""
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("deck.refresh(arguments[0]); deck.close()", [profile(ALICE)])
        assert page.run("return [container.childElementCount, new CardCache().emails]") == [0, [ALICE]]
        page.run("deck.close({ forget: true })")
        assert page.run("return new CardCache().emails") == []
