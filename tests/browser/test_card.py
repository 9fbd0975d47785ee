from __future__ import annotations

import base64

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from support.accessibility import violations
from support.applications import application
from support.cards import running_cards
from support.pictures import encode, quadrants
from webob import Request

ALICE, BOB = "alice@example.com", "bob@example.org"
PATIENCE_SECONDS = 20

ZALGO = "Z" + "\u0300\u0301\u0336\u0489" * 40 + "algo" + "\u0310" * 60
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"

# Email, name, and what the monogram makes of them.
MONOGRAMS = [
    (ALICE, None, "A"),
    ("alice.liddell+shop@example.com", None, "AL"),
    (ALICE, "ada lovelace", "AL"),
    (ALICE, "Ada Maria King Lovelace", "AL"),
    (ALICE, f"{FAMILY} Smith", FAMILY),
    (ALICE, "\U0001f1e9\U0001f1ea", "\U0001f1e9\U0001f1ea"),
    (ALICE, "e\u0301mile", "E\u0301"),
    (ALICE, "\u00dfeta", "\u00df"),
    (ALICE, "محمد الخوارزمي", "م"),
    (ALICE, "山田 太郎", "山"),
    (ALICE, "क्षितिज", "क्षि"),
    (ALICE, ZALGO, "Z\u0300\u0301\u0336"),
    (ALICE, "\u202eecila", "E"),
    (ALICE, "--- !!!", "A"),
    (ALICE, "\u3164\u200b", "A"),
    ("---@example.com", None, "E"),
    ("", None, "?"),
]

# Where a part lies outside the card, or the name over the email; the email itself must be in sight.
MISPLACED = """
return [...container.children].flatMap((card) => {
  const wrong = [];
  const outer = card.getBoundingClientRect();
  const box = (selector) => part(card, selector).getBoundingClientRect();
  for (const each of card.shadowRoot.querySelectorAll(".card, .portrait, .name, .name bdi, .email, .label, .about, .domain")) {
    const { left, right, top, bottom, width } = each.getBoundingClientRect();
    if (width && (left < outer.left - 1 || right > outer.right + 1 || top < outer.top - 1 || bottom > outer.bottom + 1)) {
      wrong.push(`${card.email}: ${each.className} sticks out`);
    }
  }
  const [name, email] = [box(".name"), box(".email")];
  if (name.bottom > email.top + 0.5) {
    wrong.push(`${card.email}: name over email`);
  }
  // What is drawn there, and not under anything else.
  const address = box(".domain");
  const hit = card.shadowRoot.elementFromPoint(address.right - 2, (address.top + address.bottom) / 2);
  if (!address.width || !hit?.closest(".domain")) {
    wrong.push(`${card.email}: domain covered by ${hit?.className}`);
  }
  return wrong;
});
"""

# Of the letters of a monogram to its gradient at the worst of five places, by hue.
CONTRASTS = """
const monogram = part(addCard("a@example.com"), ".monogram");
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const luminance = (colour) => {
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((level) =>
    level <= 10 ? level / 3294.6 : ((level / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
return Array.from({ length: 360 }, (_, hue) => {
  monogram.style.setProperty("--hue", hue);
  const { color, backgroundImage } = getComputedStyle(monogram);
  const [from, to] = backgroundImage.match(/ok[a-z]+\\([^)]*\\)/g);
  const letters = luminance(color) + 0.05;
  return Math.min(...[0, 25, 50, 75, 100].map((part) =>
    letters / (luminance(`color-mix(in oklab, ${from}, ${to} ${part}%)`) + 0.05)));
});
"""


def profile(email, **claims):
    """Return what the server says of an email."""
    return {"email": email, "picture": None, "version": 1, "protected": False, "etag": '"1"'} | claims


def session(minutes=60):
    """Return JavaScript for a session that ends in so many minutes."""
    return f"{{token: 't', emails: [], expires_at: new Date(Date.now() + {minutes} * 60000).toISOString()}}"


class CardPage:
    """The page of cards in a browser."""

    def __init__(self, browser, server):
        self.browser = browser
        self.server = server

    def open(self, fragment=""):
        """Load it anew."""
        # Another query, since a new fragment alone would load nothing.
        self.browser.get(f"{self.server.origin}/?{fragment.strip('#')}{fragment}")
        self.wait_for("return window.ready")

    def run(self, script, *arguments):
        """Return what JavaScript returns, its promises resolved."""
        return self.browser.execute_script(script, *arguments)

    def wait_for(self, script, *arguments):
        """Return what JavaScript gives as soon as it is true."""
        waiting = WebDriverWait(self.browser, PATIENCE_SECONDS, poll_frequency=0.05)
        return waiting.until(lambda _browser: self.run(script, *arguments))

    def seen(self, what):
        """Return what the page noted down: `chosen`, `states`, `violations`, `shifts`."""
        return self.run("await painted(); return seen[arguments[0]]", what)

    def names(self):
        """Return the names that the cards show, in order."""
        return self.run("return [...container.children].map((card) => part(card, '.name').textContent)")

    def emulate(self, **features):
        """Show the page as a person with these preferences sees it; `prefers_color_scheme="dark"`."""
        told = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": told})

    def resize(self, width):
        """Show the page as wide as that."""
        metrics = {"width": width, "height": 4000, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def offline(self, is_offline):
        """Take the browser off the network, or bring it back."""
        line = {"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.execute_cdp_cmd("Network.enable", {})
        self.browser.execute_cdp_cmd("Network.emulateNetworkConditions", line)

    def complaints(self):
        """Return errors of the console, but for requests that a test let fail."""
        log = self.browser.get_log("browser")
        return [
            entry["message"]
            for entry in log
            if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
        ]


@pytest.fixture(scope="module")
def card_server(tmp_path_factory):
    """A server of the page, under the very policy that the demo dialog has."""
    app = application(tmp_path_factory.mktemp("development"))
    answer = Request.blank("/").get_response(app)
    answer.app_iter.close()
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    with running_cards(policy, encode(quadrants(128, 128), "PNG")) as server:
        yield server


@pytest.fixture
def page(browser, card_server):
    """The page with an empty cache; no exception, no violated policy."""
    card_server.reset()
    browser.get_log("browser")
    opened = CardPage(browser, card_server)
    opened.open()
    opened.run("localStorage.clear()")
    yield opened
    card_server.release()
    assert opened.seen("violations") == []
    assert opened.complaints() == []
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.emulate()


@pytest.fixture
def thumbnail(card_server):
    """A picture within a profile."""
    return "data:image/png;base64," + base64.b64encode(card_server.picture).decode()


class TestMonogram:
    def test_letters(self, page):
        """Whole characters of the name, or else of the email; never none."""
        texts = page.run(
            "return arguments[0].map(([email, name]) => monogram(email, name).text)", MONOGRAMS
        )
        assert texts == [text for _, _, text in MONOGRAMS]

    def test_hues(self, page):
        """Every email keeps its hue, whatever its spelling, and all hues are equally likely."""
        counts = page.run(
            """
            const counts = Array(360).fill(0);
            for (let number = 0; number < 18000; number += 1) {
              counts[monogram(`person${number}@example.com`).hue] += 1;
            }
            return counts;
            """
        )
        # Chi-square of 359 degrees of freedom: above 463 in one of 10,000 even hashes.
        assert sum((count - 50) ** 2 / 50 for count in counts) < 463
        hues = page.run(
            "return arguments[0].map((email) => monogram(email).hue)",
            ["Zoé@Bücher.example", "zoe\u0301@xn--bcher-kva.example", "zoé@bücher.example"],
        )
        assert len(set(hues)) == 1

    def test_contrast(self, page):
        """The letters stand out from every hue, all over the gradient, by at least 4.5 to 1."""
        for scheme in ("light", "dark"):
            page.emulate(prefers_color_scheme=scheme)
            contrasts = page.run(CONTRASTS)
            assert len(contrasts) == 360
            assert 4.5 <= min(contrasts) < max(contrasts) < 21


class TestFallback:
    def test_usable_before_any_answer(self, page):
        """Cards are painted and can be chosen within 100 ms of the first paint, before any answer."""
        page.server.hold()
        page.server.answer({"profiles": [profile(ALICE, name="Alice Liddell")]})
        page.open("#deck")
        assert page.names() == ["alice", "bob"]
        early = page.wait_for(
            """
            const [paint] = performance.getEntriesByName("first-contentful-paint");
            return paint && performance.getEntriesByName("cards")[0].startTime - paint.startTime;
            """
        )
        assert early < 100
        page.run("deck.cards[1].shadowRoot.querySelector('button').click()")
        assert page.seen("chosen") == [BOB]
        page.wait_for("return deck.cards.every(({ state }) => state === 'fallback')")
        page.server.release()
        page.wait_for("return deck.cards[0].state === 'ready'")
        assert page.names() == ["Alice Liddell", "bob"]
        assert page.run("return deck.cards[1].state") == "fallback"
        assert page.seen("shifts") == []

    def test_late_answer_with_everything(self, page, thumbnail):
        """A card that got name, label and picture after its patience has moved nothing on the page."""
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

    def test_refusals(self, page):
        """403, 404, and errors within a profile leave the monogram at once, and no word of it."""
        states = page.run(
            """
            const cards = ["a", "b", "c", "d"].map((local) => addCard(`${local}@example.com`));
            cards[0].refuse("profile_key_required");
            cards[1].refuse("not_found");
            for (const [card, error] of [[cards[2], "profile_key_wrong"], [cards[3], "profile_unreadable"]]) {
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
        """They count as none: the card stays what it was."""
        states = page.run(
            """
            const answers = [null, undefined, 7, "text", [], {}, { email: 7 }, { email: "eve@example.com" }];
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
        """What can't be shown is left away, the rest is shown."""
        page.run(
            """
            const wrong = [7, [], {}, true, { id: 7 }, { id: "1" }, { id: "1", urls: "x", thumbnail: 3 }];
            await Promise.all(wrong.map((value, number) => {
              const email = `p${number}@example.com`;
              const card = addCard(email);
              card.answer({ email, name: value, label: value, website: value, picture: value, version: value });
              return card.done;
            }));
            """
        )
        assert page.names() == [f"p{number}" for number in range(7)]
        assert page.run("return [...container.children].every(({ state }) => state === 'ready')")

    def test_older_answer_after_a_newer_one(self, page):
        """It is not shown any more."""
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
        """A card that changes hands shows nothing of the one before, even if the answer is late."""
        page.run(
            "const card = addCard(arguments[0].email); card.email = 'carol@example.com';"
            "card.answer(arguments[0]); await card.done",
            profile(ALICE, name="Alice"),
        )
        assert page.names() == ["carol"]


class TestPictures:
    def show(self, page, **picture):
        """Show a card with a picture; return the URL that is shown in the end, or None."""
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
            400,
        )

    def test_thumbnail_first(self, page, thumbnail):
        """With a thumbnail no address is asked."""
        urls = {"64": f"{page.server.origin}/picture/64"}
        assert self.show(page, urls=urls, thumbnail=thumbnail) == {
            "url": thumbnail,
            "alt": "Four colours",
            "width": 64,
        }
        assert page.server.referrers == []

    def test_size_for_the_display(self, page):
        """Without one, the size that the display needs is fetched, and the server hears of the origin."""
        urls = {side: f"{page.server.origin}/picture/{side}" for side in ("64", "128", "256", "512")}
        assert self.show(page, urls=urls)["url"].endswith("/picture/64")
        assert page.server.referrers == [f"{page.server.origin}/"]

    def test_broken_ones(self, page, thumbnail):
        """A picture that is gone, cut off or no picture leaves the monogram; a broken thumbnail, the URL."""
        gone, broken = (f"{page.server.origin}/picture/{kind}" for kind in ("gone", "broken"))
        assert self.show(page, urls={"64": gone}) is None
        assert page.run("return loadPicture({urls: {64: arguments[0]}}, 64)", broken) is None
        assert page.run("return loadPicture({thumbnail: arguments[0]}, 64)", thumbnail[:60]) is None
        good = f"{page.server.origin}/picture/64"
        assert self.show(page, urls={"64": good}, thumbnail=thumbnail[:60])["url"] == good

    def test_addresses_that_are_not_taken(self, page):
        """Scripts, SVG and files are not even asked for."""
        addresses = (
            "javascript:alert(1)",
            "data:image/svg+xml;base64,PHN2Zy8+",
            "data:text/html,x",
            "file:///etc/passwd",
            "blob:null/x",
            "//example.com/x",
        )
        loaded = page.run(
            "return Promise.all(arguments[0].map((text) => loadPicture({urls: {64: text}, thumbnail: text}, 64)))",
            addresses,
        )
        assert loaded == [None] * len(addresses)

    def test_replaced_picture(self, page, thumbnail):
        """The one before stays until the new one is decoded, and goes if there is none any more."""
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


HOSTILE = {
    "markup@example.com": {"name": MARKUP, "label": MARKUP, "pronouns": MARKUP},
    "unbroken@example.com": {"name": "W" * 10_000, "label": "W" * 10_000, "nickname": "W" * 10_000},
    "words@example.com": {"name": "wide words " * 1_000, "pronouns": "p " * 5_000},
    "arabic@example.com": {"name": "محمد عبد الله الخوارزمي " * 9, "label": "عمل"},
    "mixed@example.com": {"name": "שלום (hello) 123 עולם", "pronouns": "היא"},
    "override@example.com": {"name": "\u202emoc.knab@ecila\u202c", "label": "\u2066\u202b\u061c"},
    "breaks@example.com": {"name": "Al\nice\r\n\u2028bob@bank.example\u0000\u0007", "label": "\t"},
    "family@example.com": {"name": FAMILY * 40, "label": FAMILY},
    "zalgo@example.com": {"name": ZALGO * 3, "label": ZALGO, "nickname": ZALGO},
    "nothing@example.com": {"name": "\u200b\u3164\u00ad\ufeff", "label": "\u2063"},
    "halves@example.com": {
        "name": "\ud800\udc00\udc00half".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    },
    f"{'long.local.part.' * 8}@example.com": {"name": "Long local part"},
    f"short@{'sub.' * 50}bank.example": {"name": "Long domain"},
    f"{'x' * 60}@{'y' * 60}.bank.example": {"name": "x@bank.example"},
    "שרה@example.com": {"name": "Right-to-left local part"},
}


class TestHostileProfiles:
    @pytest.fixture
    def hostile(self, page):
        """A page with a card for each of them."""
        page.run(
            """
            for (const [email, claims] of arguments[0]) {
              const card = addCard(email);
              card.answer({ email, ...claims });
              await card.done;
            }
            """,
            list(HOSTILE.items()),
        )
        return page

    def test_nothing_sticks_out(self, hostile):
        """Every part stays within its card, all of one height, and no name covers an email."""
        for width, direction in [(320, "ltr"), (320, "rtl"), (1280, "ltr")]:
            hostile.resize(width)
            hostile.run("document.documentElement.dir = arguments[0]", direction)
            assert hostile.run(MISPLACED) == []
            heights = hostile.run("return [...container.children].map((card) => card.offsetHeight)")
            assert len(set(heights)) == 1
            assert heights[0] >= 44
            assert hostile.run("return document.documentElement.scrollWidth <= innerWidth")

    def test_texts_are_texts(self, hostile):
        """Markup is shown as it is, nothing of it runs, and nothing turns the text around."""
        assert hostile.names()[0] == MARKUP
        assert hostile.run("return !container.querySelector('script, img')")
        texts = hostile.run(
            "return [...container.children].map((card) => part(card, '.card').textContent"
            " + part(card, '.card').getAttribute('aria-label'))"
        )
        refused = {*"\u0000\u0007\n\r\u2028\u202e\u202c\u2066\u202b\u061c\u200b\u3164\u2063\ufeff"}
        assert [refused & set(text) for text in texts] == [set()] * len(HOSTILE)
        assert "Al ice bob@bank.example" in hostile.names()
        assert "nothing" in hostile.names()

    def test_domain_in_sight(self, hostile):
        """Of an address too long for its line the end of the domain is drawn, from left to right."""
        hostile.resize(320)
        ends = hostile.run(
            """
            return [...container.children].map((card) => {
              const text = part(card, ".domain bdi").firstChild;
              const range = new Range();
              range.setStart(text, text.length - 7);
              range.setEnd(text, text.length);
              const [end, line] = [range.getBoundingClientRect(), part(card, ".email").getBoundingClientRect()];
              return end.left >= line.left && end.right <= line.right + 1;
            });
            """
        )
        assert ends == [True] * len(HOSTILE)


class TestButton:
    def test_keyboard(self, page):
        """Tab reaches each card and passes a disabled one; Enter and Space choose."""
        page.run(
            "addCard('a@example.com'); addCard('b@example.com', {disabled: ''}); addCard('c@example.com')"
        )
        body = page.browser.find_element("css selector", "body")
        body.send_keys(Keys.TAB, Keys.ENTER)
        body.send_keys(Keys.TAB, Keys.SPACE)
        assert page.seen("chosen") == ["a@example.com", "c@example.com"]
        assert page.run("return document.activeElement.email") == "c@example.com"
        outline = "return getComputedStyle(part(document.activeElement, ':focus-visible')).outlineWidth"
        assert page.run(outline) == "3px"

    def test_focus_stays_when_the_answer_comes(self, page):
        """Nothing takes it from the card."""
        page.run("addCard(arguments[0].email).focus()", profile(ALICE))
        page.run("container.firstChild.answer(arguments[0])", profile(ALICE, name="Alice"))
        page.wait_for("return container.firstChild.state === 'ready'")
        assert page.run("return part(container.firstChild, '.card:focus') !== null")

    def test_accessible_name(self, page, thumbnail):
        """Name, label and email come first; the picture describes the button; pressed if selectable."""
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
        """Nothing serious in any state of a card, light or dark."""
        page.run(
            """
            const answer = (card, claims) => card.answer({ email: card.email, ...claims });
            addCard("pending@example.com");
            addCard("refused@example.com").refuse("not_found");
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
        """The card follows the page's colour scheme, not the system's; forced colours win over both."""
        page.emulate(prefers_color_scheme="dark")
        page.run("addCard('a@example.com'); document.documentElement.style.colorScheme = 'light'")
        surface = "return getComputedStyle(part(container.firstChild, '.card')).backgroundColor"
        assert page.run(surface) == "rgb(255, 255, 255)"
        page.emulate(forced_colors="active")
        image = "return getComputedStyle(part(container.firstChild, '.monogram')).backgroundImage"
        assert page.run(image) == "none"

    def test_text_of_twice_the_size(self, page):
        """On a narrow page too, nothing sticks out."""
        page.resize(320)
        page.run("document.documentElement.style.fontSize = '200%'; addCard(arguments[0])", ALICE)
        assert page.run(MISPLACED) == []
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")


class TestCache:
    def put(self, page, *profiles):
        """Keep profiles; return what is kept, as text."""
        return page.run(
            "new CardCache().put(arguments[0]); return localStorage['persona-cards']", profiles
        )

    def test_what_is_kept(self, page, thumbnail):
        """Claims and thumbnail come back; URLs, etag and unknown members are not kept."""
        picture = {"id": "1", "urls": {"64": "https://secret.example/cap"}, "thumbnail": thumbnail}
        kept = self.put(
            page,
            profile("Alice@Example.com", name="Alice", picture=picture, token="secret"),
            profile(BOB),
        )
        assert "secret" not in kept
        assert page.run("return new CardCache().emails") == ["Alice@Example.com", BOB]
        got = page.run("return new CardCache().get(arguments[0])", ALICE)
        assert (got["name"], got["etag"], got["protected"]) == ("Alice", "", False)
        assert got["picture"] == {"id": "1", "urls": {}, "thumbnail": thumbnail}

    def test_protected_profiles(self, page, thumbnail):
        """Nothing but the email is kept, also of one that was kept in the clear before."""
        picture = {"id": "1", "urls": {}, "thumbnail": thumbnail}
        self.put(page, profile(ALICE, name="Hidden", picture=picture))
        kept = self.put(page, profile(ALICE, name="Hidden", picture=picture, protected=True))
        assert "Hidden" not in kept
        assert "base64" not in kept
        assert page.run(
            "const cache = new CardCache(); return [cache.emails, cache.get(cache.emails[0])]"
        ) == [
            [ALICE],
            None,
        ]

    def test_unreadable_profile(self, page):
        """What was kept of it stays, until it can be read again."""
        self.put(page, profile(ALICE, name="Alice"))
        self.put(page, profile(ALICE, error="profile_unreadable"))
        assert page.run("return new CardCache().get(arguments[0]).name", ALICE) == "Alice"

    def test_limits(self, page):
        """20 emails, about a megabyte: thumbnails of the last ones go first."""
        length = page.run(
            """
            const thumbnail = "data:image/png;base64," + "A".repeat(300000);
            const emails = Array.from({ length: 25 }, (_, number) => `p${number}@example.com`);
            new CardCache().put(emails.map((email) => ({ email, picture: { id: "1", urls: {}, thumbnail } })));
            return localStorage["persona-cards"].length;
            """
        )
        assert length <= 1_000_000
        pictures = page.run(
            "const cache = new CardCache(); return cache.emails.map((email) => cache.get(email).picture !== null)"
        )
        assert pictures == [True] * 3 + [False] * 17

    def test_foreign_content(self, page):
        """It counts as nothing."""
        contents = [
            "",
            "{",
            "null",
            "7",
            "[]",
            '{"version":2,"cards":[{"email":"a@example.com"}]}',
            '{"version":1,"cards":7}',
            '{"version":1,"cards":[null,7,{"email":7},{"email":""}]}',
        ]
        found = page.run(
            """
            return arguments[0].map((content) => {
              localStorage["persona-cards"] = content;
              const cache = new CardCache();
              return [cache.emails, cache.get("a@example.com")];
            });
            """,
            contents,
        )
        assert found == [[[], None]] * len(contents)

    def test_foreign_values(self, page):
        """Claims and pictures that could not have come from a profile are not given out."""
        page.run(
            "localStorage['persona-cards'] = JSON.stringify({version: 1, cards: [{email: arguments[0],"
            " claims: {name: 7, label: 'Work', token: 'x'}, id: '1', thumbnail: 'https://evil.example/'}]})",
            ALICE,
        )
        got = page.run("return new CardCache().get(arguments[0])", ALICE)
        assert (got["name"], got["label"], got["picture"]) == (None, "Work", None)
        assert "token" not in got

    def test_quota(self, page, thumbnail):
        """If there is no room, pictures go; if there is none at all, everything goes, and nothing throws."""
        names = page.run(
            """
            const [profile] = arguments;
            const cache = new CardCache();
            cache.put([profile]);
            const genuine = Storage.prototype.setItem;
            const results = [];
            for (const room of [400, 10]) {
              Storage.prototype.setItem = function (name, value) {
                if (value.length > room) throw new DOMException("full", "QuotaExceededError");
                genuine.call(this, name, value);
              };
              cache.put([{ ...profile, name: `Room ${room}` }]);
              const kept = cache.get(profile.email);
              results.push(kept && [kept.name, kept.picture]);
            }
            Storage.prototype.setItem = genuine;
            return results;
            """,
            profile(ALICE, picture={"id": "1", "urls": {}, "thumbnail": thumbnail}),
        )
        assert names == [["Room 400", None], None]

    def test_storage_that_is_switched_off(self, page):
        """The cache is empty, and takes everything without a word."""
        page.run(
            "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});"
        )
        assert page.run(
            "const cache = new CardCache(); cache.put([arguments[0]]); cache.forget();"
            "cache.forget('x'); return [cache.emails, cache.get(arguments[0].email)]",
            profile(ALICE),
        ) == [[], None]

    def test_forgetting(self, page):
        """One email, or all."""
        self.put(page, profile(ALICE), profile(BOB))
        assert page.run(
            "const cache = new CardCache(); cache.forget('ALICE@example.com'); return cache.emails"
        ) == [BOB]
        page.run("new CardCache().forget()")
        assert page.run("return localStorage.length") == 0


class TestDeck:
    def deck(self, page, options=""):
        """Open a deck."""
        page.run(f"window.deck = new CardDeck({{ client, container, {options} }}); deck.open()")

    def test_cached_cards_before_the_answer(self, page, thumbnail):
        """The next opening paints the cards of the last one, then what the server has; nothing moves."""
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
        # The same picture is not shown anew.
        assert page.run("return part(deck.cards[0], 'img') === image")
        assert page.seen("shifts") == []

    @pytest.mark.parametrize("failure", ["no server", "503", "no JSON", "wrong shape"])
    def test_recovers_without_a_reload(self, page, failure):
        """It asks again until there is an answer, whatever came instead of one."""
        if failure == "no server":
            page.offline(is_offline=True)
        elif failure == "503":
            page.server.answer({}, 503)
        else:
            page.server.answer(b"<html>" if failure == "no JSON" else {"profiles": "none"})
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("deck.refresh()")
        page.wait_for("return deck.cards[0].state === 'fallback' && client.calls > 1")
        page.server.answer({"profiles": [profile(ALICE, name="Alice")]})
        page.offline(is_offline=False)
        page.wait_for("return deck.cards[0].state === 'ready'")
        assert page.names() == ["Alice"]
        calls = page.run("return client.calls")
        page.run("dispatchEvent(new Event('online')); await painted()")
        assert page.run("return client.calls") == calls

    def test_online_again(self, page):
        """It asks at once then, but not before the server wants to be asked."""
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
        # Two calls of the events, each in the midst of a pause of days.
        assert page.run("return client.calls") == 4
        page.run("deck.close(); dispatchEvent(new Event('online')); await painted()")
        assert page.run("return client.calls") == 4
        assert page.run("return container.childElementCount") == 0

    def test_failure_that_stays(self, page):
        """A session that is over is not asked for again: refresh returns."""
        page.server.answer({}, 401)
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("await deck.refresh()")
        assert page.run("return [client.calls, deck.cards[0].state]") == [1, "fallback"]

    def test_answer_that_is_there_already(self, page):
        """Cards are those of the answer, in its order; ones that stay are the same elements."""
        self.deck(page)
        page.run(
            "deck.refresh(arguments[0]); window.first = deck.cards[1]", [profile(ALICE), profile(BOB)]
        )
        page.run("deck.refresh(arguments[0])", [profile(BOB, name="Bob"), profile("c@example.com")])
        page.wait_for("return deck.cards.every(({ state }) => state === 'ready')")
        assert page.names() == ["Bob", "c"]
        assert page.run("return deck.cards[0] === first")
        assert page.run("return [...container.children].every((card, at) => card === deck.cards[at])")
        assert page.run("return new CardCache().emails") == [BOB, "c@example.com"]

    def test_emails_that_were_told(self, page):
        """Those keep their cards, also when the answer lacks them; what it adds comes after them."""
        self.deck(page, f"emails: ['{BOB}', '{ALICE.upper()}']")
        page.run(
            "await deck.refresh(arguments[0])", [profile(ALICE, name="Alice"), profile("c@example.com")]
        )
        page.wait_for("return deck.cards.map(({ state }) => state).join() === 'fallback,ready,ready'")
        assert page.names() == ["bob", "Alice", "c"]

    @pytest.mark.parametrize(("minutes", "kept"), [(60, []), (-1, [ALICE])])
    def test_session_that_ends(self, page, minutes, kept):
        """Signing out empties cache and cards; a session that ran out leaves them for next time."""
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
        """Cards that came from the cache go; those of this tab's own session stay."""
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
        """Cards go, and what is kept if that is told."""
        self.deck(page, f"emails: ['{ALICE}']")
        page.run("deck.refresh(arguments[0]); deck.close()", [profile(ALICE)])
        assert page.run("return [container.childElementCount, new CardCache().emails]") == [0, [ALICE]]
        page.run("deck.close({ forget: true })")
        assert page.run("return new CardCache().emails") == []
