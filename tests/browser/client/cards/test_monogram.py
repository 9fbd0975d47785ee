from __future__ import annotations

ALICE = "alice@example.com"
ZALGO = "Z" + "\u0300\u0301\u0336\u0489" * 40 + "algo" + "\u0310" * 60
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"

# Email, name, and the expected monogram.
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

# Contrast of the letters to the gradient at the worst of five places, by hue.
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


class TestMonogram:
    def test_letters(self, page):
        """A monogram has whole characters of the name, otherwise of the email, and is never empty."""
        texts = page.run(
            "return arguments[0].map(([email, name]) => monogram(email, name).text)", MONOGRAMS
        )
        assert texts == [text for _, _, text in MONOGRAMS]

    def test_hues(self, page):
        """An email's hue is independent of its spelling, and hues are evenly distributed."""
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
        """The contrast of the letters is at least 4.5 to 1 for every hue, all over the gradient."""
        for scheme in ("light", "dark"):
            page.emulate(prefers_color_scheme=scheme)
            contrasts = page.run(CONTRASTS)
            assert len(contrasts) == 360
            assert 4.5 <= min(contrasts) < max(contrasts) < 21
