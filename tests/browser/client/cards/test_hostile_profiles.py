from __future__ import annotations

import json

import pytest
from support import ROOT
from support.clients.cards import MISPLACED

from persona_profile.profiles.claims import text

ZALGO = "Z" + "\u0300\u0301\u0336\u0489" * 40 + "algo" + "\u0310" * 60
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
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
        """A page with a card for each hostile profile."""
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
        """Every part stays within its card, all cards have one height, and no name covers an email."""
        for width, direction in [(320, "ltr"), (320, "rtl"), (1280, "ltr")]:
            hostile.resize(width)
            hostile.run("document.documentElement.dir = arguments[0]", direction)
            assert hostile.run(MISPLACED) == []
            heights = hostile.run("return [...container.children].map((card) => card.offsetHeight)")
            assert len(set(heights)) == 1
            assert heights[0] >= 44
            assert hostile.run("return document.documentElement.scrollWidth <= innerWidth")

    def test_texts_are_texts(self, hostile):
        """Markup is shown as text, never executed; direction controls have no effect."""
        assert hostile.names()[0] == MARKUP
        assert hostile.run("return !container.querySelector('script, img')")
        texts = hostile.run(
            "return [...container.children].map((card) => part(card, '.card').textContent"
            " + part(card, '.card').getAttribute('aria-label'))"
        )
        removed = {*"\u0000\u0007\n\r\u2028\u202e\u202c\u2066\u202b\u061c\u200b\u3164\u2063\ufeff"}
        assert [removed & set(text) for text in texts] == [set()] * len(HOSTILE)
        assert "Al ice bob@bank.example" in hostile.names()
        assert "nothing" in hostile.names()

    def test_names_as_people_write_them(self, page):
        """Names that the service accepts are shown as they are, attacks are not, in each browser."""
        known = json.loads((ROOT / "tests/support/names.json").read_text())
        accepted = [
            text(name)
            for group in ("scripts", "others")
            for names in known[group].values()
            for name in names
        ]
        # Drivers pass no lone surrogates.
        kinds = known["rejected"].keys() - {"surrogates"}
        attacks = [name for kind in sorted(kinds) for name in known["rejected"][kind]]
        page.run(
            """
            for (const name of arguments[0]) {
              const card = addCard("alice@example.com");
              card.answer({ email: "alice@example.com", name });
              await card.done;
            }
            """,
            accepted + attacks,
        )
        names = page.names()
        shown, defused = names[: len(accepted)], names[len(accepted) :]
        assert shown == [" ".join(name.split()) for name in accepted]
        pairs = zip(attacks, defused, strict=True)
        assert [ascii(attack) for attack, name in pairs if attack == name] == []

    def test_domain_in_sight(self, hostile):
        """The end of a long address's domain is visible, from left to right."""
        hostile.resize(320)
        ends = hostile.run(
            """
            return [...container.children].map((card) => {
              const text = part(card, ".domain bdi").firstChild;
              const range = new Range();
              range.setStart(text, text.length - 7);
              range.setEnd(text, text.length);
              const end = range.getBoundingClientRect();
              const line = part(card, ".email").getBoundingClientRect();
              return end.left >= line.left && end.right <= line.right + 1;
            });
            """
        )
        assert ends == [True] * len(HOSTILE)
