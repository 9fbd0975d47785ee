from __future__ import annotations

from selenium.webdriver.common.keys import Keys
from support.clients.accessibility import violations
from support.clients.cards import MISPLACED, profile

ALICE, BOB = "alice@example.com", "bob@example.org"


class TestFallback:
    def test_usable_before_any_answer(self, page):
        """Cards are painted and selectable before any answer."""
        page.server.hold()
        page.server.answer({"profiles": [profile(ALICE, name="Alice Liddell")]})
        page.open("#deck")
        assert page.names() == ["alice", "bob"]
        page.run("deck.cards[1].shadowRoot.querySelector('button').click()")
        assert page.seen("chosen") == [BOB]
        page.wait_for("return deck.cards.every(({ state }) => state === 'fallback')")
        page.server.release()
        page.wait_for("return deck.cards[0].state === 'ready'")
        assert page.names() == ["Alice Liddell", "bob"]
        assert page.run("return deck.cards[1].state") == "fallback"
        assert page.seen("shifts") == []

    def test_late_answer_with_everything(self, page, thumbnail):
        """A late answer with name, label and picture shifts nothing on the page."""
        page.run("for (const email of arguments[0]) addCard(email, { patience: 50 })", [ALICE, BOB])
        page.run("await painted(); seen.shifts.length = 0")
        page.wait_for("return [...container.children].every(({ state }) => state === 'fallback')")
        before = page.run("return document.getElementById('below').getBoundingClientRect().top")
        full = profile(
            ALICE,
            name="Alice Pleasance Liddell of Christ Church, Oxford",
            label="Work",
            pronouns="she/her",
            website="https://www.alice.example/about",
            picture={"id": "1", "urls": {}, "thumbnail": thumbnail},
            picture_alt="Four colours",
        )
        page.run("const card = container.firstChild; card.answer(arguments[0]); await card.done", full)
        assert page.wait_for("return part(container.firstChild, 'img')?.naturalWidth") == 128
        assert page.run("return part(container.firstChild, '.about').textContent") == (
            "she/her · alice.example"
        )
        assert not page.run("return part(container.firstChild, 'a')")
        assert page.seen("shifts") == []
        assert page.run("return document.getElementById('below').getBoundingClientRect().top") == before
        assert page.seen("states") == [[ALICE, "fallback"], [BOB, "fallback"], [ALICE, "ready"]]

    def test_notice(self, page):
        """A notice takes the place of further texts, as safe text, and goes with the profile."""
        about = "return part(container.firstChild, '.about').textContent"
        page.run("addCard(arguments[0]); await painted(); seen.shifts.length = 0", ALICE)
        full = profile(ALICE, name="Alice", pronouns="she/her")
        page.run("const card = container.firstChild; card.answer(arguments[0]); await card.done", full)
        page.run("container.firstChild.notice = '<b>\\u202e' + 'Removed. '.repeat(99)")
        assert page.run(about).startswith("<b>Removed. Removed.")
        assert len(page.run(about)) <= 500
        assert "Removed." in page.run("return part(container.firstChild, '.card').ariaLabel")
        page.run("container.firstChild.notice = ''")
        assert page.run(about) == "she/her"
        page.run("const card = container.firstChild; card.notice = 'Gone.'; card.profile = null")
        assert (page.run(about), page.seen("shifts")) == ("", [])

    def test_answers_in_a_row(self, page, thumbnail):
        """Texts of another length or direction, and a picture that comes and goes, shift nothing."""
        page.run("addCard(arguments[0]); await painted(); seen.shifts.length = 0", ALICE)
        picture = {"id": "1", "urls": {}, "thumbnail": thumbnail}
        for width in (320, 1280):
            page.resize(width)
            page.run("await painted(); await painted(); seen.shifts.length = 0")
            for claims in (
                {"name": "Alice", "label": "Work", "pronouns": "she/her"},
                {"name": "Alice Pleasance Liddell of Christ Church, Oxford", "label": "A longer label"},
                {
                    "label": "A longer label",
                    "pronouns": "she/her",
                    "nickname": "Al",
                    "picture": picture,
                },
                {"name": "ليلى", "label": "العمل", "nickname": "ليلى بنت عبد الله", "picture": picture},
                {"pronouns": "she/her"},
            ):
                page.run(
                    "container.firstChild.profile = arguments[0]; await painted()",
                    profile(ALICE, **claims),
                )
                has_picture = "return Boolean(part(container.firstChild, 'img')) === arguments[0]"
                page.wait_for(has_picture, "picture" in claims)
                assert page.seen("shifts") == [], claims

    def test_refusals(self, page):
        """403, 404, and errors within a profile show the monogram at once, without a message."""
        states = page.run(
            """
            const cards = ["a", "b", "c", "d"].map((local) => addCard(`${local}@example.com`));
            cards[0].fail("profile_key_required");
            cards[1].fail("not_found");
            for (const [at, error] of [[2, "profile_key_wrong"], [3, "profile_unreadable"]]) {
              const card = cards[at];
              card.profile = { email: card.email, name: "From the cache" };
              card.answer({ email: card.email, name: null, picture: null, error });
            }
            await Promise.all(cards.map(({ done }) => done));
            return cards.map(({ state, profile }) => [state, profile?.name ?? null]);
            """
        )
        assert states == [["fallback", None]] * 3 + [["fallback", "From the cache"]]
        assert page.names() == ["a", "b", "c", "From the cache"]

    def test_answers_that_are_no_profile_of_this_email(self, page):
        """An answer that is no profile of the card's email is ignored."""
        states = page.run(
            """
            const strange = { email: "eve@example.com", name: "Eve" };
            const answers = [null, undefined, 7, "text", [], {}, { email: 7 }, strange];
            return Promise.all(answers.map(async (answer) => {
              const card = addCard("alice@example.com");
              card.answer(answer);
              await card.done;
              return card.state;
            }));
            """
        )
        assert states == ["fallback"] * 8
        assert page.names() == ["alice"] * 8

    def test_claims_and_pictures_of_wrong_types(self, page):
        """Values of wrong types are omitted; the rest is shown."""
        page.run(
            """
            const wrong = [7, [], {}, { id: 7 }, { id: "1" }, { id: "1", urls: "x", thumbnail: 3 }];
            await Promise.all(wrong.map((value, number) => {
              const email = `p${number}@example.com`;
              const card = addCard(email);
              card.answer({ email, name: value, label: value, website: value, picture: value });
              return card.done;
            }));
            """
        )
        assert page.names() == [f"p{number}" for number in range(6)]
        assert page.run("return [...container.children].every(({ state }) => state === 'ready')")

    def test_older_answer_after_a_newer_one(self, page):
        """An older answer does not replace a newer one."""
        page.run(
            """
            const card = addCard(arguments[0].email);
            const first = card.done;
            await card.await(Promise.resolve(arguments[1]));
            card.answer(arguments[0]);
            await first;
            """,
            profile(ALICE, name="Old"),
            profile(ALICE, name="New"),
        )
        assert page.names() == ["New"]

    def test_another_email(self, page):
        """A card with a changed email shows nothing of the previous email, even from late answers."""
        page.run(
            "const card = addCard(arguments[0].email); card.email = 'carol@example.com';"
            "card.answer(arguments[0]); await card.done",
            profile(ALICE, name="Alice"),
        )
        assert page.names() == ["carol"]


class TestPictures:
    def show(self, page, wait_ms=20_000, **picture):
        """Show a card with a picture; return its displayed image, or None after the wait."""
        return page.run(
            """
            const card = addCard("alice@example.com");
            const picture = { id: String(container.children.length), urls: {}, ...arguments[0] };
            card.answer({ email: card.email, picture, picture_alt: "Four\\u202e colours" });
            await card.done;
            const [, wait] = arguments;
            const image = await new Promise((resolve) => {
              const began = performance.now();
              (function look() {
                const image = part(card, "img");
                image || performance.now() - began > wait ? resolve(image) : setTimeout(look, 10);
              })();
            });
            return image && { url: image.currentSrc, alt: image.alt, width: image.width };
            """,
            picture,
            wait_ms,
        )

    def test_thumbnail_first(self, page, thumbnail):
        """A thumbnail is shown without a request."""
        urls = {"64": f"{page.server.origin}/picture/64"}
        assert self.show(page, urls=urls, thumbnail=thumbnail) == {
            "url": thumbnail,
            "alt": "Four colours",
            "width": 64,
        }
        assert page.server.referrers == []

    def test_size_for_the_display(self, page):
        """Without a thumbnail the display's size is fetched; the server receives the origin only."""
        urls = {side: f"{page.server.origin}/picture/{side}" for side in ("64", "128", "256", "512")}
        assert self.show(page, urls=urls)["url"].endswith("/picture/64")
        assert page.server.referrers == [f"{page.server.origin}/"]

    def test_broken_ones(self, page, thumbnail):
        """A broken picture leaves the monogram; a broken thumbnail falls back to the URL."""
        gone, broken = (f"{page.server.origin}/picture/{kind}" for kind in ("gone", "broken"))
        assert self.show(page, 400, urls={"64": gone}) is None
        assert page.run("return loadPicture({urls: {64: arguments[0]}}, 64)", broken) is None
        assert page.run("return loadPicture({thumbnail: arguments[0]}, 64)", thumbnail[:60]) is None
        good = f"{page.server.origin}/picture/64"
        assert self.show(page, urls={"64": good}, thumbnail=thumbnail[:60])["url"] == good

    def test_addresses_that_are_not_taken(self, page):
        """URLs of scripts, SVG and files are never requested."""
        addresses = (
            "javascript:alert(1)",
            "data:image/svg+xml;base64,PHN2Zy8+",
            "data:text/html,x",
            "file:///etc/passwd",
            "blob:null/x",
            "//example.com/x",
        )
        loaded = page.run(
            """
            const load = (text) => loadPicture({ urls: { 64: text }, thumbnail: text }, 64);
            return Promise.all(arguments[0].map(load));
            """,
            addresses,
        )
        assert loaded == [None] * len(addresses)

    def test_replaced_picture(self, page, thumbnail):
        """The old picture stays until the new one is decoded, and goes if there is none."""
        page.server.hold()
        shown = page.run(
            """
            const [thumbnail, slow] = arguments;
            const card = addCard("alice@example.com");
            const show = (picture) => card.await(Promise.resolve({ email: card.email, picture }));
            await show({ id: "1", urls: {}, thumbnail });
            while (!part(card, "img")) await painted();
            await show({ id: "2", urls: { 64: slow } });
            await painted();
            return part(card, "img").currentSrc;
            """,
            thumbnail,
            f"{page.server.origin}/picture/slow",
        )
        assert shown == thumbnail
        page.server.release()
        page.wait_for("return part(container.firstChild, 'img').currentSrc.endsWith('/slow')")
        page.run("container.firstChild.profile = {email: 'alice@example.com', picture: null}")
        assert page.wait_for("return !part(container.firstChild, 'img')")


class TestButton:
    def test_keyboard(self, page):
        """Tab focuses each enabled card; Enter and Space select."""
        page.run("addCard('a@example.com'); addCard('b@example.com', {disabled: ''})")
        page.run("addCard('c@example.com')")
        body = page.browser.find_element("css selector", "body")
        body.send_keys(Keys.TAB, Keys.ENTER)
        body.send_keys(Keys.TAB, Keys.SPACE)
        assert page.seen("chosen") == ["a@example.com", "c@example.com"]
        assert page.run("return document.activeElement.email") == "c@example.com"
        outline = "return getComputedStyle(part(document.activeElement, ':focus-visible')).outlineWidth"
        assert page.run(outline) == "3px"

    def test_focus_stays_when_the_answer_comes(self, page):
        """An answer does not move the focus from the card."""
        page.run("addCard(arguments[0].email).focus()", profile(ALICE))
        page.run("container.firstChild.answer(arguments[0])", profile(ALICE, name="Alice"))
        page.wait_for("return container.firstChild.state === 'ready'")
        assert page.run("return part(container.firstChild, '.card:focus') !== null")

    def test_accessible_name(self, page, thumbnail):
        """The button's name is name, label and email; the picture is its description."""
        page.run(
            "addCard(arguments[0].email, {selectable: ''}).answer(arguments[0])",
            profile(
                ALICE,
                name="Alice",
                label="Work",
                pronouns="she/her",
                picture={"id": "1", "urls": {}, "thumbnail": thumbnail},
                picture_alt="Four colours",
            ),
        )
        page.wait_for("return part(container.firstChild, 'img')")
        button = page.run("return part(container.firstChild, 'button')")
        node = page.run("return container.firstChild")
        assert button.accessible_name == f"Alice, Work, {ALICE}, she/her"
        assert button.aria_role == "button"
        assert button.get_attribute("aria-pressed") == "false"
        page.run("arguments[0].selected = true", node)
        assert button.get_attribute("aria-pressed") == "true"
        page.run("arguments[0].selectable = false", node)
        assert button.get_attribute("aria-pressed") is None
        described = "return container.firstChild.shadowRoot.getElementById(arguments[0])?.alt"
        assert page.run(described, button.get_attribute("aria-describedby")) == "Four colours"

    def test_axe(self, page, thumbnail):
        """axe-core finds no serious violation in any state of a card, light or dark."""
        page.run(
            """
            const answer = (card, claims) => card.answer({ email: card.email, ...claims });
            addCard("pending@example.com");
            addCard("rejected@example.com").fail("not_found");
            answer(addCard("full@example.com", { selectable: "", selected: "" }), arguments[0]);
            answer(addCard("plain@example.com", { selectable: "" }), { name: "Plain", label: "Home" });
            answer(addCard("off@example.com", { disabled: "" }), { name: "Off", label: "Old" });
            """,
            {
                "name": "Full Name",
                "label": "Work",
                "website": "https://a.example",
                "picture": {"id": "1", "urls": {}, "thumbnail": thumbnail},
            },
        )
        page.wait_for("return part(container.children[2], 'img')")
        surface = "return getComputedStyle(part(container.firstChild, '.card')).backgroundColor"
        for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(30, 28, 38)")):
            page.emulate(prefers_color_scheme=scheme)
            page.wait_for(f"{surface} === '{colour}'")
            assert violations(page.browser) == []

    def test_dialog_that_forces_light(self, page):
        """The card follows the page's colour scheme, not the system's; forced colours override both."""
        page.emulate(prefers_color_scheme="dark")
        page.run("addCard('a@example.com'); document.documentElement.style.colorScheme = 'light'")
        surface = "return getComputedStyle(part(container.firstChild, '.card')).backgroundColor"
        assert page.run(surface) == "rgb(255, 255, 255)"
        page.emulate(forced_colors="active")
        image = "return getComputedStyle(part(container.firstChild, '.monogram')).backgroundImage"
        assert page.run(image) == "none"

    def test_properties_of_the_page(self, page):
        """A page gives a card its own properties, also if their names are those inside the card."""
        page.run(
            """
            const sheet = new CSSStyleSheet();
            sheet.replaceSync(":root { --surface: rgb(1, 2, 3) }"
              + "persona-card { --persona-card-surface: var(--surface) }");
            document.adoptedStyleSheets.push(sheet);
            addCard(arguments[0]);
            """,
            ALICE,
        )
        surface = "return getComputedStyle(part(container.firstChild, '.card')).backgroundColor"
        assert page.run(surface) == "rgb(1, 2, 3)"

    def test_text_of_twice_the_size(self, page):
        """With text of twice the size on a narrow page, nothing overflows."""
        page.resize(320)
        page.run("document.documentElement.style.fontSize = '200%'; addCard(arguments[0])", ALICE)
        assert page.run(MISPLACED) == []
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
