"""All states of a card on one page, with screenshots in var/screenshots/: looks, motion, words."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from support.browsers.abilities import MEASURE_SHIFTS, in_three_engines
from support.clients.accessibility import violations
from support.clients.cards import MISPLACED

# What scripts of the card tests expect: the cards, and a part of one.
CARDS = """
const container = { children: [...document.querySelectorAll("persona-card")] };
const part = (card, selector) => card.shadowRoot.querySelector(selector);
"""

# The parts of texts that must be seen: the beginning of a label, the at sign, the end of a domain.
CUT = """
const hidden = [];
const look = (card, selector, from, to) => {
  const text = part(card, selector).firstChild;
  const range = new Range();
  if (text) {
    range.setStart(text, from(text));
    range.setEnd(text, to(text));
    const [box, place] = [range, part(card, selector).closest("[part]")].map((each) =>
      each.getBoundingClientRect(),
    );
    if (box.left < place.left - 1 || box.right > place.right + 1) {
      hidden.push(`${card.email}: ${selector}`);
    }
  }
};
const [start, end] = [() => 0, ({ length }) => length];
for (const card of container.children) {
  look(card, ".label bdi", start, ({ length }) => Math.min(length, 4));
  look(card, ".at", start, end);
  look(card, ".domain bdi", ({ length }) => length - 7, end);
}
return hidden;
"""

# The boxes of all cards and of their parts that are there from the start.
BOXES = """
return container.children.flatMap((card) =>
  [".card", ".portrait", ".name", ".email", ".texts"].map((selector) => {
    const { left, top, width, height } = part(card, selector).getBoundingClientRect();
    return [left, top, width, height].map(Math.round);
  }),
);
"""

SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    window.shifts.push([value, ...sources.map(({ node }) => node?.className || node?.nodeName)]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""

MOTION = """
return container.children.flatMap((card) =>
  [".card", "img"].map((selector) => part(card, selector)).filter(Boolean).flatMap((each) => {
    const { transitionDuration, animationName } = getComputedStyle(each);
    const moves = transitionDuration.split(", ").some((each) => each !== "0s");
    return [...(moves ? ["transition"] : []), ...(animationName === "none" ? [] : [animationName])];
  }),
);
"""

# In pixels, so that no card is below the screen, where no script finds the topmost element.
HIGH = 16_000

PLACE_OF_PICTURE = """
const [card, image] = [arguments[0], part(arguments[0], "img")].map((each) =>
  each.getBoundingClientRect(),
);
return [image.left - card.left, image.top - card.top, image.width, card.width];
"""

PRESSED = ("aria-pressed", "disabled")


@pytest.fixture
def states(unopened, server):
    """The page of all states, with its answers; violated policies and exceptions fail the test."""
    unopened.open(f"{server}/development/cards")
    unopened.wait_for(
        lambda: run(unopened, "return container.children.some(({ state }) => state === 'ready')")
    )
    unopened.wait_for(
        lambda: run(unopened, "return container.children.some((card) => part(card, 'img'))")
    )
    yield unopened
    assert not unopened.complaints()


def run(page, script, *arguments):
    """Return the result of a script that uses the cards."""
    return page.browser.execute_script(CARDS + script, *arguments)


def set_look(page, name):
    """Press a checkbox of the page."""
    page.find(f"[name={name}]").click()


def luminance(pixel):
    """Return the relative luminance of a pixel (WCAG)."""
    parts = [value / 255 for value in pixel[:3]]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """Return the contrast of two pixels (WCAG)."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


class TestLooks:
    @pytest.mark.parametrize(
        ("width", "looks", "preferences"),
        [
            (1280, (), {"color_scheme": "light"}),
            (1280, ("bare",), {"color_scheme": "dark"}),
            (640, ("rtl",), {"color_scheme": "dark"}),
            (320, (), {"color_scheme": "light"}),
            (320, ("large",), {"color_scheme": "dark"}),
        ],
        ids=[
            "wide",
            "dark, style of the module",
            "zoomed, right to left",
            "phone",
            "phone, large text",
        ],
    )
    def test_each_state_has_room(self, states, width, looks, preferences):
        """Nothing sticks out, the ends that matter are seen, and axe-core finds nothing serious."""
        states.resize(width)
        states.prefer(reduced_motion="reduce", **preferences)
        for look in looks:
            set_look(states, look)
        states.photograph(f"cards-{width}-{'-'.join((*looks, *preferences.values()))}")
        states.resize(width, HIGH)
        assert run(states, MISPLACED) == []
        assert run(states, CUT) == []
        assert states.find("html").get_property("scrollWidth") <= width
        heights = run(states, "return container.children.map((card) => card.offsetHeight)")
        assert len(set(heights)) == 1
        assert violations(states.browser) == []

    @in_three_engines
    def test_zoomed_in_each_browser(self, states):
        """With a zoom of 200 % each browser shows the ends that matter, and axe-core finds nothing."""
        states.resize(640)
        states.photograph(f"cards-zoomed-{states.engine.name}")
        assert run(states, CUT) == []
        assert states.find("html").get_property("scrollWidth") <= 640
        assert len(set(run(states, "return container.children.map((card) => card.offsetHeight)"))) == 1
        assert violations(states.browser) == []

    def test_forced_colours(self, states, force_colours):
        """Selection, absence and borders are seen in the colours of the person's choice."""
        force_colours()
        states.photograph("cards-forced-colours")
        states.resize(1280, HIGH)
        assert violations(states.browser) == []
        assert run(states, MISPLACED) == []
        styles = run(
            states,
            """
            const [off, on] = ["[disabled]:not([selected])", "[selected]:not([disabled])"];
            return [off, on, ":not([selectable])"].map((selector) => {
              const card = document.querySelector(`persona-card${selector}`);
              const { color, outlineStyle } = getComputedStyle(part(card, "button"));
              return [color, outlineStyle];
            });
            """,
        )
        disabled, selected, plain = styles
        assert disabled[0] != plain[0]
        assert (selected[1], plain[1]) == ("solid", "none")
        opacity = (
            "return getComputedStyle(part(document.querySelector('[disabled]'), '.texts')).opacity"
        )
        assert run(states, opacity) == "1"

    @pytest.mark.parametrize("scheme", ["light", "dark", "forced"])
    @pytest.mark.parametrize("is_bare", [False, True], ids=["demo", "style of the module"])
    def test_logos_without_a_ground(self, states, force_colours, scheme, is_bare):
        """Black and white logos have a contrast of 3:1 with their ground, without a monogram in it."""
        if is_bare:
            set_look(states, "bare")
        if scheme == "forced":
            force_colours()
        else:
            states.prefer(color_scheme=scheme, reduced_motion="reduce")
        for title in ("A dark logo", "A white logo"):
            card = run(
                states,
                "return container.children.find((card) =>"
                " card.previousElementSibling.textContent.startsWith(arguments[0]))",
                title,
            )
            left, top, side, width = run(states, PLACE_OF_PICTURE, card)
            with Image.open(io.BytesIO(card.screenshot_as_png)) as shot:
                scale = shot.width / width
                # By the page's drawing: a disc around (44, 64) of 128, and nothing around (66, 64).
                logo, *ground = (
                    shot.getpixel((int((left + x * side) * scale), int((top + y * side) * scale)))
                    for x, y in ((0.34, 0.5), (0.52, 0.5), (0.5, 0.2), (0.6, 0.8))
                )
            assert min(contrast(logo, each) for each in ground) >= 3, title


class TestMotion:
    @in_three_engines
    def test_answers_shift_nothing(self, states):
        """Each card and part keeps its place while answers come; Chromium counts no layout shift."""
        is_measured = states.engine.can(MEASURE_SHIFTS)
        if is_measured:
            states.browser.execute_script(SHIFTS)
        before = run(states, BOXES)
        states.find("#replay").click()
        blank = (
            "return container.children.every((card) => card.state === 'pending' && !part(card, 'img'))"
        )
        states.wait_for(lambda: run(states, blank))
        assert run(states, BOXES) == before
        again = "return container.children.filter((card) => part(card, 'img')).length"
        ready = "return container.children.filter(({ state }) => state === 'ready').length"
        states.wait_for(lambda: run(states, ready) >= 20 and run(states, again) >= 8)
        assert run(states, BOXES) == before
        if is_measured:
            assert states.browser.execute_script("return window.shifts") == []

    @pytest.mark.parametrize("preference", ["reduce", "no-preference"])
    def test_reduced_motion(self, states, preference):
        """Cards move only for people who have nothing against it."""
        states.prefer(reduced_motion=preference)
        run(states, "for (const card of container.children) part(card, 'img')?.classList.add('late')")
        assert set(run(states, MOTION)) == (
            set() if preference == "reduce" else {"transition", "appear"}
        )


class TestWords:
    def test_in_reading_order(self, states):
        """A screen reader reads headings, states and cards in the order in which they are seen."""
        states.resize(320)
        tree = states.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        children = {node["nodeId"]: node.get("childIds", []) for node in tree}
        nodes = {node["nodeId"]: node for node in tree}

        def walk(number):
            yield nodes[number]
            for child in children[number]:
                yield from walk(child)

        read = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in walk(tree[0]["nodeId"])
            if not node["ignored"] and node["role"]["value"] in ("heading", "button")
        ]
        seen = states.browser.execute_script(
            """
            const found = [...document.querySelectorAll("h1, h2, #replay, persona-card")];
            const top = (each) => each.getBoundingClientRect().top;
            return found.sort((a, b) => top(a) - top(b)).map((each) => [
              each.matches("h1, h2") ? "heading" : "button",
              each.shadowRoot?.querySelector("button").getAttribute("aria-label") ?? each.textContent,
            ]);
            """
        )
        assert read == [tuple(each) for each in seen]

    @in_three_engines
    def test_of_each_state(self, states):
        """A card is a button of its name, label, address and further claims; a picture describes it."""
        words = {}
        for card in states.browser.find_elements("tag name", "persona-card"):
            button = card.shadow_root.find_element("css selector", "button")
            title = run(states, "return arguments[0].previousElementSibling.textContent", card)
            assert button.aria_role == "button"
            words[title] = (
                button.accessible_name,
                *(button.get_dom_attribute(name) for name in PRESSED),
            )
        full = "Alice Liddell, Work, alice.{}@example.com, she/her, alice.example"
        assert words["Waiting"] == ("alice.1, alice.1@example.com", None, None)
        assert words["Answered: everything"] == (full.format(7), None, None)
        assert words["One of several"] == (full.format(8), "false", None)
        assert words["Selected"] == (full.format(9), "true", None)
        assert words["Disabled"] == (full.format(10), None, "true")
        assert words["Many marks on a letter"][0].endswith("oe, Home, alice.29@example.com")
        described = """
            const [card] = container.children.filter((card) => part(card, "img")?.alt);
            return part(card, `#${part(card, "button").getAttribute("aria-describedby")}`).alt;
        """
        assert run(states, described) == "Alice, laughing"


@pytest.fixture
def force_colours(states):
    """Emulates the forced colours of a dark theme."""

    def force():
        states.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {
                "features": [
                    {"name": "forced-colors", "value": "active"},
                    {"name": "prefers-color-scheme", "value": "dark"},
                    {"name": "prefers-reduced-motion", "value": "reduce"},
                ]
            },
        )

    return force
